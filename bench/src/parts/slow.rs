//! Whether a slow provider is felt by logins: their times beside code requests whose texts are taken at once, and beside
//! the same with a provider that takes 2 s. The two alternate, so that the machine's other work falls on both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Amounts, start};
use crate::sample::{Sample, TEXTS, TIMES};
use crate::stages::{ask_all, warm_up};
use bench::load::{Pace, percentile, run};
use bench::provider::{Fails, Provider};
use bench::ring::Servers;
use testkit::http::Api;
use testkit::process::Programs;

pub const DELAY: Duration = Duration::from_secs(2);
const PAIRS: usize = 3;
/// Longer than the texts of a block can take.
const DRAIN: Duration = Duration::from_mins(2);

pub async fn measure(
    programs: &Programs,
    amounts: &Amounts,
    engines: &Servers,
) -> anyhow::Result<Sample> {
    let (provider, ring) = start(programs, engines).await?;
    let api = ring.api();
    warm_up(&api, &provider).await;
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        fast.extend(block(&api, &provider, amounts, Duration::ZERO).await?);
        slow.extend(block(&api, &provider, amounts, DELAY).await?);
    }
    ring.stop().await;

    let mut sample = Sample::default();
    for (row, times) in [("login, provider at 0 s", &fast), ("login, provider at 2 s", &slow)] {
        sample.put(TIMES, row, "p50", percentile(times, 50));
        sample.put(TIMES, row, "p99", percentile(times, 99));
    }
    for (column, hundredths) in [("p50", 50), ("p99", 99)] {
        let moved = percentile(&slow, hundredths) / percentile(&fast, hundredths);
        sample.put(TEXTS, "at 2 s: a login takes, times", column, moved);
    }
    Ok(sample)
}

/// Makes logins beside code requests, each at the fixed rate. Returns the logins' times.
async fn block(
    api: &Api,
    provider: &Provider,
    amounts: &Amounts,
    delay: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let (count, pace) = (amounts.calls_of_a_stage(), Pace::ASecond(amounts.rate));
    provider.behave(Duration::ZERO, Fails::Never);
    let reached = provider.reached();
    let (asked, _) = ask_all(api, count, Pace::AtOnce(amounts.at_once)).await;
    ensure!(provider.reaches(reached + count, DRAIN).await, "not all codes were sent");
    let codes: Vec<_> = asked
        .into_iter()
        .map(|asked| (provider.look(&asked.phone).code, asked.phone, asked.id))
        .collect();

    provider.behave(delay, Fails::Never);
    let (codes, client) = (Arc::new(codes), api.clone());
    let logins = run(pace, 0..count, move |number| {
        let (api, codes) = (client.clone(), Arc::clone(&codes));
        async move {
            let ((code, phone, id), start) = (&codes[number], Instant::now());
            api.login_for(phone, code, id).await.expect(200);
            start.elapsed()
        }
    });
    let (logins, _) = tokio::join!(logins, ask_all(api, count, pace));
    ensure!(provider.reaches(reached + 2 * count, DRAIN).await, "a slow text was not sent");
    Ok(logins.0)
}
