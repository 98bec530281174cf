//! Twilio's answers, read leniently.

use domain::twilio_sid::is_message_sid;
use serde::Deserialize;
use serde_json::Value;

use super::super::{LookUp, Outcome, codes};

/// Twilio's codes have five digits; phone numbers have seven or more.
const CODE_MAX: u32 = 999_999;

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

    fn sid(&self) -> Option<&str> {
        // The SID goes into paths, to tables and to the broker: nothing else may.
        self.sid.as_str().filter(|sid| is_message_sid(sid))
    }

    fn segments(&self) -> Option<u32> {
        number(&self.num_segments).filter(|segments| *segments > 0)
    }

    pub(super) fn found(&self) -> Option<LookUp> {
        let code = number(&self.error_code).filter(|code| *code <= CODE_MAX);
        let (status, reason) = codes::status(self.status.as_str()?, code)?;
        let price = self.price.as_str().filter(|price| is_amount(price)).map(|price| {
            let unit = self.price_unit.as_str().filter(|unit| is_currency(unit));
            format!("{price} {}", unit.unwrap_or_default()).trim_end().to_owned()
        });
        Some(LookUp { status, reason, provider_code: code.map(|code| code.to_string()), price })
    }
}

/// Whether it is the price of one text, such as `-0.0075`: too few digits before and after the point for a phone number.
fn is_amount(text: &str) -> bool {
    let amount = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let fits = |digits: &str, most: usize| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    fits(whole, 3) && fits(part, 6)
}

/// Whether it has the form of a currency (ISO 4217).
fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic())
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
            let sid = answer.sid().map(str::to_owned);
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

    const SID: &str = "SM0123456789abcdef0123456789abcdef";

    #[test]
    fn malformed_answers_are_read_leniently() {
        let accepted = |id: Option<&str>, segments| Outcome::Accepted {
            provider_message_id: id.map(str::to_owned),
            segments,
        };
        for (status, body, wanted) in [
            (
                201,
                r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","num_segments":"2"}"#,
                accepted(Some(SID), Some(2)),
            ),
            (
                201,
                r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"accepted","num_segments":"0","price_unit":null}"#,
                accepted(Some(SID), None),
            ),
            (
                201,
                r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"a new word","num_segments":1}"#,
                accepted(Some(SID), Some(1)),
            ),
            (200, r#"{"sid":"SM0123456789abcdef0123456789abcdef"}"#, accepted(Some(SID), None)),
            (201, r#"{"status":"queued"}"#, accepted(None, None)),
            (201, r#"{"sid":"SM0123456789abcdef0123456789abcdef","sta"#, accepted(None, None)),
            (201, r#"{"sid":"../../etc"}"#, accepted(None, None)),
            (201, r#"{"sid":7,"status":[]}"#, accepted(None, None)),
            (201, r#"{"sid":"14158307140x"}"#, accepted(None, None)),
            (200, "OK", Outcome::Unknown("a success without an id")),
            (200, "", Outcome::Unknown("a success without an id")),
            (503, "<html>", Outcome::Unknown("server error")),
        ] {
            assert_eq!(outcome(status, &Answer::read(body.as_bytes())), wanted, "{status} {body}");
        }
    }
    #[test]
    fn p10_a_look_up_tells_no_number() {
        let found = |body: &str| Answer::read(body.as_bytes()).found().unwrap();
        let known = found(
            r#"{"status":"failed","error_code":30003,"price":"-0.00750","price_unit":"USD"}"#,
        );
        assert_eq!(known.provider_code.as_deref(), Some("30003"));
        assert_eq!(known.price.as_deref(), Some("-0.00750 USD"));
        for number in ["4155552671", "415.5552671", "+14155552671", "989123456789"] {
            let echo = found(&format!(
                r#"{{"status":"failed","error_code":"{number}","price":"{number}","price_unit":"USD"}}"#
            ));
            assert_eq!((echo.provider_code, echo.price), (None, None), "{number}");
            let echo =
                found(&format!(r#"{{"status":"failed","price":"0.1","price_unit":"{number}"}}"#));
            assert_eq!(echo.price.as_deref(), Some("0.1"), "{number}");
        }
    }
}
