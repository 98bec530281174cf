//! `POST /webhooks/twilio/status/{attempt_id}`: a provider's receipt, checked and put on the bus before it is answered.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use common::bus::PublishError;
use common::event::{Envelope, SmsReceipt};
use common::ids::AttemptId;
use common::twilio_signature;

use crate::app::App;
use crate::body::{BodyLimits, read_body};
use crate::error::ApiError;
use crate::path::PathId;

/// Twilio's forms have some 20 short fields, and more may come unannounced.
const FORM_BYTES: usize = 16 * 1024;
/// What a receipt carries on: enough for the ledger, far below an event's size.
const FIELDS: usize = 24;
const FIELD_BYTES: usize = 100;
/// Never on the bus: numbers and texts (P10).
const PRIVATE: [&str; 12] = [
    "To",
    "From",
    "Body",
    "Called",
    "Caller",
    "ToCity",
    "FromCity",
    "ToZip",
    "FromZip",
    "ForwardedFrom",
    "CallerName",
    "Digits",
];

pub(crate) async fn twilio_status(
    State(app): State<App>,
    attempt: Result<PathId<AttemptId>, ApiError>,
    uri: Uri,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let signature = request
        .headers()
        .get("x-twilio-signature")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let (parts, body) = request.into_parts();
    let fields = read_form(&parts.headers, body).await?;
    let signature = signature.ok_or(ApiError::InvalidSignature)?;
    let twilio = app.config.sms.twilio.as_ref().ok_or(ApiError::InvalidSignature)?;
    // The URL as Twilio was given it. `Host` and `X-Forwarded-*` are the sender's to choose, so they are not asked.
    let url =
        format!("{}{}", app.public_url, uri.path_and_query().map_or("", |path| path.as_str()));
    if !twilio_signature::verify(&[&twilio.auth_token], &url, &fields, &signature) {
        return Err(ApiError::InvalidSignature);
    }
    // Signed by our own account and yet no attempt of ours: there is nothing that another try could mend.
    let Ok(PathId(attempt_id)) = attempt else { return Ok(StatusCode::NO_CONTENT) };
    let receipt =
        SmsReceipt { provider: "twilio".to_owned(), attempt_id, fields: public_part(fields) };
    let envelope = Envelope::new(&app.engines.clock, "gateway", None, receipt);
    app.engines.bus.publish(&envelope).await.map_err(|error: PublishError| {
        ApiError::unavailable(anyhow::Error::from(error).context("publish a receipt"))
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn read_form(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    let limits = BodyLimits { bytes: FORM_BYTES, ..BodyLimits::default() };
    let bytes = read_body(headers, body, limits).await?;
    Ok(url::form_urlencoded::parse(&bytes).into_owned().collect())
}

fn public_part(fields: Vec<(String, String)>) -> BTreeMap<String, String> {
    fields
        .into_iter()
        .filter(|(name, value)| {
            !PRIVATE.contains(&name.as_str())
                && name.len() <= FIELD_BYTES
                && value.len() <= FIELD_BYTES
        })
        .take(FIELDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_no_number_and_no_text_goes_on_the_bus() {
        let form = [
            ("To", "+989123456789"),
            ("Body", "123456"),
            ("MessageStatus", "sent"),
            ("New", &"x".repeat(200)),
        ];
        let fields =
            form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(
            public_part(fields).into_iter().collect::<Vec<_>>(),
            [("MessageStatus".to_owned(), "sent".to_owned())]
        );
    }
}
