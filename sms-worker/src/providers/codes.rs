//! Maps Twilio's error codes and states to ours.
//!
//! twilio.com/docs/api/errors; states: twilio.com/docs/messaging/guides/track-outbound-message-status and
//! twilio.com/docs/voice/api/call-resource. New codes appear without notice: an unlisted one is `unknown`.

use domain::twilio_receipt::ReceiptWord;
use domain::vocabulary::{Reason, Status};

use super::Outcome;

/// Maps an error code, from an answer or a receipt, to its public reason.
pub fn reason(code: u32) -> Reason {
    match code {
        21614 | 21635 | 30006 => Reason::NumberNotMobile,
        21211 | 21612 | 30003 | 30005 => Reason::NumberUnreachable,
        21610 => Reason::RecipientOptedOut,
        30004 | 30007 | 30038 | 30450 | 30649 => Reason::CarrierBlocked,
        20429 | 20003 | 30002 | 21408 | 21606 | 21608 | 21617 | 30022 | 30034 | 63038 | 21730 => {
            Reason::ProviderUnavailable
        }
        _ => Reason::Unknown,
    }
}

/// Classifies an error answer. Only a 5xx leaves open whether the text was taken.
pub fn outcome(http_status: u16, code: Option<u32>) -> Outcome {
    let provider_code =
        Some(code.map_or_else(|| format!("http {http_status}"), |code| code.to_string()));
    let until_ops = |whole_account| Outcome::RejectedUntilOps {
        provider_code: provider_code.clone(),
        whole_account,
    };
    match (http_status, code) {
        // Credentials, a suspended account, its daily cap (sent with a 429): every number fails alike.
        (..500, Some(20003 | 30002 | 63038)) => until_ops(true),
        // Requests refused because of too many calls "are never processed and are safe to retry" (support.twilio.com,
        // article 360044308153). Reply loops and the account's ceiling are limits too.
        (429, _) | (_, Some(20429 | 14107 | 63017)) => Outcome::Throttled { retry_after: None },
        // Maintenance; the sender's queue is over ten hours long or at its limit.
        (_, Some(21730 | 21611 | 30001)) => Outcome::Unavailable("the provider accepts no texts"),
        (500.., _) => Outcome::Unknown("server error"),
        // A wrong address, a redirect or a refusal without a code: an operator must act.
        (_, Some(20404)) | (..=399 | 401 | 403 | 404, None) => until_ops(true),
        // Specific to this region, sender, text or trial account: another number may work.
        (_, Some(21408 | 21606 | 21608 | 21617 | 30022 | 30034)) => until_ops(false),
        (_, Some(code @ (30004 | 30007 | 30038 | 30450 | 30649))) => {
            Outcome::Filtered { reason: reason(code), provider_code }
        }
        (_, code) => {
            Outcome::Rejected { reason: code.map_or(Reason::Unknown, reason), provider_code }
        }
    }
}

/// Maps a `MessageStatus` or `CallStatus` and its error code, if any. Returns `None` for an unlisted word.
pub fn status(word: &str, code: Option<u32>) -> Option<(Status, Option<Reason>)> {
    use ReceiptWord::{
        Accepted, Answered, Busy, Canceled, Completed, Delivered, Failed, InProgress, Initiated,
        NoAnswer, PartiallyDelivered, Queued, Read, Ringing, Scheduled, Sending, Sent, Undelivered,
    };
    let why = || Some(code.map_or(Reason::Unknown, reason));
    Some(match word.parse().ok()? {
        Accepted | Scheduled | Queued | Sending | Sent | Initiated | Ringing | InProgress
        | Answered => (Status::Sent, None),
        Delivered | Read | Completed | PartiallyDelivered => (Status::Delivered, None),
        Undelivered => (Status::Undelivered, why()),
        Failed | Canceled => (Status::Failed, why()),
        Busy | NoAnswer => (Status::Undelivered, Some(Reason::NumberUnreachable)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_code_maps_to_its_outcome() {
        let class = |http_status, code| match outcome(http_status, code) {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Throttled { .. } => "throttled",
            Outcome::Unavailable(_) => "unavailable",
            Outcome::Rejected { .. } => "rejected",
            Outcome::RejectedUntilOps { whole_account: true, .. } => "ops, all",
            Outcome::RejectedUntilOps { .. } => "ops, some",
            Outcome::Filtered { .. } => "filtered",
            Outcome::Unknown(_) => "unknown",
        };
        for (wanted, http_status, codes) in [
            ("throttled", 429, &[20429_u32, 99_999][..]),
            ("throttled", 400, &[14107, 63017]),
            ("unavailable", 400, &[21730, 21611, 30001]),
            ("unavailable", 503, &[21730]),
            ("unknown", 500, &[20500, 20503, 99_999]),
            ("rejected", 400, &[21211, 21612, 21614, 21635, 21610, 30003, 30005, 30006, 99_999]),
            ("ops, all", 401, &[20003]),
            ("ops, all", 403, &[30002, 63038]),
            ("ops, all", 429, &[63038, 20003, 30002]),
            ("unknown", 500, &[63038]),
            ("ops, some", 400, &[21408, 21606, 21608, 21617, 30022, 30034]),
            ("filtered", 400, &[30004, 30007, 30038, 30450, 30649]),
        ] {
            for code in codes {
                assert_eq!(class(http_status, Some(*code)), wanted, "{http_status} {code}");
            }
        }
        for (http_status, wanted) in [
            (429, "throttled"),
            (500, "unknown"),
            (503, "unknown"),
            (401, "ops, all"),
            (302, "ops, all"),
            (400, "rejected"),
            (422, "rejected"),
        ] {
            assert_eq!(class(http_status, None), wanted, "{http_status}");
        }
    }

    #[test]
    fn an_unlisted_code_is_unknown() {
        assert_eq!(
            status("undelivered", Some(30003)),
            Some((Status::Undelivered, Some(Reason::NumberUnreachable)))
        );
        assert_eq!(
            status("undelivered", Some(12_345)),
            Some((Status::Undelivered, Some(Reason::Unknown)))
        );
        assert_eq!(status("failed", None), Some((Status::Failed, Some(Reason::Unknown))));
        assert_eq!(
            status("no-answer", None),
            Some((Status::Undelivered, Some(Reason::NumberUnreachable)))
        );
        assert_eq!(status("completed", None), Some((Status::Delivered, None)));
        assert_eq!(status("teleported", None), None);
        // The contract lists no reason for these.
        for code in [30001, 21611, 14107, 63017, 30008, 30410, 30500] {
            let unknown = Some((Status::Undelivered, Some(Reason::Unknown)));
            assert_eq!(status("undelivered", Some(code)), unknown, "{code}");
        }
    }
}
