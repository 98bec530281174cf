//! The configuration: read once at start from the environment and an optional TOML file, judged as a whole before any
//! engine is asked (design, section 10, rulings 18 and 26).
//!
//! One table (`table.rs`) is the source of parsing, errors, `latchkey config` and docs/configuration.md.

mod build;
mod countries;
mod delivery;
mod engines;
mod error;
mod limits;
mod parse;
mod reader;
mod routes;
mod secret;
mod served;
mod shown;
mod source;
mod table;
mod test_numbers;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use error::{ConfigError, Mistake};
pub use limits::ShownLimit;
pub use routes::{ProviderName, Routes};
pub use served::Served;
pub use shown::{Shown, markdown};
pub use source::Origin;
pub use test_numbers::TestNumber;

use domain::keys::{Keys, Service};
use domain::limits::Limits;
use domain::vocabulary::PumpingGuard;
use source::Given;

/// Which process reads the settings. All may be given one set of variables: each uses what is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The three services in one process; and the operator's commands.
    AllInOne,
    Gateway,
    OtpWorker,
    SmsWorker,
}

impl Role {
    /// The service that this process is, when it is one.
    pub const fn service(self) -> Option<Service> {
        match self {
            Self::AllInOne => None,
            Self::Gateway => Some(Service::Gateway),
            Self::OtpWorker => Some(Service::OtpWorker),
            Self::SmsWorker => Some(Service::SmsWorker),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self.service() {
            None => "latchkey",
            Some(service) => service.as_str(),
        }
    }

    pub const fn has_gateway(self) -> bool {
        matches!(self, Self::AllInOne | Self::Gateway)
    }

    pub const fn has_sms_worker(self) -> bool {
        matches!(self, Self::AllInOne | Self::SmsWorker)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Development,
    Production,
}

impl Environment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }
}

/// All three services or none: half of them is not a state that can be written.
#[derive(Clone, Debug)]
pub enum Engines {
    Embedded { data_dir: PathBuf },
    Services { database_url: SecretString, redis_url: SecretString, amqp_url: SecretString },
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub enum Secrets {
    /// Embedded: made at the first start and kept in the data folder.
    MadeInDataDir,
    Master {
        current: SecretString,
        previous: Option<SecretString>,
    },
    /// For a service apart: its own keys only (design, ruling 29).
    Bundle(SecretString),
}

#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_ttl_secs: i64,
    pub refresh_idle_secs: i64,
    pub refresh_max_secs: i64,
    pub refresh_grace_secs: i64,
}

#[derive(Clone, Debug)]
pub struct Otp {
    pub length: u8,
    pub ttl_secs: i64,
    pub attempts: u32,
    pub max_failures: u32,
    /// 0: never.
    pub failure_reset_secs: i64,
}

/// What an ask for a code by a phone without an account does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPhone {
    SignUp,
    Silent,
}

#[derive(Clone, Debug)]
pub struct Sms {
    pub routes: Routes,
    /// Here when its account and token are set. With a route to Twilio, a process that sends has all that sending
    /// takes, and a gateway what checking receipts takes.
    pub twilio: Option<TwilioAccount>,
    pub http: Option<HttpProvider>,
    pub unknown_outcome: UnknownOutcome,
    /// How long after a text without news of its delivery its code is said by a call; 0: never.
    pub voice_fallback_secs: i64,
}

#[derive(Clone, Debug)]
pub struct TwilioAccount {
    pub account_sid: String,
    /// Signs receipts, also when an API key is used to send.
    pub auth_token: SecretString,
    /// The key's id and secret.
    pub api_key: Option<(String, SecretString)>,
    /// Where Twilio is routed to, a process that sends has this or `messaging_service_sid`, or both: then the service
    /// sends and this calls.
    pub from: Option<String>,
    pub messaging_service_sid: Option<String>,
    pub base_url: Url,
}

impl Sms {
    /// Whether one of these providers can say a code in a call.
    pub fn can_call(&self, providers: &[ProviderName]) -> bool {
        providers.iter().any(|provider| match provider {
            ProviderName::Twilio => {
                self.twilio.as_ref().is_some_and(|account| account.caller().is_some())
            }
            ProviderName::Http | ProviderName::Console | ProviderName::Inbox => true,
        })
    }
}

impl TwilioAccount {
    /// The number that calls. A messaging service, a sender's name and a short code cannot.
    pub fn caller(&self) -> Option<&str> {
        self.from.as_deref().filter(|from| from.starts_with('+'))
    }
}

#[derive(Clone, Debug)]
pub struct HttpProvider {
    pub url: Url,
    /// `whsec_` and base64, or the bytes themselves (Standard Webhooks).
    pub secret: SecretString,
}

/// What follows when a provider may or may not have taken a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOutcome {
    Resend,
    Wait,
}

#[derive(Clone, Debug)]
pub struct Texts {
    pub app_name: String,
    /// `None`: the built-in texts.
    pub texts_dir: Option<PathBuf>,
    pub android_app_hash: Option<String>,
    /// In lower case.
    pub webotp_domain: Option<String>,
}

/// The settings, all of them judged. Its `Debug` output holds no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub role: Role,
    pub environment: Environment,
    pub engines: Engines,
    pub secrets: Secrets,
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    /// Its path ends without a slash, but for that of the root, which every URL has.
    pub public_url: Option<Url>,
    pub trusted_proxies: Vec<IpNet>,
    /// `None`: `http://` and the address listened on; in development only, and in services that sign nothing.
    pub issuer: Option<String>,
    pub audience: String,
    /// Here in every process with a gateway. A folder given exists; the embedded default's own need not yet.
    pub jwt_keys_dir: Option<PathBuf>,
    /// `None`: the newest key signs.
    pub jwt_active_kid: Option<String>,
    pub tokens: Tokens,
    pub otp: Otp,
    pub limits: Limits,
    /// `None`: all. In capitals.
    pub countries: Option<BTreeSet<String>>,
    pub default_region: Option<String>,
    pub unknown_phone: UnknownPhone,
    pub strict_binding: bool,
    pub test_numbers: Vec<TestNumber>,
    pub sms: Sms,
    pub texts: Texts,
    pub password_min: usize,
    /// As browsers send them.
    pub cors_origins: Vec<String>,
    pub pumping_guard: PumpingGuard,
    pub otlp_endpoint: Option<Url>,
    /// The filters of `RUST_LOG`; `info` when it is not set.
    pub log: Option<String>,
    shown: Vec<Shown>,
}

impl Config {
    /// The settings of this process.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn load(role: Role) -> Result<Self, ConfigError> {
        build::build(role, Given::by_this_process())
    }

    /// The settings of this process, for commands that only look at them (`config`, `limits`, `health`): where
    /// `LATCHKEY_SERVICE_KEYS` is set they are read as by the service that those keys were cut for, else as by the
    /// three services in one process. So an operator can run such a command beside any service, with its variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_as_found() -> Result<Self, ConfigError> {
        let given = Given::by_this_process();
        build::build(role_of(&given), given)
    }

    /// `LATCHKEY_SECRET` and the one before it, without a look at any other setting.
    ///
    /// # Errors
    /// When it is missing or too weak to cut keys from.
    pub fn load_secrets() -> Result<Secrets, ConfigError> {
        build::build_secrets(Given::by_this_process())
    }

    /// As [`Config::load`], from these variables instead of the environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_map(role: Role, variables: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        build::build(role, Given::by_map(variables))
    }

    /// The keys of this process. The embedded default makes its secret at the first call and keeps it in the data
    /// folder, in the file `secret`.
    ///
    /// # Errors
    /// When that file or its folder cannot be made or read.
    pub fn keys(&self) -> anyhow::Result<Keys> {
        match (&self.secrets, &self.engines) {
            (Secrets::Bundle(bundle), _) => {
                Keys::from_bundle(bundle.expose_secret()).context("read LATCHKEY_SERVICE_KEYS")
            }
            (Secrets::Master { current, previous }, _) => {
                let previous = previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
                Ok(Keys::from_secret(current.expose_secret().as_bytes(), previous))
            }
            (Secrets::MadeInDataDir, Engines::Embedded { data_dir }) => {
                let secret = secret::made_in(data_dir)?;
                Ok(Keys::from_secret(secret.expose_secret().as_bytes(), None))
            }
            (Secrets::MadeInDataDir, Engines::Services { .. }) => {
                anyhow::bail!("on the engines LATCHKEY_SECRET or LATCHKEY_SERVICE_KEYS is needed")
            }
        }
    }

    /// Every setting as it is in effect, secrets masked, in the order of docs/configuration.md.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.clone()
    }
}

/// The service whose keys were given; the all-in-one when none were, or none that can be read.
fn role_of(given: &Given) -> Role {
    let keys =
        given.value("LATCHKEY_SERVICE_KEYS").and_then(|(bundle, _)| Keys::from_bundle(bundle).ok());
    // Of the three, sms-worker's keys are the fewest: every bundle has them, so it is asked last.
    [Role::Gateway, Role::OtpWorker, Role::SmsWorker]
        .into_iter()
        .find(|role| {
            let fits = |(keys, service): (&Keys, Service)| keys.check_for(service).is_ok();
            keys.as_ref().zip(role.service()).is_some_and(fits)
        })
        .unwrap_or(Role::AllInOne)
}
