//! The providers that carry texts, behind one closed enum, and the possible outcomes of a call.

use std::time::Duration;

use config::ProviderName;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use traces::Span;
use url::Url;

use self::console::Console;

pub mod client;
pub mod codes;
pub mod console;
pub mod http;
pub mod inbox;
pub(crate) mod safe_words;
pub mod twilio;

/// A provider.
#[expect(clippy::large_enum_variant, reason = "a process has one of each, for its whole life")]
pub enum Provider {
    Twilio(twilio::Twilio),
    /// Any sender, through a signed webhook.
    Http(http::Http),
    /// Prints texts: for development.
    Console(Console),
    /// Keeps texts for display: for development and tests.
    Inbox(inbox::Inbox),
}

/// One call to a provider. It has no `Debug`: it holds the text and the number.
#[expect(clippy::struct_field_names, reason = "the ledger and receipts name it so")]
pub struct Attempt<'a> {
    pub attempt_id: AttemptId,
    pub message_id: MessageId,
    pub request_id: Option<RequestId>,
    pub channel: Channel,
    pub to: &'a E164,
    /// The words to read or, in a call, to speak.
    pub text: &'a str,
    /// BCP 47: the language that a call speaks, if known.
    pub language: Option<&'a str>,
    /// When the text expires.
    pub not_after: Timestamp,
    pub now: Timestamp,
    /// Where receipts go; the attempt's id is the last part. `None`: nobody can reach us.
    pub status_callback: Option<Url>,
    /// The number of this call for the message, from 1.
    pub number: u32,
    /// W3C `traceparent` of the job.
    pub trace: Option<&'a str>,
}

impl Attempt<'_> {
    /// Returns the seconds until the text expires, rounded down.
    pub fn life_left_secs(&self) -> i64 {
        (self.not_after.ms() - self.now.ms()).max(0) / 1000
    }
}

/// The outcome of a call. What matters most about each class: may the text have been taken?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken. The id is missing if the rest of the answer was unreadable.
    Accepted { provider_message_id: Option<String>, segments: Option<u32> },
    /// Not taken: too many calls at once. Safe to retry after a wait.
    Throttled { retry_after: Option<Duration> },
    /// Not taken: the provider was not reached, or said that it accepts nothing. Safe to retry, here or elsewhere.
    Unavailable(&'static str),
    /// Not taken, and never will be for this number.
    Rejected { reason: Reason, provider_code: Option<String> },
    /// Not taken until an operator acts: credentials, account, region. `whole_account`: for any number.
    RejectedUntilOps { provider_code: Option<String>, whole_account: bool },
    /// Not taken: held for abuse. Do not retry the same text.
    Filtered { reason: Reason, provider_code: Option<String> },
    /// The request was sent and no answer says what became of it. It may have been taken: never resend it blindly.
    Unknown(&'static str),
}

impl Outcome {
    /// Why it was not taken, in one word, for spans.
    const fn error(&self) -> Option<&'static str> {
        match self {
            Self::Accepted { .. } => None,
            Self::Throttled { .. } => Some("throttled"),
            Self::Unavailable(_) => Some("unavailable"),
            Self::Rejected { .. } => Some("rejected"),
            Self::RejectedUntilOps { .. } => Some("rejected_until_ops"),
            Self::Filtered { .. } => Some("filtered"),
            Self::Unknown(_) => Some("unknown"),
        }
    }
}

/// A provider's answer: the outcome, and how many calls of this account it reports as running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub outcome: Outcome,
    pub in_use: Option<u32>,
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, in_use: None }
    }
}

/// What a provider knows about a text that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    pub status: Status,
    pub reason: Option<Reason>,
    pub provider_code: Option<String>,
    /// Amount and currency, as the provider writes them.
    pub price: Option<String>,
}

impl Provider {
    /// Returns the name used in routes, in the ledger and in events.
    pub(crate) const fn name(&self) -> &'static str {
        let name = match self {
            Self::Twilio(_) => ProviderName::Twilio,
            Self::Http(_) => ProviderName::Http,
            Self::Console(_) => ProviderName::Console,
            Self::Inbox(_) => ProviderName::Inbox,
        };
        name.as_str()
    }

    /// Whether its ids are written into URLs that are called later: such an id is kept as it is or not at all.
    pub(crate) const fn is_called_by_id(&self) -> bool {
        matches!(self, Self::Twilio(_))
    }

    /// Sends the text. Takes at most [`client::LIMIT`], including the connection. The ids and codes of the reply are
    /// the provider's: [`safe_words`] checks them.
    pub(crate) async fn send(&self, span: &Span, attempt: &Attempt<'_>) -> Reply {
        let sending = async {
            match self {
                Self::Twilio(twilio) => twilio.send(attempt).await,
                Self::Http(http) => http.send(attempt).await.into(),
                Self::Console(_) => Console::send(attempt).into(),
                Self::Inbox(inbox) => inbox.send(attempt).await.into(),
            }
        };
        let reply: Reply = span.around(sending).await;
        if let Some(error) = reply.outcome.error() {
            span.fail(error);
        }
        reply
    }

    /// The span of a call: of a request, where the provider is reached by one.
    pub(crate) fn calling(&self) -> Span {
        let url = match self {
            Self::Twilio(twilio) => twilio.url(),
            Self::Http(http) => http.url(),
            Self::Console(_) | Self::Inbox(_) => return Span::unrecorded(),
        };
        traces::calling("POST", url.scheme(), url.host_str().unwrap_or_default())
    }

    /// Returns how long after a send without a final receipt this provider can be queried; `None`: never.
    pub(crate) const fn asked_after(&self) -> Option<Duration> {
        match self {
            Self::Twilio(_) => Some(Duration::from_mins(2)),
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => None,
        }
    }

    /// Whether a text can be redacted in the provider's records.
    pub(crate) fn forgets(&self, channel: Channel) -> bool {
        matches!((self, channel), (Self::Twilio(_), Channel::Sms))
    }

    /// Queries the state of a text; `None` if the provider does not know it.
    pub(crate) async fn look_up(
        &self,
        id: &str,
        channel: Channel,
    ) -> anyhow::Result<Option<LookUp>> {
        match self {
            Self::Twilio(twilio) => twilio.look_up(id, channel).await,
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => Ok(None),
        }
    }

    /// Redacts a text in the provider's records; returns what the provider knows about it.
    pub(crate) async fn forget(&self, id: &str) -> anyhow::Result<Option<LookUp>> {
        match self {
            Self::Twilio(twilio) => twilio.forget(id).await,
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => Ok(None),
        }
    }
}
