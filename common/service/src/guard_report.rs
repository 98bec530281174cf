//! Reports what the pumping guard found: a log line, metrics and an event for each change, and counts for the history.
//!
//! The store makes and keeps the decisions; this module makes them visible. If a process dies, the few seconds of
//! counts that it had not written yet are missing from the history and nowhere else.

use std::time::Duration;

use crate::connections::Connections;
use accounts::GuardHistory;
use domain::event::{Envelope, GuardChanged};
use domain::phone::country_label;
use domain::timestamp::Timestamp;
use domain::vocabulary::PumpingGuard;
use guard::{Finding, Kind, State};
use tokio_util::sync::CancellationToken;

/// Counts of several seconds form one row per prefix and minute, and one statement writes all rows.
const WRITE_EVERY: Duration = Duration::from_secs(5);
const SWEEP_EVERY_SECS: i64 = 3600;
/// The limit of changes that wait for the database.
const MOST_UNSTORED: usize = 1000;

/// Reports this process's findings until `stop`, then writes the rest. Every process that admits code requests runs it;
/// `source` names the process in the event.
pub async fn run(
    engines: Connections,
    mode: PumpingGuard,
    source: &'static str,
    stop: CancellationToken,
) {
    let sweep_at = Timestamp::from_ms(0);
    let mut reporter = Reporter { engines, mode, source, unstored: Vec::new(), sweep_at };
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = reporter.engines.store.guard_findings().changed() => {}
            () = tokio::time::sleep(WRITE_EVERY) => {}
        }
        if let Err(error) = reporter.report().await {
            tracing::warn!(error = format!("{error:#}"), "guard history not written, retrying");
        }
    }
}

struct Reporter {
    engines: Connections,
    mode: PumpingGuard,
    source: &'static str,
    /// Changes that were published but not yet stored in the database.
    unstored: Vec<Finding>,
    sweep_at: Timestamp,
}

impl Reporter {
    /// Reports everything found since the last call.
    async fn report(&mut self) -> anyhow::Result<()> {
        let taken = self.engines.store.guard_findings().take();
        for conversion in taken.conversions.iter().filter(|conversion| conversion.sends > 0) {
            #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
            let ratio = conversion.verified as f64 / conversion.sends as f64;
            metrics::gauge!("latchkey_conversion_ratio", "country" => country_label(&conversion.country))
                .set(ratio);
        }
        metrics::counter!("latchkey_guard_would_refuse_total").increment(taken.would_refuse);
        for found in &taken.changes {
            self.announce(found).await;
        }
        let room = MOST_UNSTORED.saturating_sub(self.unstored.len());
        self.unstored.extend(taken.changes.into_iter().take(room));

        let db = GuardHistory::new(&self.engines.sql);
        if let Err(error) = db.add(&taken.tallies).await {
            self.engines.store.guard_findings().put_back(taken.tallies);
            return Err(error.into());
        }
        while let Some(found) = self.unstored.first() {
            db.net_changed(found, self.mode).await?;
            self.unstored.remove(0);
        }
        let now = self.engines.clock.now();
        if now >= self.sweep_at {
            while db.sweep(now).await? {}
            self.sweep_at = now.plus_secs(SWEEP_EVERY_SECS);
        }
        Ok(())
    }

    async fn announce(&self, found: &Finding) {
        let (change, mode) = (&found.change, self.mode.as_str());
        let of_prefix = change.kind == Kind::Prefix;
        let prefix = of_prefix.then(|| found.operator_prefix.clone());
        if change.state == State::Blocked {
            metrics::counter!("latchkey_guard_blocks_total", "mode" => mode).increment(1);
        }
        tracing::warn!(
            prefix = prefix.as_deref().unwrap_or("all"),
            country = found.country,
            state = change.state.as_str(),
            sends = change.sends,
            verified = change.verified,
            until = change.until.map(tracing::field::display),
            mode,
            "the pumping guard changed"
        );
        let data = GuardChanged {
            prefix,
            country: found.country.clone(),
            state: change.state.as_str().to_owned(),
            sends: change.sends,
            verified: change.verified,
            mode: mode.to_owned(),
            at: found.at,
            until: change.until,
        };
        let envelope = Envelope::new(&self.engines.clock, self.source, None, data);
        if let Err(error) = self.engines.bus.publish(&envelope).await {
            // The state still reaches the database, which is where staff look.
            tracing::warn!(error = %error, "guard change not published as an event");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::health::Health;
    use bus::Bus;
    use config::{Config, Role};
    use domain::clock::Clock;
    use domain::ids::{CodeId, RequestId};
    use domain::keys::Keys;
    use domain::phone::Phone;
    use domain::vocabulary::Channel;
    use sql::Pool;
    use store::{Admission, Admit, Scope, Store};

    use super::*;

    #[tokio::test]
    async fn guard_findings_reach_the_database_after_a_database_outage() {
        let folder = std::env::temp_dir().join(format!("latchkey-guard-{}", std::process::id()));
        let (clock, keys) = (Clock::manual(), Arc::new(Keys::from_secret(&[7; 32], None)));
        let db = Pool::sqlite(&folder).await.unwrap();
        let engines = Connections {
            bus: Bus::memory(clock.clone()),
            store: Store::memory(clock.clone()),
            sql: db.clone(),
            keys,
            clock: clock.clone(),
            health: Health::default(),
            presence: crate::presence::Presence::default(),
        };
        let config = Config::from_map(Role::AllInOne, &std::collections::BTreeMap::new()).unwrap();
        let mut admitted = 0;
        for number in 0..100 {
            let phone = Phone::trusted(&format!("+98999123{number:04}")).unwrap();
            let phone_key = engines.keys.phone_key(phone.e164());
            let admit = Admit {
                request_id: RequestId::new(&clock),
                new_code_id: CodeId::new(&clock),
                only_code: None,
                phone: &phone_key,
                scope: Scope::Login,
                ttl_ms: 300_000,
                attempts: 5,
                route: "otp",
                idempotency: None,
                addresses: &[],
                country: phone.region(),
                operator_prefix: phone.e164().operator_prefix(),
                channel: Channel::Sms,
                locale: None,
                limits: &config.limits,
                guard: PumpingGuard::Enforce,
                asker: "",
                known_device: None,
                device: None,
                proven_passes: true,
            };
            let answer = engines.store.codes().admit(&admit).await.unwrap();
            admitted += i64::from(matches!(answer, Admission::Admitted { .. }));
        }
        let sweep_at = Timestamp::from_ms(0);
        let (mode, source) = (PumpingGuard::Enforce, "gateway");
        let mut reporter = Reporter { engines, mode, source, unstored: Vec::new(), sweep_at };
        // Without its tables the database rejects writes.
        reporter.report().await.unwrap_err();
        db.migrate(accounts::FUNCTIONS).await.unwrap();
        reporter.report().await.unwrap();
        reporter.report().await.unwrap();
        let all = (sweep_at, clock.now().plus_secs(120));
        let rows = GuardHistory::new(&db).page(all.0, all.1, None, 10).await.unwrap();
        let sum = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.sends, sum.1 + row.refused));
        assert_eq!((admitted, sum), (70, (70, 30)));
        let nets = GuardHistory::new(&db).nets().await.unwrap();
        assert_eq!(nets.len(), 1);
        assert_eq!((nets[0].name.as_str(), nets[0].state.as_str()), ("989991", "blocked"));
        db.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
