//! Codes: issued, checked, closed, forgotten.

use super::{Code, Memory, Void, secs_up};
use crate::Guard;
use crate::types::{Closing, Issue, Issued, Judged, Refund, Scope, Verify};
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;
use guard::{Added, Place, Shown, minute_of};

impl Memory {
    pub fn issue(&self, issue: &Issue<'_>) -> Issued {
        let now = self.clock.now_ms();
        if now >= issue.expires_at.ms() {
            return Issued::Expired;
        }
        let mut kept = self.lock();
        let fresh = || Code::at(issue.code_id, issue.expires_at.ms());
        let code = kept.codes.entry((issue.phone.clone(), issue.scope)).or_insert_with(fresh);
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
        match code.asks.iter_mut().find(|(request, _)| *request == issue.request_id) {
            Some((_, note)) => *note = issue.note.clone(),
            None => code.asks.push((issue.request_id, issue.note.clone())),
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

    pub fn verify(&self, guess: &Verify<'_>) -> Judged {
        let now_ms = self.clock.now_ms();
        let now = Timestamp::from_ms(now_ms);
        let mut kept = self.lock();
        if let Some(wait) = kept.count_login(guess.ip_key, now_ms, guess.logins_per_ip_minute) {
            return Judged::Limited { retry_after: secs_up(wait) };
        }
        let place = (guess.phone.clone(), guess.scope);
        if let Some(code) = kept.codes.get_mut(&place).filter(|code| code.is_live(now_ms)) {
            let expires_at = Timestamp::from_ms(code.expires);
            if code.tries >= guess.attempts {
                return Judged::Exhausted { code: Some(code.id), now, until: expires_at };
            }
            code.tries += 1;
            let attempts_left = guess.attempts - code.tries;
            let named = guess
                .request_id
                .is_none_or(|id| code.asks.iter().any(|(request, _)| *request == id));
            if named && code.digest.as_deref() == Some(guess.digest) {
                code.right += 1;
                return Judged::Right {
                    code_id: code.id,
                    now,
                    expires_at,
                    attempts_left,
                    asks: code.asks.clone(),
                    channel: code.channel,
                };
            }
            return Judged::Wrong { code: Some((code.id, expires_at)), now, attempts_left };
        }
        let void = kept.voids.entry(place).or_insert(Void { guesses: 0, until: 0 });
        if void.until <= now_ms {
            *void = Void { guesses: 0, until: now_ms + guess.ttl_ms };
        }
        if void.guesses >= guess.attempts {
            return Judged::Exhausted { code: None, now, until: Timestamp::from_ms(void.until) };
        }
        void.guesses += 1;
        Judged::Wrong { code: None, now, attempts_left: guess.attempts - void.guesses }
    }

    pub fn refund(&self, phone: &PhoneKey, scope: Scope, refund: Refund) {
        let mut kept = self.lock();
        let place = (phone.clone(), scope);
        match refund {
            Refund::Guess(id) | Refund::Unused(id) => {
                if let Some(code) = kept.codes.get_mut(&place).filter(|code| code.id == id) {
                    code.tries = code.tries.saturating_sub(1);
                    let unused = matches!(refund, Refund::Unused(_));
                    code.right = code.right.saturating_sub(u32::from(unused));
                }
            }
            Refund::NoCode => {
                if let Some(void) = kept.voids.get_mut(&place) {
                    void.guesses = void.guesses.saturating_sub(1);
                }
            }
        }
    }

    pub fn spend(&self, phone: &PhoneKey, scope: Scope, id: CodeId, attempts: u32) {
        let mut kept = self.lock();
        if let Some(code) = kept.codes.get_mut(&(phone.clone(), scope)).filter(|code| code.id == id)
        {
            code.tries = code.tries.max(attempts);
            code.right = 0;
        }
    }

    pub fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        id: CodeId,
        closing: Closing,
        place: Place<'_>,
        guard: &Guard,
    ) {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        if let Some(cool) = kept.cools.get_mut(phone) {
            cool.unanswered = 0;
        }
        if let Some(request) = closing.verified()
            && kept.raise(request, Status::Verified, None, now)
        {
            self.hub.wake(request);
        }
        let Some(code) = kept.codes.get_mut(&(phone.clone(), scope)).filter(|code| code.id == id)
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
        let (wrong, until) = (code.tries.saturating_sub(closing.successes()), code.expires);
        let asks = std::mem::take(&mut code.asks);
        let void = kept.voids.entry((phone.clone(), scope)).or_insert(Void { guesses: 0, until });
        if void.until <= until {
            // A stranger's count of attempts continues, so it does not reveal that the code was used.
            *void = Void { guesses: wrong, until };
        }
        kept.unwant(asks);
        if let Some(proves) = proves {
            let mut nets = kept.nets(place);
            let changes = nets.verify(&guard.rule, proves.prefix, proves.country, now);
            let added = Added { verified: 1, ..Added::default() };
            let (minute, at, country) =
                (minute_of(now), Timestamp::from_ms(now), nets.country.counts());
            guard
                .news
                .note(place, Shown { minute, at, country, would_refuse: false, changes, added });
        }
    }

    pub fn forget(&self, phone: &PhoneKey, user: UserId) {
        let mut kept = self.lock();
        kept.changes.remove(&user);
        let place = (phone.clone(), Scope::Login);
        if let Some(code) = kept.codes.remove(&place) {
            kept.unwant(code.asks);
        }
        kept.voids.remove(&place);
        kept.firsts.retain(|(of, ..), _| of != phone);
        kept.texts.remove(phone);
    }
}
