//! Checks what providers write into their ids and codes. These go to the ledger, to the broker and to logs, where no
//! code and no whole phone number may be (P10). A provider that builds its ids from the number does it by accident.

use domain::keys::Keys;

use super::{Attempt, Outcome, Provider, Reply};

/// The longest id that is kept: Twilio's have 34 characters, a UUID 36.
const ID_MAX: usize = 64;
const CODE_MAX: usize = 32;
/// No text has more: Twilio takes 1,600 characters, which are 24 segments. Fewer digits than any code has.
const SEGMENTS_MAX: u32 = 99;
/// A one-time code has as many digits at least.
const CODE_DIGITS: usize = 4;
/// What stands for a code that is not kept.
const HIDDEN: &str = "hidden";

/// Returns the reply with ids and codes that can be kept. An id that cannot is replaced by its HMAC, so that it still
/// tells one text from another; where it would be written into a URL it is left out.
pub(crate) fn checked(
    reply: Reply,
    keys: &Keys,
    provider: &Provider,
    attempt: &Attempt<'_>,
) -> Reply {
    let check = Check { keys, by_id: provider.is_called_by_id(), attempt };
    Reply { outcome: check.outcome(reply.outcome), in_use: reply.in_use }
}

struct Check<'a> {
    keys: &'a Keys,
    by_id: bool,
    attempt: &'a Attempt<'a>,
}

impl Check<'_> {
    fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Accepted { provider_message_id, segments } => Outcome::Accepted {
                provider_message_id: provider_message_id.and_then(|id| self.id(id)),
                segments: segments.filter(|segments| *segments <= SEGMENTS_MAX),
            },
            Outcome::Rejected { reason, provider_code } => {
                Outcome::Rejected { reason, provider_code: self.code(provider_code) }
            }
            Outcome::RejectedUntilOps { provider_code, whole_account } => {
                Outcome::RejectedUntilOps { provider_code: self.code(provider_code), whole_account }
            }
            Outcome::Filtered { reason, provider_code } => {
                Outcome::Filtered { reason, provider_code: self.code(provider_code) }
            }
            other @ (Outcome::Throttled { .. } | Outcome::Unavailable(_) | Outcome::Unknown(_)) => {
                other
            }
        }
    }

    fn id(&self, id: String) -> Option<String> {
        if self.by_id {
            // One of these ids holds six given digits by chance now and then, and then it tells nobody which they are.
            return Some(id)
                .filter(|id| !holds(id, &[self.attempt.to.national_number().to_owned()]));
        }
        let fits = (1..=ID_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if fits && !holds(&id, &self.secrets()) {
            return Some(id);
        }
        // Under a key: of a plain digest the number could be found by trying all numbers.
        Some(format!("{HIDDEN}-{}", self.keys.index("provider_message_id", &id)))
    }

    fn code(&self, code: Option<String>) -> Option<String> {
        code.map(|code| {
            let fits = (1..=CODE_MAX).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-".contains(&b));
            if fits && !holds(&code, &self.secrets()) { code } else { HIDDEN.to_owned() }
        })
    }

    /// The digits that nothing kept may hold.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = digits_in(self.attempt.text);
        secrets.push(self.attempt.to.national_number().to_owned());
        secrets
    }
}

/// Whether the digits of a text, whatever stands between them, hold one of these.
fn holds(text: &str, secrets: &[String]) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    secrets.iter().any(|secret| digits.contains(secret.as_str()))
}

/// Returns the runs of digits in a text that may be its code, also where a call says them one by one. sms-worker knows
/// no code, so it takes every run.
fn digits_in(text: &str) -> Vec<String> {
    let mut runs = Vec::new();
    let mut spelt = String::new();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    // The empty word ends what was spelt last.
    for word in words.chain([""]) {
        if word.len() == 1 && word.bytes().all(|b| b.is_ascii_digit()) {
            spelt.push_str(word);
            continue;
        }
        runs.push(std::mem::take(&mut spelt));
        runs.extend(word.split(|c: char| !c.is_ascii_digit()).map(str::to_owned));
    }
    runs.retain(|run| run.len() >= CODE_DIGITS);
    runs
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;
    use domain::ids::{AttemptId, MessageId};
    use domain::vocabulary::{Channel, Reason};

    use super::*;

    const TEXT: &str = "881950 is your Acme code. It is valid for 5 min.";

    /// Checks an outcome for a text to +14155552671.
    fn kept(by_id: bool, text: &str, outcome: Outcome) -> Outcome {
        let clock = Clock::manual();
        let to = "+14155552671".parse().unwrap();
        let attempt = Attempt {
            attempt_id: AttemptId::new(&clock),
            message_id: MessageId::new(&clock),
            request_id: None,
            channel: Channel::Sms,
            to: &to,
            text,
            language: None,
            not_after: clock.now(),
            now: clock.now(),
            status_callback: None,
            number: 1,
            trace: None,
        };
        let keys = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
        Check { keys: &keys, by_id, attempt: &attempt }.outcome(outcome)
    }

    fn id(by_id: bool, text: &str, id: &str) -> Option<String> {
        let accepted =
            Outcome::Accepted { provider_message_id: Some(id.to_owned()), segments: Some(1) };
        match kept(by_id, text, accepted) {
            Outcome::Accepted { provider_message_id, .. } => provider_message_id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn p10_an_id_that_holds_the_number_or_the_code_is_replaced() {
        for plain in ["x1", "0190a1b2-0000-7000-8000-000000000001", "job:7._-A", "415-555"] {
            assert_eq!(id(false, TEXT, plain).as_deref(), Some(plain));
        }
        let long = "x".repeat(65);
        for told in [
            "+14155552671",
            "14155552671",
            "4155552671-7",
            "1-415-555-2671",
            "sms.4155552671",
            "a881950b",
            "88-19-50",
            "+14155552671 881950 is your Acme code",
            "\u{1b}[31m\nEVIL\u{202e}",
            "a b",
            "é",
            &long,
        ] {
            let hidden = id(false, TEXT, told).unwrap();
            assert!(hidden.starts_with("hidden-") && hidden.len() == 39, "{hidden}");
            assert_eq!(id(false, TEXT, told), Some(hidden.clone()), "it is the same each time");
            assert_ne!(id(false, TEXT, &format!("{told}1")), Some(hidden), "and of one id");
        }
        let call = "Your code is: 8, 8, 1, 9, 5, 0. Once more: 8, 8, 1, 9, 5, 0.";
        assert!(id(false, call, "call-881950").unwrap().starts_with("hidden-"));
    }

    #[test]
    fn p10_an_id_that_becomes_part_of_a_url_is_kept_as_it_is_or_dropped() {
        let sid = "SM0123456789abcdef0123456789abcdef";
        assert_eq!(id(true, TEXT, sid).as_deref(), Some(sid));
        assert_eq!(id(true, TEXT, "SM0000000000000000000000000881950a").unwrap().len(), 34);
        assert_eq!(id(true, TEXT, "SM000000000000000000004155552671ab"), None);
    }

    #[test]
    fn p10_a_code_that_holds_the_number_or_the_code_is_hidden() {
        for (code, wanted) in [
            ("21211", "21211"),
            ("http 400", "http 400"),
            ("INVALID_NUMBER", "INVALID_NUMBER"),
            ("4155552671", "hidden"),
            ("+14155552671 881950", "hidden"),
            ("881950", "hidden"),
            ("a\nb", "hidden"),
            ("", "hidden"),
        ] {
            let provider_code = Some(code.to_owned());
            let wanted = Some(wanted.to_owned());
            let rejected =
                |provider_code| Outcome::Rejected { reason: Reason::Unknown, provider_code };
            assert_eq!(
                kept(false, TEXT, rejected(provider_code.clone())),
                rejected(wanted.clone())
            );
            let until_ops =
                |provider_code| Outcome::RejectedUntilOps { provider_code, whole_account: true };
            assert_eq!(kept(true, TEXT, until_ops(provider_code)), until_ops(wanted));
        }
    }

    #[test]
    fn p10_a_count_of_segments_is_no_code() {
        for (told, wanted) in [(Some(3), Some(3)), (Some(881_950), None), (None, None)] {
            let accepted = |segments| Outcome::Accepted { provider_message_id: None, segments };
            assert_eq!(kept(false, TEXT, accepted(told)), accepted(wanted));
        }
    }
}
