//! Keeps texts for inspection, in development and tests. Never in production.

use std::sync::Arc;

use anyhow::Context as _;
use domain::keys::Keys;
use service::delivery::{Connections, KeptMessage};

use super::{Attempt, Outcome};

/// Where texts are kept. The store keeps one text per message id, so a redelivery does not add a second one.
pub struct Inbox {
    inbox: service::delivery::Inbox,
    keys: Arc<Keys>,
}

impl Inbox {
    pub fn of(engines: &Connections) -> Self {
        Self { inbox: engines.store.inbox(), keys: Arc::clone(&engines.keys) }
    }

    pub(super) async fn send(&self, attempt: &Attempt<'_>) -> Outcome {
        match self.keep(attempt).await {
            Ok(()) => Outcome::Accepted { provider_message_id: None, segments: Some(1) },
            // Storing is idempotent, so it is safe to retry even if the store may have kept the text.
            Err(_) => Outcome::Unavailable("the inbox store is unavailable"),
        }
    }

    async fn keep(&self, attempt: &Attempt<'_>) -> anyhow::Result<()> {
        let text = KeptMessage {
            message_id: attempt.message_id,
            request_id: attempt.request_id,
            phone_number: attempt.to.clone(),
            channel: attempt.channel,
            text: attempt.text.to_owned(),
            sent_at: attempt.now,
        };
        let phone_key = self.keys.phone_key(attempt.to);
        self.inbox.keep(&text.seal(&self.keys, phone_key)?).await.context("keep a text")
    }
}
