//! What is kept of a phone, for staff.

use super::{DAY, HOUR, Memory};
use crate::phone_state::{CodeState, PhoneState};
use crate::types::Scope;
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;

impl Memory {
    pub fn phone_state(&self, phone: &PhoneKey, scope: Scope) -> PhoneState {
        let now = self.clock.now_ms();
        let state = self.lock();
        let slot = (phone.clone(), scope);
        let code = state.codes.get(&slot).map(|code| CodeState {
            id: code.id,
            expires_at: Timestamp::from_ms(code.expires),
            attempts: code.tries,
            used: code.used,
            issued: code.digest.is_some(),
        });
        let uncoded = state.uncoded.get(&slot).filter(|uncoded| uncoded.until > now);
        let cooldown = state.cools.get(phone).filter(|cooldown| cooldown.until > now);
        let sends = state.sends.get(&format!("phone {phone}"));
        let sent = |span| sends.map_or(0, |sends| sends.count(span, now));
        PhoneState {
            now: Timestamp::from_ms(now),
            code,
            uncoded: uncoded.map(|it| (it.attempts, Timestamp::from_ms(it.until))),
            cooldown_until: cooldown.map(|it| Timestamp::from_ms(it.until)),
            sends_hour: sent(HOUR),
            sends_day: sent(DAY),
        }
    }
}
