//! State shared by all routes.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use accounts::notice::OwnerNotice;
use accounts::{
    Accounts, AttemptLimits, Attempts, Audit, ConsoleSessions, Session, Sessions, User, notice,
};
use anyhow::Context as _;
use config::{Config, ProviderName, Served};
use domain::clock::Clock;
use domain::phone::{Phone, Refusal};
use domain::timestamp::Timestamp;
use passwords::Passwords;
use secrecy::ExposeSecret as _;
use service::blocklist::Blocklist;
use service::connections::Connections;
use store::{
    AddressLimit, Codes, FailureRange, Inbox, Limits, LoginAddresses, PhoneChanges, ReplayGuard,
    Statuses,
};
use texts::{Notice, Texts};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::webhook_calls::WebhookCalls;
use crate::breaches::Breaches;
use crate::codes::addresses_seen::AddressesSeen;
use crate::console;
use crate::http::browser::Callers;
use crate::http::client_ip::{ClientIp, TrustedProxies};
use crate::http::connection_limits;
use crate::http::error::ApiError;
use crate::http::inbox_access::InboxAccess;
use crate::http::layers;
use crate::http::load_shedding::Shedding;
use crate::http::stream_limits::Streams;
use crate::tokens::key_ring::TokenKeys;
use crate::tokens::pair::{self, Grant, TokenPair, Tokens};

/// The phones at which attempts from a /24 or /48 may fail in ten minutes (contract, ruling 41).
const FAILED_PHONES: u64 = 50;

/// The state that every route uses. Cheap to clone: each layer and route that a request passes has a clone of its own,
/// and a request that waits for its body keeps them all.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// What the clones of an [`App`] share.
pub struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) engines: Connections,
    pub(crate) codes: Codes,
    pub(crate) statuses: Statuses,
    pub(crate) limits: Limits,
    pub(crate) inbox: Inbox,
    pub(crate) inbox_access: Arc<InboxAccess>,
    pub(crate) phone_changes: PhoneChanges,
    pub(crate) replay_guard: ReplayGuard,
    pub(crate) accounts: Accounts,
    pub(crate) attempts: Attempts,
    pub(crate) audit: Audit,
    /// Read only.
    pub(crate) ledger: ledger::Reader,
    /// The ledger by the hour.
    pub(crate) hours: ledger::hours::Hours,
    /// The guard's history by the hour.
    pub(crate) guard_hours: accounts::GuardHours,
    pub(crate) sessions: Sessions,
    pub(crate) console_sessions: ConsoleSessions,
    pub(crate) phones: Arc<Served>,
    pub(crate) blocks: Blocklist,
    pub(crate) tokens: Tokens,
    pub(crate) token_keys: Arc<TokenKeys>,
    pub(crate) passwords: Arc<Passwords>,
    /// `None`: new passwords are not looked up.
    pub(crate) breaches: Option<Breaches>,
    pub(crate) texts: Arc<Texts>,
    /// Without a trailing slash.
    pub(crate) public_url: Arc<str>,
    pub(crate) addresses_seen: AddressesSeen,
    /// When this process began to serve.
    pub(crate) started_at: Timestamp,
    pub(crate) streams: Streams,
    /// The last calls to the provider's webhook.
    pub(crate) webhook_calls: WebhookCalls,
    /// A permit for each page of the console that may be live.
    pub(crate) live_pages: Arc<Semaphore>,
    /// Notified when an urgent event was written: the outbox then publishes without waiting for its next poll.
    pub(crate) outbox_filled: Arc<Notify>,
    /// Cancelled when the process stops; ends endless waits.
    pub(crate) stop: CancellationToken,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Parses a phone number under the rules of this deployment.
    pub(crate) fn phone(&self, writing: &str) -> Result<Phone, ApiError> {
        self.phones.parse(writing, self.engines.clock.now()).map_err(|refusal| match refusal {
            Refusal::Invalid => ApiError::InvalidPhoneNumber { field: "phone_number" },
            Refusal::NotSupported => ApiError::PhoneNumberNotSupported { field: "phone_number" },
        })
    }

    pub(crate) fn attempt_limits(&self) -> AttemptLimits {
        let otp = &self.config.otp;
        AttemptLimits {
            attempts: otp.attempts,
            max_failures: otp.max_failures,
            failure_reset_secs: otp.failure_reset_secs,
        }
    }

    /// Where a per-address limit counts an address: none if the limit is 0, which is off. The keys include the limit's
    /// value: a changed limit starts a new count, so it applies in full from the first request on.
    pub(crate) fn addresses(&self, ip: ClientIp, limit: u64) -> Vec<AddressLimit> {
        let ranges = ip.limit_ranges().into_iter().filter(|_| limit > 0);
        let counted = ranges.map(|(range, times)| {
            let most = limit.saturating_mul(times);
            AddressLimit { key: self.engines.keys.index("ip", &format!("{range} {most}")), most }
        });
        counted.collect()
    }

    /// Where a login by an address counts (contract, rulings 35 and 41). Without the limit of the address nothing waits, and
    /// a known device waits for its address alone, not for what failed in its network.
    pub(crate) fn login_addresses(&self, ip: ClientIp, by_known_device: bool) -> LoginAddresses {
        let failures = if by_known_device { Vec::new() } else { self.failure_ranges(ip) };
        let limit = self.config.limits.logins_per_ip_minute;
        LoginAddresses { logins: self.addresses(ip, limit), failures }
    }

    /// Where a failed attempt counts, narrowest first (contract, ruling 41).
    pub(crate) fn failure_ranges(&self, ip: ClientIp) -> Vec<FailureRange> {
        let limit = self.config.limits.logins_per_ip_minute;
        let ranges = ip.failure_ranges().into_iter().filter(|_| limit > 0);
        let failures = ranges.map(|(range, times, networks)| {
            let key = self.engines.keys.index("failures", &range);
            FailureRange { key, most: FAILED_PHONES.saturating_mul(times), networks }
        });
        failures.collect()
    }

    /// Issues a session's tokens. A refresh is not a new sign-in: `auth_time` stays the session's start.
    pub(crate) fn pair(&self, session: &Session) -> anyhow::Result<TokenPair> {
        self.tokens.issue(&Grant {
            user_id: session.user_id,
            session_id: session.id,
            generation: session.generation,
            auth_time: session.created_at,
            amr: &[session.method.as_str().to_owned()],
            session_ends_at: session.absolute_expires_at,
            jkt: session.jkt.as_deref(),
        })
    }

    /// A text that tells an account's number of this, as an event to be written with what it tells. `None` if notices
    /// are off, or no text reaches the number.
    pub(crate) fn notice(&self, user: &User, what: Notice) -> anyhow::Result<Option<OwnerNotice>> {
        let engines = &self.engines;
        let is_test = self.phones.test_code(&user.phone_number, engines.clock.now()).is_some();
        if !self.config.notices || is_test {
            return Ok(None);
        }
        let phone = Phone::from(user.phone_number.clone());
        let text = self.texts.notice(what, Some(&user.locale));
        let of_deleted = what == Notice::AccountDeleted;
        notice::prepare(&engines.keys, &engines.clock, &phone, text, of_deleted).map(Some)
    }

    pub(crate) fn has_inbox(&self) -> bool {
        self.is_development() && self.config.sms.routes.names(ProviderName::Inbox)
    }

    /// Whether this deployment serves the pages for development.
    pub(crate) fn is_development(&self) -> bool {
        is_development(&self.config)
    }
}

impl App {
    pub(crate) async fn build(
        config: &Arc<Config>,
        engines: Connections,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let public_url = public_url(config, address);
        let issuer = config.issuer.clone().unwrap_or_else(|| public_url.clone());
        let keys = signing_keys(config).context("load the signing keys")?;
        let settings = pair::Settings {
            issuer,
            audience: config.audience.clone(),
            access_ttl_secs: config.tokens.access_ttl_secs,
            refresh_idle_secs: config.tokens.refresh_idle_secs,
        };
        let tokens = Tokens::new(settings, keys.clone(), &engines.keys, engines.clock.clone())?;
        let blocks = Blocklist::load(&engines, &stop).await.context("read the blocks")?;
        Ok(Self(Arc::new(Shared {
            codes: engines.store.codes(),
            statuses: engines.store.statuses(),
            limits: engines.store.limits(),
            inbox: engines.store.inbox(),
            inbox_access: Arc::new(inbox_access(config, address)),
            phone_changes: engines.store.phone_changes(),
            replay_guard: engines.store.replay_guard(),
            accounts: Accounts::new(&engines.sql),
            attempts: Attempts::new(&engines.sql),
            audit: Audit::new(&engines.sql),
            ledger: ledger::Reader::new(&engines.sql),
            hours: ledger::hours::Hours::new(&engines.sql),
            guard_hours: accounts::GuardHours::new(&engines.sql),
            sessions: Sessions::new(&engines.sql),
            console_sessions: ConsoleSessions::new(&engines.sql),
            phones: Arc::new(Served::of(config)),
            blocks,
            tokens,
            token_keys: keys,
            passwords: Arc::new(Passwords::default()),
            breaches: config.breached_passwords_url.clone().map(Breaches::new).transpose()?,
            texts: Arc::new(
                Texts::load(&config.texts, config.otp.length).context("load the texts")?,
            ),
            public_url: public_url.into(),
            addresses_seen: AddressesSeen::new(engines.clock.now()),
            started_at: engines.clock.now(),
            streams: Streams::new(connection_limits(config).streams()),
            webhook_calls: WebhookCalls::default(),
            live_pages: Arc::new(Semaphore::new(console::MOST_LIVE)),
            outbox_filled: Arc::default(),
            stop,
            config: config.clone(),
            engines,
        })))
    }

    pub(crate) fn trusted_proxies(&self) -> TrustedProxies {
        trusted_proxies(&self.config)
    }
}

/// Where clients reach this gateway; without a trailing slash.
fn public_url(config: &Config, address: SocketAddr) -> String {
    config.public_url.as_ref().map_or_else(
        || format!("http://{address}"),
        |url| url.as_str().trim_end_matches('/').to_owned(),
    )
}

fn trusted_proxies(config: &Config) -> TrustedProxies {
    TrustedProxies::new(config.trusted_proxies.clone(), config.client_ip_header)
}

/// What the public port does with every request.
pub(crate) fn layer_settings(
    config: &Config,
    address: SocketAddr,
    clock: Clock,
    shedding: Shedding,
) -> layers::Settings {
    layers::Settings {
        https: public_url(config, address).starts_with("https://"),
        cors_origins: config.cors_origins.clone(),
        trusted_proxies: trusted_proxies(config),
        callers: Callers::Anybody,
        clock,
        shedding: Some(shedding),
    }
}

/// What the connections of this process may cost.
pub(crate) fn connection_limits(config: &Config) -> connection_limits::Limits {
    connection_limits::Limits::of(service::open_files::limit(), config.connections_per_ip)
}

fn is_development(config: &Config) -> bool {
    config.environment == config::Environment::Development
}

/// Prints a token that was made here: whoever starts the gateway must learn it, and the log must not.
fn inbox_access(config: &Config, address: SocketAddr) -> InboxAccess {
    let (access, is_made) = InboxAccess::new(config.inbox_token.as_ref(), address.ip());
    if let (InboxAccess::Token(token), true, true) = (&access, is_made, is_development(config)) {
        let token = token.expose_secret();
        println!(
            "The inbox and the pages are open to other machines, with this token (LATCHKEY_INBOX_TOKEN sets another): \
             /?token={token} or /inbox/messages?phone_number=…&token={token}"
        );
    }
    access
}

/// With embedded engines the first key is created here; otherwise the operator creates and shares the keys.
fn signing_keys(config: &Config) -> anyhow::Result<Arc<TokenKeys>> {
    let dir = config.jwt_keys_dir.as_deref().context("LATCHKEY_JWT_KEYS_DIR is not set")?;
    let active = config.jwt_active_kid.as_deref();
    let keys = match config.engines {
        config::EngineSettings::Embedded { .. } => TokenKeys::load_or_make(dir, active),
        config::EngineSettings::Services { .. } => TokenKeys::load(dir, active),
    };
    keys.map(Arc::new)
}
