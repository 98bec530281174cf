//! What staff do to the nets of the pumping guard.

use super::Memory;
use guard::{Kind, State};

impl Memory {
    pub fn open_net(&self, kind: Kind, name: &str) -> bool {
        let mut state = self.lock();
        let nets = match kind {
            Kind::Prefix => &mut state.prefixes,
            Kind::Country => &mut state.countries,
        };
        let is_closed = nets.get(name).is_some_and(|net| net.state() != State::Open);
        if is_closed {
            nets.remove(name);
        }
        is_closed
    }
}
