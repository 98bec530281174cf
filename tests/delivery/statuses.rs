//! What otp-worker believes of a report on a text: the broker's topic is sms-worker's, and its events are not sealed.

use bus::Queue;
use domain::clock::Clock;
use domain::event::{Envelope, SmsStatus};
use domain::ids::{MessageId, RequestId};
use domain::vocabulary::Status;

use super::voice_fallback::RunningOtpWorker;
use testkit::{PATIENCE, eventually};

async fn report(worker: &RunningOtpWorker, request: RequestId, status: Status) {
    let report = SmsStatus {
        message_id: MessageId::of_request(request),
        request_id: Some(request),
        status,
        reason: None,
        provider: "test".to_owned(),
        provider_message_id: None,
        segments: None,
    };
    let envelope = Envelope::new(&worker.engines.clock, "sms-worker", None, report);
    worker.engines.bus.publish(&envelope).await.unwrap();
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
    let statuses = worker.engines.store.statuses();
    for status in [Status::Sending, Status::Sent, Status::Undelivered, Status::Delivered] {
        report(&worker, request, status).await;
        eventually("the status that was reported", PATIENCE, async || {
            let found = statuses.get(request).await.unwrap().unwrap();
            (found.status == status).then_some(())
        })
        .await;
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
