//! Who carries texts, behind one closed enum, and what can come of handing one over.

use std::time::Duration;

use config::ProviderName;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use url::Url;

use self::console::Console;

pub mod client;
pub mod codes;
pub mod console;
pub mod http;
pub mod inbox;
pub mod twilio;

/// A provider of texts.
#[expect(clippy::large_enum_variant, reason = "a process has one of each, and for good")]
pub enum Provider {
    Twilio(twilio::Twilio),
    /// Any sender, by a signed webhook.
    Http(http::Http),
    /// Prints: for development.
    Console(Console),
    /// Keeps, and shows: for development and tests.
    Inbox(inbox::Inbox),
}

/// One call to a provider. Has no `Debug`: it holds the text and the number.
pub struct Attempt<'a> {
    pub attempt_id: AttemptId,
    pub message_id: MessageId,
    pub request_id: Option<RequestId>,
    pub channel: Channel,
    /// E.164.
    pub to: &'a str,
    /// What is read or, in a call, said.
    pub text: &'a str,
    /// BCP 47: the language of what a call says, when it is known.
    pub language: Option<&'a str>,
    /// The end of the text's use.
    pub not_after: Timestamp,
    pub now: Timestamp,
    /// Where receipts are to go; the attempt's id is its last part. `None`: nobody can reach us.
    pub status_callback: Option<Url>,
    /// 1 for the first call that this message is worth.
    pub number: u32,
    /// W3C `traceparent` of the job.
    pub trace: Option<&'a str>,
}

impl Attempt<'_> {
    /// Seconds for which the text is still of use, rounded down.
    pub fn life_left_secs(&self) -> i64 {
        (self.not_after.ms() - self.now.ms()).max(0) / 1000
    }
}

/// What came of a call. The classes differ in one thing above all: may the text have been taken?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken. The id is missing when the answer was not readable further.
    Accepted { provider_message_id: Option<String>, segments: Option<u32> },
    /// Not taken: too much at once. Safe to try again after a wait.
    Throttled { retry_after: Option<Duration> },
    /// Not taken: the provider was not reached, or said that it takes nothing. Safe to try again, here or elsewhere.
    Unavailable(&'static str),
    /// Not taken, and never will be for this number.
    Rejected { reason: Reason, provider_code: Option<String> },
    /// Not taken until an operator acts: credentials, account, region. `whole_account`: for any number.
    RejectedUntilOps { provider_code: Option<String>, whole_account: bool },
    /// Not taken: held for abuse. The same text is not to be tried again.
    Filtered { reason: Reason, provider_code: Option<String> },
    /// The request left and no answer tells what became of it. May have been taken: never sent again blindly.
    Unknown(&'static str),
}

/// A provider's answer: the outcome, and how many calls of this account it says are running.
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

/// What a provider knows of a text that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    pub status: Status,
    pub reason: Option<Reason>,
    pub provider_code: Option<String>,
    /// Amount and currency, as the provider writes them.
    pub price: Option<String>,
}

impl Provider {
    /// The name in routes, in the ledger and in events.
    pub const fn name(&self) -> &'static str {
        let name = match self {
            Self::Twilio(_) => ProviderName::Twilio,
            Self::Http(_) => ProviderName::Http,
            Self::Console(_) => ProviderName::Console,
            Self::Inbox(_) => ProviderName::Inbox,
        };
        name.as_str()
    }

    /// Hands the text over. Takes at most [`client::LIMIT`] (and [`client::CONNECT_LIMIT`] within it).
    pub async fn send(&self, attempt: &Attempt<'_>) -> Reply {
        match self {
            Self::Twilio(twilio) => twilio.send(attempt).await,
            Self::Http(http) => http.send(attempt).await.into(),
            Self::Console(_) => Console::send(attempt).into(),
            Self::Inbox(inbox) => inbox.send(attempt).await.into(),
        }
    }

    /// How long after a send without a final receipt this provider can be asked; `None`: it cannot.
    pub const fn asked_after(&self) -> Option<Duration> {
        match self {
            Self::Twilio(_) => Some(Duration::from_mins(2)),
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => None,
        }
    }

    /// Whether a text can be taken out of its records.
    pub fn forgets(&self, channel: Channel) -> bool {
        matches!((self, channel), (Self::Twilio(_), Channel::Sms))
    }

    /// Asks how a text fared; `None` when it does not know it.
    pub async fn look_up(&self, id: &str, channel: Channel) -> anyhow::Result<Option<LookUp>> {
        match self {
            Self::Twilio(twilio) => twilio.look_up(id, channel).await,
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => Ok(None),
        }
    }

    /// Has the words of a text taken out of its records; tells what it knows of it.
    pub async fn forget(&self, id: &str) -> anyhow::Result<Option<LookUp>> {
        match self {
            Self::Twilio(twilio) => twilio.forget(id).await,
            Self::Http(_) | Self::Console(_) | Self::Inbox(_) => Ok(None),
        }
    }
}
