//! Twilio's answers, read leniently.

use serde::Deserialize;
use serde_json::Value;

use super::super::{LookUp, Outcome, codes};

/// The fields that we use. Each may be missing or have another type: a taken text stays taken.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    sid: Value,
    status: Value,
    num_segments: Value,
    code: Value,
    error_code: Value,
    price: Value,
    price_unit: Value,
}

impl Answer {
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn sid(&self) -> Option<String> {
        // The SID goes into paths, so accept only valid characters.
        let sid = self.sid.as_str()?;
        let fits = (4..=64).contains(&sid.len()) && sid.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| sid.to_owned())
    }

    fn segments(&self) -> Option<u32> {
        number(&self.num_segments).filter(|segments| *segments > 0)
    }

    pub(super) fn found(&self) -> Option<LookUp> {
        let code = number(&self.error_code);
        let (status, reason) = codes::status(self.status.as_str()?, code)?;
        let price = self.price.as_str().map(|price| {
            format!("{price} {}", self.price_unit.as_str().unwrap_or_default())
                .trim_end()
                .to_owned()
        });
        Some(LookUp { status, reason, provider_code: code.map(|code| code.to_string()), price })
    }
}

/// Reads a number, or a string that holds one.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| number.try_into().ok()),
    }
}

/// Maps an answer to the outcome for the text.
pub(super) fn outcome(status: u16, answer: &Answer) -> Outcome {
    match status {
        200..300 => {
            let sid = answer.sid();
            let error = number(&answer.error_code);
            match answer.status.as_str() {
                // The text was taken, but has already failed.
                Some("failed" | "undelivered" | "canceled") => codes::outcome(400, error),
                // 201 is Twilio's answer when it creates a text: it was taken, even if the rest of the answer was cut.
                // Any other success without an id is not from Twilio; an intermediary may have sent it.
                _ if sid.is_some() || status == 201 => {
                    Outcome::Accepted { provider_message_id: sid, segments: answer.segments() }
                }
                _ => Outcome::Unknown("a success without an id"),
            }
        }
        _ => codes::outcome(status, number(&answer.code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_answers_are_read_leniently() {
        let accepted = |id: Option<&str>, segments| Outcome::Accepted {
            provider_message_id: id.map(str::to_owned),
            segments,
        };
        for (status, body, wanted) in [
            (
                201,
                r#"{"sid":"SM01","status":"queued","num_segments":"2"}"#,
                accepted(Some("SM01"), Some(2)),
            ),
            (
                201,
                r#"{"sid":"SM01","status":"accepted","num_segments":"0","price_unit":null}"#,
                accepted(Some("SM01"), None),
            ),
            (
                201,
                r#"{"sid":"SM01","status":"a new word","num_segments":1}"#,
                accepted(Some("SM01"), Some(1)),
            ),
            (200, r#"{"sid":"SM01"}"#, accepted(Some("SM01"), None)),
            (201, r#"{"status":"queued"}"#, accepted(None, None)),
            (201, r#"{"sid":"SM01","sta"#, accepted(None, None)),
            (201, r#"{"sid":"../../etc"}"#, accepted(None, None)),
            (201, r#"{"sid":7,"status":[]}"#, accepted(None, None)),
            (200, "OK", Outcome::Unknown("a success without an id")),
            (200, "", Outcome::Unknown("a success without an id")),
            (503, "<html>", Outcome::Unknown("server error")),
        ] {
            assert_eq!(outcome(status, &Answer::read(body.as_bytes())), wanted, "{status} {body}");
        }
    }
}
