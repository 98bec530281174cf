//! `sms.receipt` in; the text's state in the ledger, and `sms.status` out when it changed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::clock::Clock;
use domain::event::SmsReceipt;
use domain::ids::AttemptId;
use ledger::{Applied, Ledger, Receipt};

use crate::announce::{announce, counted};
use crate::ports::Publish;
use crate::providers::codes;

/// How long after an end the provider's copy of the text is taken out of its records; so soon after it a provider may
/// still be busy with the text.
const FORGET_AFTER_MS: i64 = 5_000;
/// How long after news that is no end the provider is asked for one, and after a call's end for its price.
const ASK_AFTER_MS: i64 = 120_000;

/// Takes receipts. Their signatures were checked by the gateway.
pub struct TakeReceipt {
    ledger: Ledger,
    publish: Publish,
    clock: Clock,
    /// Attempts with news that the ledger has and the broker did not take: it is told with their next receipt, which is
    /// the same one, delivered again.
    untold: Mutex<HashSet<AttemptId>>,
}

impl TakeReceipt {
    pub fn new(ledger: Ledger, publish: Publish, clock: Clock) -> Self {
        Self { ledger, publish, clock, untold: Mutex::default() }
    }

    /// Applies a receipt by rank. `again`: an earlier delivery may have ended between the ledger and the broker.
    pub async fn handle(
        &self,
        receipt: &SmsReceipt,
        trace: Option<&str>,
        again: bool,
    ) -> Result<(), Failure> {
        if receipt.provider != "twilio" {
            let cause = anyhow!("receipts of this provider are not known");
            return Err(Failure::Permanent("unknown_provider", cause));
        }
        let Some(receipt) = self.read(receipt) else {
            // A state that Twilio invented since says nothing to us; the states that we know still come.
            tracing::warn!(attempt.id = %receipt.attempt_id, "a receipt with a state that is not known");
            return Ok(());
        };
        match self.ledger.apply_receipt(&receipt, self.clock.now()).await? {
            Applied::Kept => Ok(()),
            Applied::Known { moved, current } => {
                counted(&moved);
                let was_untold = self.untold().remove(&receipt.attempt_id);
                if moved.changed || was_untold || (again && current) {
                    let told = announce(&self.publish, &moved.message_state, trace).await;
                    if told.is_err() {
                        self.untold().insert(receipt.attempt_id);
                    }
                    return told;
                }
                Ok(())
            }
        }
    }

    fn untold(&self) -> std::sync::MutexGuard<'_, HashSet<AttemptId>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, receipt: &SmsReceipt) -> Option<Receipt> {
        let field = |name: &str| {
            receipt.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
        };
        let is_call = field("CallStatus").is_some();
        let word = field("MessageStatus").or(field("CallStatus")).or(field("SmsStatus"))?;
        let code = field("ErrorCode");
        let (status, reason) = codes::status(word, code.and_then(|code| code.parse().ok()))?;
        let sid = field("MessageSid").or(field("CallSid")).or(field("SmsSid"));
        let now = self.clock.now();
        let follow_up_at = Some(now.plus_ms(match (status.is_end(), is_call) {
            (true, false) => FORGET_AFTER_MS,
            // Of a call no words are kept; its price comes some time after its end.
            (false, _) | (true, true) => ASK_AFTER_MS,
        }));
        Some(Receipt {
            attempt_id: receipt.attempt_id,
            status,
            reason,
            provider_message_id: sid.map(str::to_owned),
            provider_code: code.map(|code| code.chars().take(16).collect()),
            price: None,
            follow_up_at,
        })
    }
}
