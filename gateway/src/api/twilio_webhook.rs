//! `POST /webhooks/twilio/status/{attempt_id}`: checks a provider's receipt and publishes it before answering.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use domain::event::{Envelope, SmsReceipt};
use domain::ids::AttemptId;
use domain::trace_context::TraceContext;
use domain::twilio_receipt::{ReceiptWord, is_passed_on};
use domain::twilio_signature;

use crate::api::webhook_calls::{Call, Said, Verdict};
use crate::app::App;
use crate::http::body::{BodyLimits, read_body};
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;
use crate::openapi::params::TwilioSignature;
use crate::openapi::refusals::refusals;
use utoipa::ToSchema;

/// Twilio's forms have about 20 short fields, and more may appear unannounced.
const FORM_BYTES: usize = 16 * 1024;
/// A run of digits this long may be a phone number.
const NUMBER_MIN: usize = 7;

/// A form that Twilio posts. It has more fields than these.
#[derive(ToSchema)]
#[schema(examples(json!({
    "AccountSid": "AC0123456789abcdef0123456789abcdef",
    "MessageSid": "SM0123456789abcdef0123456789abcdef",
    "MessageStatus": "delivered",
})))]
#[expect(
    dead_code,
    reason = "it only describes the form, of which a fixed list of fields is passed on"
)]
#[expect(non_snake_case, reason = "the provider's names")]
pub(crate) struct TwilioForm {
    #[schema(value_type = String, required = false)]
    AccountSid: Option<String>,
    #[schema(value_type = String, required = false)]
    MessageSid: Option<String>,
    #[schema(value_type = String, required = false)]
    MessageStatus: Option<String>,
}

refusals!(ReceiptRefused: Body, InvalidSignature);

#[utoipa::path(
    post, path = "/webhooks/twilio/status/{attempt_id}", tag = "providers", operation_id = "receiveTwilioReceipt",
    summary = "A receipt of Twilio",
    description = "What became of a message. The path is the one that Twilio was given with the message; the \
        signature is checked over the configured public URL. Apps do not make this call.",
    params(("attempt_id" = uuid::Uuid, Path, description = "The delivery attempt."), TwilioSignature),
    request_body(content = TwilioForm, content_type = "application/x-www-form-urlencoded", description = "The signed form."),
    responses((status = 204, description = "Done."), ReceiptRefused),
)]
pub(crate) async fn twilio_status(
    State(app): State<App>,
    attempt: Result<PathId<AttemptId>, ApiError>,
    uri: Uri,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let caller = ClientIp::of(request.extensions()).network();
    let attempt_id = attempt.ok().map(|PathId(id)| id);
    let (verdict, said, answer) = match signed_receipt(&app, &uri, request).await {
        Err((verdict, refusal)) => (verdict, Said::default(), Err(refusal)),
        Ok(receipt) => {
            let said = Said { word: word_of(&receipt.fields), attempt_id };
            let (verdict, answer) = pass_on(&app, attempt_id, receipt).await;
            (verdict, said, answer)
        }
    };
    let status = answer.as_ref().map_or_else(ApiError::status, |status| *status);
    let at = app.engines.clock.now();
    app.webhook_calls.add(Call { at, caller, verdict, status, said });
    answer
}

/// A form whose signature is right.
struct SignedReceipt {
    fields: Vec<(String, String)>,
    trace: Option<String>,
}

/// Reads a form and checks its signature; or what is wrong with the call, and its answer.
async fn signed_receipt(
    app: &App,
    uri: &Uri,
    request: Request,
) -> Result<SignedReceipt, (Verdict, ApiError)> {
    let refuse = |verdict| (verdict, ApiError::InvalidSignature);
    let signature = request
        .headers()
        .get("x-twilio-signature")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let (parts, body) = request.into_parts();
    let trace = parts.extensions.get().map(TraceContext::to_header);
    let fields = read_form(parts, body).await.map_err(|error| (Verdict::BadBody, error))?;
    let signature = signature.ok_or_else(|| refuse(Verdict::NoSignature))?;
    let twilio = app.config.sms.twilio.as_ref().ok_or_else(|| refuse(Verdict::NotConfigured))?;
    // The URL as we gave it to Twilio. The sender chooses `Host` and `X-Forwarded-*`, so they are not used.
    let url =
        format!("{}{}", app.public_url, uri.path_and_query().map_or("", |path| path.as_str()));
    if !twilio_signature::verify(&[&twilio.auth_token], &url, &fields, &signature) {
        return Err(refuse(Verdict::WrongSignature));
    }
    // It is part of what was signed: nobody else can link a receipt to a trace.
    if let Some(call) = uri.query().and_then(call_of) {
        traces::link(&call);
    }
    Ok(SignedReceipt { fields, trace })
}

/// The call to the provider that an address of receipts names.
fn call_of(query: &str) -> Option<TraceContext> {
    let mut parts = url::form_urlencoded::parse(query.as_bytes());
    parts.find_map(
        |(name, value)| {
            if name == "trace" { TraceContext::from_header(&value) } else { None }
        },
    )
}

/// Publishes a receipt, if it is one of ours: what became of the call, and its answer.
async fn pass_on(
    app: &App,
    attempt_id: Option<AttemptId>,
    SignedReceipt { fields, trace }: SignedReceipt,
) -> (Verdict, Result<StatusCode, ApiError>) {
    // One auth token signs for an account and its subaccounts, so the signature does not say whose receipt it is.
    let own = app.config.sms.twilio.as_ref().map(|twilio| twilio.account_sid.as_str());
    if fields.iter().any(|(name, value)| name == "AccountSid" && Some(value.as_str()) != own) {
        return (Verdict::AnotherAccount, Err(ApiError::InvalidSignature));
    }
    // Signed by our own account and yet not an attempt of ours: a retry could not help.
    let Some(attempt_id) = attempt_id else {
        return (Verdict::NotOurs, Ok(StatusCode::NO_CONTENT));
    };
    let receipt =
        SmsReceipt { provider: "twilio".to_owned(), attempt_id, fields: public_part(fields) };
    let envelope = Envelope::new(&app.engines.clock, "gateway", trace, receipt);
    match app.engines.bus.publish(&envelope).await {
        Ok(()) => (Verdict::Accepted, Ok(StatusCode::NO_CONTENT)),
        Err(error) => {
            let cause = anyhow::Error::from(error).context("publish a receipt");
            (Verdict::NotPublished, Err(ApiError::unavailable(cause)))
        }
    }
}

/// What a receipt says of its message, if it is one of Twilio's words.
fn word_of(fields: &[(String, String)]) -> Option<ReceiptWord> {
    let mut told =
        fields.iter().filter(|(name, _)| name == "MessageStatus" || name == "CallStatus");
    told.find_map(|(_, value)| value.parse().ok())
}

async fn read_form(parts: Parts, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    let limits = BodyLimits { bytes: FORM_BYTES, ..BodyLimits::default() };
    let bytes = read_body(parts, body, limits).await?;
    Ok(fields_of(&bytes))
}

pub(crate) fn fields_of(form: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(form).into_owned().collect()
}

/// The fields that are passed on, with what they may hold. One that holds the number of another field, such as that of
/// `To`, is left out: a number of ten digits can look like the carrier's time (P10).
pub(crate) fn public_part(fields: Vec<(String, String)>) -> BTreeMap<String, String> {
    let (public, private): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(name, value)| is_passed_on(name, value));
    let numbers: Vec<String> = private
        .iter()
        .map(|(_, value)| digits(value))
        .filter(|digits| digits.len() >= NUMBER_MIN)
        .collect();
    let is_number = |value: &str| {
        let value = digits(value);
        value.len() >= NUMBER_MIN
            && numbers.iter().any(|number| number.ends_with(&value) || value.contains(number))
    };
    public.into_iter().filter(|(_, value)| !is_number(value)).collect()
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn p10_no_number_and_no_text_goes_on_the_bus() {
        let fields = form(&[
            ("To", "+989123456789"),
            ("Body", "123456"),
            ("ChannelToAddress", "+989123456789"),
            ("WaId", "989123456789"),
            ("MessageStatus", "sent"),
            ("A field of tomorrow", "+989123456789"),
        ]);
        assert_eq!(
            public_part(fields).into_iter().collect::<Vec<_>>(),
            [("MessageStatus".to_owned(), "sent".to_owned())]
        );
    }

    #[test]
    fn p10_a_field_that_should_hold_a_state_a_code_or_a_time_holds_no_number() {
        let number = "+989123456789";
        let names = ["MessageStatus", "SmsStatus", "CallStatus", "ErrorCode", "RawDlrDoneDate"];
        for name in names.into_iter().chain(["ApiVersion", "AccountSid", "MessageSid"]) {
            for value in [number, &number[1..], &number[3..]] {
                let fields = form(&[("To", number), (name, value), ("ErrorCode", "30003")]);
                let carried = public_part(fields);
                assert_eq!(carried.into_values().collect::<Vec<_>>(), ["30003"], "{name} {value}");
            }
        }
        // A number that is a time as well: 15 August 2024, 12:00.
        let time = ("RawDlrDoneDate", "2408151200");
        let of = |to| public_part(form(&[("To", to), time]));
        assert!(of("+12408151200").is_empty());
        assert_eq!(of("+14155552671").len(), 1);
    }

    #[test]
    fn only_a_word_of_twilios_is_what_a_receipt_says() {
        let of = |fields: &[(&str, &str)]| word_of(&form(fields)).map(ReceiptWord::as_str);
        assert_eq!(of(&[("MessageStatus", "delivered")]), Some("delivered"));
        assert_eq!(of(&[("To", "sent"), ("CallStatus", "no-answer")]), Some("no-answer"));
        for odd in ["<b>delivered</b>", "+989123456789", "teleported", "Delivered", ""] {
            assert_eq!(of(&[("MessageStatus", odd), ("SmsStatus", "sent")]), None, "{odd}");
        }
    }

    #[test]
    fn f23_an_id_that_is_no_message_is_not_carried() {
        let sid = "SM0123456789abcdef0123456789abcdef";
        let fields =
            form(&[("MessageSid", sid), ("SmsSid", "../../../../Accounts"), ("CallSid", "")]);
        assert_eq!(
            public_part(fields).into_iter().collect::<Vec<_>>(),
            [("MessageSid".to_owned(), sid.to_owned())]
        );
    }

    #[test]
    fn with_many_long_fields_the_status_is_carried_and_the_event_stays_small() {
        let long = "\u{1F4DE}".repeat(10_000);
        let mut fields: Vec<_> = (0..100).map(|n| (format!("New{n}"), long.clone())).collect();
        fields.extend(["MessageStatus", "ErrorCode"].map(|name| (name.to_owned(), long.clone())));
        fields.extend(form(&[("MessageStatus", "delivered")]));
        let carried = public_part(fields);
        assert_eq!(carried["MessageStatus"], "delivered");
        let clock = domain::clock::Clock::manual();
        let receipt = SmsReceipt {
            provider: "twilio".to_owned(),
            attempt_id: AttemptId::new(&clock),
            fields: carried,
        };
        assert!(Envelope::new(&clock, "gateway", None, receipt).encode().is_ok());
    }
}
