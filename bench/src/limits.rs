//! The cost of the limits: code requests with all limits on against all limits off, alternating on the same engines.

use std::sync::{Arc, Mutex};

use crate::cost::{Look, Spent, per_thousand};
use crate::load::{Pace, only_code, run};
use bench::ring::{Ring, Servers};
use testkit::http::new_phone;

const ROUNDS: usize = 4;
const AT_ONCE: usize = 32;

/// Every request is counted, but the limits are far above the load.
const ALL_ON: [(&str, &str); 12] = [
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
    ("RUST_LOG", "warn"),
];

/// The total of all rounds of one kind.
#[derive(Default)]
struct Sum {
    secs: f64,
    spent: Option<Spent>,
}

pub async fn report(engines: &Servers, count: usize) {
    let off = Ring::start(engines, &[]).await;
    let on = Ring::start(engines, &ALL_ON).await;
    let (mut without, mut with) = (Sum::default(), Sum::default());
    let a_round = count.div_ceil(ROUNDS);
    for ring in [&off, &on] {
        round(ring, 50, &mut Sum::default()).await;
    }
    for _ in 0..ROUNDS {
        round(&off, a_round, &mut without).await;
        round(&on, a_round, &mut with).await;
    }
    on.stop().await;
    off.stop().await;

    let asked = a_round * ROUNDS;
    println!("## Limits\n");
    println!(
        "{asked} requests of each kind, {AT_ONCE} at once, in {ROUNDS} alternating rounds; CPU time is measured until the last message.\n"
    );
    println!(
        "| limits | requests per second | gateway + Redis, CPU-s per 1,000 | total CPU-s per 1,000 |\n|---|---|---|---|"
    );
    for (name, sum) in [("all off", &without), ("all on", &with)] {
        let spent = sum.spent.as_ref().expect("at least one round ran");
        println!(
            "| {name} | {:.0} | {:.3} | {:.3} |",
            1_000.0 / (sum.secs * per_thousand(asked)),
            spent.of(&["gateway", "Redis"]) * per_thousand(asked),
            spent.all() * per_thousand(asked),
        );
    }
    println!();
}

async fn round(ring: &Ring<'_>, count: usize, sum: &mut Sum) {
    let (api, phones) = (ring.api(), Arc::new(Mutex::new(Vec::new())));
    let before = Look::at(ring);
    let asked = Arc::clone(&phones);
    let client = api.clone();
    let (_, took) = run(Pace::AtOnce(AT_ONCE), 0..count, move |_| {
        let (api, asked) = (client.clone(), Arc::clone(&asked));
        async move {
            let phone = new_phone();
            api.otp(&phone).await.expect(202);
            asked.lock().expect("no panic while held").push(phone);
        }
    })
    .await;
    sum.secs += took;
    // The workers lag slightly; the messages of the last requests show that they have caught up.
    let last: Vec<String> =
        phones.lock().expect("no panic while held").iter().rev().take(AT_ONCE).cloned().collect();
    for phone in last {
        only_code(&api, &phone).await;
    }
    let spent = before.until(&Look::at(ring));
    match &mut sum.spent {
        Some(so_far) => so_far.add(&spent),
        none => *none = Some(spent),
    }
}
