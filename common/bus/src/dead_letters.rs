//! Dead letters as an operator sees them, without their sealed parts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;

use domain::timestamp::Timestamp;

/// A dead-lettered message, without its body.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    pub id: String,
    /// The type it was published with.
    pub kind: String,
    /// Why it was dead-lettered: `failed`, `panicked`, `timed_out`, `crash_loop`, or the handler's own reason.
    pub reason: String,
    /// Failures counted so far.
    #[serde(rename = "tries")]
    pub attempts: u32,
    /// When a worker first saw it.
    pub first_at: Option<Timestamp>,
    pub dead_at: Option<Timestamp>,
    /// Size of its body in bytes.
    pub bytes: usize,
}

/// A dead letter with the details that may be shown.
#[derive(Clone, Debug, Serialize)]
pub struct DeadDetail {
    #[serde(flatten)]
    pub letter: DeadLetter,
    pub headers: BTreeMap<String, String>,
    /// The envelope with every sealed part replaced by the word `sealed`; `null` when it cannot be read.
    pub body: Value,
}

/// Hears of each dead letter that was replayed or dropped, so that what was done is known however the act ends, and says
/// whether to go on. It must not use the bus.
pub type OnEach<'a> = &'a (dyn Fn(&DeadLetter) -> ControlFlow<()> + Sync);

/// Which dead letters a command applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that are in the queue when the command starts.
    All,
    One(String),
    /// All that are there for this reason.
    Reason(String),
}

impl Selection {
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        match self {
            Self::All => true,
            Self::One(id) => *id == letter.id,
            Self::Reason(reason) => *reason == letter.reason,
        }
    }
}

/// A larger body is not shown: it is no event of ours.
const LONGEST: usize = 64 * 1024;

/// Returns the body without its sealed parts. An unreadable body is not shown: it may hold anything.
pub(super) fn redacted(bytes: &[u8]) -> Value {
    if bytes.len() > LONGEST {
        return Value::Null;
    }
    let mut body = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    redact(&mut body);
    body
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "sealed" {
                    *member = Value::from("sealed");
                } else {
                    redact(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_shown_dead_letter_has_no_sealed_part() {
        let body = br#"{"type":"x","data":{"country":"IR","sealed":"k1.SECRET","more":[{"sealed":"SECRET"}]}}"#;
        let shown = redacted(body).to_string();
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains(r#""country":"IR""#), "{shown}");
        assert_eq!(redacted(b"+98912 is not JSON"), Value::Null);
    }
}
