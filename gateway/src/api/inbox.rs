//! `GET /inbox/messages`: the messages that the `inbox` provider stored. Development and tests only.

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use domain::keys::PhoneKey;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use store::inbox::KeptMessage;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::etag;
use crate::openapi::params;
use crate::openapi::refusals::refusals;
use crate::openapi::words;

/// How many texts the list of all phones has: the page shows no more, and it is read every second.
const NEWEST: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Of {
    phone_number: Option<String>,
    token: Option<String>,
}

/// A text that was kept instead of being sent.
#[derive(Serialize, ToSchema)]
#[schema(as = InboxMessage)]
pub(crate) struct MessageView {
    #[serde(flatten)]
    #[schema(value_type = KeptMessageView, inline)]
    message: KeptMessage,
    /// The code found in the text, or null.
    #[schema(required = true)]
    code: Option<String>,
}

/// A stored message.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what the store keeps")]
struct KeptMessageView {
    #[schema(value_type = uuid::Uuid)]
    message_id: String,
    /// The code request that it belongs to; null for a notice.
    #[schema(value_type = Option<uuid::Uuid>, required = true)]
    request_id: Option<String>,
    #[schema(value_type = words::PhoneNumber)]
    phone_number: String,
    #[schema(value_type = words::Channel)]
    channel: String,
    text: String,
    #[schema(value_type = words::Time)]
    sent_at: String,
}

refusals!(InboxRefused: NoBody, InvalidPhoneNumber, PhoneNumberNotSupported, InboxTokenNotValid, HostNotAllowed);

/// Lists the messages of a phone, or without one the newest of all phones (contract, ruling 64). The answer has a tag, so
/// that a page which asks again and again is sent a list only when it has changed.
#[utoipa::path(
    get, path = "/inbox/messages", tag = "development", operation_id = "listInbox",
    summary = "The texts to a phone, or the newest of all",
    description = "Newest first; of all phones the newest 200. Open on loopback; elsewhere it needs its token, as `Authorization: Bearer` or in \
        the query.",
    params(params::Inbox),
    responses((status = 200, description = "The kept texts.", body = Vec<MessageView>,
        headers(("ETag" = String, description = "Names this list.")), example = json!([{
        "message_id": "019c2b7e-8f42-7b03-b1d5-7c9e2f4a6d81",
        "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
        "phone_number": "+14155552671",
        "channel": "sms",
        "text": "123456 is your Latchkey code, valid for 5 minutes.",
        "sent_at": "2026-11-30T10:15:01.198Z",
        "code": "123456",
    }])), (status = 304, description = "The list is the one that `If-None-Match` names.",
        headers(("ETag" = String, description = "Names this list."))), InboxRefused),
)]
pub(crate) async fn messages(
    State(app): State<App>,
    request: Request,
) -> Result<Response, ApiError> {
    let (asked, _) = request.into_parts();
    let of = Query::<Of>::try_from_uri(&asked.uri);
    let in_query = of.as_ref().ok().and_then(|Query(of)| of.token.as_deref());
    app.inbox_access.check(&asked, in_query)?;
    let Query(of) =
        of.map_err(|_| ApiError::field("phone_number", "invalid", "Send this parameter once."))?;
    let is_of_all = of.phone_number.is_none();
    let mut messages = match of.phone_number {
        Some(writing) => of_phone(&app, &writing).await?,
        None => open(&app, app.inbox.all_texts().await?),
    };
    messages.sort_by_key(|message| std::cmp::Reverse((message.sent_at, message.message_id)));
    if is_of_all {
        messages.truncate(NEWEST);
    }
    let view = |message: KeptMessage| MessageView { code: code_in(&message.text), message };
    let views: Vec<MessageView> = messages.into_iter().map(view).collect();
    let body = serde_json::to_vec(&views).map_err(anyhow::Error::from)?;
    let tag = etag::of(&body);
    if etag::is_known(&asked.headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json), (ETAG, tag)], Body::from(body)).into_response())
}

async fn of_phone(app: &App, writing: &str) -> Result<Vec<KeptMessage>, ApiError> {
    // In a query, `+` decodes to a space, and people forget to escape it.
    let writing = match writing.strip_prefix(' ') {
        Some(rest) => format!("+{rest}"),
        None => writing.to_owned(),
    };
    let phone = app.phone(&writing)?;
    let key = app.engines.keys.phone_key(phone.e164());
    let sealed = app.inbox.texts(&key).await?;
    Ok(open(app, sealed.into_iter().map(|text| (key.clone(), text)).collect()))
}

/// Opens what can be opened: a text from before a change of keys is over soon.
fn open(app: &App, sealed: Vec<(PhoneKey, String)>) -> Vec<KeptMessage> {
    let open = |(phone, text)| KeptMessage::open(&app.engines.keys, &phone, text).ok();
    sealed.into_iter().filter_map(open).collect()
}

/// The first run of 4 to 10 digits. A voice text spells its digits, twice, so there the digits of its first half are
/// the code.
fn code_in(text: &str) -> Option<String> {
    let runs: Vec<&str> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect();
    if let Some(run) = runs.iter().find(|run| (4..=10).contains(&run.len())) {
        return Some((*run).to_owned());
    }
    let digits: String = runs.iter().filter(|run| run.len() == 1).copied().collect();
    let (first, second) = digits.split_at(digits.len() / 2);
    ((4..=10).contains(&first.len()) && first == second).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_as_a_reader_finds_it() {
        assert_eq!(code_in("123456 is your code, valid for 5 minutes.").as_deref(), Some("123456"));
        assert_eq!(code_in("Your code: 1, 2, 3, 4. Again: 1, 2, 3, 4.").as_deref(), Some("1234"));
        assert_eq!(code_in("Your number was changed."), None);
        assert_eq!(code_in("1, 2, 3, 4. Again: 1, 2, 3, 5."), None);
    }
}
