//! The budgets by which a request passes limits that others used up: the known device's, and for the nets that count many
//! phones also the proven phone's (contract, rulings 36 and 39).

use super::{DAY, State, Window};
use crate::types::Admit;
use crate::{DEVICE_PASSES_A_PHONE_DAY, PASSES_A_DAY, PROVEN_EPOCH_MS};
use domain::keys::PhoneKey;
use domain::vocabulary::Limit;

/// Which budgets a request used. It costs a budget once, whatever it passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub device: bool,
    pub phone: bool,
}

/// Which budgets a request may use, and which it used.
pub(super) struct Passes {
    pub has_device: bool,
    has_phone: bool,
    pub used: Passed,
}

impl Passes {
    pub fn by_device(&mut self) -> bool {
        self.used.device |= self.has_device;
        self.used.device
    }

    pub fn by_trust(&mut self) -> bool {
        if self.by_device() {
            return true;
        }
        self.used.phone |= self.has_phone;
        self.used.phone
    }
}

impl State {
    pub(super) fn passes(&self, code_request: &Admit<'_>, now: i64) -> Passes {
        let left = |key: String, most: u64| self.budget_left(key, most, now);
        let phone = code_request.phone;
        Passes {
            has_device: device_budget(code_request).is_some_and(|key| left(key, PASSES_A_DAY))
                && left(devices_budget(phone), DEVICE_PASSES_A_PHONE_DAY),
            has_phone: code_request.proven_passes && proven_budget_left(self, phone, now),
            used: Passed::default(),
        }
    }

    fn budget_left(&self, key: String, most: u64, now: i64) -> bool {
        let window = self.windows.get(&(Limit::PhoneDay, key));
        window.is_none_or(|window| window.start + DAY <= now || window.sends < most)
    }

    /// Counts the budgets that an admitted request used.
    pub(super) fn count_passed(&mut self, code_request: &Admit<'_>, passed: Passed, now: i64) {
        for key in budgets(code_request, passed) {
            let window = self.windows.entry((Limit::PhoneDay, key)).or_default();
            if window.start + DAY <= now {
                *window = Window { start: now, sends: 0 };
            }
            window.sends += 1;
        }
        if let Some(user) = code_request.known_device {
            self.device_asked.insert((code_request.phone.clone(), user), now);
        }
    }

    /// Takes back what [`State::count_passed`] counted.
    pub(super) fn uncount_passed(&mut self, code_request: &Admit<'_>, passed: Passed) {
        for key in budgets(code_request, passed) {
            if let Some(window) = self.windows.get_mut(&(Limit::PhoneDay, key)) {
                window.sends = window.sends.saturating_sub(1);
            }
        }
        if let Some(user) = code_request.known_device {
            self.device_asked.remove(&(code_request.phone.clone(), user));
        }
    }

    /// How long the known device waits for its own last request; without one, `None`.
    pub(super) fn device_wait(&self, code_request: &Admit<'_>, now: i64) -> Option<i64> {
        let key = (code_request.phone.clone(), code_request.known_device?);
        let asked = self.device_asked.get(&key)?;
        Some(asked + code_request.limits.resend_cooldown_secs * 1000 - now)
    }

    pub(super) fn prove(&mut self, phone: &PhoneKey, now: i64) {
        self.proven.insert(phone.clone(), now.div_euclid(PROVEN_EPOCH_MS));
    }
}

/// Whether the phone verified lately and has a budget left by which it passes the nets.
pub(super) fn proven_budget_left(state: &State, phone: &PhoneKey, now: i64) -> bool {
    state.proven.get(phone).is_some_and(|at| is_recent(*at, now))
        && state.budget_left(phone_budget(phone), PASSES_A_DAY, now)
}

/// Whether a verification in this span is remembered.
pub(super) fn is_recent(epoch: i64, now: i64) -> bool {
    epoch + 3 >= now.div_euclid(PROVEN_EPOCH_MS)
}

fn budgets(code_request: &Admit<'_>, passed: Passed) -> impl Iterator<Item = String> {
    let device = device_budget(code_request).filter(|_| passed.device);
    let phone = code_request.phone;
    let devices = passed.device.then(|| devices_budget(phone));
    device.into_iter().chain(devices).chain(passed.phone.then(|| phone_budget(phone)))
}

fn device_budget(code_request: &Admit<'_>) -> Option<String> {
    code_request.known_device.map(|user| format!("device {} {user}", code_request.phone))
}

/// What all known devices of a phone share: their accounts come and go.
fn devices_budget(phone: &PhoneKey) -> String {
    format!("devices {phone}")
}

fn phone_budget(phone: &PhoneKey) -> String {
    format!("proven {phone}")
}
