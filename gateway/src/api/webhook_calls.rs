//! The last calls to the provider's webhook, in the memory of this gateway: what staff look at when receipts do not come.
//!
//! Anybody can call the webhook. So calls with a right signature and those without are kept apart, and a flood of one pushes
//! none of the other out; and of a call without a right signature nothing is kept that its sender chose.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::ids::AttemptId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use domain::twilio_receipt::ReceiptWord;
use http::StatusCode;
use serde::Serialize;

use crate::http::client_ip::ClientIp;

/// How many calls of each kind are kept.
pub(crate) const KEPT: usize = 20;

string_enum! {
    /// What became of a call.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Verdict {
        Accepted = "accepted",
        NoSignature = "no_signature",
        WrongSignature = "wrong_signature",
        AnotherAccount = "another_account",
        NotOurs = "not_ours",
        NotConfigured = "not_configured",
        NotPublished = "not_published",
        BadBody = "bad_body",
    }
}

impl Verdict {
    /// Whether the signature was right: the provider's account made the call, whatever became of it.
    pub const fn is_signed(self) -> bool {
        match self {
            Self::Accepted | Self::AnotherAccount | Self::NotOurs | Self::NotPublished => true,
            Self::NoSignature | Self::WrongSignature | Self::NotConfigured | Self::BadBody => false,
        }
    }
}

/// What a call says, which counts only with a right signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// What became of the message, if it is one of the provider's known words.
    pub word: Option<ReceiptWord>,
    /// `None`: the path ends with no id.
    pub attempt_id: Option<AttemptId>,
}

/// A call that was answered. Of a fixed size: keeping one takes no memory that was not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// When it was answered.
    pub at: Timestamp,
    /// The caller's network.
    pub caller: ClientIp,
    pub verdict: Verdict,
    /// The status of the answer.
    pub status: StatusCode,
    /// Empty without a right signature.
    pub said: Said,
}

/// The last calls: 20 with a right signature and 20 without.
#[derive(Debug, Default)]
pub(crate) struct WebhookCalls {
    signed: Ring,
    unsigned: Ring,
}

impl WebhookCalls {
    /// Keeps a call, in the place of the oldest of its kind.
    pub fn add(&self, call: Call) {
        if call.verdict.is_signed() {
            self.signed.add(call);
        } else {
            self.unsigned.add(Call { said: Said::default(), ..call });
        }
    }

    /// Those with a right signature, newest first.
    pub fn signed(&self) -> Vec<Call> {
        self.signed.newest_first()
    }

    /// Those without, newest first.
    pub fn unsigned(&self) -> Vec<Call> {
        self.unsigned.newest_first()
    }
}

/// The last calls of one kind. Its memory is taken once.
#[derive(Debug)]
struct Ring(Mutex<VecDeque<Call>>);

impl Default for Ring {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(KEPT)))
    }
}

impl Ring {
    fn add(&self, call: Call) {
        let mut calls = self.lock();
        if calls.len() == KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    fn newest_first(&self) -> Vec<Call> {
        self.lock().iter().rev().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;

    fn call(verdict: Verdict, second: i64) -> Call {
        let said = Said {
            word: Some(ReceiptWord::Delivered),
            attempt_id: Some(AttemptId::new(&Clock::manual())),
        };
        Call {
            at: Timestamp::from_ms(second * 1000),
            caller: ClientIp::new("203.0.113.7".parse().unwrap()).network(),
            verdict,
            status: StatusCode::NO_CONTENT,
            said,
        }
    }

    #[test]
    fn a_flood_without_signatures_pushes_no_signed_call_out_and_takes_no_memory() {
        let calls = WebhookCalls::default();
        for second in 0..3 {
            calls.add(call(Verdict::Accepted, second));
        }
        let room = calls.unsigned.lock().capacity();
        for second in 3..10_000 {
            calls.add(call(Verdict::WrongSignature, second));
        }
        let at =
            |calls: Vec<Call>| calls.iter().map(|call| call.at.ms() / 1000).collect::<Vec<_>>();
        assert_eq!(at(calls.signed()), [2, 1, 0]);
        assert_eq!(at(calls.unsigned()), (9_980..10_000).rev().collect::<Vec<_>>());
        assert_eq!(calls.unsigned.lock().capacity(), room);
    }

    #[test]
    fn nothing_that_a_call_says_is_kept_unless_it_was_signed() {
        let calls = WebhookCalls::default();
        for verdict in Verdict::ALL {
            calls.add(call(verdict, 0));
        }
        assert_eq!((calls.signed().len(), calls.unsigned().len()), (4, 4));
        assert!(calls.signed().iter().all(|call| call.said.attempt_id.is_some()));
        assert!(calls.unsigned().iter().all(|call| call.said == Said::default()));
        for call in [calls.signed(), calls.unsigned()].concat() {
            assert_eq!(call.caller.ip().to_string(), "203.0.113.0");
        }
    }
}
