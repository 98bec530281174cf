//! In silent mode otp-worker does the same for a phone without an account, in the same order (P6).

use std::collections::BTreeSet;

use accounts::{Accounts, Creation, NewUser};
use config::UnknownOutcome;
use domain::event::{Envelope, OtpRequested, SmsRequested};
use domain::ids::{RequestId, UserId};
use domain::phone::Phone;
use domain::vocabulary::{Channel, Limit, Status};
use fake_twilio::{Reply, ScriptedProvider};
use serde_json::Value;

use bus::Settlement;

use super::voice_fallback::{ON, RunningOtpWorker, TTL_MS};
use super::worker::{Delivery, PHONE, twilio};
use testkit::PATIENCE;

async fn create_account(worker: &RunningOtpWorker, phone: &str) {
    let (clock, phone) = (&worker.engines.clock, Phone::trusted(phone).unwrap());
    let new = NewUser {
        id: UserId::new(clock),
        phone_number: phone.e164(),
        first_name: "",
        last_name: "",
        locale: "en",
        country: phone.region(),
        password_hash: None,
        created_at: clock.now(),
        block_reason: None,
    };
    let accounts = Accounts::new(&worker.engines.sql);
    assert!(matches!(
        accounts.create(new, "test", clock.now()).await.unwrap(),
        Creation::Created(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f08_an_unknown_phones_request_goes_the_same_way_through_the_broker() {
    let settings = [("LATCHKEY_UNKNOWN_PHONE", "silent")];
    let mut worker = RunningOtpWorker::start(&settings).await;
    let (known, unknown) = ("+989120000031", "+989120000032");
    create_account(&worker, known).await;
    let mut seen = Vec::new();
    for phone in [known, unknown] {
        let asked = worker.admit(phone, Channel::Sms, TTL_MS).await.unwrap();
        worker.publish::<OtpRequested>(&asked).await;
        let text = tokio::time::timeout(PATIENCE, worker.jobs.next()).await.expect("a text");
        let text = text.expect("a text of either phone");
        // The status came before the text, in the act that made the slot.
        let statuses = worker.engines.store.statuses();
        let found = statuses.get(asked.code_request.request_id).await.unwrap().unwrap();
        assert_ne!(found.status, Status::Accepted);
        let document: Value = serde_json::from_slice(&text.bytes).unwrap();
        let members: BTreeSet<String> =
            document["data"].as_object().unwrap().keys().cloned().collect();
        seen.push((text.bytes.len(), members));
        let requested = Envelope::<SmsRequested>::decode(&text.bytes).unwrap().data;
        let (until, at) = (requested.not_after, requested.requested_at.unwrap());
        assert_eq!(until > at, phone == known, "only a text for a known phone is ever sent");
        text.settle(Settlement::Ack).await.unwrap();
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f08_a_call_that_follows_a_text_costs_the_phone_nothing_in_silent_mode() {
    let budget = ("LATCHKEY_SENDS_PER_PHONE_HOUR", "2");
    let mut worker =
        RunningOtpWorker::start(&[("LATCHKEY_UNKNOWN_PHONE", "silent"), ON, budget]).await;
    let [unknown, known, last] = ["+989120000041", "+989120000042", "+989120000043"];
    for phone in [known, last] {
        create_account(&worker, phone).await;
    }
    worker.texted(unknown).await;
    worker.texted(known).await;
    worker.until_called(&[known]).await;
    // Requested when the others were due, and called 20 s later: the call for the unknown phone was judged by then.
    worker.texted(last).await;
    worker.until_called(&[last]).await;
    for phone in [unknown, known] {
        assert!(worker.admit(phone, Channel::Sms, TTL_MS).await.is_ok(), "the second of {phone}");
        let third = worker.admit(phone, Channel::Sms, TTL_MS).await;
        assert_eq!(third.err(), Some(Limit::PhoneHour));
    }
}

#[tokio::test]
async fn f08_a_text_for_nobody_leaves_no_trace() {
    let fake = ScriptedProvider::start([Reply::Take]).await.unwrap();
    let delivery = Delivery::new([twilio(&fake.url)], UnknownOutcome::Resend).await;
    let request = Some(RequestId::new(&delivery.clock));
    let mut job = delivery.job_for(PHONE, Channel::Sms, 0);
    (job.data.request_id, job.data.requested_at) = (request, Some(job.data.not_after));
    delivery.send.handle(&job).await.unwrap();
    assert_eq!(fake.calls().len(), 0);
    assert!(delivery.published().is_empty());
    assert!(delivery.ledger.message_state(job.data.message_id).await.unwrap().is_none());
}
