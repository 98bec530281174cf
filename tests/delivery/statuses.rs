//! What otp-worker believes of a report on a text: the broker's topic is sms-worker's, and its events are not sealed.

use bus::Queue;
use domain::clock::Clock;
use domain::event::{Envelope, Event as _, ListedStatus, MOST_STATUSES, SmsStatus, SmsStatuses};
use domain::ids::{MessageId, RequestId};
use domain::vocabulary::Status;
use serde_json::json;

use super::voice_fallback::RunningOtpWorker;
use testkit::{PATIENCE, eventually};

fn said_of(request: RequestId, status: Status) -> SmsStatus {
    SmsStatus {
        message_id: MessageId::of_request(request),
        request_id: Some(request),
        status,
        reason: None,
        provider: "test".to_owned(),
        provider_message_id: None,
        segments: None,
        traceparent: None,
    }
}

/// Publishes a report in an event of its own, as a sms-worker of the former version does.
async fn report(worker: &RunningOtpWorker, request: RequestId, status: Status) {
    let report = said_of(request, status);
    let envelope = Envelope::new(&worker.engines.clock, "sms-worker", None, report);
    worker.engines.bus.publish(&envelope).await.unwrap();
}

/// Publishes reports in one event.
async fn report_all(worker: &RunningOtpWorker, statuses: Vec<ListedStatus>) {
    let statuses = SmsStatuses { statuses };
    let envelope = Envelope::new(&worker.engines.clock, "sms-worker", None, statuses);
    // Not `publish`, which refuses what is larger than an event of ours.
    let (id, bytes) = (envelope.id.to_string(), serde_json::to_vec(&envelope).unwrap());
    worker.engines.bus.publish_raw(SmsStatuses::TYPE, &id, bytes.into(), true).await.unwrap();
}

/// Waits until the request has this status.
async fn reaches(worker: &RunningOtpWorker, request: RequestId, status: Status) {
    let statuses = worker.engines.store.statuses();
    eventually("the status that was reported", PATIENCE, async || {
        let found = statuses.get(request).await.unwrap()?;
        (found.status == status).then_some(())
    })
    .await;
}

async fn dead(worker: &RunningOtpWorker) -> Vec<String> {
    let dead = worker.engines.bus.dead_list(Queue::OtpWorker, 100).await.unwrap();
    dead.into_iter().map(|letter| letter.reason).collect()
}

/// Waits until that many reports were set aside, all of them as forged.
async fn set_aside(worker: &RunningOtpWorker, count: usize) {
    let reasons = eventually("the dead letters", PATIENCE, async || {
        let dead = worker.engines.bus.dead_list(Queue::OtpWorker, 100).await.unwrap();
        (dead.len() >= count).then(|| dead.into_iter().map(|letter| letter.reason))
    })
    .await;
    assert_eq!(reasons.collect::<Vec<_>>(), vec!["forged"; count]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_report_of_what_is_no_delivery_is_set_aside_and_changes_nothing() {
    let mut worker = RunningOtpWorker::start(&[]).await;
    let (asked, _) = worker.texted("+989120000061").await;
    let request = asked.code_request.request_id;
    let forged = [Status::Verified, Status::Superseded, Status::Accepted, Status::Issued];
    for status in forged {
        report(&worker, request, status).await;
    }
    set_aside(&worker, forged.len()).await;
    // Of a higher rank than the next one, were it believed.
    report(&worker, request, Status::Expired).await;
    for status in [Status::Sending, Status::Sent, Status::Undelivered, Status::Delivered] {
        report(&worker, request, status).await;
        reaches(&worker, request, status).await;
    }
    set_aside(&worker, forged.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_report_on_a_request_of_the_far_future_leaves_no_record() {
    let worker = RunningOtpWorker::start(&[]).await;
    let far: RequestId = "ffffffff-fff0-7fff-8000-000000000000".parse().unwrap();
    report(&worker, far, Status::Sent).await;
    set_aside(&worker, 1).await;
    let statuses = worker.engines.store.statuses();
    assert!(statuses.get(far).await.unwrap().is_none());
    // Hosts whose clocks differ by hours still hear of each other's texts.
    let request = RequestId::new(&Clock::wrong_by(3 * 3_600_000));
    report(&worker, request, Status::Sent).await;
    eventually("the record", PATIENCE, async || statuses.get(request).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_bad_status_among_others_takes_none_of_them_with_it() {
    let worker = RunningOtpWorker::start(&[]).await;
    let [first, forged, last] = [(); 3].map(|()| RequestId::new(&worker.engines.clock));
    let mut of_tomorrow = serde_json::to_value(said_of(forged, Status::Sent)).unwrap();
    of_tomorrow["status"] = json!("of tomorrow");
    for bad in [
        ListedStatus::Read(said_of(forged, Status::Verified)),
        ListedStatus::Unreadable(of_tomorrow),
        ListedStatus::Unreadable(json!({"status": "sent"})),
        ListedStatus::Unreadable(json!(null)),
    ] {
        let [before, after] = [first, last].map(|id| ListedStatus::Read(said_of(id, Status::Sent)));
        report_all(&worker, vec![before, bad, after]).await;
    }
    let reasons = eventually("the dead letters", PATIENCE, async || {
        Some(dead(&worker).await).filter(|reasons| reasons.len() == 4)
    })
    .await;
    // Each was applied before its event was set aside, whole.
    let statuses = worker.engines.store.statuses();
    for request in [first, last] {
        assert_eq!(statuses.get(request).await.unwrap().unwrap().status, Status::Sent);
    }
    assert_eq!(statuses.get(forged).await.unwrap(), None);
    let count = |reason: &str| reasons.iter().filter(|found| *found == reason).count();
    assert_eq!((count("forged"), count("unreadable")), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_no_status_of_many_or_of_one_request_twice_is_no_failure() {
    let worker = RunningOtpWorker::start(&[]).await;
    report_all(&worker, Vec::new()).await;
    // More than one event of ours has.
    let many: Vec<_> = (0..=MOST_STATUSES).map(|_| RequestId::new(&worker.engines.clock)).collect();
    let listed = |id: &RequestId| ListedStatus::Read(said_of(*id, Status::Sending));
    report_all(&worker, many.iter().map(listed).collect()).await;
    let twice = RequestId::new(&worker.engines.clock);
    let descending = [Status::Delivered, Status::Undelivered, Status::Sent, Status::Sending];
    let descending = descending.map(|status| ListedStatus::Read(said_of(twice, status)));
    report_all(&worker, descending.to_vec()).await;
    for request in many {
        reaches(&worker, request, Status::Sending).await;
    }
    reaches(&worker, twice, Status::Delivered).await;
    assert_eq!(dead(&worker).await, [""; 0]);
}

mod on_the_engines {
    use std::time::Duration;

    use deadpool_redis::redis::{self, AsyncCommands as _};
    use secrecy::SecretString;
    use store::Store;
    use testkit::engines::Engines;

    use super::*;
    use crate::delivery::embedded_engines;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_a_record_that_cannot_be_written_keeps_no_status_of_its_event_back() {
        let (mut engines, folder) = embedded_engines().await;
        let url = Engines::shared().redis().await;
        let secret = SecretString::from(url.clone());
        engines.store = Store::connect_redis(&secret, engines.clock.clone()).await.unwrap();
        let worker = RunningOtpWorker::on((engines, folder), &[]).await;
        let client = redis::Client::open(url).unwrap();
        let mut redis = crate::redis_connection(&client).await.unwrap();
        let [first, spoilt, last] = [(); 3].map(|()| RequestId::new(&worker.engines.clock));
        let key = format!("lk:req:{spoilt}");
        redis.set::<_, _, ()>(&key, "no record").await.unwrap();
        let listed = [first, spoilt, last].map(|id| ListedStatus::Read(said_of(id, Status::Sent)));
        report_all(&worker, listed.to_vec()).await;
        for request in [first, last] {
            reaches(&worker, request, Status::Sent).await;
        }
        // The event waits for its retry, and then the last of its statuses is there.
        redis.del::<_, ()>(&key).await.unwrap();
        let statuses = worker.engines.store.statuses();
        eventually("the status after a retry", PATIENCE, async || {
            worker.engines.clock.advance(Duration::from_secs(1));
            let found = statuses.get(spoilt).await.unwrap()?;
            (found.status == Status::Sent).then_some(())
        })
        .await;
        assert_eq!(dead(&worker).await, [""; 0]);
    }
}
