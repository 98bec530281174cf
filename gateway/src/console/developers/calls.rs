//! The last calls to Twilio's webhook, as the page shows them.

use domain::timestamp::Timestamp;

use crate::api::webhook_calls::Verdict;
use crate::console::ids::linked;
use crate::console::markdown::{Parts, parts};
use crate::console::time::Moment;
use crate::staff::webhook_calls::{WebhookCallView, WebhookCallsView};

/// The calls, newest first, and what their verdicts mean.
pub(super) struct Calls {
    pub url: String,
    /// Whether a route names Twilio.
    pub is_expected: bool,
    pub started: Moment,
    pub signed: Vec<Row>,
    pub unsigned: Vec<Row>,
    /// Each verdict that is shown but `accepted`, with what to do about it.
    pub meanings: Vec<(&'static str, Parts<'static>)>,
}

/// A call.
pub(super) struct Row {
    pub at: Moment,
    pub verdict: &'static str,
    pub is_accepted: bool,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What Twilio said of the message.
    pub said: Option<&'static str>,
    attempt_id: Option<String>,
    pub caller: String,
}

impl Row {
    fn of(call: &WebhookCallView, now: Timestamp) -> Self {
        Self {
            at: Moment::of(call.at, now),
            verdict: call.verdict.as_str(),
            is_accepted: call.verdict == Verdict::Accepted,
            status: call.status,
            said: call.message_status,
            attempt_id: call.attempt_id.map(|id| id.to_string()),
            caller: call.caller.clone(),
        }
    }

    /// The attempt's id as a part of the page.
    pub fn attempt_html(&self) -> String {
        self.attempt_id.as_deref().map(linked).unwrap_or_default()
    }
}

impl Calls {
    pub fn of(view: WebhookCallsView) -> Self {
        let rows = |calls: &[WebhookCallView]| {
            calls.iter().map(|call| Row::of(call, view.as_of)).collect::<Vec<_>>()
        };
        let (signed, unsigned) = (rows(&view.signed), rows(&view.unsigned));
        let mut meanings: Vec<(&str, Parts<'_>)> = Vec::new();
        for call in view.signed.iter().chain(&view.unsigned) {
            let verdict = call.verdict.as_str();
            let is_told = meanings.iter().any(|(told, _)| *told == verdict);
            if call.verdict != Verdict::Accepted && !is_told {
                meanings.push((verdict, parts(call.meaning)));
            }
        }
        Self {
            started: Moment::of(view.started_at, view.as_of),
            url: view.url,
            is_expected: view.is_expected,
            signed,
            unsigned,
            meanings,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.unsigned.is_empty()
    }
}
