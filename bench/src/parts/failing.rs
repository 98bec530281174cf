//! A provider that answers a part of its calls with 500, so that nobody knows whether it took them: how long until every
//! request has ended, and how many texts one worker sends meanwhile. Once with failures spread evenly, and once at
//! random: then a few come in a row now and then, which the circuit breaker must not take for an outage.

use std::time::{Duration, Instant};

use super::{Amounts, start};
use crate::sample::{Sample, TEXTS};
use crate::stages::{Asked, ask_all, is_open, warm_up};
use bench::load::Pace;
use bench::provider::{Fails, Provider};
use bench::ring::Servers;
use testkit::http::Api;
use testkit::process::Programs;

pub const REQUESTS: usize = 2_000;
pub const DELAY: Duration = Duration::from_millis(20);
const KINDS: [(&str, Fails); 2] =
    [("30 of 100, evenly", Fails::Evenly(30)), ("30 of 100, at random", Fails::AtRandom(30))];
/// What has not ended by then is counted.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of those looks, every how many ask for requests whose text was not taken too: it may have failed for good.
const ALL_EVERY: usize = 5;

pub async fn measure(
    programs: &Programs,
    amounts: &Amounts,
    engines: &Servers,
) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    for (name, fails) in KINDS {
        one(programs, amounts, engines, (name, fails), &mut sample).await?;
    }
    Ok(sample)
}

async fn one(
    programs: &Programs,
    amounts: &Amounts,
    engines: &Servers,
    (name, fails): (&str, Fails),
    sample: &mut Sample,
) -> anyhow::Result<()> {
    let (provider, ring) = start(programs, engines).await?;
    let api = ring.api();
    warm_up(&api, &provider).await;
    let calls_before = provider.calls();
    provider.behave(DELAY, fails);
    let start = Instant::now();
    let (asked, accepted_secs) = ask_all(&api, REQUESTS, Pace::AtOnce(amounts.at_once)).await;
    let open = all_end(&api, &provider, asked.clone(), start + PATIENCE).await;
    let ended_secs = start.elapsed().as_secs_f64();
    let calls = provider.calls() - calls_before;
    let seen: Vec<_> = asked.iter().map(|asked| provider.look(&asked.phone)).collect();
    // What is left would only make the end take longer.
    provider.behave(Duration::ZERO, Fails::Never);
    ring.stop().await;

    let mut put = |column, value| sample.put(TEXTS, name, column, value);
    put("all ended, s", if open == 0 { ended_secs } else { f64::INFINITY });
    put("never ended", count(open));
    put("all accepted, s", accepted_secs);
    let called = seen.iter().filter_map(|seen| seen.first_call);
    let (first, last) = (called.clone().min().unwrap_or(start), called.max().unwrap_or(start));
    // Up to the last text's first call. What comes later waits on purpose: a doubtful text, for its receipt.
    let delivered = seen.iter().filter(|seen| seen.taken_at.is_some_and(|at| at <= last)).count();
    put("texts a second", count(delivered) / (last - first).as_secs_f64());
    put("delivered", count(seen.iter().filter(|seen| seen.taken > 0).count()));
    put("taken twice", count(seen.iter().filter(|seen| seen.taken > 1).count()));
    put("calls", count(calls));
    Ok(())
}

/// Waits until every request has news of its text; returns how many have none at `end`.
async fn all_end(api: &Api, provider: &Provider, mut open: Vec<Asked>, end: Instant) -> usize {
    for look in 1.. {
        if open.is_empty() || Instant::now() > end {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let mut still = Vec::new();
        for asked in open {
            let may_have_ended =
                look % ALL_EVERY == 0 || provider.look(&asked.phone).taken_at.is_some();
            if !may_have_ended || is_open(api, &asked).await {
                still.push(asked);
            }
        }
        open = still;
    }
    open.len()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
fn count(number: usize) -> f64 {
    number as f64
}
