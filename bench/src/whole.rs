//! Complete sign-ins (code request, message, login), and the memory of Latchkey's processes before and after.

use std::time::{Duration, Instant};

use crate::cost::Look;
use crate::load::{Pace, only_code, percentile, run};
use bench::ring::Ring;
use testkit::http::{Api, new_phone};

/// Long enough to include five-second timers twice.
const IDLE: Duration = Duration::from_secs(10);

pub async fn report(ring: &Ring<'_>, count: usize, paces: &[Pace]) {
    // Fill connections and caches before measuring.
    sign_in(ring.api()).await.expect("the first sign-in succeeds");

    let before = Look::at(ring);
    tokio::time::sleep(IDLE).await;
    let idle = before.until(&Look::at(ring)).a_second(IDLE.as_secs_f64());
    let memory_idle = memory(ring);

    println!("## Whole sign-ins\n");
    for pace in paces {
        let api = ring.api();
        let before = Look::at(ring);
        let (times, took) = run(*pace, 0..count, move |_| sign_in(api.clone())).await;
        let spent = before.until(&Look::at(ring));

        let done: Vec<_> = times.into_iter().flatten().collect();
        println!(
            "{count} sign-ins (code request, message, login), {pace}, over {took:.0} s; {} ended with a 503.\n",
            count - done.len()
        );
        println!("{}\n", spent.per_thousand(count, Some((&idle, took))));
        let (mut code_requests, mut logins): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        println!("| response | p50 ms | p99 ms |\n|---|---|---|");
        for (name, times) in [("code request", &mut code_requests), ("login", &mut logins)] {
            println!("| {name} | {:.1} | {:.1} |", percentile(times, 50), percentile(times, 99));
        }
        println!();
    }
    println!("| process | MB idle | MB after |\n|---|---|---|");
    for ((name, idle), (_, after)) in memory_idle.iter().zip(&memory(ring)) {
        println!("| {name} | {idle:.1} | {after:.1} |");
    }
    println!();
}

/// Returns the durations of the code request and the login; `None` if one of them was answered with a 503.
async fn sign_in(api: Api) -> Option<(Duration, Duration)> {
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

/// Returns the resident memory in MB (10^6 bytes).
#[expect(clippy::cast_precision_loss, reason = "a process has less than 2^52 KiB")]
fn memory(ring: &Ring<'_>) -> Vec<(&'static str, f64)> {
    let mb = |kib: u64| kib as f64 * 1_024.0 / 1e6;
    ring.ours().into_iter().map(|(name, server)| (name, mb(server.resident_kib()))).collect()
}
