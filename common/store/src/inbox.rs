//! The inbox: texts that are kept instead of sent, for development and tests. The sms-worker keeps them and the gateway
//! shows them; in between they are sealed (P10).

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::Inbox;
use domain::engine_error::EngineError;
use domain::ids::{MessageId, RequestId};
use domain::keys::{Keys, PhoneKey};
use domain::phone::E164;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::Channel;

/// How long the inbox keeps a message (contract, ruling 11).
pub(crate) const TEXT_KEPT_MS: i64 = 3_600_000;

operations! { Inbox {
    /// Keeps a message. Repeated calls keep it once.
    fn keep(text: &KeptText) -> () => keep_text;

    /// The sealed messages kept for a phone, in no particular order.
    fn texts(phone: &PhoneKey) -> Vec<String> => kept_texts;

    /// The sealed messages kept for any phone, in no particular order. Redis is searched for them, and only among its
    /// first 100,000 keys or so: an inbox is for development, where there are fewer.
    fn all_texts() -> Vec<(PhoneKey, String)> => all_kept_texts;
} }

/// A message for the inbox.
#[derive(Clone, Debug)]
pub struct KeptText {
    pub message_id: MessageId,
    pub phone: PhoneKey,
    /// The message and its details, sealed under the event key.
    pub sealed: String,
}

/// A text as the inbox shows it.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptMessage {
    pub message_id: MessageId,
    pub request_id: Option<RequestId>,
    pub phone_number: E164,
    pub channel: Channel,
    pub text: String,
    pub sent_at: Timestamp,
}

impl KeptMessage {
    /// Seals the message for the store.
    pub fn seal(&self, keys: &Keys, phone: PhoneKey) -> anyhow::Result<KeptText> {
        let sealed =
            keys.event.seal(self, &["inbox", phone.as_str()]).context("seal a kept text")?;
        Ok(KeptText { message_id: self.message_id, phone, sealed: sealed.as_str().to_owned() })
    }

    /// # Errors
    /// When it was sealed under keys that we no longer have.
    pub fn open(keys: &Keys, phone: &PhoneKey, sealed: String) -> anyhow::Result<Self> {
        keys.event.open(&Sealed::from_text(sealed), &["inbox", phone.as_str()])
    }
}
