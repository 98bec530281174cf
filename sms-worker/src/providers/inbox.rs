//! Keeps texts to be looked at, for development and tests. Never in production.

use store::inbox::KeptMessage;

use super::{Attempt, Outcome};
use crate::ports::Keep;

/// Where texts are kept. The store keeps one text a message id, so that a redelivery shows no second one.
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
            // Keeping twice keeps one, so even a store that may have kept it can be asked again.
            Err(_) => Outcome::Unavailable("the inbox's store is away"),
        }
    }
}
