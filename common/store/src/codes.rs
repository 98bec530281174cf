//! Code requests, and the codes that answer them.

use crate::Codes;
use crate::types::{Admission, Admit, CheckOutcome, Closing, Issue, Issued, Refund, Scope, Verify};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use guard::Destination;

impl Codes {
    /// Checks a code request against every limit. If none refuses, counts it, joins it to the live code of its phone
    /// and scope or opens a slot for a new one, and creates its status record. One round trip.
    pub async fn admit(&self, code_request: &Admit<'_>) -> Result<Admission, EngineError> {
        on_engine!(self.0, |engine| engine.admit(code_request, &self.0.guard))
    }

    /// Withdraws an admitted request and its counts: its event certainly never reached the broker. A request whose key
    /// was presented again meanwhile stays: the other call may have published it.
    pub async fn withdraw(&self, code_request: &Admit<'_>) -> Result<(), EngineError> {
        on_engine!(self.0, |engine| engine.withdraw(code_request, &self.0.guard))
    }

    /// Closes a used code: nothing is accepted by it any more (P5), its unsent messages become unwanted, and the
    /// request that it answered becomes verified. Further checks see as many attempts left as before, so they do not
    /// reveal that the code was used. Who signed in is forgiven what it asked before (see [`Answered`](crate::Answered)), the phone counts
    /// as proven, and the send as converted for the pumping guard's nets at `destination`.
    pub async fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        closing: Closing<'_>,
        destination: Destination<'_>,
    ) -> Result<(), EngineError> {
        let guard = &self.0.guard;
        on_engine!(self.0, |engine| engine.close(phone, scope, code, closing, destination, guard))
    }
}

operations! { Codes {
    /// Records that the event of a request with an `Idempotency-Key` was confirmed, so that a replay publishes nothing.
    fn published(code_request: &Admit<'_>) -> () => published;

    /// Puts a code into the request's slot. If the slot already holds a code, returns that one (P5).
    fn issue(issue: &Issue<'_>) -> Issued => issue;

    /// Counts an attempt, then compares it (P4). Counts the login against its address first. After a correct check, no
    /// request joins the code until the check is refunded as [`Refund::Unused`]: a new request opens a new code in its
    /// place, so that a client that requests again never gets a code already used by a login with an unknown outcome
    /// (W6).
    fn verify(check: &Verify<'_>) -> CheckOutcome => verify;

    /// Refunds a counted attempt that was not judged in the end (a wait was in force, or the database was away).
    /// `device` as in [`Verify`].
    fn refund(phone: &PhoneKey, scope: Scope, refund: Refund, device: Option<&str>) -> () => refund;

    /// Records that a code has no attempts left, for this known device or for everybody else: the database counts `attempts` of them, and a store that was restarted
    /// may have counted fewer. From then on checks and requests are answered as for any exhausted code (contract,
    /// ruling 28).
    fn mark_exhausted(phone: &PhoneKey, scope: Scope, code: CodeId, attempts: u32, device: Option<&str>) -> () => mark_exhausted;

    /// Forgets what an account leaves under its phone (its code, kept messages, first answers, that it verified) and the
    /// number that its user requested to change to; unsent messages for the code become unwanted. Two things stay: the
    /// times at which the phone was sent messages, because a deletion must not reset its limits, and another user's
    /// change to this number.
    fn forget(phone: &PhoneKey, user: UserId) -> () => forget;
} }
