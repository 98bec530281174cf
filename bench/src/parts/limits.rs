//! The cost of the limits: code requests with all limits on against all limits off, alternating on the same engines.

use std::time::Duration;

use anyhow::ensure;

use crate::cost::{Look, Spent, per_thousand};
use crate::sample::{LIMITS, Sample};
use crate::stages::{ask_all, warm_up};
use bench::load::Pace;
use bench::provider::Provider;
use bench::ring::{Ring, Servers};
use testkit::process::Programs;

/// Of each kind.
pub const REQUESTS: usize = 1_000;
const ROUNDS: usize = 4;
const AT_ONCE: usize = 32;
const DRAIN: Duration = Duration::from_mins(1);

/// Every request is counted, but the limits are far above the load.
const ALL_ON: [(&str, &str); 11] = [
    ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
    ("LATCHKEY_SENDS_PER_PHONE_HOUR", "5"),
    ("LATCHKEY_SENDS_PER_PHONE_DAY", "10"),
    ("LATCHKEY_SENDS_PER_IP_HOUR", "1000000000"),
    ("LATCHKEY_SENDS_PER_COUNTRY_HOUR", "1000000000"),
    ("LATCHKEY_SENDS_PER_COUNTRY_DAY", "1000000000"),
    ("LATCHKEY_SENDS_PER_PREFIX_HOUR", "1000000000"),
    ("LATCHKEY_SENDS_PER_PREFIX_DAY", "1000000000"),
    ("LATCHKEY_SENDS_GLOBAL_DAY", "1000000000"),
    ("LATCHKEY_LOGINS_PER_IP_MINUTE", "1000000000"),
    ("LATCHKEY_PUMPING_GUARD", "record"),
];

/// One system and the sums of its rounds.
struct Side<'a> {
    name: &'static str,
    ring: Ring<'a>,
    provider: Provider,
    secs: f64,
    spent: Vec<Spent>,
}

pub async fn measure(programs: &Programs, engines: &Servers) -> anyhow::Result<Sample> {
    let mut sides = Vec::new();
    for (name, limits) in [("all off", &[][..]), ("all on", &ALL_ON[..])] {
        let provider = Provider::start().await?;
        let settings = [&provider.settings()[..], limits].concat();
        let ring = Ring::start_of(programs, engines, &settings).await;
        warm_up(&ring.api(), &provider).await;
        sides.push(Side { name, ring, provider, secs: 0.0, spent: Vec::new() });
    }
    for _ in 0..ROUNDS {
        for side in &mut sides {
            side.round(REQUESTS / ROUNDS).await?;
        }
    }
    let (mut sample, mut paces) = (Sample::default(), Vec::new());
    for side in sides {
        let spent = Spent::sum(&side.spent.iter().collect::<Vec<_>>());
        let factor = per_thousand(REQUESTS);
        paces.push(1_000.0 / (side.secs * factor));
        sample.put(LIMITS, side.name, "requests per second", paces[paces.len() - 1]);
        let both = spent.of(&["gateway", "Redis"]) * factor;
        sample.put(LIMITS, side.name, "gateway + Redis, CPU-s per 1,000", both);
        sample.put(LIMITS, side.name, "total, CPU-s per 1,000", spent.all() * factor);
        side.ring.stop().await;
    }
    sample.put(LIMITS, "on, times off", "requests per second", paces[1] / paces[0]);
    Ok(sample)
}

impl Side<'_> {
    async fn round(&mut self, count: usize) -> anyhow::Result<()> {
        let (reached, before) = (self.provider.reached(), Look::at(&self.ring));
        let (_, took) = ask_all(&self.ring.api(), count, Pace::AtOnce(AT_ONCE)).await;
        self.secs += took;
        ensure!(self.provider.reaches(reached + count, DRAIN).await, "a text was not sent");
        self.spent.push(before.until(&Look::at(&self.ring)));
        Ok(())
    }
}
