//! Whole sign-ins: ask, text, login; and the memory of our processes before and after.

use std::time::{Duration, Instant};

use crate::cost::Look;
use crate::load::{only_code, open_loop, percentile};
use crate::ring::Ring;
use crate::support::http::new_phone;

/// Long enough that timers of five seconds are in it twice.
const IDLE: Duration = Duration::from_secs(10);

pub async fn report(ring: &Ring<'_>, count: usize, rate: u32) {
    // Connections and caches are there before anything is counted.
    let api = ring.api();
    let phone = new_phone();
    api.otp(&phone).await.expect(202);
    let code = only_code(&api, &phone).await;
    api.login(&phone, &code).await.expect(200);

    let before = Look::at(ring);
    tokio::time::sleep(IDLE).await;
    let idle = before.until(&Look::at(ring)).a_second(IDLE.as_secs_f64());
    let memory_idle = memory(ring);

    let (started, before) = (Instant::now(), Look::at(ring));
    let times = open_loop(count, rate, |_| {
        let api = api.clone();
        async move {
            let phone = new_phone();
            let asked = Instant::now();
            let request = api.otp(&phone).await;
            if request.status == 503 {
                return None;
            }
            let request = request.expect(202);
            let asked = asked.elapsed();
            let code = only_code(&api, &phone).await;
            let login = Instant::now();
            let answer = api.login_for(&phone, &code, &request.text("request_id")).await;
            if answer.status == 503 {
                return None;
            }
            answer.expect(200);
            Some((asked, login.elapsed()))
        }
    })
    .await;
    let took = started.elapsed().as_secs_f64();
    let spent = before.until(&Look::at(ring));
    let memory_after = memory(ring);

    println!("## Whole sign-ins\n");
    let done: Vec<_> = times.into_iter().flatten().collect();
    println!(
        "{count} sign-ins (ask, text, login), {rate} begun a second, over {took:.0} s; {} ended with a 503.\n",
        count - done.len()
    );
    println!("{}\n", spent.per_thousand(count, Some((&idle, took))));
    let (mut asks, mut logins): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    println!("| answer | p50 ms | p99 ms |\n|---|---|---|");
    for (name, times) in [("ask", &mut asks), ("login", &mut logins)] {
        println!("| {name} | {:.1} | {:.1} |", percentile(times, 50), percentile(times, 99));
    }
    println!("\n| process | MB idle | MB after |\n|---|---|---|");
    for ((name, idle), (_, after)) in memory_idle.iter().zip(&memory_after) {
        println!("| {name} | {idle:.1} | {after:.1} |");
    }
    println!();
}

/// Resident memory in MB (10^6 bytes).
#[expect(clippy::cast_precision_loss, reason = "a process has less than 2^52 KiB")]
fn memory(ring: &Ring<'_>) -> Vec<(&'static str, f64)> {
    let mb = |kib: u64| kib as f64 * 1_024.0 / 1e6;
    ring.ours().into_iter().map(|(name, server)| (name, mb(server.resident_kib()))).collect()
}
