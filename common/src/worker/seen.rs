//! What a worker shows of its queue (design, section 11).

use std::sync::Arc;

use metrics::{gauge, histogram};

use crate::bus::{Incoming, Queue};
use crate::clock::Clock;
use crate::event::{
    Event, OtpRequested, OtpTexted, SmsReceipt, SmsRequested, SmsStatus, UserSignedUp,
};

const OLDEST: &str = "latchkey_queue_oldest_seconds";
const LAG: &str = "latchkey_event_lag_seconds";
const DEAD: &str = "latchkey_dead_letters";

pub(super) struct Seen {
    queue: Queue,
    clock: Clock,
}

impl Seen {
    /// Registers the metrics, so that they are there before the first message is.
    pub(super) fn register(queue: Queue, clock: Clock) -> Self {
        let seen = Self { queue, clock };
        seen.look([], 0);
        seen
    }

    pub(super) fn taken(&self, message: &Incoming) {
        let Some(age_secs) = self.age_secs(message) else { return };
        if message.tries == 0 && !message.suspect {
            histogram!(LAG, "type" => label(&message.kind)).record(age_secs);
        }
    }

    pub(super) fn look<'a>(
        &self,
        in_hand: impl IntoIterator<Item = &'a Arc<Incoming>>,
        dead_letters: u32,
    ) {
        let ages = in_hand.into_iter().filter_map(|message| self.age_secs(message));
        gauge!(OLDEST, "queue" => self.queue.name()).set(ages.fold(0.0, f64::max));
        gauge!(DEAD, "queue" => self.queue.name()).set(f64::from(dead_letters));
    }

    fn age_secs(&self, message: &Incoming) -> Option<f64> {
        let age_ms = self.clock.now_ms().saturating_sub(message.event_time()?.ms()).max(0);
        Some(std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64())
    }
}

/// The types that we know; the rest is one, since whoever may publish can make up any number of names.
fn label(kind: &str) -> &'static str {
    let known = [
        OtpRequested::TYPE,
        UserSignedUp::TYPE,
        OtpTexted::TYPE,
        SmsRequested::TYPE,
        SmsReceipt::TYPE,
        SmsStatus::TYPE,
    ];
    known.into_iter().find(|known| *known == kind).unwrap_or("other")
}
