//! Takes `sms.receipt`, records the text's state in the ledger and publishes `sms.status` if it changed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::clock::Clock;
use domain::event::SmsReceipt;
use domain::ids::AttemptId;
use domain::twilio_receipt::is_passed_on;
use ledger::{Applied, Ledger, Receipt};
use service::delivery::Connections;

use crate::announce::{Announcer, counted, delivered};
use crate::providers::codes;

/// Delay between the final state and the redaction; any sooner, the provider may still be processing the text.
const FORGET_AFTER_MS: i64 = 5_000;
/// Delay before the provider is queried: after a non-final receipt for the final state, and after a call's end for its
/// price.
const ASK_AFTER_MS: i64 = 120_000;

/// Processes receipts. The gateway has verified their signatures.
pub struct TakeReceipt {
    ledger: Ledger,
    announcer: Announcer,
    clock: Clock,
    /// Attempts whose status the ledger has but the broker did not take: it is published with their next receipt, which
    /// is the same one, redelivered.
    unannounced: Mutex<HashSet<AttemptId>>,
}

impl TakeReceipt {
    pub fn new(engines: &Connections, announcer: Announcer) -> Self {
        Self {
            ledger: Ledger::new(&engines.sql),
            announcer,
            clock: engines.clock.clone(),
            unannounced: Mutex::default(),
        }
    }

    /// Applies a receipt by rank. `again`: an earlier delivery may have ended between the ledger and the broker.
    pub async fn handle(
        &self,
        receipt: &SmsReceipt,
        trace: Option<&str>,
        again: bool,
    ) -> Result<(), Failure> {
        if receipt.provider != "twilio" {
            let cause = anyhow!("receipts of this provider are not supported");
            return Err(Failure::Permanent("unknown_provider", cause));
        }
        let Some(receipt) = self.read(receipt) else {
            // A state that Twilio added later means nothing to us; the states that we know still arrive.
            tracing::warn!(attempt.id = %receipt.attempt_id, "a receipt has an unknown state");
            return Ok(());
        };
        match self.ledger.apply_receipt(&receipt, self.clock.now()).await? {
            Applied::Kept => Ok(()),
            Applied::Known { moved, current, taken_at } => {
                counted(&moved);
                delivered(&moved, self.clock.now_ms() - taken_at.ms());
                let was_unannounced = self.unannounced().remove(&receipt.attempt_id);
                if moved.changed || was_unannounced || (again && current) {
                    let announced = self.announcer.announce(&moved.message_state, trace).await;
                    if announced.is_err() {
                        self.unannounced().insert(receipt.attempt_id);
                    }
                    return announced;
                }
                Ok(())
            }
        }
    }

    fn unannounced(&self) -> std::sync::MutexGuard<'_, HashSet<AttemptId>> {
        self.unannounced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, receipt: &SmsReceipt) -> Option<Receipt> {
        // Not only the gateway can write to the broker: an id becomes part of a URL, and all of it goes to tables.
        let field = |name: &str| {
            receipt.fields.get(name).map(String::as_str).filter(|value| is_passed_on(name, value))
        };
        let is_call = field("CallStatus").is_some();
        let word = field("MessageStatus").or(field("CallStatus")).or(field("SmsStatus"))?;
        let code = field("ErrorCode");
        let (status, reason) = codes::status(word, code.and_then(|code| code.parse().ok()))?;
        let sid = ["MessageSid", "CallSid", "SmsSid"].into_iter().find_map(field);
        let now = self.clock.now();
        let follow_up_at = Some(now.plus_ms(match (status.is_end(), is_call) {
            (true, false) => FORGET_AFTER_MS,
            // A call leaves no words to redact; its price comes some time after its end.
            (false, _) | (true, true) => ASK_AFTER_MS,
        }));
        Some(Receipt {
            attempt_id: receipt.attempt_id,
            status,
            reason,
            provider_message_id: sid.map(str::to_owned),
            provider_code: code.map(str::to_owned),
            price: None,
            follow_up_at,
        })
    }
}
