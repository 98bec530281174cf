//! The fields of Twilio's receipts that are passed on to the broker and the ledger, and what each of them may hold.
//!
//! Twilio signs a receipt, but what stands in it comes from operators too. A field that could hold a phone number or a
//! text is no field that we pass on (P10).

use crate::string_enum;
use crate::twilio_sid::{is_account_sid, is_message_sid};

/// Twilio's longest word is `partially_delivered`.
const WORD_MAX: usize = 32;
/// Twilio's codes have five digits; phone numbers have seven or more.
const CODE_MAX: usize = 6;

string_enum! {
    /// What a receipt says of a text (`MessageStatus`) or a call (`CallStatus`), in Twilio's words
    /// (twilio.com/docs/messaging/guides/track-outbound-message-status, twilio.com/docs/voice/api/call-resource).
    pub enum ReceiptWord {
        Accepted = "accepted",
        Scheduled = "scheduled",
        Queued = "queued",
        Sending = "sending",
        Sent = "sent",
        Delivered = "delivered",
        PartiallyDelivered = "partially_delivered",
        Read = "read",
        Undelivered = "undelivered",
        Failed = "failed",
        Canceled = "canceled",
        Initiated = "initiated",
        Ringing = "ringing",
        InProgress = "in-progress",
        Answered = "answered",
        Completed = "completed",
        Busy = "busy",
        NoAnswer = "no-answer",
    }
}

/// Whether a field is one of those that are passed on, and holds only what Twilio documents for it: states, the error,
/// the ids of the message and the account, the API's version and the carrier's time. Nothing else: new fields appear
/// without notice, and some hold phone numbers.
pub fn is_passed_on(name: &str, value: &str) -> bool {
    match name {
        "MessageStatus" | "SmsStatus" | "CallStatus" => is_word(value),
        "MessageSid" | "SmsSid" | "CallSid" => is_message_sid(value),
        "ErrorCode" => (1..=CODE_MAX).contains(&value.len()) && is_digits(value),
        "RawDlrDoneDate" => is_carrier_time(value),
        "AccountSid" => is_account_sid(value),
        "ApiVersion" => is_version(value),
        _ => false,
    }
}

fn is_word(value: &str) -> bool {
    (1..=WORD_MAX).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'_'))
}

/// `YYMMDDhhmm`, and `ss` after it from some carriers: ten digits can be a phone number, few of which are a time.
fn is_carrier_time(value: &str) -> bool {
    let most = [99, 12, 31, 23, 59, 59];
    let least = [0, 1, 1, 0, 0, 0];
    matches!(value.len(), 10 | 12)
        && is_digits(value)
        && value.as_bytes().chunks(2).zip(least).zip(most).all(|((pair, least), most)| {
            let number = (pair[0] - b'0') * 10 + (pair[1] - b'0');
            (least..=most).contains(&number)
        })
}

/// The date of an API, such as `2010-04-01`.
fn is_version(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let &[year, month, day] = parts.as_slice() else { return false };
    let in_range = |text: &str, most: u8| {
        text.len() == 2
            && is_digits(text)
            && text.parse().is_ok_and(|n: u8| (1..=most).contains(&n))
    };
    year.len() == 4
        && year.starts_with("20")
        && is_digits(year)
        && in_range(month, 12)
        && in_range(day, 31)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_twilio_documents_is_passed_on() {
        let (sid, account) = (format!("SM{DIGITS}"), format!("AC{DIGITS}"));
        for (name, value) in [
            ("MessageStatus", "partially_delivered"),
            ("SmsStatus", "sent"),
            ("CallStatus", "no-answer"),
            ("MessageSid", sid.as_str()),
            ("ErrorCode", "30003"),
            ("ErrorCode", "0"),
            ("RawDlrDoneDate", "2611291559"),
            ("RawDlrDoneDate", "261129155959"),
            ("AccountSid", account.as_str()),
            ("ApiVersion", "2010-04-01"),
        ] {
            assert!(is_passed_on(name, value), "{name} {value}");
        }
    }

    #[test]
    fn p10_no_field_of_a_receipt_can_hold_a_number_or_a_text() {
        let names = [
            "MessageStatus",
            "SmsStatus",
            "CallStatus",
            "MessageSid",
            "SmsSid",
            "CallSid",
            "ErrorCode",
            "RawDlrDoneDate",
            "AccountSid",
            "ApiVersion",
            "To",
            "Body",
        ];
        for name in names {
            for value in [
                "",
                "+14155552671",
                "14155552671",
                "4155552671",
                "5552671",
                "989123456789",
                "9123456789",
                "415-555-2671",
                "4155-55-26",
                "2010-55-26",
                "881950 is your code",
                "delivered +14155552671",
                "Sent",
                "\u{1b}[31m",
                "٣٠٠٠٣",
                "../../Accounts",
            ] {
                assert!(!is_passed_on(name, value), "{name} {value}");
            }
        }
        assert!(!is_passed_on("MessageStatus", &"a".repeat(33)));
        assert!(!is_passed_on("RawDlrDoneDate", "26112915591"), "eleven digits are no time");
    }
}
