//! One account, with all that staff may see of it.

use accounts::{AuditFilter, KeptSession};
use domain::ids::{SessionId, UserId};
use domain::timestamp::Timestamp;
use ledger::MessageFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::UserRow;
use super::notes::{self, UserNote};
use super::standing::{self, Standing};
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::audit::{self, AuditRow};
use crate::staff::requests::MessageRow;

/// How many rows of each list are shown; the lists themselves have all.
const SESSIONS: u32 = 20;
const TEXTS: u32 = 5;
const EVENTS: u32 = 25;

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(as = UserView, examples(json!({
    "user": {
        "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "phone_number": "+1415***71",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "locale": "en",
        "country": "US",
        "created_at": "2026-11-30T10:15:20.117Z",
        "last_seen_at": "2026-11-30T10:24:03.550Z",
        "live_sessions": 1,
        "has_password": false,
        "role": null,
        "state": "blocked",
    },
    "block": { "at": "2026-11-30T10:24:05.000Z", "by": "admin-key:helpdesk", "reason": "sold on a market" },
    "standing": {
        "obstacles": [{
            "code": "account_blocked",
            "detail": "The account is blocked: sold on a market (by admin-key:helpdesk).",
            "until": null,
        }],
        "code": {
            "state": "live",
            "expires_at": "2026-11-30T10:29:00.000Z",
            "attempts_made": 1,
            "attempts": 5,
        },
        "sends_hour": 1,
        "sends_hour_limit": 5,
        "sends_day": 1,
        "sends_day_limit": 10,
    },
    "sessions": [{
        "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c55",
        "device": "Example/4.2 (Android 16)",
        "ip": "203.0.113.0",
        "method": "sms",
        "is_bound": false,
        "created_at": "2026-11-30T10:15:20.117Z",
        "last_seen_at": "2026-11-30T10:24:03.550Z",
        "ended_at": null,
        "ended_reason": null,
        "access_ends_at": null,
    }],
    "texts": [],
    "notes": [{
        "at": "2026-11-30T10:24:05.000Z",
        "actor": "admin-key:helpdesk",
        "actor_kind": "key",
        "actor_name": null,
        "note": "called about a lost phone, ticket 4711",
    }],
    "events": [{
        "id": 4711,
        "at": "2026-11-30T10:24:05.000Z",
        "actor": "admin-key:helpdesk",
        "actor_kind": "key",
        "actor_name": null,
        "act": "user_blocked",
        "subject": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "subject_name": "Ada Lovelace",
        "detail": { "reason": "sold on a market" },
    }],
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct UserView {
    pub user: UserRow,
    /// Why the account is blocked, or null.
    #[schema(required = true)]
    pub block: Option<UserBlock>,
    /// Why its owner cannot sign in now, and the state of its code.
    pub standing: Standing,
    /// The 20 last seen, live ones first. Ended ones are kept for three months.
    pub sessions: Vec<SessionRow>,
    /// The last 5 texts and calls to the number, within 30 days.
    pub texts: Vec<MessageRow>,
    /// The last 20 notes that staff wrote about it, the newest first.
    pub notes: Vec<UserNote>,
    /// The last 25 entries of the audit about it.
    pub events: Vec<AuditRow>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// Why an account is blocked, since when and by whom.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserBlock {
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    /// As the audit names whoever did it.
    pub by: String,
    pub reason: String,
}

/// A session of an account, live or ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionRow {
    #[schema(value_type = uuid::Uuid)]
    pub id: SessionId,
    /// The device's own name for itself: its `User-Agent` at sign-in.
    pub device: String,
    /// Cut: enough to recognise a network, too little to find a person.
    pub ip: String,
    /// How it was started: `sms`, `call` or `pwd`.
    pub method: &'static str,
    /// Whether it is bound to a key of the client (RFC 9449).
    pub is_bound: bool,
    #[schema(value_type = words::Time)]
    pub created_at: Timestamp,
    #[schema(value_type = words::Time)]
    pub last_seen_at: Timestamp,
    /// Null: it is live.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub ended_at: Option<Timestamp>,
    #[schema(required = true)]
    pub ended_reason: Option<String>,
    /// Until then other services may still accept the ended session's access token; null when none is left.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub access_ends_at: Option<Timestamp>,
}

/// Reads an account.
///
/// # Errors
/// 404 if there is none.
pub(crate) async fn read(app: &App, id: UserId) -> Result<UserView, ApiError> {
    let now = app.engines.clock.now();
    let person = app.accounts.person(id, now).await?.ok_or(ApiError::NotFound)?;
    let filter =
        MessageFilter { phone_number: Some(&person.user.phone_number), ..Default::default() };
    let texts = app.ledger.page(filter, None, TEXTS).await?.messages;
    let standing = standing::of(app, &person, &texts, now).await?;
    let kept = app.sessions.kept(id, SESSIONS).await?;
    let access_secs = app.config.tokens.access_ttl_secs;
    let subject = id.to_string();
    let filter = AuditFilter { subject: Some(&subject), ..Default::default() };
    let entries = app.audit.search(filter, None, EVENTS).await?;
    let block = person.block.as_ref().map(|block| UserBlock {
        at: block.at,
        by: block.by.clone(),
        reason: block.reason.clone(),
    });
    Ok(UserView {
        block,
        standing,
        sessions: kept.into_iter().map(|kept| session(kept, access_secs, now)).collect(),
        texts: texts.iter().map(MessageRow::of).collect(),
        notes: notes::of(app, id).await?,
        events: audit::rows(&app.accounts, entries).await?,
        user: super::row(app, person, now).await?,
        as_of: now,
    })
}

/// A session as staff see it; `access_secs` is how long an access token lives.
pub(super) fn session(kept: KeptSession, access_secs: i64, now: Timestamp) -> SessionRow {
    let KeptSession { session, ended } = kept;
    // One whose time is over ends with the next sweep; it is refused since then.
    let over = (session.expires_at <= now).then(|| (session.expires_at, "expired".to_owned()));
    let ended = ended.or(over);
    let access_ends_at = ended.as_ref().map(|(at, _)| at.plus_secs(access_secs));
    let (ended_at, ended_reason) = ended.unzip();
    SessionRow {
        id: session.id,
        device: session.device,
        ip: session.ip,
        method: session.method.as_str(),
        is_bound: session.jkt.is_some(),
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        ended_at,
        ended_reason,
        access_ends_at: access_ends_at.filter(|until| *until > now),
    }
}
