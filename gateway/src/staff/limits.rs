//! The limits in effect, and what they would answer to one phone or address now.

use std::net::IpAddr;

use accounts::{AttemptKind, Blocks, Claimant, Throttle};
use config::UnknownPhone;
use domain::limits::Limits;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Limit, PumpingGuard};
use guard::{Destination, NetOutlook};
use serde::Serialize;
use serde_json::json;
use service::blocklist::stops;
use service::telemetry::refused;
use store::{LimitCount, LimitQuestion, LoginAddresses, PhoneState, Scope};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::settings;

/// Every limit of the contract, as this gateway enforces it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits, examples(json!({
    "started_at": "2026-11-30T08:00:00.000Z",
    "limits": [{
        "limit": "phone_hour",
        "value": 5,
        "window_secs": 3600,
        "variable": "LATCHKEY_SENDS_PER_PHONE_HOUR",
        "source": "default",
        "doc": "Messages to one phone per hour.",
        "refused": 12,
    }],
})))]
pub(crate) struct LimitsView {
    /// When this gateway began to count its refusals.
    #[schema(value_type = words::Time)]
    pub started_at: Timestamp,
    pub limits: Vec<LimitView>,
}

/// A limit in effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitInEffect)]
pub(crate) struct LimitView {
    /// As refusals name it.
    #[schema(value_type = words::LimitName)]
    pub limit: &'static str,
    /// The most per window; for `cooldown`, the first wait in seconds. 0 is off; null where it is set at run time.
    #[schema(required = true)]
    pub value: Option<u64>,
    /// Null without a window.
    #[schema(required = true)]
    pub window_secs: Option<i64>,
    /// Null where no setting changes it.
    #[schema(required = true)]
    pub variable: Option<&'static str>,
    /// Null without a setting.
    #[schema(value_type = Option<words::SettingSource>, required = true)]
    pub source: Option<&'static str>,
    /// What it counts, in Markdown.
    pub doc: &'static str,
    /// How many requests it refused in this gateway since it started. Other gateways have counts of their own.
    pub refused: u64,
}

/// The limits in effect.
pub(crate) fn read(app: &App) -> LimitsView {
    let shown = app.config.shown();
    let view = |limit: config::ShownLimit| {
        let setting = shown.iter().find(|it| limit.variable == Some(it.variable));
        LimitView {
            limit: limit.limit.as_str(),
            value: limit.value,
            window_secs: limit.window_secs,
            variable: limit.variable,
            source: setting.map(|it| settings::source(it.origin.as_ref()).0),
            doc: limit.doc,
            refused: refused(limit.limit),
        }
    };
    let limits = app.config.shown_limits().into_iter().map(view).collect();
    LimitsView { started_at: app.started_at, limits }
}

/// Whose limits are asked for: a phone's, an address's, or those of a request for the phone from the address.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub phone: Option<Phone>,
    pub address: Option<IpAddr>,
}

/// What would be answered to a stranger's device now: nothing is counted by looking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedLimits, examples(json!({
    "phone_number": "+1415***71",
    "address": "203.0.113.0",
    "user_id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "at": "2026-11-30T10:24:10.000Z",
    "requests": [{
        "name": "cooldown",
        "of": "the phone",
        "count": null,
        "most": null,
        "frees_at": "2026-11-30T10:24:40.000Z",
        "refuses": true,
    }],
    "sign_ins": [{
        "name": "otp_attempts_exhausted",
        "of": "attempts at the live code",
        "count": 1,
        "most": 5,
        "frees_at": null,
        "refuses": false,
    }],
    "is_proven": false,
    "is_test": false,
})))]
pub(crate) struct Explained {
    /// Masked; null if only an address was asked for.
    #[schema(required = true)]
    pub phone_number: Option<String>,
    /// Cut to its network.
    #[schema(required = true)]
    pub address: Option<String>,
    /// The account of the phone.
    #[schema(value_type = Option<uuid::Uuid>, required = true)]
    pub user_id: Option<String>,
    /// Of the store, by which these times are.
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    /// What judges a code request, in the order in which it is judged.
    pub requests: Vec<Judge>,
    /// What judges a sign-in, in this order.
    pub sign_ins: Vec<Judge>,
    /// The phone verified lately: what counts for its prefix and country, and the guard, let some requests of it pass.
    pub is_proven: bool,
    /// Its phone is one of the test numbers, which have limits of their own.
    pub is_test: bool,
}

/// A limit that judges.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Judge {
    #[schema(value_type = words::JudgeName)]
    pub name: &'static str,
    /// Of what: a range of addresses, a prefix, a country, who set a block.
    pub of: String,
    /// Counted now; null where nothing is counted.
    #[schema(required = true)]
    pub count: Option<u64>,
    /// The most; null where there is none.
    #[schema(required = true)]
    pub most: Option<u64>,
    /// When the next one passes; null if it passes now, or if only staff can end the wait.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub frees_at: Option<Timestamp>,
    /// Whether it would refuse now.
    pub refuses: bool,
}

impl Explained {
    /// What would answer a code request now; `None`: it would be admitted.
    pub fn answers_request(&self) -> Option<&Judge> {
        self.requests.iter().find(|judge| judge.refuses)
    }

    /// What would answer a sign-in now; `None`: it would be judged.
    pub fn answers_sign_in(&self) -> Option<&Judge> {
        self.sign_ins.iter().find(|judge| judge.refuses)
    }
}

/// Reads every limit that would judge a code request and a sign-in from there now, and writes the look-up to the audit.
///
/// # Errors
/// If an engine is away.
pub(crate) async fn explain(app: &App, actor: &str, asked: &Asked) -> Result<Explained, ApiError> {
    let now = app.engines.clock.now();
    let user = match &asked.phone {
        Some(phone) => app.accounts.by_phone(phone.e164()).await?,
        None => None,
    };
    let subject = user.as_ref().map_or_else(|| "nobody".to_owned(), |user| user.id.to_string());
    let detail = json!({ "phone": asked.phone.is_some(), "address": asked.address.is_some() });
    app.audit.add(now, actor, "limits_explained", &subject, &detail).await?;

    let ip = asked.address.map(ClientIp::new);
    let is_test =
        asked.phone.as_ref().is_some_and(|phone| app.phones.test_code(phone.e164(), now).is_some());
    let look = Look { app, asked, ip, is_test, now };
    let blocked = look.blocks().await?;
    let (state, of_phone) = look.store().await?;
    let mut requests = blocked;
    let mut sign_ins = look.of_sign_in(&state);
    if let Some(phone) = &of_phone {
        requests.extend(look.exhausted(phone));
        requests.extend(look.cooldown(phone));
        sign_ins.extend(look.attempts(phone));
        sign_ins.extend(look.throttles().await?);
    }
    requests.extend(look.of_request(&state));
    requests.extend(look.guard(&state));
    Ok(Explained {
        phone_number: asked.phone.as_ref().map(|phone| phone.e164().to_string()),
        address: ip.map(ClientIp::cut),
        user_id: user.map(|user| user.id.to_string()),
        at: state.now,
        requests,
        sign_ins,
        is_proven: state.is_proven,
        is_test,
    })
}

/// The nets that the phone belongs to.
fn destination(phone: &Phone) -> Destination<'_> {
    Destination { country: phone.region(), operator_prefix: phone.e164().operator_prefix() }
}

/// One look at the limits.
struct Look<'a> {
    app: &'a App,
    asked: &'a Asked,
    ip: Option<ClientIp>,
    is_test: bool,
    now: Timestamp,
}

impl Look<'_> {
    fn limits(&self) -> &Limits {
        if self.is_test { &Limits::OF_A_TEST_NUMBER } else { &self.app.config.limits }
    }

    async fn store(&self) -> Result<(store::LimitState, Option<PhoneState>), ApiError> {
        let (app, phone) = (self.app, self.asked.phone.as_ref());
        let key = phone.map(|phone| app.engines.keys.phone_key(phone.e164()));
        let addresses = self
            .ip
            .map(|ip| app.addresses(ip, app.config.limits.sends_per_ip_hour))
            .unwrap_or_default();
        let logins = match self.ip {
            Some(ip) => app.login_addresses(ip, false),
            None => LoginAddresses::default(),
        };
        let question = LimitQuestion {
            phone: key.as_ref().zip(phone).map(|(key, phone)| (key, destination(phone))),
            limits: self.limits(),
            addresses: &addresses,
            logins: &logins,
        };
        let state = app.codes.limit_state(&question).await?;
        let of_phone = match &key {
            Some(key) => Some(app.codes.phone_state(key, Scope::Login).await?),
            None => None,
        };
        Ok((state, of_phone))
    }

    /// The run-time blocks that cover it; none for a test number's sake is passed by.
    async fn blocks(&self) -> Result<Vec<Judge>, ApiError> {
        let active = Blocks::new(&self.app.engines.sql).active(self.now).await?;
        let phone = self.asked.phone.as_ref().map(|phone| (phone.e164(), phone.region()));
        let stopping = active
            .into_iter()
            .filter(|block| stops(block, &self.app.engines.keys, phone, self.asked.address));
        let judge = |block: accounts::Block| Judge {
            name: Limit::Blocked.as_str(),
            of: format!("{} {}: {} ({})", block.kind, block.display, block.reason, block.owner),
            count: None,
            most: None,
            frees_at: block.until,
            refuses: true,
        };
        Ok(stopping.map(judge).collect())
    }

    fn exhausted(&self, phone: &PhoneState) -> Option<Judge> {
        let (code, most) = (phone.code?, self.app.config.otp.attempts);
        if code.used || code.expires_at <= phone.now {
            return None;
        }
        let refuses = code.attempts >= most;
        Some(Judge {
            name: "otp_attempts_exhausted",
            of: "attempts at the live code".to_owned(),
            count: Some(code.attempts.min(most).into()),
            most: Some(most.into()),
            frees_at: refuses.then_some(code.expires_at),
            refuses,
        })
    }

    fn cooldown(&self, phone: &PhoneState) -> Option<Judge> {
        (self.limits().resend_cooldown_secs > 0).then(|| Judge {
            name: Limit::Cooldown.as_str(),
            of: "the phone".to_owned(),
            count: None,
            most: None,
            frees_at: phone.cooldown_until,
            refuses: phone.cooldown_until.is_some(),
        })
    }

    fn of_request(&self, state: &store::LimitState) -> Vec<Judge> {
        let counts = state.counts.iter().filter(|count| count.limit != Limit::LoginsIp);
        counts.map(|count| self.counted(count, state.is_proven && self.passes_nets())).collect()
    }

    /// Whether a phone that verified lately passes the limits of its prefix and country, and the guard.
    fn passes_nets(&self) -> bool {
        // In silent mode it would tell who has an account (P6).
        self.app.config.unknown_phone != UnknownPhone::Silent
    }

    fn counted(&self, count: &LimitCount, passes_nets: bool) -> Judge {
        let phone = self.asked.phone.as_ref();
        let range = |ip: ClientIp| {
            let ranges = ip.limit_ranges();
            ranges.into_iter().nth(count.range.unwrap_or_default()).map(|(range, _)| range)
        };
        let is_of_net = matches!(
            count.limit,
            Limit::PrefixHour | Limit::PrefixDay | Limit::CountryHour | Limit::CountryDay
        );
        let of = match count.limit {
            Limit::PhoneHour | Limit::PhoneDay => Some("the phone".to_owned()),
            Limit::IpHour | Limit::LoginsIp => self.ip.and_then(range),
            Limit::PrefixHour | Limit::PrefixDay => {
                phone.map(|phone| phone.e164().operator_prefix().to_owned())
            }
            Limit::CountryHour | Limit::CountryDay => phone.map(|phone| phone.region().to_owned()),
            _ => Some("all phones".to_owned()),
        };
        Judge {
            name: count.limit.as_str(),
            of: of.unwrap_or_default(),
            count: Some(count.count),
            most: Some(count.most),
            frees_at: count.frees_at,
            refuses: count.frees_at.is_some() && !(is_of_net && passes_nets),
        }
    }

    /// What the pumping guard would do, with its two nets.
    fn guard(&self, state: &store::LimitState) -> Option<Judge> {
        let (phone, outlook) = (self.asked.phone.as_ref()?, state.guard.as_ref()?);
        let mode = if self.is_test { PumpingGuard::Off } else { self.app.config.pumping_guard };
        if mode == PumpingGuard::Off {
            return None;
        }
        let net = |name: &str, net: &NetOutlook| {
            format!("{name} {}, {} of {} verified", net.state, net.verified, net.sends)
        };
        let would = outlook.wait_ms.map(|wait| state.now.plus_ms(wait));
        let enforced = mode == PumpingGuard::Enforce;
        let passes = state.is_proven && self.passes_nets();
        Some(Judge {
            name: Limit::Blocked.as_str(),
            of: format!(
                "pumping guard ({mode}): {}; {}",
                net(phone.e164().operator_prefix(), &outlook.prefix),
                net(phone.region(), &outlook.country)
            ),
            count: None,
            most: None,
            frees_at: would,
            refuses: would.is_some() && enforced && !passes,
        })
    }

    fn of_sign_in(&self, state: &store::LimitState) -> Vec<Judge> {
        let logins = state.counts.iter().filter(|count| count.limit == Limit::LoginsIp);
        let mut found: Vec<_> = logins.map(|count| self.counted(count, false)).collect();
        let ranges = self.ip.map(ClientIp::failure_ranges).into_iter().flatten();
        found.extend(ranges.zip(&state.failures).map(|((range, ..), until)| Judge {
            name: Limit::LoginsIp.as_str(),
            of: format!("failed attempts from {range}"),
            count: None,
            most: None,
            frees_at: *until,
            refuses: until.is_some(),
        }));
        found
    }

    /// Attempts at the code, or without one.
    fn attempts(&self, phone: &PhoneState) -> Option<Judge> {
        let most = self.app.config.otp.attempts;
        let live = phone.code.filter(|code| code.expires_at > phone.now);
        let (made, until, of) = match (live, phone.uncoded) {
            (Some(code), _) => (code.attempts, code.expires_at, "attempts at the live code"),
            (None, Some((made, until))) => (made, until, "attempts without a code"),
            (None, None) => return None,
        };
        let refuses = made >= most;
        Some(Judge {
            name: "otp_attempts_exhausted",
            of: of.to_owned(),
            count: Some(made.min(most).into()),
            most: Some(most.into()),
            frees_at: refuses.then_some(until),
            refuses,
        })
    }

    /// The waits and locks after wrong attempts in a row.
    async fn throttles(&self) -> Result<Vec<Judge>, ApiError> {
        let Some(phone) = &self.asked.phone else { return Ok(Vec::new()) };
        let keys = &self.app.engines.keys;
        let (key, former) = (keys.phone_key(phone.e164()), keys.former_phone_key(phone.e164()));
        let claimant = Claimant {
            phone_number: phone.e164(),
            phone_key: &key,
            former_key: former.as_ref(),
            known_device: None,
        };
        let limits = self.app.attempt_limits();
        let mut found = Vec::new();
        for kind in AttemptKind::ALL {
            let throttle = self.app.attempts.throttle(claimant, kind, limits, self.now).await?;
            let by = kind.as_str();
            let of = match throttle {
                None => format!("wrong attempts in a row, by {by}"),
                Some(Throttle::Delayed { .. }) => format!("a wait after wrong attempts, by {by}"),
                Some(Throttle::Locked { .. }) => format!("locked after wrong attempts, by {by}"),
            };
            found.push(Judge {
                name: Limit::Attempts.as_str(),
                of,
                count: None,
                most: None,
                frees_at: throttle.and_then(Throttle::until),
                refuses: throttle.is_some(),
            });
        }
        Ok(found)
    }
}
