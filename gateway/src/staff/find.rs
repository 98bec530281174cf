//! Where an id from a log leads, and whose a number is.

use accounts::User;
use domain::ids::{AttemptId, MessageId, RequestId, SessionId, UserId};
use domain::string_enum;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// The length of a provider's id for a message: Twilio's has 34 characters.
const PROVIDER_ID: std::ops::RangeInclusive<usize> = 10..=100;

string_enum! {
    /// What an id belongs to.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum FoundKind { User = "user", Request = "request" }
}

/// What an id belongs to.
#[derive(Serialize, ToSchema)]
#[schema(as = Found, examples(json!({ "kind": "user", "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54" })))]
pub(crate) struct Found {
    #[schema(value_type = words::FoundKind)]
    pub kind: FoundKind,
    pub id: Uuid,
}

/// What this id belongs to: an account, also by an id of one of its sessions, or a request or notice, also by an id of one
/// of its calls to a provider. `None`: nothing that is still known.
pub(crate) async fn by_id(app: &App, id: Uuid) -> Result<Option<Found>, ApiError> {
    if app.accounts.get(UserId::from_uuid(id)).await?.is_some() {
        return Ok(Some(Found { kind: FoundKind::User, id }));
    }
    if let Some(user) = app.sessions.owner(SessionId::from_uuid(id)).await? {
        return Ok(Some(Found { kind: FoundKind::User, id: user.uuid() }));
    }
    let request = RequestId::from_uuid(id);
    let message = MessageId::of_request(request);
    let is_known =
        app.ledger.message(message).await?.is_some() || app.statuses.get(request).await?.is_some();
    if is_known {
        return Ok(Some(Found { kind: FoundKind::Request, id }));
    }
    match app.ledger.of_attempt(AttemptId::from_uuid(id)).await? {
        Some(message) => Ok(Some(of_message(app, message).await?)),
        None => Ok(None),
    }
}

/// The request or notice of a message.
async fn of_message(app: &App, message: MessageId) -> Result<Found, ApiError> {
    let request = app.ledger.message(message).await?.and_then(|message| message.request_id);
    let id = request.map_or(message.uuid(), RequestId::uuid);
    Ok(Found { kind: FoundKind::Request, id })
}

/// The request or notice to whose message a provider gave this id.
pub(crate) async fn by_provider_id(app: &App, id: &str) -> Result<Option<Found>, ApiError> {
    // Names have no digits.
    let is_one = PROVIDER_ID.contains(&id.len())
        && id.chars().all(|c| c.is_ascii_graphic())
        && id.chars().any(|c| c.is_ascii_digit());
    if !is_one {
        return Ok(None);
    }
    match app.ledger.of_provider_id(id).await? {
        Some(message) => Ok(Some(of_message(app, message).await?)),
        None => Ok(None),
    }
}

/// The account of a number in any writing, also of a country that is no longer served.
pub(crate) async fn by_phone(app: &App, writing: &str) -> Result<Option<User>, ApiError> {
    let served = app.phones.as_ref().clone().everywhere();
    match served.parse(writing, app.engines.clock.now()) {
        Ok(phone) => Ok(app.accounts.by_phone(phone.e164()).await?),
        Err(_) => Ok(None),
    }
}
