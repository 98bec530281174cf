//! Keeps texts for inspection, in development and tests. Never in production.

use service::delivery::KeptMessage;

use super::{Attempt, Outcome};
use crate::ports::Keep;

/// Where texts are kept. The store keeps one text per message id, so a redelivery does not add a second one.
pub struct Inbox {
    keep: Keep,
}

impl Inbox {
    pub fn new(keep: Keep) -> Self {
        Self { keep }
    }

    pub(super) async fn send(&self, attempt: &Attempt<'_>) -> Outcome {
        let text = KeptMessage {
            message_id: attempt.message_id,
            request_id: attempt.request_id,
            phone_number: attempt.to.to_owned(),
            channel: attempt.channel,
            text: attempt.text.to_owned(),
            sent_at: attempt.now,
        };
        match (self.keep)(text).await {
            Ok(()) => Outcome::Accepted { provider_message_id: None, segments: Some(1) },
            // Storing is idempotent, so it is safe to retry even if the store may have kept the text.
            Err(_) => Outcome::Unavailable("the inbox store is unavailable"),
        }
    }
}
