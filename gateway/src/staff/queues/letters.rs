//! A dead letter as staff see it, without its sealed parts.

use std::collections::BTreeMap;

use bus::{DeadDetail, Queue};
use domain::timestamp::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::openapi::words;

/// A text whose code has less time left to live is dropped and not sent (contract, P7).
const LEAST_LIFE_MS: i64 = 10_000;

/// A dead letter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Letter {
    #[schema(value_type = words::QueueName)]
    pub queue: &'static str,
    pub id: String,
    /// The type that it was published with.
    pub kind: String,
    /// Why it is here: `failed`, `panicked`, `timed_out`, `crash_loop`, or a handler's own reason.
    pub reason: String,
    /// Failures counted.
    pub attempts: u32,
    #[schema(value_type = Option<words::Time>, required = true)]
    pub first_at: Option<Timestamp>,
    #[schema(value_type = Option<words::Time>, required = true)]
    pub dead_at: Option<Timestamp>,
    /// The size of its body, in bytes.
    pub bytes: u64,
    /// The code request that it belongs to, as its envelope says.
    #[schema(required = true)]
    pub request_id: Option<Uuid>,
    /// When what it asks for is of no use any more.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub not_after: Option<Timestamp>,
    /// Whether a replay would be late: its code's life is over, or nearly, and nothing would be sent.
    pub is_late: bool,
}

/// A dead letter with all that may be shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "queue": "otp-worker",
    "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a12",
    "kind": "otp.requested.v9",
    "reason": "unknown_version",
    "attempts": 1,
    "first_at": "2026-11-30T10:15:00.000Z",
    "dead_at": "2026-11-30T10:15:00.120Z",
    "bytes": 412,
    "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "not_after": "2026-11-30T10:20:00.000Z",
    "is_late": true,
    "headers": { "x-latchkey-reason": "unknown_version" },
    "body": {
        "specversion": "1.0",
        "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a12",
        "type": "otp.requested.v9",
        "time": "2026-11-30T10:15:00.000Z",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "data": { "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11", "sealed": "sealed" },
    },
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
})))]
pub(crate) struct LetterDetail {
    #[serde(flatten)]
    pub letter: Letter,
    pub headers: BTreeMap<String, String>,
    /// The envelope, with the word `sealed` in the place of each sealed part; `null` if it cannot be read.
    #[schema(value_type = words::LetterBody)]
    pub body: Value,
    /// The trace that led to it (W3C).
    #[schema(required = true)]
    pub trace_id: Option<String>,
}

/// How many dead letters are there for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadReason)]
pub(crate) struct ReasonCount {
    pub reason: String,
    pub letters: u32,
    /// How many of them would be late.
    pub late: u32,
}

impl Letter {
    pub fn of(queue: Queue, detail: &DeadDetail, now: Timestamp) -> Self {
        let DeadDetail { letter, body, .. } = detail;
        let not_after = time(body, "not_after").or_else(|| time(body, "expires_at"));
        Self {
            queue: queue.as_str(),
            id: letter.id.clone(),
            kind: letter.kind.clone(),
            reason: letter.reason.clone(),
            attempts: letter.attempts,
            first_at: letter.first_at,
            dead_at: letter.dead_at,
            bytes: letter.bytes as u64,
            request_id: request_of(body),
            not_after,
            is_late: not_after.is_some_and(|end| end.ms() < now.ms() + LEAST_LIFE_MS),
        }
    }
}

impl LetterDetail {
    pub fn of(queue: Queue, detail: DeadDetail, now: Timestamp) -> Self {
        let letter = Letter::of(queue, &detail, now);
        let trace = detail.body["traceparent"].as_str().and_then(|trace| trace.split('-').nth(1));
        let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let trace_id = trace.filter(is_id).map(str::to_owned);
        Self { letter, headers: detail.headers, body: detail.body, trace_id }
    }
}

impl ReasonCount {
    /// The reasons of these letters, the most frequent first.
    pub fn of(letters: &[Letter]) -> Vec<Self> {
        let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for letter in letters {
            let count = counts.entry(&letter.reason).or_default();
            count.0 += 1;
            count.1 += u32::from(letter.is_late);
        }
        let count = |(reason, (letters, late)): (&str, _)| Self {
            reason: reason.to_owned(),
            letters,
            late,
        };
        let mut counts: Vec<_> = counts.into_iter().map(count).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.letters));
        counts
    }
}

fn time(body: &Value, name: &str) -> Option<Timestamp> {
    Timestamp::parse(body["data"][name].as_str()?)
}

/// An event of statuses has one for each of its texts: the first stands for it.
fn request_of(body: &Value) -> Option<Uuid> {
    let data = &body["data"];
    [&data["request_id"], &data["statuses"][0]["request_id"]]
        .into_iter()
        .find_map(|id| id.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use bus::DeadLetter;
    use serde_json::json;

    use super::*;

    fn detail(body: Value) -> DeadDetail {
        let letter = DeadLetter {
            id: "e1".to_owned(),
            kind: "sms.requested.v2".to_owned(),
            reason: "failed".to_owned(),
            attempts: 5,
            first_at: None,
            dead_at: None,
            bytes: 2,
        };
        DeadDetail { letter, headers: BTreeMap::new(), body }
    }

    #[test]
    fn a_letter_is_late_when_its_text_would_not_be_sent_any_more() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        for (name, secs, late) in [
            ("not_after", 11, false),
            ("not_after", 9, true),
            ("not_after", -60, true),
            ("expires_at", 300, false),
            ("expires_at", -1, true),
        ] {
            let body = json!({ "data": { name: now.plus_secs(secs).to_string() } });
            let letter = Letter::of(Queue::SmsWorker, &detail(body), now);
            assert_eq!(letter.is_late, late, "{name} {secs}");
        }
        for odd in [Value::Null, json!([]), json!({"data": {"not_after": 7, "request_id": "+98"}})]
        {
            let letter = Letter::of(Queue::SmsWorker, &detail(odd), now);
            assert!(!letter.is_late && letter.request_id.is_none());
        }
    }

    #[test]
    fn a_letter_names_its_request_and_its_trace() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        let id = "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54";
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for data in [json!({"request_id": id}), json!({"statuses": [{"request_id": id}]})] {
            let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
            let body = json!({ "data": data, "traceparent": traceparent });
            let detail = LetterDetail::of(Queue::OtpWorker, detail(body), now);
            assert_eq!(detail.letter.request_id.unwrap().to_string(), id);
            assert_eq!(detail.trace_id.as_deref(), Some(trace));
        }
    }
}
