//! The run-time blocks that each process holds, and the providers that are shut: read often, changed rarely, in force
//! everywhere within seconds.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::connections::{Connections, wait_for};
use accounts::{Block, BlockKind, Blocks};
use domain::engine_error::EngineError;
use domain::keys::{Keys, PhoneKey};
use domain::phone::E164;
use domain::timestamp::Timestamp;

/// A block is in force within 10 s (contract, ruling 27); this interval leaves room for a slow database.
const EVERY: Duration = Duration::from_secs(3);
/// The `retry_after` of a block without an end.
const NO_END_SECS: i64 = 365 * 86_400;

/// The blocks in force. Cheap to clone; clones see the same list.
#[derive(Clone)]
pub struct Blocklist {
    keys: Arc<Keys>,
    rules: Arc<RwLock<Vec<Rule>>>,
    /// The providers that are shut, by name.
    shut: Arc<RwLock<Vec<Shut>>>,
}

struct Shut {
    provider: String,
    until: Option<Timestamp>,
}

struct Rule {
    what: What,
    until: Option<Timestamp>,
}

enum What {
    /// The phone's key: a block list holds no numbers (P10).
    Phone(String),
    Prefix(String),
    Ip(IpNet),
    Country(String),
}

impl Blocklist {
    /// Loads the list from the database; waits for an unavailable database.
    ///
    /// # Errors
    /// When the database is broken, or when `stop` comes first.
    pub async fn load<S>(
        engines: &Connections<S>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let (rules, shut) = (Arc::default(), Arc::default());
        let list = Self { keys: engines.keys.clone(), rules, shut };
        wait_for(&engines.health, "blocks", stop, || list.reload(engines)).await?;
        Ok(list)
    }

    /// Reloads the list periodically until `stop`. While the database is unavailable, the last list stays in force.
    pub async fn follow<S>(self, engines: Connections<S>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            // Readiness reports an unavailable database; a log line for each retry would only repeat it.
            let _ = self.reload(&engines).await;
        }
    }

    async fn reload<S>(&self, engines: &Connections<S>) -> Result<(), EngineError> {
        let (blocks, now) = (Blocks::new(&engines.sql), engines.clock.now());
        let rules = blocks.of_requests(now).await?.into_iter().filter_map(Rule::of).collect();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        match blocks.of_providers(now).await {
            Ok(blocks) => {
                let shut = |block: Block| Shut { provider: block.value, until: block.until };
                let shut = blocks.into_iter().map(shut).collect();
                *self.shut.write().unwrap_or_else(PoisonError::into_inner) = shut;
            }
            Err(error) if error.is_away() => return Err(error),
            // A login that may not read them yet, between a migration and its grants: no reason not to start.
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "the shut providers are not known");
            }
        }
        Ok(())
    }

    /// Returns until when staff have shut this provider. `None` if they have not.
    pub fn shut_until(&self, provider: &str, now: Timestamp) -> Option<Timestamp> {
        let shut = self.shut.read().unwrap_or_else(PoisonError::into_inner);
        let one = shut.iter().find(|one| one.provider == provider)?;
        let until = one.until.unwrap_or_else(|| now.plus_secs(NO_END_SECS));
        (until > now).then_some(until)
    }

    /// Returns until when a code request for this phone of this ISO 3166 region, from this address, is blocked. `None` if
    /// it is not.
    pub fn covers(
        &self,
        phone: &E164,
        country: &str,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        if rules.is_empty() {
            return None;
        }
        let key = self.keys.phone_key(phone);
        let former = self.keys.former_phone_key(phone);
        let requester = Requester { phone, key: &key, former: former.as_ref(), country, ip };
        let covers = |rule: &&Rule| {
            rule.until.is_none_or(|until| until > now) && rule.what.covers(&requester)
        };
        let until = |rule: &Rule| rule.until.unwrap_or_else(|| now.plus_secs(NO_END_SECS));
        rules.iter().filter(covers).map(until).max()
    }
}

impl Rule {
    fn of(block: Block) -> Option<Self> {
        let until = block.until;
        Some(Self { what: What::of(block)?, until })
    }
}

/// Who requests a code.
struct Requester<'a> {
    phone: &'a E164,
    key: &'a PhoneKey,
    /// The phone's key under the secret before: blocks set before the rotation identify the phone by it.
    former: Option<&'a PhoneKey>,
    /// ISO 3166.
    country: &'a str,
    ip: Option<IpAddr>,
}

impl What {
    fn of(block: Block) -> Option<Self> {
        Some(match block.kind {
            BlockKind::Phone => Self::Phone(block.value),
            BlockKind::Prefix => Self::Prefix(block.value),
            BlockKind::Country => Self::Country(block.value),
            BlockKind::Ip => Self::Ip(block.value.parse().ok()?),
            // It stops no code request.
            BlockKind::Provider => return None,
        })
    }

    fn covers(&self, requester: &Requester<'_>) -> bool {
        let Requester { phone, key, former, country, ip } = requester;
        match self {
            Self::Phone(value) => {
                value == key.as_str() || former.is_some_and(|key| value == key.as_str())
            }
            Self::Prefix(digits) => phone.digits().starts_with(digits.as_str()),
            Self::Ip(net) => ip.is_some_and(|ip| net.contains(&ip)),
            Self::Country(region) => region == country,
        }
    }
}

/// Whether this block stops code requests for the phone from whatever address, by the rule of [`Blocklist::covers`]. Its
/// end is not looked at.
pub fn stops_phone(block: &Block, keys: &Keys, phone: &E164, country: &str) -> bool {
    let (key, former) = (keys.phone_key(phone), keys.former_phone_key(phone));
    let requester = Requester { phone, key: &key, former: former.as_ref(), country, ip: None };
    What::of(block.clone()).is_some_and(|what| what.covers(&requester))
}

/// Whether this block stops code requests for the phone of this region, from the address, or for the two together. Its end
/// is not looked at.
pub fn stops(block: &Block, keys: &Keys, phone: Option<(&E164, &str)>, ip: Option<IpAddr>) -> bool {
    let of_phone = phone.is_some_and(|(phone, country)| stops_phone(block, keys, phone, country));
    let of_address = match What::of(block.clone()) {
        Some(What::Ip(net)) => ip.is_some_and(|ip| net.contains(&ip)),
        _ => false,
    };
    of_phone || of_address
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::clock::Clock;

    #[test]
    fn a_blocked_phone_stays_blocked_when_the_secret_is_rotated() {
        const BEFORE: &[u8] = b"a secret of at least 32 bytes, for tests";
        const NOW: &[u8] = b"another secret of at least 32 bytes, too";
        let phone: E164 = "+989121234567".parse().unwrap();
        let other: E164 = "+989121234568".parse().unwrap();
        let kept = Keys::from_secret(BEFORE, None).phone_key(&phone).to_string();
        let now = Clock::manual().now();
        let covers = |keys: Keys, phone: &E164| {
            let rule = Rule { what: What::Phone(kept.clone()), until: Some(now.plus_secs(60)) };
            let rules = Arc::new(RwLock::new(vec![rule]));
            let list = Blocklist { keys: Arc::new(keys), rules, shut: Arc::default() };
            list.covers(phone, "IR", None, now).is_some()
        };
        assert!(covers(Keys::from_secret(BEFORE, None), &phone));
        assert!(covers(Keys::from_secret(NOW, Some(BEFORE)), &phone));
        assert!(!covers(Keys::from_secret(NOW, Some(BEFORE)), &other));
        assert!(!covers(Keys::from_secret(NOW, None), &phone), "the rotation is over");
    }
}
