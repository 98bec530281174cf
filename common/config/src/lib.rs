//! The configuration: read once at start from the environment and an optional TOML file, and validated as a whole
//! before the process connects to any engine (contract, section 10, rulings 18 and 26).
//!
//! Owns every setting: its name, range, default and meaning. Must never know a connection, or what a setting is used
//! for.
//!
//! One table (`table.rs`) drives parsing, errors, `latchkey config` and docs/configuration.md.

mod build;
mod case;
mod countries;
mod delivery;
mod engine_url;
mod engines;
mod error;
mod fiction;
mod limits;
mod parse;
mod reader;
mod routes;
mod secret;
mod served;
mod shown;
mod small_file;
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

pub use error::{ConfigError, Mistake, Warning};
pub use limits::{PASSWORD_WRITES_PER_SESSION_MINUTE, ShownLimit, WRITES_PER_SESSION_MINUTE};
pub use routes::{ProviderName, Routes};
pub use served::Served;
pub use shown::{Shown, markdown};
pub use source::{Origin, login_name};
pub use test_numbers::TestNumber;

use domain::keys::{Keys, Service};
use domain::limits::Limits;
use domain::string_enum;
use domain::vocabulary::PumpingGuard;
use source::Given;

/// The process that reads the settings. All processes may share one set of variables; each uses the ones it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The three services in one process, or an operator's command.
    AllInOne,
    Gateway,
    OtpWorker,
    SmsWorker,
}

impl Role {
    /// Returns the service of this process; `None` for the all-in-one.
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

string_enum! {
    pub enum Environment { Development = "development", Production = "production" }
}

string_enum! {
    /// Whether production may reach an engine by plain text on a public network.
    enum Plaintext { Refuse = "refuse", Allow = "allow" }
}

/// All three services or none: having only some of them is not representable.
#[derive(Clone, Debug)]
pub enum EngineSettings {
    Embedded { data_dir: PathBuf },
    Services { database_url: SecretString, redis_url: SecretString, amqp_url: SecretString },
}

/// The source of the keys.
#[derive(Clone, Debug)]
pub enum Secrets {
    /// Embedded: generated at the first start and kept in the data folder.
    MadeInDataDir,
    Master {
        current: SecretString,
        previous: Option<SecretString>,
    },
    /// For a separate service: only its own keys (contract, ruling 29).
    Bundle(SecretString),
}

string_enum! {
    /// The one header in which a trusted proxy names the client's address (contract, ruling 34). The first two are lists
    /// of hops, the others hold a single address.
    pub enum ClientIpHeader {
        XForwardedFor = "x-forwarded-for",
        Forwarded = "forwarded",
        CfConnectingIp = "cf-connecting-ip",
        XRealIp = "x-real-ip",
        FlyClientIp = "fly-client-ip",
        TrueClientIp = "true-client-ip",
    }
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
    /// 0: never reset.
    pub failure_reset_secs: i64,
}

string_enum! {
    /// What a code request for a phone without an account does.
    pub enum UnknownPhone { SignUp = "sign_up", Silent = "silent" }
}

string_enum! {
    /// Which traces are recorded, by the names of OpenTelemetry.
    pub enum TracesSampler {
        All = "always_on",
        Nothing = "always_off",
        Share = "traceidratio",
        ParentBasedAll = "parentbased_always_on",
        ParentBasedNothing = "parentbased_always_off",
        ParentBasedShare = "parentbased_traceidratio",
    }
}

#[derive(Clone, Debug)]
pub struct Sms {
    pub routes: Routes,
    /// Present if the account and token are set. With a route to Twilio, a sending process has everything it needs to
    /// send, and a gateway everything it needs to check receipts.
    pub twilio: Option<TwilioAccount>,
    pub http: Option<HttpProvider>,
    pub unknown_outcome: UnknownOutcome,
    /// Whether a client may request a call (contract, ruling 58).
    pub voice: bool,
    /// If no delivery receipt arrives within this time, a call reads out the code; 0: never.
    pub voice_fallback_secs: i64,
}

#[derive(Clone, Debug)]
pub struct TwilioAccount {
    pub account_sid: String,
    /// Signs receipts, even if an API key is used to send.
    pub auth_token: SecretString,
    /// The key ID and secret.
    pub api_key: Option<(String, SecretString)>,
    /// With a route to Twilio, a sending process has this, `messaging_service_sid` or both. With both, the service
    /// sends messages and this number places calls.
    pub from: Option<String>,
    pub messaging_service_sid: Option<String>,
    pub base_url: Url,
}

impl Sms {
    /// Returns whether one of these providers can read out a code in a call.
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
    /// Returns the number that places calls. A messaging service, a sender name or a short code cannot.
    pub fn caller(&self) -> Option<&str> {
        self.from.as_deref().filter(|from| from.starts_with('+'))
    }
}

#[derive(Clone, Debug)]
pub struct HttpProvider {
    pub url: Url,
    /// `whsec_` and base64, or the raw bytes (Standard Webhooks).
    pub secret: SecretString,
}

string_enum! {
    /// What to do if a provider may or may not have accepted a message.
    pub enum UnknownOutcome { Resend = "resend", Wait = "wait" }
}

#[derive(Clone, Debug)]
pub struct Texts {
    pub app_name: String,
    /// `None`: the built-in wordings.
    pub texts_dir: Option<PathBuf>,
    pub android_app_hash: Option<String>,
    /// In lower case.
    pub webotp_domain: Option<String>,
}

/// The validated settings. The `Debug` output contains no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub role: Role,
    pub environment: Environment,
    pub engines: EngineSettings,
    pub secrets: Secrets,
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    /// `None`: the admin API is off.
    pub admin_listen: Option<SocketAddr>,
    /// The path has no trailing slash, except for the root path.
    pub public_url: Option<Url>,
    /// None has the width 0.
    pub trusted_proxies: Vec<IpNet>,
    pub client_ip_header: ClientIpHeader,
    /// Threads that do the process's work.
    pub threads: usize,
    /// 0: off.
    pub connections_per_ip: usize,
    /// `None` (development and services that sign nothing): `http://` and the listen address.
    pub issuer: Option<String>,
    pub audience: String,
    /// Present in every process with a gateway. A configured folder exists; the embedded default may not exist yet.
    pub jwt_keys_dir: Option<PathBuf>,
    /// `None`: the newest key signs.
    pub jwt_active_kid: Option<String>,
    pub tokens: Tokens,
    pub otp: Otp,
    pub limits: Limits,
    /// `None`: all countries. Codes are in upper case.
    pub countries: Option<BTreeSet<String>>,
    pub default_region: Option<String>,
    pub unknown_phone: UnknownPhone,
    pub strict_binding: bool,
    /// Whether a DPoP proof must carry a nonce of ours.
    pub dpop_nonce: bool,
    pub test_numbers: Vec<TestNumber>,
    pub sms: Sms,
    pub texts: Texts,
    /// Whether owners are told of changes by a text (contract, ruling 38).
    pub notices: bool,
    pub password_min: usize,
    /// The range service of breached passwords, without a trailing slash. `None`: none is asked.
    pub breached_passwords_url: Option<Url>,
    /// Opens the development inbox from other machines. `None`: the gateway makes one where it needs it.
    pub inbox_token: Option<SecretString>,
    /// As browsers send them.
    pub cors_origins: Vec<String>,
    pub pumping_guard: PumpingGuard,
    /// The collector of traces, without a trailing slash. `None`: none are exported.
    pub otlp_endpoint: Option<Url>,
    pub traces_sampler: TracesSampler,
    /// The share of the traces that a sampler by share records: 0 to 1.
    pub traces_share: f64,
    /// The filters of `RUST_LOG`; `info` by default.
    pub log: Option<String>,
    shown: Vec<Shown>,
    warnings: Vec<Warning>,
    refused_in_production: Vec<Mistake>,
}

impl Config {
    /// Loads the settings of this process.
    ///
    /// # Errors
    /// Every mistake in the settings, at once.
    pub fn load(role: Role) -> Result<Self, ConfigError> {
        build::build(role, Given::by_this_process())
    }

    /// Loads the settings for commands that only inspect them (`config`, `limits`, `health`). If
    /// `LATCHKEY_SERVICE_KEYS` is set, they are read as the service that those keys belong to reads them; otherwise as
    /// the all-in-one does. So an operator can run such a command beside any service with that service's variables.
    ///
    /// # Errors
    /// The same as [`Config::load`].
    pub fn load_as_found() -> Result<Self, ConfigError> {
        let given = Given::by_this_process();
        build::build(role_of(&given), given)
    }

    /// Loads `LATCHKEY_SECRET` and `LATCHKEY_SECRET_PREVIOUS` and ignores every other setting.
    ///
    /// # Errors
    /// If the secret is missing or too weak to derive keys from.
    pub fn load_secrets() -> Result<Secrets, ConfigError> {
        build::build_secrets(Given::by_this_process())
    }

    /// Like [`Config::load`], but reads these variables instead of the environment.
    ///
    /// # Errors
    /// The same as [`Config::load`].
    pub fn from_map(role: Role, variables: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        build::build(role, Given::by_map(variables))
    }

    /// Returns the keys of this process. When embedded, the first call generates the secret and keeps it in the file
    /// `secret` in the data folder.
    ///
    /// # Errors
    /// If that file or its folder cannot be created or read.
    pub fn keys(&self) -> anyhow::Result<Keys> {
        match (&self.secrets, &self.engines) {
            (Secrets::Bundle(bundle), _) => {
                Keys::from_bundle(bundle.expose_secret()).context("read LATCHKEY_SERVICE_KEYS")
            }
            (Secrets::Master { current, previous }, _) => {
                let previous = previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
                Ok(Keys::from_secret(current.expose_secret().as_bytes(), previous))
            }
            (Secrets::MadeInDataDir, EngineSettings::Embedded { data_dir }) => {
                let secret = secret::made_in(data_dir)?;
                Ok(Keys::from_secret(secret.expose_secret().as_bytes(), None))
            }
            (Secrets::MadeInDataDir, EngineSettings::Services { .. }) => {
                anyhow::bail!(
                    "LATCHKEY_SECRET or LATCHKEY_SERVICE_KEYS is needed unless everything runs embedded"
                )
            }
        }
    }

    /// Returns what deserves a line at start: limits that are off, and settings that are allowed but risky.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns what production would refuse in these settings. Nothing in production, whose start refused it, and in a
    /// process without a gateway, which shows it to nobody.
    pub fn refused_in_production(&self) -> &[Mistake] {
        &self.refused_in_production
    }

    /// Returns every setting in effect, with secrets masked, in the order of docs/configuration.md.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.clone()
    }
}

/// Returns the service whose keys were given, or the all-in-one if there are none or they cannot be read.
fn role_of(given: &Given) -> Role {
    let keys =
        given.value("LATCHKEY_SERVICE_KEYS").and_then(|(bundle, _)| Keys::from_bundle(bundle).ok());
    // The sms-worker's keys are in every bundle, so it is tried last.
    [Role::Gateway, Role::OtpWorker, Role::SmsWorker]
        .into_iter()
        .find(|role| {
            let fits = |(keys, service): (&Keys, Service)| keys.check_for(service).is_ok();
            keys.as_ref().zip(role.service()).is_some_and(fits)
        })
        .unwrap_or(Role::AllInOne)
}
