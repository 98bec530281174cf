//! What processes say of their load: with embedded engines there is one.

use uuid::Uuid;

use super::Memory;
use crate::loads::{Load, TOLD_FOR_MS};

impl Memory {
    pub fn tell_load(&self, process: Uuid, load: Load) {
        let now = self.clock.now_ms();
        self.lock().loads.insert((process, load.part()), (now, load));
    }

    pub fn loads(&self) -> Vec<Load> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        state.loads.retain(|_, (at, _)| (now - *at).abs() < TOLD_FOR_MS);
        state.loads.values().map(|(_, load)| *load).collect()
    }
}
