//! What reasons and the codes of providers mean, and what to do about them.

use domain::vocabulary::Reason;

/// A reason, after "because" or alone.
pub(crate) const fn of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NumberUnreachable => "the number cannot be reached",
        Reason::NumberNotMobile => "the number takes no texts",
        Reason::CarrierBlocked => "the carrier filtered it",
        Reason::RecipientOptedOut => "the recipient replied STOP",
        Reason::ProviderUnavailable => "the provider could not take it",
        Reason::Expired => "its code's life was over",
        Reason::Unknown => "for an unknown reason",
    }
}

/// Twilio's error codes (twilio.com/docs/api/errors): what happened, and what to do.
const TWILIO: [(&str, &str); 33] = [
    ("14107", "Too many messages between the same two numbers; Twilio takes them for a loop"),
    ("20003", "Twilio refuses the credentials. Check the account's SID, key and secret"),
    ("20404", "Twilio does not know the address. Check the account's SID and TWILIO_BASE_URL"),
    ("20429", "Too many calls at once; Latchkey waits and tries again"),
    ("21211", "Twilio does not know this number"),
    ("21408", "Twilio may not send to this country. Open geo permissions"),
    ("21606", "The sender is no number of this account, or cannot send texts"),
    ("21608", "A trial account sends to verified numbers only. Upgrade it or verify the number"),
    ("21610", "The recipient replied STOP. Only their START allows texts again"),
    ("21611", "The sender has too many messages waiting. Add senders"),
    ("21612", "No route from this sender to this number. Use a sender of that country"),
    ("21614", "The number is no mobile number"),
    ("21617", "The text is too long"),
    ("21635", "The number is a landline"),
    ("21730", "Twilio is under maintenance"),
    ("30001", "Twilio's queue overflowed. Add senders"),
    ("30002", "The Twilio account is suspended. Contact Twilio"),
    ("30003", "The phone is off, out of reach, or cannot receive texts"),
    ("30004", "The recipient or their carrier blocks messages from this sender"),
    ("30005", "The number is not in use any more"),
    ("30006", "The number is a landline, or its carrier cannot be reached"),
    ("30007", "The carrier filtered the text as spam. Register the sender"),
    ("30008", "The carrier gave no reason. Try again, or call instead"),
    ("30022", "The carrier's limit for this campaign is reached"),
    ("30034", "The sender is not registered for A2P 10DLC. Register it"),
    (
        "30038",
        "The carrier blocked the text: it looks like a one-time code from an unregistered sender",
    ),
    ("30410", "The carrier did not answer in time"),
    ("30450", "The text was held back for its content"),
    ("30500", "An error of Twilio's own. Try again"),
    ("30649", "The text was blocked for its content"),
    ("63017", "The account's limit of messages a second is reached"),
    ("63038", "The account's daily limit of messages is reached. Ask Twilio to raise it"),
    ("60410", "Twilio's fraud guard blocked the prefix"),
];

/// A provider's code with its meaning, as far as it is known.
pub(crate) fn of_code(provider: &str, code: &str) -> String {
    let known = TWILIO.iter().find(|(known, _)| *known == code && provider == "twilio");
    match (known, code.strip_prefix("http ")) {
        (Some((_, meaning)), _) => match meaning.split_once(". ") {
            Some((what, mend)) => format!("{what} ({code}). {mend}"),
            None => format!("{meaning} ({code})"),
        },
        (None, Some(status)) => format!("The provider answered with HTTP status {status}"),
        (None, None) => format!("The provider's code is {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_with_what_to_do() {
        assert_eq!(
            of_code("twilio", "21408"),
            "Twilio may not send to this country (21408). Open geo permissions"
        );
        assert_eq!(of_code("twilio", "21614"), "The number is no mobile number (21614)");
        assert_eq!(of_code("twilio", "http 502"), "The provider answered with HTTP status 502");
        assert_eq!(of_code("twilio", "12345"), "The provider's code is 12345");
        assert_eq!(of_code("http", "21408"), "The provider's code is 21408");
    }

    #[test]
    fn each_code_stands_once() {
        let mut codes: Vec<_> = TWILIO.iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TWILIO.len());
    }
}
