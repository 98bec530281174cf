//! The last calls to Twilio's webhook at this gateway, and what to do about those that are refused.

use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::twilio_receipt::ReceiptWord;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::webhook_calls::{Call, Verdict};
use crate::app::App;
use crate::openapi::words;

/// The calls to Twilio's webhook that the gateway that answers received since it started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookCalls, examples(json!({
    "url": "https://id.example.com/webhooks/twilio/status/{attempt_id}",
    "is_expected": true,
    "started_at": "2026-11-30T08:00:00.000Z",
    "signed": [{
        "at": "2026-11-30T10:15:03.000Z",
        "verdict": "accepted",
        "meaning": "The receipt was taken. Nothing is to be done.",
        "status": 204,
        "message_status": "delivered",
        "attempt_id": "019c2b7e-9310-7c55-8e02-1f6a4b7d9c33",
        "caller": "203.0.113.0",
    }],
    "unsigned": [],
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct WebhookCallsView {
    /// The address that Twilio must reach: each message tells Twilio its own, with the attempt's id in the place of
    /// `{attempt_id}`.
    pub url: String,
    /// Whether a route names Twilio: else no call is expected.
    pub is_expected: bool,
    /// When this gateway began to note them.
    #[schema(value_type = words::Time)]
    pub started_at: Timestamp,
    /// The last 20 with a right signature, newest first, refused ones included.
    pub signed: Vec<WebhookCallView>,
    /// The last 20 without, newest first.
    pub unsigned: Vec<WebhookCallView>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// A call to the webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookCall)]
pub(crate) struct WebhookCallView {
    /// When it was answered.
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    #[schema(value_type = words::WebhookVerdict)]
    pub verdict: Verdict,
    /// What the verdict means and what to do about it, in Markdown.
    pub meaning: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What became of the message, in Twilio's words; null without a right signature, and if it is none of its words.
    #[schema(value_type = Option<words::ReceiptWord>, required = true)]
    pub message_status: Option<&'static str>,
    /// Null without a right signature, and if the address ended with no id.
    #[schema(required = true)]
    pub attempt_id: Option<Uuid>,
    /// The caller's address, cut to its network.
    pub caller: String,
}

impl WebhookCallView {
    fn of(call: &Call) -> Self {
        Self {
            at: call.at,
            verdict: call.verdict,
            meaning: meaning(call.verdict),
            status: call.status.as_u16(),
            message_status: call.said.word.map(ReceiptWord::as_str),
            attempt_id: call.said.attempt_id.map(AttemptId::uuid),
            caller: call.caller.cut(),
        }
    }
}

/// The last calls at this gateway.
pub(crate) fn read(app: &App) -> WebhookCallsView {
    let views = |calls: Vec<Call>| calls.iter().map(WebhookCallView::of).collect();
    WebhookCallsView {
        url: format!("{}/webhooks/twilio/status/{{attempt_id}}", app.public_url),
        is_expected: app.config.sms.routes.names(config::ProviderName::Twilio),
        started_at: app.started_at,
        signed: views(app.webhook_calls.signed()),
        unsigned: views(app.webhook_calls.unsigned()),
        as_of: app.engines.clock.now(),
    }
}

/// What a verdict means, and what to do.
const fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "The receipt was taken. Nothing is to be done.",
        Verdict::NoSignature => {
            "The call had no `X-Twilio-Signature`, so it was hardly Twilio's. If Twilio's calls come like this, a proxy before \
             Latchkey drops the header: let it pass."
        }
        Verdict::WrongSignature => {
            "The signature does not fit. Anybody can send such a call. If Twilio's come like this, check that \
             `TWILIO_AUTH_TOKEN` is the account's own auth token of now, and that `LATCHKEY_PUBLIC_URL` is what Twilio calls, \
             its path included: no proxy may change path, query or form."
        }
        Verdict::AnotherAccount => {
            "The signature is right, and the receipt is of another Twilio account, such as a subaccount. Check \
             `TWILIO_ACCOUNT_SID`."
        }
        Verdict::NotOurs => {
            "Twilio signed it, but its address ends with no id of an attempt. Somebody set it at Twilio by hand: remove it \
             there, as each message tells Twilio its own."
        }
        Verdict::NotConfigured => {
            "`TWILIO_ACCOUNT_SID` and `TWILIO_AUTH_TOKEN` are not set at this gateway, so it can check no signature. Set them \
             as they are at sms-worker."
        }
        Verdict::NotPublished => {
            "The receipt was right, and the broker did not take it. Twilio was told to call again; look at the broker on the \
             page Engines."
        }
        Verdict::BadBody => {
            "The form could not be read: it was longer than 16 KiB, ended early or took too long; with status 503 there was no \
             room for it. Twilio's forms are short: look at the proxy before Latchkey."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_a_meaning_names_is_one() {
        let settings = include_str!("../../../docs/configuration.md");
        for verdict in Verdict::ALL {
            for name in meaning(verdict).split('`').skip(1).step_by(2) {
                let is_header = name.starts_with("X-");
                assert!(is_header || settings.contains(&format!("| `{name}` |")), "{name}");
            }
        }
    }
}
