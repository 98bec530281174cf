//! The encoding of events: a newer process must read what an older one wrote, and the reverse. A file of
//! `tests/golden/` is never edited; a breaking change is a new type with a new file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use domain::clock::Clock;
use domain::event::{
    AttemptsSuspicious, CodeRequest, DecodeError, Envelope, Event, GuardChanged, ListedStatus,
    MAX_BYTES, MOST_STATUSES, OtpRequested, OtpTexted, OtpVerified, PasswordRemoved, PasswordSet,
    PhoneLocked, PhoneUnlocked, Recipient, SessionEnded, SessionStarted, SmsReceipt, SmsRequested,
    SmsStatus, SmsStatuses, Text, UserCreated, UserDeleted, UserSignedUp,
};
use domain::ids::{EventId, RequestId};
use domain::keys::{Keys, Service, derive_bundle};
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use domain::vocabulary::{Channel, Purpose, Reason, Status};
use serde_json::{Value, json};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const AT_MS: i64 = 1_772_000_000_123;

/// An event of each type, and a function that re-encodes its file.
struct Sample {
    kind: &'static str,
    /// The version before, which is still read.
    former: Option<&'static str>,
    written: Vec<u8>,
    again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

fn sample<E: Event>(number: u8, source: &'static str, trace: bool, data: E) -> Sample {
    let trace = trace.then(|| TRACE.to_owned());
    let event: EventId = id(0xe0, number);
    let envelope = Envelope::with_id(event, at(1), source, trace, data);
    let written = envelope.encode().expect("small enough");
    Sample { kind: E::TYPE, former: E::FORMER, written, again: again::<E> }
}

fn again<E: Event>(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(Envelope::<E>::decode(bytes)?.encode().expect("it was small enough before"))
}

fn id<T: FromStr<Err: std::fmt::Debug>>(kind: u8, number: u8) -> T {
    format!("019a0000-0000-7000-8000-0000000000{kind:02x}")
        .replacen("019a0000-0000", &format!("019a0000-00{number:02x}"), 1)
        .parse()
        .expect("an id")
}

fn sms_statuses() -> SmsStatuses {
    let sent = SmsStatus {
        message_id: id(0x03, 1),
        request_id: Some(id(0x01, 1)),
        status: Status::Sent,
        reason: None,
        provider: "twilio".to_owned(),
        provider_message_id: Some("SM0123456789abcdef0123456789abcdef".to_owned()),
        segments: Some(1),
        traceparent: Some(TRACE.to_owned()),
    };
    let failed = SmsStatus {
        message_id: id(0x03, 2),
        request_id: None,
        status: Status::Failed,
        reason: Some(Reason::ProviderUnavailable),
        provider: "none".to_owned(),
        provider_message_id: None,
        segments: None,
        traceparent: None,
    };
    SmsStatuses::of([sent, failed])
}

fn guard_changed() -> GuardChanged {
    GuardChanged {
        prefix: Some("989123".to_owned()),
        country: "IR".to_owned(),
        state: "blocked".to_owned(),
        sends: 70,
        verified: 0,
        mode: "enforce".to_owned(),
        at: at(0),
        until: Some(at(900)),
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_ms(AT_MS).plus_secs(secs)
}

fn sealed<T>() -> Sealed<T> {
    Sealed::from_text("k1.c2VhbGVk".to_owned())
}

fn code_request(purpose: Purpose, channel: Channel, locale: Option<&str>) -> CodeRequest {
    CodeRequest {
        request_id: id(0x01, 1),
        code_id: id(0x02, 1),
        purpose,
        channel,
        locale: locale.map(str::to_owned),
        country: "IR".to_owned(),
        requested_at: at(0),
        expires_at: at(300),
        sealed: sealed(),
    }
}

fn samples() -> Vec<Sample> {
    vec![
        sample(
            1,
            "gateway",
            true,
            OtpRequested(code_request(Purpose::Login, Channel::Sms, Some("fa-IR"))),
        ),
        sample(
            2,
            "gateway",
            false,
            UserSignedUp(code_request(Purpose::Login, Channel::Voice, None)),
        ),
        sample(
            3,
            "otp-worker",
            true,
            SmsRequested {
                message_id: id(0x03, 1),
                request_id: Some(id(0x01, 1)),
                channel: Channel::Sms,
                country: "IR".to_owned(),
                not_after: at(300),
                requested_at: Some(at(0)),
                sealed: sealed(),
            },
        ),
        sample(
            4,
            "sms-worker",
            false,
            SmsStatus {
                message_id: id(0x03, 1),
                request_id: Some(id(0x01, 1)),
                status: Status::Undelivered,
                reason: Some(Reason::CarrierBlocked),
                provider: "twilio".to_owned(),
                provider_message_id: Some("SM0123456789abcdef0123456789abcdef".to_owned()),
                segments: Some(1),
                traceparent: None,
            },
        ),
        sample(21, "sms-worker", false, sms_statuses()),
        sample(
            5,
            "gateway",
            false,
            SmsReceipt {
                provider: "twilio".to_owned(),
                attempt_id: id(0x04, 1),
                fields: [("ErrorCode", "30003"), ("MessageStatus", "undelivered")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            },
        ),
        sample(
            6,
            "gateway",
            true,
            UserCreated { user_id: id(0x05, 1), created_at: at(2), country: "IR".to_owned() },
        ),
        sample(7, "gateway", false, UserDeleted { user_id: id(0x05, 1), deleted_at: at(9) }),
        sample(11, "gateway", false, guard_changed()),
        sample(
            20,
            "gateway",
            false,
            AttemptsSuspicious { at: at(0), window_secs: 600, failures: 812, phones: 500 },
        ),
        sample(
            12,
            "otp-worker",
            false,
            OtpTexted(code_request(Purpose::Login, Channel::Sms, None)),
        ),
        sample(
            8,
            "gateway",
            true,
            OtpVerified {
                request_id: Some(id(0x01, 1)),
                purpose: Purpose::PhoneChange,
                user_id: id(0x05, 1),
                country: "IR".to_owned(),
                verified_at: at(3),
            },
        ),
        sample(
            9,
            "gateway",
            false,
            SessionStarted {
                session_id: id(0x06, 1),
                user_id: id(0x05, 1),
                started_at: at(3),
                method: "sms".to_owned(),
            },
        ),
        sample(
            10,
            "gateway",
            false,
            SessionEnded {
                session_id: id(0x06, 1),
                user_id: id(0x05, 1),
                ended_at: at(4),
                reason: "logout".to_owned(),
            },
        ),
        sample(
            13,
            "gateway",
            false,
            PasswordSet { user_id: id(0x05, 1), session_id: Some(id(0x06, 1)), at: at(5) },
        ),
        sample(
            14,
            "gateway",
            false,
            PasswordRemoved { user_id: id(0x05, 1), session_id: Some(id(0x06, 1)), at: at(6) },
        ),
        sample(
            15,
            "gateway",
            false,
            PhoneLocked {
                subject: "0123abcd".to_owned(),
                user_id: Some(id(0x05, 1)),
                kind: "code".to_owned(),
                failures: 90,
                locked_at: at(6),
                until: Some(at(86_406)),
            },
        ),
        sample(
            16,
            "gateway",
            false,
            PhoneUnlocked {
                subject: "0123abcd".to_owned(),
                user_id: Some(id(0x05, 1)),
                kind: "password".to_owned(),
                reason: "known_device".to_owned(),
                unlocked_at: at(7),
            },
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(kind: &str) -> Vec<u8> {
    let path = folder().join(format!("{kind}.json"));
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("JSON is UTF-8")
}

/// The same document with one member renamed, for each member at any depth.
fn renamed(document: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Value::Object(members) = document {
        for (name, value) in members {
            let mut other = members.clone();
            other.remove(name);
            other.insert(format!("{name}_"), value.clone());
            found.push((name.clone(), Value::Object(other)));
            for (inner, changed) in renamed(value) {
                let mut other = members.clone();
                other.insert(name.clone(), changed);
                found.push((format!("{name}.{inner}"), Value::Object(other)));
            }
        }
    }
    found
}

#[test]
fn events_are_encoded_as_they_are_on_file() {
    for sample in samples() {
        let golden = golden(sample.kind);
        assert_eq!(text(&sample.written), text(&golden), "{}", sample.kind);
        assert!(golden.len() <= MAX_BYTES);
    }
}

#[test]
fn events_on_file_decode_and_encode_to_the_same_bytes() {
    for sample in samples() {
        for kind in [sample.kind].into_iter().chain(sample.former) {
            let golden = golden(kind);
            assert_eq!(text(&(sample.again)(&golden).unwrap()), text(&golden), "{kind}");
        }
    }
}

#[test]
fn every_file_belongs_to_an_event_and_every_event_has_a_file() {
    let on_file: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let samples = samples();
    let kinds = samples.iter().flat_map(|sample| [sample.kind].into_iter().chain(sample.former));
    let events = kinds.map(|kind| format!("{kind}.json")).collect();
    assert_eq!(on_file, events);
}

#[test]
fn a_renamed_field_is_noticed() {
    for sample in samples() {
        let document: Value = serde_json::from_slice(&golden(sample.kind)).unwrap();
        let mut tried = 0;
        for (name, other) in renamed(&document) {
            // The provider's own fields are passed through under the provider's names; they are not part of our
            // contract.
            if name.starts_with("data.fields.") {
                continue;
            }
            let bytes = serde_json::to_vec(&other).unwrap();
            let same = (sample.again)(&bytes)
                .ok()
                .map(|again| serde_json::from_slice::<Value>(&again).unwrap() == other);
            assert_ne!(same, Some(true), "{}: {name} can be renamed unnoticed", sample.kind);
            tried += 1;
        }
        assert!(tried >= 8, "{}: only {tried} fields", sample.kind);
    }
}

#[test]
fn p11_a_listed_status_that_cannot_be_read_takes_no_other_with_it() {
    let document: Value = serde_json::from_slice(&golden(SmsStatuses::TYPE)).unwrap();
    let listed = |document: &Value| {
        let bytes = serde_json::to_vec(document).unwrap();
        Envelope::<SmsStatuses>::decode(&bytes).unwrap().data.statuses
    };
    let both = listed(&document);
    assert!(both.iter().all(|one| matches!(one, ListedStatus::Read(_))));
    let mut tried = 0;
    for (name, other) in renamed(&document["data"]["statuses"][0]) {
        let mut document = document.clone();
        document["data"]["statuses"][0] = other;
        let found = listed(&document);
        assert_ne!(found[0], both[0], "{name} can be renamed unnoticed");
        assert_eq!(found[1], both[1]);
        tried += 1;
    }
    assert_eq!(tried, 7);
    for broken in [json!(null), json!([]), json!({"status": "of tomorrow"}), json!(7)] {
        let mut document = document.clone();
        document["data"]["statuses"][0] = broken.clone();
        assert_eq!(listed(&document), [ListedStatus::Unreadable(broken), both[1].clone()]);
    }
    // A member that comes twice is read once and for all: written back, the status is the same.
    let twice = text(&golden(SmsStatuses::TYPE)).replacen(
        r#""status":"#,
        r#""status":"sending","status":"#,
        1,
    );
    let read = Envelope::<SmsStatuses>::decode(twice.as_bytes()).unwrap();
    let again = Envelope::<SmsStatuses>::decode(&read.encode().unwrap()).unwrap();
    assert_eq!(again.data.statuses, read.data.statuses);
    let mut none = document.clone();
    none["data"]["statuses"] = json!([]);
    assert_eq!(listed(&none), []);
}

#[test]
fn as_many_statuses_as_one_event_is_given_fit_into_it() {
    let of_twilio =
        SmsStatuses::of(std::iter::repeat_n(sms_statuses(), MOST_STATUSES).map(|two| {
            let ListedStatus::Read(status) = two.statuses[0].clone() else { panic!("unreadable") };
            SmsStatus { status: Status::Delivered, ..status }
        }));
    let envelope = Envelope::new(&Clock::system(), "sms-worker", None, of_twilio);
    assert!(envelope.encode().is_ok());
}

#[test]
fn a_field_of_a_newer_version_is_ignored() {
    for sample in samples() {
        let golden = golden(sample.kind);
        let mut document: Value = serde_json::from_slice(&golden).unwrap();
        document["data"]["of_tomorrow"] = 1.into();
        document["extension"] = "x".into();
        let bytes = serde_json::to_vec(&document).unwrap();
        assert_eq!(text(&(sample.again)(&bytes).unwrap()), text(&golden));
    }
}

#[test]
fn another_version_is_distinguished_from_unreadable_bytes() {
    for sample in samples() {
        let golden = golden(sample.kind);
        let (family, _) = sample.kind.rsplit_once('.').expect("a version");
        let newer = text(&golden).replacen(sample.kind, &format!("{family}.v9"), 1);
        let refused = (sample.again)(newer.as_bytes()).unwrap_err();
        assert!(matches!(refused, DecodeError::UnknownVersion), "{}: {refused}", sample.kind);
        for broken in [&golden[..golden.len() / 2], b"", b"null", b"[]", b"{}"] {
            let refused = (sample.again)(broken).unwrap_err();
            assert!(matches!(refused, DecodeError::Unreadable(_)), "{}: {refused}", sample.kind);
        }
    }
}

const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";

fn keys_of(service: Service) -> Keys {
    Keys::from_bundle(&derive_bundle(SECRET, None, service).unwrap()).unwrap()
}

fn recipient() -> Recipient {
    Recipient { phone_number: "+989121234567".parse().unwrap(), user_id: None, profile: None }
}

fn message(request_id: Option<RequestId>) -> (SmsRequested, Text) {
    let requested = SmsRequested {
        message_id: id(0x03, 1),
        request_id,
        channel: Channel::Sms,
        country: "IR".to_owned(),
        not_after: at(300),
        requested_at: Some(at(0)),
        sealed: Sealed::none(),
    };
    let phone_number = "+989121234567".parse().unwrap();
    (requested, Text { phone_number, text: "123456".to_owned(), of_deleted: false })
}

/// The event with one member of its data changed or added, for each member but the sealed one.
fn tampered(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let others = [
        ("channel", json!("voice")),
        ("code_id", json!("019a0000-00ff-7000-8000-000000000002")),
        ("country", json!("US")),
        ("expires_at", json!(at(600))),
        ("locale", json!("en")),
        ("message_id", json!("019a0000-00ff-7000-8000-000000000003")),
        ("not_after", json!(at(600))),
        ("purpose", json!("phone_change")),
        ("request_id", json!("019a0000-00ff-7000-8000-000000000001")),
        ("requested_at", json!(at(1))),
        ("of_tomorrow", json!(1)),
    ];
    let has = |name: &str| name == "of_tomorrow" || document["data"].get(name).is_some();
    others
        .into_iter()
        .filter(|(name, _)| has(name))
        .map(|(name, value)| {
            let mut other = document.clone();
            other["data"][name] = value;
            (name.to_owned(), serde_json::to_vec(&other).unwrap())
        })
        .collect()
}

#[test]
fn f24_a_seal_covers_all_other_data_of_its_event() {
    let (keys, clock) = (Keys::from_secret(SECRET, None), Clock::system());
    let request = CodeRequest {
        sealed: Sealed::none(),
        ..code_request(Purpose::Login, Channel::Sms, Some("fa-IR"))
    };
    let sealed =
        Envelope::<OtpRequested>::sealing(&keys, &clock, "gateway", None, request, &recipient());
    let bytes = sealed.unwrap().encode().unwrap();
    let opened = |bytes: &[u8]| Envelope::<OtpRequested>::decode(bytes).unwrap().recipient(&keys);
    assert_eq!(opened(&bytes).unwrap().phone_number.expose(), "+989121234567");
    let changed = tampered(&bytes);
    assert_eq!(changed.len(), 9, "each member but the sealed one, and a new one");
    for (name, other) in changed {
        assert!(opened(&other).is_err(), "{name} was changed");
    }
    let other = text(&bytes).replace(OtpRequested::TYPE, UserSignedUp::TYPE);
    let moved = Envelope::<UserSignedUp>::decode(other.as_bytes()).unwrap();
    assert!(moved.recipient(&keys).is_err(), "it was moved to another type");
    let older = text(&bytes).replace(OtpRequested::TYPE, OtpRequested::FORMER.unwrap());
    assert!(opened(older.as_bytes()).is_err(), "its version was lowered");

    let (requested, body) = message(Some(id(0x01, 1)));
    let sealed =
        Envelope::<SmsRequested>::sealing(&keys, &clock, "otp-worker", None, requested, &body);
    let bytes = sealed.unwrap().encode().unwrap();
    let opened = |bytes: &[u8]| Envelope::<SmsRequested>::decode(bytes).unwrap().text(&keys);
    assert_eq!(opened(&bytes).unwrap().text, "123456");
    let changed = tampered(&bytes);
    assert_eq!(changed.len(), 7);
    for (name, other) in changed {
        assert!(opened(&other).is_err(), "{name} was changed");
    }
}

#[test]
fn f26_a_gateway_cannot_read_a_text_with_a_code_and_can_send_a_notice() {
    let clock = Clock::system();
    let [gateway, otp_worker, sms_worker] =
        [Service::Gateway, Service::OtpWorker, Service::SmsWorker].map(keys_of);
    let seal = |keys: &Keys, request| {
        let (requested, body) = message(request);
        Envelope::<SmsRequested>::sealing(keys, &clock, "x", None, requested, &body)
    };
    let code = seal(&otp_worker, Some(id(0x01, 1))).unwrap();
    assert!(code.text(&gateway).is_err(), "a text with a code");
    assert_eq!(code.text(&sms_worker).unwrap().text, "123456");
    assert!(seal(&gateway, Some(id(0x01, 1))).is_err(), "nor can it forge one");
    let notice = seal(&gateway, None).unwrap();
    assert_eq!(notice.text(&sms_worker).unwrap().text, "123456");
    assert!(notice.text(&otp_worker).is_err());
}

/// What a service of the release before has published is still in the queues when this one starts.
#[test]
fn events_of_the_former_version_are_still_opened() {
    let keys = Keys::from_secret(SECRET, None);
    let event: EventId = id(0xe0, 1);
    let (request, until) = (id::<RequestId>(0x01, 1).to_string(), at(300).to_string());
    let bound = ["otp.requested.v1", &event.to_string(), &request, &until];
    let sealed = keys.event.seal(&recipient(), &bound).unwrap();
    let request =
        CodeRequest { sealed, ..code_request(Purpose::Login, Channel::Sms, Some("fa-IR")) };
    let mut envelope = Envelope::with_id(event, at(1), "gateway", None, OtpRequested(request));
    envelope.kind = "otp.requested.v1".to_owned();
    let read = Envelope::<OtpRequested>::decode(&envelope.encode().unwrap()).unwrap();
    assert_eq!(read.recipient(&keys).unwrap().phone_number.expose(), "+989121234567");

    let (mut requested, body) = message(None);
    let message = requested.message_id.to_string();
    let bound = ["sms.requested.v1", &event.to_string(), &message, "", &until];
    requested.sealed = keys.event.seal(&body, &bound).unwrap();
    let mut envelope = Envelope::with_id(event, at(1), "gateway", None, requested);
    envelope.kind = "sms.requested.v1".to_owned();
    let read = Envelope::<SmsRequested>::decode(&envelope.encode().unwrap()).unwrap();
    assert_eq!(read.text(&keys).unwrap().text, "123456");
}

#[test]
fn p10_no_event_has_a_member_that_could_hold_a_phone_or_a_code() {
    for sample in samples() {
        let document: Value = serde_json::from_slice(&golden(sample.kind)).unwrap();
        // `data.phones` is a count.
        let members = renamed(&document).into_iter().map(|(name, _)| name);
        for name in
            members.filter(|name| name != "data.phones" || !document["data"]["phones"].is_u64())
        {
            for secret in ["phone", "text", "otp", "token", "name", "password"] {
                assert!(!name.contains(secret), "{}: {name}", sample.kind);
            }
        }
    }
}

#[test]
fn an_event_encoded_as_a_step_of_its_trace_differs_in_nothing_else() {
    let (clock, old) = (Clock::manual(), TRACE);
    let step = TraceContext::from_header(old).unwrap().child();
    let data = SmsStatuses::of([]);
    let event = Envelope::new(&clock, "test", Some(old.to_owned()), data);
    let (own, as_step) = (event.encode().unwrap(), event.encode_as(&step).unwrap());
    assert_eq!(text(&as_step), text(&own).replace(old, &step.to_header()));
    assert!(text(&own).contains(old));
}
