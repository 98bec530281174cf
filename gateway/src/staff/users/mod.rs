//! Accounts as staff see them, and what staff do with them.

pub(crate) mod acts;
pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod notes;
pub(crate) mod one;
pub(crate) mod standing;

use accounts::{AttemptKind, Find, Person, Throttle};
use domain::ids::UserId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::pages;

string_enum! {
    /// Whether an account's owner can sign in by code, as far as the account and its wrong attempts go.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum UserState { Active = "active", Slowed = "slowed", Locked = "locked", Blocked = "blocked" }
}

/// An account, as a list shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = UserRow, examples(json!({
    "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "phone_number": "+1415***71",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "locale": "en",
    "country": "US",
    "created_at": "2026-11-30T10:15:20.117Z",
    "last_seen_at": "2026-11-30T10:24:03.550Z",
    "live_sessions": 2,
    "has_password": false,
    "role": null,
    "state": "active",
})))]
pub(crate) struct UserRow {
    #[schema(value_type = uuid::Uuid)]
    pub id: UserId,
    /// Masked.
    pub phone_number: String,
    /// Empty for an account without a name, like the last name.
    pub first_name: String,
    pub last_name: String,
    pub locale: String,
    /// ISO 3166 region of the number.
    pub country: String,
    #[schema(value_type = words::Time)]
    pub created_at: Timestamp,
    /// The last sign-in or refresh; the creation, if there was none.
    #[schema(value_type = words::Time)]
    pub last_seen_at: Timestamp,
    pub live_sessions: i64,
    pub has_password: bool,
    /// Of a member of staff: `viewer`, `support`, `operator` or `owner`.
    #[schema(required = true)]
    pub role: Option<String>,
    #[schema(value_type = words::UserState)]
    pub state: UserState,
}

/// A page of accounts, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = UserList, examples(json!({
    "items": [{
        "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "phone_number": "+1415***71",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "locale": "en",
        "country": "US",
        "created_at": "2026-11-30T10:15:20.117Z",
        "last_seen_at": "2026-11-30T10:24:03.550Z",
        "live_sessions": 2,
        "has_password": false,
        "role": null,
        "state": "active",
    }],
    "next": null,
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct UserList {
    pub items: Vec<UserRow>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    pub next: Option<String>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// Reads a page of accounts: `rows` of them, made before the account `before`.
pub(crate) async fn list(
    app: &App,
    find: Find<'_>,
    before: Option<UserId>,
    rows: u32,
) -> Result<UserList, ApiError> {
    let now = app.engines.clock.now();
    let people = app.accounts.people(find, before, rows + 1, now).await?;
    let (people, next) = pages::cut(people, rows, |last| last.user.id.to_string());
    Ok(UserList { items: self::rows(app, people, now).await?, next, as_of: now })
}

/// One account as a list shows it.
pub(crate) async fn row(app: &App, person: Person, now: Timestamp) -> Result<UserRow, ApiError> {
    let mut rows = rows(app, vec![person], now).await?;
    rows.pop().ok_or(ApiError::NotFound)
}

async fn rows(app: &App, people: Vec<Person>, now: Timestamp) -> Result<Vec<UserRow>, ApiError> {
    let keys: Vec<_> =
        people.iter().map(|person| app.engines.keys.phone_key(&person.user.phone_number)).collect();
    let phones: Vec<_> =
        people.iter().zip(&keys).map(|(person, key)| (&person.user.phone_number, key)).collect();
    let limits = app.attempt_limits();
    let throttles = app.attempts.throttles(&phones, AttemptKind::Code, limits, now).await?;
    let row = |(person, throttle): (Person, Option<Throttle>)| UserRow {
        id: person.user.id,
        phone_number: person.user.phone_number.to_string(),
        state: match throttle {
            _ if person.user.blocked => UserState::Blocked,
            Some(Throttle::Locked { .. }) => UserState::Locked,
            Some(Throttle::Delayed { .. }) => UserState::Slowed,
            None => UserState::Active,
        },
        first_name: person.user.first_name,
        last_name: person.user.last_name,
        locale: person.user.locale,
        country: person.user.country,
        created_at: person.user.created_at,
        last_seen_at: person.last_seen,
        live_sessions: person.live_sessions,
        has_password: person.has_password,
        role: person.user.role,
    };
    Ok(people.into_iter().zip(throttles).map(row).collect())
}
