//! Delivery through providers that fail in every way.

use std::sync::Arc;
use std::time::Duration;

use super::{ACCOUNT, Delivery, PHONE, called, http, message_of, scripted, twilio};
use crate::delivery::{TEXT, embedded_engines};
use accounts::{Block, BlockKind, Blocks};
use bus::consumer::Failure;
use config::UnknownOutcome;
use config::UnknownOutcome::{Resend, Wait};
use domain::event::{Envelope, SmsRequested};
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use fake_twilio::Reply;
use ledger::{AttemptState, Risk};
use sms_worker::{ConcurrencyPermit, client};

const SENT: (Status, Option<Reason>) = (Status::Sent, None);

fn failed(reason: Reason) -> (Status, Option<Reason>) {
    (Status::Failed, Some(reason))
}

fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, "", body.to_owned())
}

/// Fault, script, policy; then the expected calls, texts taken and final status.
type Row = (&'static str, Vec<Reply>, UnknownOutcome, usize, usize, (Status, Option<Reason>));

fn rows() -> Vec<Row> {
    let huge = format!(r#"{{"sid":"SM1","filler":"{}"}}"#, "x".repeat(10 << 20));
    let html = "<html><h1>503</h1></html>";
    let retry_after = |secs| Reply::Say(429, secs, r#"{"code":20429}"#.to_owned());
    vec![
        ("taken", vec![Reply::Take], Resend, 1, 1, SENT),
        ("taken, slowly", vec![Reply::TakeSlowly(Duration::from_millis(500))], Resend, 1, 1, SENT),
        (
            "429 with 1 s wait",
            vec![retry_after("Retry-After: 1\r\n"), Reply::Take],
            Resend,
            2,
            1,
            SENT,
        ),
        (
            "429 with 60 s wait",
            vec![retry_after("Retry-After: 60\r\n"), Reply::Take],
            Resend,
            2,
            1,
            SENT,
        ),
        ("429 without a wait", vec![Reply::error(429, 20429), Reply::Take], Resend, 2, 1, SENT),
        (
            "429 to the end",
            vec![retry_after("Retry-After: 20\r\n")],
            Resend,
            15,
            0,
            failed(Reason::ProviderUnavailable),
        ),
        ("500 before taking", vec![Reply::error(500, 20500), Reply::Take], Resend, 2, 1, SENT),
        (
            "500 after taking (W1)",
            vec![Reply::TakeAndSay(500, "", "{}".to_owned()), Reply::Take],
            Resend,
            2,
            2,
            SENT,
        ),
        (
            "500 after taking, wait",
            vec![Reply::TakeAndSay(500, "", "{}".to_owned()), Reply::Take],
            Wait,
            1,
            1,
            failed(Reason::Unknown),
        ),
        ("500 forever", vec![Reply::error(500, 20500)], Resend, 2, 0, failed(Reason::Unknown)),
        ("503 in HTML", vec![say(503, html), Reply::Take], Resend, 2, 1, SENT),
        ("cut after taking (W1)", vec![Reply::TakeAndCut, Reply::Take], Resend, 2, 2, SENT),
        (
            "cut after taking, twice (W1)",
            vec![Reply::TakeAndCut],
            Resend,
            2,
            2,
            failed(Reason::Unknown),
        ),
        ("no answer in time", vec![Reply::Hang, Reply::Take], Resend, 2, 1, SENT),
        (
            "200 with garbage (W1)",
            vec![Reply::TakeAndSay(200, "", "OK".to_owned()), Reply::Take],
            Resend,
            2,
            2,
            SENT,
        ),
        (
            "201 without an id",
            vec![Reply::TakeAndSay(201, "", "{}".to_owned())],
            Resend,
            1,
            1,
            SENT,
        ),
        ("201 with 10 MB", vec![Reply::TakeAndSay(201, "", huge)], Resend, 1, 1, SENT),
        (
            "redirect",
            vec![Reply::Say(302, "Location: http://127.0.0.1:9/\r\n", String::new())],
            Resend,
            1,
            0,
            failed(Reason::ProviderUnavailable),
        ),
        (
            "credentials refused",
            vec![Reply::error(401, 20003)],
            Resend,
            1,
            0,
            failed(Reason::ProviderUnavailable),
        ),
        (
            "region not enabled",
            vec![Reply::error(400, 21408)],
            Resend,
            1,
            0,
            failed(Reason::ProviderUnavailable),
        ),
        (
            "no such number",
            vec![Reply::error(400, 21211)],
            Resend,
            1,
            0,
            failed(Reason::NumberUnreachable),
        ),
        ("landline", vec![Reply::error(400, 21635)], Resend, 1, 0, failed(Reason::NumberNotMobile)),
        (
            "opted out",
            vec![Reply::error(400, 21610)],
            Resend,
            1,
            0,
            failed(Reason::RecipientOptedOut),
        ),
        (
            "held by a filter",
            vec![Reply::error(400, 30450)],
            Resend,
            1,
            0,
            failed(Reason::CarrierBlocked),
        ),
        (
            "an error code not listed",
            vec![Reply::error(400, 99_999)],
            Resend,
            1,
            0,
            failed(Reason::Unknown),
        ),
        ("maintenance, then back", vec![Reply::error(503, 21730), Reply::Take], Resend, 2, 1, SENT),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_every_provider_fault_ends_as_its_class_requires() {
    let mut cases = Vec::new();
    for (fault, script, policy, calls, taken, end) in rows() {
        let fake = scripted(script).await;
        let delivery = Delivery::new([twilio(&fake.url)], policy).await;
        cases.push((fake, delivery, fault, calls, taken, end));
    }
    let runs = cases.into_iter().map(|(fake, delivery, fault, calls, taken, end)| async move {
        let job = delivery.job();
        delivery.to_its_end(&job).await;
        let seen = (fake.calls().len(), fake.taken(), delivery.end_of(&job).await);
        let told = delivery.told(&job);
        let texts: Vec<_> = fake.calls().iter().map(|call| call.field("Body")).collect();
        let (status, reason) = seen.2;
        let line = format!(
            "{fault:32} calls {:2}  texts {}  {status} {}",
            seen.0,
            seen.1,
            reason.map_or("", Reason::as_str)
        );
        let same_text = texts.iter().all(|text| text.as_deref() == Some(TEXT));
        // The number of calls to a throttling provider within a code's validity is not fixed; there must be more than
        // one.
        let calls_fit = if calls > 2 { (2..=calls).contains(&seen.0) } else { seen.0 == calls };
        let right = calls_fit && seen.1 == taken && seen.2 == end && same_text && told == [end];
        (line, right.then_some(()).ok_or(told))
    });
    let mut wrong = Vec::new();
    for (line, right) in futures::future::join_all(runs).await {
        println!("{line}");
        if let Err(told) = right {
            wrong.push(format!("{line} published {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_message_request_has_every_field_that_twilio_needs() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    let call = &fake.calls()[0];
    assert!(
        call.head.starts_with(&format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json ")),
        "{}",
        call.head
    );
    assert!(call.head.to_ascii_lowercase().contains("authorization: basic "));
    assert_eq!(call.field("To").as_deref(), Some(PHONE));
    assert_eq!(call.field("From").as_deref(), Some("+15005550006"));
    assert_eq!(call.field("Body").as_deref(), Some(TEXT));
    assert_eq!(call.field("Attempt").as_deref(), Some("1"));
    let validity: i64 = call.field("ValidityPeriod").unwrap().parse().unwrap();
    assert!((240..=300).contains(&validity), "{validity}");
    let attempt = delivery.ledger.attempts(job.data.message_id).await.unwrap()[0].attempt_id;
    let callback = format!("https://auth.example.test/base/webhooks/twilio/status/{attempt}#rc=3");
    assert_eq!(call.field("StatusCallback"), Some(callback));
}

#[tokio::test]
async fn a_call_speaks_the_code_twice() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job_for(PHONE, Channel::Voice, 300);
    delivery.to_its_end(&job).await;
    let call = &fake.calls()[0];
    assert!(call.head.contains(&format!("/{ACCOUNT}/Calls.json ")), "{}", call.head);
    let twiml = call.field("Twiml").unwrap();
    assert_eq!(twiml.matches("4, 8, 1, 5, 1, 6").count(), 2, "{twiml}");
    assert_eq!(call.field("Body"), None);
    let done = [("CallSid", "CA1"), ("CallStatus", "completed")];
    delivery.receipt(call, &done).await;
    assert_eq!(delivery.end_of(&job).await, (Status::Delivered, None));
}

#[tokio::test]
async fn every_provider_speaks_a_call_in_its_language() {
    let said = "Ihr Code lautet: 4, 8, 1, 5. Noch einmal: 4, 8, 1, 5.";
    let text = format!("[de] {said}");
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    delivery.to_its_end(&delivery.job_of(PHONE, Channel::Voice, 300, &text)).await;
    let twiml = fake.calls()[0].field("Twiml").unwrap();
    assert!(twiml.contains(r#"language="de""#) && twiml.contains(&format!(">{said}<")), "{twiml}");

    let webhook = scripted([Reply::Take]).await;
    let delivery = Delivery::new([http(&webhook.url)], Resend).await;
    delivery.to_its_end(&delivery.job_of(PHONE, Channel::Voice, 300, &text)).await;
    // A text for reading is never split.
    delivery.to_its_end(&delivery.job_of(PHONE, Channel::Sms, 300, &text)).await;
    let bodies = webhook.calls();
    let bodies: Vec<serde_json::Value> =
        bodies.iter().map(|call| serde_json::from_str(&call.body).unwrap()).collect();
    assert_eq!((&bodies[0]["text"], &bodies[0]["language"]), (&said.into(), &"de".into()));
    assert_eq!(bodies[1]["text"], text);
    assert_eq!(bodies[1].get("language"), None);
}

#[tokio::test]
async fn the_jobs_trace_continues_to_its_statuses_and_to_the_provider() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let webhook = scripted([Reply::TakeSlowly(Duration::from_millis(400))]).await;
    let delivery = Delivery::new([http(&webhook.url)], Resend).await;
    let mut job = delivery.job();
    job.traceparent = Some(TRACE.to_owned());
    delivery.to_its_end(&job).await;
    let told: Vec<_> = delivery.published().into_iter().map(|told| told.traceparent).collect();
    assert_eq!(told, [Some(TRACE.to_owned()), Some(TRACE.to_owned())], "`sending` and `sent`");
    let head = webhook.calls()[0].head.clone();
    let trace = head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    assert!(trace.starts_with(&TRACE[..36]) && trace != TRACE, "not a child span: {trace}");
    // An invalid trace does no harm.
    job = delivery.job();
    job.traceparent = Some("line\r\nbreak".to_owned());
    delivery.to_its_end(&job).await;
    assert_eq!(delivery.end_of(&job).await, SENT);
    assert!(!webhook.calls()[1].head.contains("traceparent"));
    assert_eq!(delivery.published().last().unwrap().traceparent, None);
}

#[tokio::test]
async fn an_unreachable_provider_is_skipped() {
    let gone = scripted([Reply::Take]).await;
    let nobody: url::Url = "http://127.0.0.1:9/".parse().unwrap();
    let delivery = Delivery::new([twilio(&nobody), http(&gone.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    assert_eq!(delivery.told(&job), [SENT]);
    let call = &gone.calls()[0];
    let head = call.head.to_ascii_lowercase();
    for header in ["webhook-id: ", "webhook-timestamp: ", "webhook-signature: v1,"] {
        assert!(head.contains(header), "{head}");
    }
    let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(body["phone_number"], PHONE);
    assert_eq!(body["text"], TEXT);
    let states: Vec<_> = delivery.ledger.attempts(job.data.message_id).await.unwrap();
    assert_eq!(states.iter().map(|a| a.provider.as_str()).collect::<Vec<_>>(), ["twilio", "http"]);
}

#[tokio::test]
async fn w1_after_an_unknown_outcome_the_other_provider_sends_the_same_text_once() {
    let first = scripted([Reply::TakeAndCut]).await;
    let second = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&first.url), http(&second.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    assert!(second.calls()[0].body.contains(TEXT));
    assert_eq!(delivery.told(&job), [SENT]);
    // However often the job comes back, nothing more is sent.
    for _ in 0..3 {
        delivery.to_its_end(&job).await;
    }
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
}

#[tokio::test]
async fn w1_an_unknown_outcome_that_outlasts_its_handler_leads_to_one_call_elsewhere() {
    let first = scripted([Reply::Hang, Reply::Take]).await;
    let second = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&first.url), http(&second.url)], Resend).await;
    let job = delivery.job();
    tokio::join!(delivery.to_its_end(&job), async {
        called(&first).await;
        // The longest time of a call, by the handler's clock: the job goes back to the broker, and the next handler
        // knows about the first call only from the ledger.
        delivery.clock.advance(client::LIMIT);
    });
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    assert_eq!(delivery.told(&job), [SENT]);
}

#[tokio::test]
async fn a_text_that_may_have_been_taken_never_fails_as_provider_unavailable() {
    let much = || Reply::Say(429, "Retry-After: 60\r\n", r#"{"code":20429}"#.to_owned());
    for then in [much(), Reply::error(401, 20003)] {
        let fake = scripted([Reply::TakeAndCut, then]).await;
        let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
        let job = delivery.job_for(PHONE, Channel::Sms, 40);
        delivery.to_its_end(&job).await;
        assert_eq!(delivery.told(&job), [failed(Reason::Unknown)]);
        assert_eq!(fake.calls().len(), 2);
    }
}

#[tokio::test]
async fn p7_a_text_that_waited_too_long_for_a_slot_fails_as_expired() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let mut taken = all_places_but(0, &delivery).await;
    let job = delivery.job_for(PHONE, Channel::Sms, 12);
    let (handled, ()) = tokio::join!(delivery.send.handle(&job), async {
        delivery.clock.advance(Duration::from_millis(2_500));
        drop(taken.pop());
    });
    handled.unwrap();
    assert_eq!(delivery.told(&job), [failed(Reason::Expired)]);
    assert_eq!(fake.calls().len(), 0);
}

#[tokio::test]
async fn p1_a_text_in_doubt_goes_back_to_the_broker_at_once() {
    let fake = scripted([Reply::error(500, 20500), Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    let later = async |secs: u64| {
        let waits = delivery.send.handle(&job).await;
        let most = Duration::from_secs(secs);
        assert!(matches!(waits, Err(Failure::Later(wait)) if wait <= most), "{waits:?}");
    };
    later(3).await;
    let attempts = delivery.ledger.attempts(job.data.message_id).await.unwrap();
    assert_eq!(attempts[0].state, Some(AttemptState::Unknown), "written before it goes back");
    delivery.clock.advance(Duration::from_secs(1));
    later(2).await;
    assert_eq!(fake.calls().len(), 1, "a receipt may still come");
    delivery.clock.advance(Duration::from_secs(2));
    delivery.send.handle(&job).await.unwrap();
    assert_eq!((fake.calls().len(), delivery.told(&job)), (2, vec![SENT]));

    // Begun by another worker: as long as its call may take, in growing steps; then as one that may have been taken.
    let job = begun_elsewhere(&delivery).await;
    let mut steps = Vec::new();
    while let Err(Failure::Later(wait)) = delivery.send.handle(&job).await {
        assert_eq!(fake.calls().len(), 2, "its worker may still be calling");
        delivery.clock.advance(wait);
        steps.push(wait);
    }
    assert!((4..=6).contains(&steps.len()), "1, 1, 2, 4 and 5 s: {steps:?}");
    assert!(steps.iter().sum::<Duration>() <= Duration::from_secs(13), "{steps:?}");
    assert_eq!((fake.calls().len(), delivery.told(&job)), (3, vec![SENT]));
}

/// A job whose first call another worker has begun.
async fn begun_elsewhere(delivery: &Delivery) -> Envelope<SmsRequested> {
    let job = delivery.job();
    begin(delivery, &job, delivery.clock.now()).await;
    job
}

async fn begin(delivery: &Delivery, job: &Envelope<SmsRequested>, now: Timestamp) {
    let phone = PHONE.parse().unwrap();
    let message = message_of(job, &phone);
    let attempt = AttemptId::new(&delivery.clock);
    let risk = Risk { most: 2, doubtful: &[], unsettled_since: now };
    delivery.ledger.begin(&message, attempt, "twilio", risk, now).await.unwrap();
}

#[tokio::test]
async fn p2_an_attempt_begun_by_a_clock_ahead_of_ours_counts_as_young() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    begin(&delivery, &job, delivery.clock.now().plus_secs(3600)).await;
    let waits = delivery.send.handle(&job).await;
    assert!(matches!(waits, Err(Failure::Later(_))), "{waits:?}");
    assert_eq!(fake.calls().len(), 0, "its worker may still be calling");
}

/// Takes all of the provider's slots except `left`.
async fn all_places_but(left: usize, delivery: &Delivery) -> Vec<ConcurrencyPermit<'_>> {
    let limiter = &delivery.routes.provider("twilio").unwrap().limiter;
    let mut taken = Vec::new();
    while let Ok(slot) = limiter.enter(Duration::ZERO).await {
        taken.push(slot);
    }
    taken.truncate(taken.len() - left);
    taken
}

#[tokio::test]
async fn p2_a_receipt_within_the_wait_settles_an_unknown_outcome() {
    const SID: &str = "SM00000000000000000000000000000077";
    let fake = scripted([Reply::TakeAndSay(500, "", "{}".to_owned())]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    let waits = delivery.send.handle(&job).await;
    assert!(matches!(waits, Err(Failure::Later(_))), "{waits:?}");
    let call = called(&fake).await;
    delivery.receipt(&call, &[("MessageSid", SID), ("MessageStatus", "sent")]).await;
    assert_eq!(delivery.told(&job), [SENT], "told at once");
    delivery.to_its_end(&job).await;
    assert_eq!(fake.calls().len(), 1, "one text");
    assert_eq!(delivery.end_of(&job).await, SENT);
    let attempts = delivery.ledger.attempts(job.data.message_id).await.unwrap();
    assert_eq!(attempts[0].provider_message_id.as_deref(), Some(SID));
}

#[tokio::test]
async fn p10_what_a_provider_echoes_reaches_no_event_and_no_row() {
    let echo = format!("{PHONE} {TEXT}");
    let number = &PHONE[1..];
    let is_safe = |word: &str| match word.strip_prefix("hidden-") {
        Some(tag) => tag.len() == 32 && tag.bytes().all(|b| b.is_ascii_hexdigit()),
        None => matches!(word, "hidden" | "http 400"),
    };
    for status in [201, 400] {
        for said in [&echo, number, &number[2..], "481516", "call-48-15-16", "\u{1b}[31mEVIL"] {
            let said = serde_json::to_string(said).unwrap();
            let body = format!(
                r#"{{"id":{said},"sid":{said},"code":{said},"segments":481516,"num_segments":481516}}"#
            );
            let (webhook, fake) =
                (scripted([say(status, &body)]).await, scripted([say(status, &body)]).await);
            for provider in [http(&webhook.url), twilio(&fake.url)] {
                let delivery = Delivery::new([provider], Resend).await;
                let job = delivery.job();
                delivery.to_its_end(&job).await;
                let attempts = delivery.ledger.attempts(job.data.message_id).await.unwrap();
                let events = delivery.published();
                assert!(!attempts.is_empty() && !events.is_empty(), "{status} {body}");
                let kept = attempts
                    .into_iter()
                    .flat_map(|row| [row.provider_message_id, row.provider_code]);
                let told = events.iter().map(|event| event.provider_message_id.clone());
                for word in kept.chain(told).flatten() {
                    assert!(is_safe(&word), "{word} after {status} {body}");
                }
                assert!(events.iter().all(|event| event.segments.is_none()), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn w1_a_worker_that_dies_in_a_call_causes_at_most_two_texts_with_one_code() {
    for receipt_comes in [false, true] {
        let fake = scripted([Reply::TakeSlowly(Duration::from_mins(1)), Reply::Take]).await;
        let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
        let job = delivery.job();
        let (send, dying) = (Arc::clone(&delivery.send), job.clone());
        let worker = tokio::spawn(async move { send.handle(&dying).await });
        let call = called(&fake).await;
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        if receipt_comes {
            delivery.receipt(&call, &[("MessageStatus", "queued")]).await;
        } else {
            // While the dead worker could still be alive, nothing is sent.
            let Err(Failure::Later(_)) = delivery.send.handle(&job).await else {
                panic!("a young attempt without a result was not waited for");
            };
            assert_eq!(fake.calls().len(), 1);
        }
        delivery.to_its_end(&job).await;
        assert_eq!(fake.calls().len(), if receipt_comes { 1 } else { 2 });
        assert!(fake.calls().iter().all(|call| call.field("Body").as_deref() == Some(TEXT)));
        assert_eq!(delivery.end_of(&job).await, SENT);
    }
}

#[tokio::test]
async fn p7_a_text_with_under_ten_seconds_left_is_dropped_and_reported() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    for secs in [-60, 0, 9] {
        let job = delivery.job_for(PHONE, Channel::Sms, secs);
        delivery.to_its_end(&job).await;
        assert_eq!(delivery.told(&job), [failed(Reason::Expired)], "{secs} s");
    }
    assert_eq!(fake.calls().len(), 0);
    let job = delivery.job_for(PHONE, Channel::Sms, 12);
    delivery.to_its_end(&job).await;
    assert_eq!(delivery.told(&job), [SENT]);
    let validity: i64 = fake.calls()[0].field("ValidityPeriod").unwrap().parse().unwrap();
    assert!((10..=12).contains(&validity), "{validity}");
}

#[tokio::test]
async fn p7_after_ten_minutes_without_a_provider_no_stale_text_is_sent() {
    let fake = scripted([Reply::Take]).await;
    let nobody: url::Url = "http://127.0.0.1:9/".parse().unwrap();
    let away = Delivery::new([twilio(&nobody)], Resend).await;
    let stale = away.job();
    let began = away.clock.now_ms();
    away.to_its_end(&stale).await;
    assert_eq!(away.told(&stale), [failed(Reason::ProviderUnavailable)]);
    let took = away.clock.now_ms() - began;
    assert!(
        (250_000..=291_000).contains(&took),
        "it was not retried until near its expiry: {took} ms"
    );

    let back = Delivery::new([twilio(&fake.url)], Resend).await;
    let (old, fresh) = (back.job(), back.job_for(PHONE, Channel::Sms, 900));
    back.clock.advance(Duration::from_mins(10));
    back.to_its_end(&old).await;
    back.to_its_end(&fresh).await;
    assert_eq!(back.told(&old), [failed(Reason::Expired)]);
    assert_eq!(back.told(&fresh), [SENT]);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn a_text_that_is_no_longer_wanted_is_dropped_without_an_event() {
    let fake = scripted([Reply::Take]).await;
    let (engines, folder) = embedded_engines().await;
    let block = Block {
        kind: BlockKind::Prefix,
        value: PHONE[1..].to_owned(),
        display: String::new(),
        reason: "x".to_owned(),
        owner: "x".to_owned(),
        until: None,
        created_at: engines.clock.now(),
    };
    Blocks::new(&engines.sql).add(&block, "staff").await.unwrap();
    let delivery = Delivery::on((engines, folder), [twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    assert_eq!((fake.calls().len(), delivery.told(&job)), (0, vec![]));
    assert_eq!(delivery.end_of(&job).await, (Status::Expired, None));
}

#[tokio::test]
async fn p11_a_forged_or_moved_text_is_refused_permanently() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let (mut job, other) = (delivery.job(), delivery.job());
    job.data.not_after = job.data.not_after.plus_secs(1);
    let moved = {
        let mut moved = delivery.job();
        moved.data.sealed = other.data.sealed.clone();
        moved
    };
    for job in [job, moved] {
        let failure = delivery.send.handle(&job).await.unwrap_err();
        assert!(matches!(failure, Failure::Permanent("sealed_text", _)), "{failure:?}");
    }
    assert_eq!(fake.calls().len(), 0);
}

#[tokio::test]
async fn a_refused_account_opens_the_circuit_and_is_probed_by_one_text() {
    let fake = scripted([Reply::error(401, 20003)]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let first = delivery.job();
    delivery.to_its_end(&first).await;
    assert_eq!(delivery.told(&first), [failed(Reason::ProviderUnavailable)]);
    let second = delivery.job();
    let Err(Failure::Later(wait)) = delivery.send.handle(&second).await else {
        panic!("the other text did not wait in the broker");
    };
    assert!((1..=5_000).contains(&wait.as_millis()), "{wait:?}");
    assert_eq!(fake.calls().len(), 1);
    fake.script([Reply::Take]);
    delivery.to_its_end(&second).await;
    assert_eq!(delivery.told(&second), [SENT]);
}

#[tokio::test]
async fn a_refused_number_does_not_block_others() {
    let fake = scripted([Reply::error(400, 21408)]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    for _ in 0..10 {
        let job = delivery.job();
        delivery.to_its_end(&job).await;
    }
    fake.script([Reply::Take]);
    let job = delivery.job();
    assert!(delivery.send.handle(&job).await.is_ok());
    assert_eq!(delivery.told(&job), [SENT]);
}

#[tokio::test]
async fn receipts_settle_the_status_and_only_changes_are_published() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    for (fields, end) in [
        (
            &[("MessageStatus", "undelivered"), ("ErrorCode", "30003")][..],
            (Status::Undelivered, Some(Reason::NumberUnreachable)),
        ),
        (
            &[("MessageStatus", "undelivered"), ("ErrorCode", "30007")],
            (Status::Undelivered, Some(Reason::CarrierBlocked)),
        ),
        (
            &[("MessageStatus", "undelivered"), ("ErrorCode", "77777")],
            (Status::Undelivered, Some(Reason::Unknown)),
        ),
        (&[("MessageStatus", "failed")], (Status::Failed, Some(Reason::Unknown))),
        (&[("MessageStatus", "delivered"), ("Whatever", "x")], (Status::Delivered, None)),
    ] {
        let job = delivery.job();
        delivery.to_its_end(&job).await;
        let call = fake.calls().last().unwrap().clone();
        for status in ["queued", "sending", "sent", "levitating"] {
            delivery.receipt(&call, &[("MessageStatus", status)]).await;
        }
        delivery.receipt(&call, fields).await;
        delivery.receipt(&call, fields).await;
        delivery.receipt(&call, &[("MessageStatus", "sent")]).await;
        assert_eq!(delivery.told(&job), [SENT, end]);
    }
    let before = delivery.published().len();
    delivery.receipt_of(AttemptId::new(&delivery.clock), &[("MessageStatus", "delivered")]).await;
    assert_eq!(delivery.published().len(), before, "for an unknown attempt");
}
