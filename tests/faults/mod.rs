//! Faults under load on the engines: crashes, restarts, hangs, stops and data loss while clients request codes. The
//! oracle compares what the clients were told with what the test's provider received.

mod balancer;
mod caller;
mod clusters;
mod ends;
mod engines;
mod forgets;
mod load;
mod logins;
pub(crate) mod oracle;
mod outbox;
mod provider;
mod restore;
mod rolling;
mod upgrade;
mod users;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use self::load::Told;
use self::oracle::{Findings, Held};
use self::provider::Provider;
use testkit::eventually;
use testkit::http::{Api, new_phone, once};
use testkit::system::System;

/// P1, P12: a final status for every request, and normal service, within this time of the end of the last fault.
pub(crate) const HEALED_WITHIN: Duration = Duration::from_mins(1);

const QUEUES: [&str; 12] = [
    "otp-worker",
    "otp-worker.retry.1000",
    "otp-worker.retry.3000",
    "otp-worker.retry.5000",
    "otp-worker.retry.30000",
    "otp-worker.dead",
    "sms-worker",
    "sms-worker.retry.1000",
    "sms-worker.retry.3000",
    "sms-worker.retry.5000",
    "sms-worker.retry.30000",
    "sms-worker.dead",
];

/// Waits until every accepted request has a final status and nothing is in flight, then judges.
pub(crate) async fn judge(
    system: &System,
    api: &Api,
    provider: &Provider,
    told: Vec<Told>,
    at_most: usize,
) -> Findings {
    settled(system, api, provider, told, at_most).await.findings()
}

/// Like [`judge`], for a test that made requests of its own beside the load's, for phones that are not in `told`.
pub(crate) async fn judge_with_the_tests_own(
    system: &System,
    api: &Api,
    provider: &Provider,
    told: Vec<Told>,
    at_most: usize,
) -> Findings {
    let mut held = settled(system, api, provider, told, at_most).await;
    // Only now: a text may come after the test gave up waiting for it.
    held.add_the_tests_own();
    held.findings()
}

async fn settled(
    system: &System,
    api: &Api,
    provider: &Provider,
    told: Vec<Told>,
    at_most: usize,
) -> Held {
    let start = Instant::now();
    let mut held = Held { told, ..Held::default() };
    let mut open: Vec<String> = held.told.iter().filter_map(Told::request).collect();
    let mut statuses = BTreeMap::new();
    let all_ended = testkit::in_time(HEALED_WITHIN, async || {
        let mut still = Vec::new();
        for request in std::mem::take(&mut open) {
            let answer = api.status(&request).await;
            let status = if answer.status == 200 {
                answer.text("status")
            } else {
                answer.status.to_string()
            };
            if !oracle::ENDS.contains(&status.as_str()) {
                still.push(request.clone());
            }
            statuses.insert(request, status);
        }
        open = still;
        open.is_empty().then_some(())
    })
    .await;
    println!(
        "final statuses after {:?} ({})",
        start.elapsed(),
        if all_ended.is_some() { "all" } else { "some are open" }
    );
    let amqp_url = &system.engines.as_ref().expect("it runs on real engines").amqp_url;
    eventually("the queues to empty", HEALED_WITHIN, async || {
        let waiting = waiting(amqp_url).await;
        waiting.iter().all(|(name, count)| is_dead(name) || *count == 0).then_some(())
    })
    .await;
    let waiting = waiting(amqp_url).await;
    let dead: u32 = waiting.iter().filter(|(name, _)| is_dead(name)).map(|(_, n)| n).sum();
    if dead > 0 {
        println!("{}", system.run(&["dead", "list"]));
    }
    held.statuses = statuses;
    held.texts = provider.taken();
    held.dead_letters = dead;
    held.at_most = at_most;
    held
}

/// A whole sign-in with the provider's text, from one gateway to the other. It requests one code: a request that was
/// answered 503 may still be texted (W2), so its repetition could bring a second text.
pub(crate) async fn sign_in(apis: &[Api], provider: &Provider) -> Option<()> {
    let phone = new_phone();
    if once(apis[0].otp(&phone)).await.status != 202 {
        return None;
    }
    let within = Duration::from_secs(15);
    let code = testkit::in_time(within, async || provider.code(&phone)).await?;
    (apis[1].login(&phone, &code).await.status == 200).then_some(())
}

/// Waits until a user can sign in again after a fault.
pub(crate) async fn back(what: &str, apis: &[Api], provider: &Provider, healed: Instant) {
    eventually(what, HEALED_WITHIN, async || sign_in(apis, provider).await).await;
    assert!(healed.elapsed() < HEALED_WITHIN, "{what}: {:?}", healed.elapsed());
    println!("{what}: {:?}", healed.elapsed());
}

/// Whether a queue holds dead letters.
fn is_dead(queue: &str) -> bool {
    queue.rsplit('.').next() == Some("dead")
}

/// Counts the messages in each queue.
async fn waiting(amqp_url: &str) -> Vec<(&'static str, u32)> {
    let connection =
        Connection::connect(amqp_url, ConnectionProperties::default()).await.expect("connect");
    let channel = connection.create_channel().await.expect("open a channel");
    let mut found = Vec::new();
    for name in QUEUES {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name.into(), passive, FieldTable::default()).await;
        found.push((name, queue.expect("every queue is declared").message_count()));
    }
    connection.close(200, "done".into()).await.expect("close");
    found
}
