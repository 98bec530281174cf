//! Codes: issued, checked, closed, forgotten.

use super::{Code, Memory, State, UncodedAttempts, observation};
use crate::types::{
    Answered, CheckOutcome, Closing, Issue, Issued, Matched, Refund, Scope, Verify,
};
use crate::{Guard, secs_up};
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;
use guard::{Delta, Destination};

impl Memory {
    pub fn issue(&self, issue: &Issue<'_>) -> Issued {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let issued = state.issue(issue, now);
        let (with_code, without_code) = issue.raises();
        let raised = match &issued {
            Issued::Code(_) => Some(with_code),
            Issued::Nothing => without_code,
            Issued::Used | Issued::Superseded | Issued::Expired => None,
        };
        if let Some(raise) = raised {
            self.raise(&mut state, raise, now);
        }
        issued
    }

    pub fn verify(&self, check: &Verify<'_>) -> CheckOutcome {
        let now_ms = self.clock.now_ms();
        let now = Timestamp::from_ms(now_ms);
        let mut state = self.lock();
        if let Some(wait) = state.count_login(check.addresses, now_ms) {
            return CheckOutcome::Limited { retry_after: secs_up(wait) };
        }
        let slot = (check.phone.clone(), check.scope);
        if let Some(attempts_left) = state.foreign(&slot, check, now_ms) {
            return CheckOutcome::Foreign { now, attempts_left };
        }
        if let Some(code) = state.codes.get_mut(&slot).filter(|code| code.is_live(now_ms)) {
            let expires_at = Timestamp::from_ms(code.expires);
            let tries = code.tries_of(check.device);
            if *tries >= check.attempts {
                return CheckOutcome::Exhausted { code: Some(code.id), now, until: expires_at };
            }
            *tries += 1;
            let attempts_left = check.attempts - *tries;
            if code.digest.as_deref() == Some(check.digest) {
                code.right += 1;
                return CheckOutcome::Matched(Matched {
                    code_id: code.id,
                    now,
                    expires_at,
                    attempts_left,
                    code_requests: code.requests.clone(),
                    channel: code.channel,
                });
            }
            return CheckOutcome::Wrong { code: Some((code.id, expires_at)), now, attempts_left };
        }
        let uncoded =
            state.uncoded.entry(slot).or_insert(UncodedAttempts { attempts: 0, until: 0 });
        if uncoded.until <= now_ms {
            *uncoded = UncodedAttempts { attempts: 0, until: now_ms + check.ttl_ms };
        }
        if uncoded.attempts >= check.attempts {
            return CheckOutcome::Exhausted {
                code: None,
                now,
                until: Timestamp::from_ms(uncoded.until),
            };
        }
        uncoded.attempts += 1;
        CheckOutcome::Wrong { code: None, now, attempts_left: check.attempts - uncoded.attempts }
    }

    pub fn refund(&self, phone: &PhoneKey, scope: Scope, refund: Refund, device: Option<&str>) {
        let mut state = self.lock();
        let slot = (phone.clone(), scope);
        match refund {
            Refund::CodeCheck(id) | Refund::Unused(id) => {
                if let Some(code) = state.codes.get_mut(&slot).filter(|code| code.id == id) {
                    let tries = code.counted_tries(device);
                    *tries = tries.saturating_sub(1);
                    let unused = matches!(refund, Refund::Unused(_));
                    code.right = code.right.saturating_sub(u32::from(unused));
                }
            }
            Refund::NoCode => {
                if let Some(uncoded) = state.uncoded.get_mut(&slot) {
                    uncoded.attempts = uncoded.attempts.saturating_sub(1);
                }
            }
        }
    }

    pub fn mark_exhausted(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        id: CodeId,
        attempts: u32,
        device: Option<&str>,
    ) {
        let mut state = self.lock();
        if let Some(code) =
            state.codes.get_mut(&(phone.clone(), scope)).filter(|code| code.id == id)
        {
            let is_apart = code.is_counted_apart(device);
            let tries = code.counted_tries(device);
            *tries = attempts.max(*tries);
            if !is_apart {
                code.right = 0;
            }
        }
    }

    pub fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        id: CodeId,
        closing: Closing<'_>,
        destination: Destination<'_>,
        guard: &Guard,
    ) {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        if closing.proves_phone() {
            state.prove(phone, now);
        }
        if let Some(answered) = closing.verified() {
            state.forgive(phone, answered);
            if state.advance_status(answered.request, Status::Verified, None, now) {
                self.watchers.wake(answered.request);
            }
        }
        let Some(code) = state.codes.get_mut(&(phone.clone(), scope)).filter(|code| code.id == id)
        else {
            return;
        };
        if code.used {
            return;
        }
        code.used = true;
        code.digest = None;
        code.sealed = None;
        let proves = code.guard.take();
        // A success was counted where `verify` counted it.
        let successes =
            if code.is_counted_apart(closing.device()) { 0 } else { closing.successes() };
        let (wrong, until) = (code.tries.saturating_sub(successes), code.expires);
        let code_requests = std::mem::take(&mut code.requests);
        // Whoever names one of them sees attempts counted as before, until the expiry.
        code.former_requests = code_requests.iter().map(|(request, _)| *request).collect();
        let uncoded = state
            .uncoded
            .entry((phone.clone(), scope))
            .or_insert(UncodedAttempts { attempts: 0, until });
        if uncoded.until <= until {
            // A stranger's count of attempts continues, so it does not reveal that the code was used.
            *uncoded = UncodedAttempts { attempts: wrong, until };
        }
        state.cancel_pending(code_requests);
        if let Some(proves) = proves {
            let mut nets = state.nets(destination);
            let changes = nets.verify(&guard.rule, proves.prefix, proves.country, now);
            let added = Delta { verified: 1, ..Delta::default() };
            guard.findings.note(destination, observation(&nets, changes, added, now));
        }
    }

    pub fn forget(&self, phone: &PhoneKey, user: UserId) {
        let mut state = self.lock();
        state.changes.remove(&user);
        let slot = (phone.clone(), Scope::Login);
        if let Some(code) = state.codes.remove(&slot) {
            state.cancel_pending(code.requests);
        }
        state.uncoded.remove(&slot);
        state.idempotency.retain(|(of, ..), _| of != phone);
        state.texts.remove(phone);
        state.proven.remove(phone);
    }
}

impl State {
    /// Puts a code into the request's slot, or finds the one that is there.
    fn issue(&mut self, issue: &Issue<'_>, now: i64) -> Issued {
        if now >= issue.expires_at.ms() {
            return Issued::Expired;
        }
        let fresh = || Code::at(issue.code_id, issue.expires_at.ms());
        let code = self.codes.entry((issue.phone.clone(), issue.scope)).or_insert_with(fresh);
        if code.id != issue.code_id {
            // The ids alone do not decide: gateways create them by clocks that may differ by more than a code's
            // lifetime.
            if (code.expires, code.id) > (issue.expires_at.ms(), issue.code_id) {
                return Issued::Superseded;
            }
            *code = fresh();
        }
        if code.used {
            return Issued::Used;
        }
        match code.requests.iter_mut().find(|(request, _)| *request == issue.request_id) {
            Some((_, note)) => *note = issue.note.clone(),
            None => code.requests.push((issue.request_id, issue.note.clone())),
        }
        code.channel = issue.note.channel;
        if let Some(sealed) = &code.sealed {
            return Issued::Code(sealed.clone());
        }
        let Some(new) = issue.code else { return Issued::Nothing };
        code.digest = Some(new.digest.to_owned());
        code.sealed = Some(new.sealed.to_owned());
        Issued::Code(new.sealed.to_owned())
    }

    /// Forgives whoever signed in what it asked before. A request that was not named may be a stranger's.
    fn forgive(&mut self, phone: &PhoneKey, answered: Answered<'_>) {
        let Some(request) = self.requests.get(&answered.request) else { return };
        let Some(cool) = self.cools.get(phone) else { return };
        let of_named = answered.named.then_some(&request.asker);
        for asker in answered.askers.iter().chain(of_named).filter(|asker| !asker.is_empty()) {
            let counted = (cool.unanswered, cool.since);
            self.forgiven.insert((phone.clone(), asker.clone()), counted);
        }
    }

    /// The attempts left at a check that names a request of another phone or scope, or of none.
    fn foreign(&self, slot: &(PhoneKey, Scope), check: &Verify<'_>, now: i64) -> Option<u32> {
        let named = check.request_id?;
        let code = self.codes.get(slot);
        if code.is_some_and(|code| code.is_asked_by(named, now)) {
            return None;
        }
        let uncoded = self.uncoded.get(slot).filter(|uncoded| uncoded.until > now);
        let counted = match code.filter(|code| code.is_live(now)) {
            Some(code) => code.own_tries(check.device).unwrap_or(code.tries),
            None => uncoded.map_or(0, |uncoded| uncoded.attempts),
        };
        Some(check.attempts.saturating_sub(counted))
    }
}
