//! All that is stored about one account, for the person whose account it is. The command `latchkey users export`, the
//! console and the admin API write the same.

use accounts::{Accounts, Audit, AuditFilter, Sessions, User};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use ledger::{MessageFilter, Reader};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::one::{self, SessionRow};
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::audit::{self, AuditRow};
use crate::staff::export::MOST;
use crate::staff::requests::MessageRow;

/// The act of an export in the audit, by whomever.
const ACT: &str = "user_exported";

/// What stores something about an account.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub accounts: &'a Accounts,
    pub sessions: &'a Sessions,
    pub audit: &'a Audit,
    pub ledger: &'a Reader,
}

/// All that is stored about an account but its secrets: no password, no token, and no digest of one.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountExport, examples(json!({
    "user": {
        "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "phone_number": "+14155552671",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "locale": "en",
        "country": "US",
        "role": null,
        "blocked": false,
        "created_at": "2026-11-30T10:15:20.117Z",
    },
    "has_password": false,
    "block_reason": null,
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
    "events": [{
        "id": 4711,
        "at": "2026-11-30T10:24:05.000Z",
        "actor": "admin-key:helpdesk",
        "actor_kind": "key",
        "actor_name": null,
        "act": "user_exported",
        "subject": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "subject_name": "Ada Lovelace",
        "detail": { "reason": "the owner asked, ticket 4711" },
    }],
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub struct AccountExport {
    pub(crate) user: ExportedUser,
    pub(crate) has_password: bool,
    /// Why the account is blocked, or null.
    #[schema(required = true)]
    pub(crate) block_reason: Option<String>,
    /// Live ones first; ended ones are kept for three months. 10,000 at most, as of each list.
    pub(crate) sessions: Vec<SessionRow>,
    /// Texts and calls to the number within 30 days, the newest first.
    pub(crate) texts: Vec<MessageRow>,
    /// What the audit has about the account, the newest first, notes of staff included.
    pub(crate) events: Vec<AuditRow>,
    #[schema(value_type = words::Time)]
    pub(crate) as_of: Timestamp,
}

/// An account with its whole number.
#[derive(Serialize, ToSchema)]
#[schema(as = ExportedUser, examples(json!({
    "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "phone_number": "+14155552671",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "locale": "en",
    "country": "US",
    "role": null,
    "blocked": false,
    "created_at": "2026-11-30T10:15:20.117Z",
})))]
pub struct ExportedUser {
    #[schema(value_type = uuid::Uuid)]
    pub(crate) id: UserId,
    /// Whole.
    #[schema(value_type = words::PhoneNumber)]
    pub(crate) phone_number: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) locale: String,
    /// ISO 3166 region of the number.
    pub(crate) country: String,
    /// Of a member of staff: `viewer`, `support`, `operator` or `owner`.
    #[schema(required = true)]
    pub(crate) role: Option<String>,
    pub(crate) blocked: bool,
    #[schema(value_type = words::Time)]
    pub(crate) created_at: Timestamp,
}

impl ExportedUser {
    /// The account with its whole number: for those who may see that.
    pub fn of(user: &User) -> Self {
        Self {
            id: user.id,
            phone_number: user.phone_number.expose().to_owned(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            locale: user.locale.clone(),
            country: user.country.clone(),
            role: user.role.clone(),
            blocked: user.blocked,
            created_at: user.created_at,
        }
    }
}

impl AccountExport {
    /// Writes to the audit that `actor` exports the account, perhaps for a reason, and then reads all that is stored about
    /// it. `access_secs` is how long an access token lives. `None` if there is no such account.
    ///
    /// # Errors
    /// If the database is away. What could not be written to the audit is not read.
    pub async fn noted(
        stored: Stored<'_>,
        access_secs: i64,
        (actor, reason): (&str, Option<&str>),
        id: UserId,
        now: Timestamp,
    ) -> Result<Option<Self>, EngineError> {
        let Stored { accounts, sessions, audit, ledger } = stored;
        let Some(person) = accounts.person(id, now).await? else { return Ok(None) };
        let (subject, detail) =
            (id.to_string(), reason.map_or(json!({}), |it| json!({ "reason": it })));
        audit.add(now, actor, ACT, &subject, &detail).await?;
        let filter =
            MessageFilter { phone_number: Some(&person.user.phone_number), ..Default::default() };
        let texts = ledger.page(filter, None, MOST).await?.messages;
        let kept = sessions.kept(id, MOST).await?;
        let filter = AuditFilter { subject: Some(&subject), ..Default::default() };
        let entries = audit.search(filter, None, MOST).await?;
        Ok(Some(Self {
            user: ExportedUser::of(&person.user),
            has_password: person.has_password,
            block_reason: person.block.map(|block| block.reason),
            sessions: kept.into_iter().map(|kept| one::session(kept, access_secs, now)).collect(),
            texts: texts.iter().map(MessageRow::of).collect(),
            events: audit::rows(accounts, entries).await?,
            as_of: now,
        }))
    }
}

/// Exports an account in the name of staff.
///
/// # Errors
/// 404 if there is none.
pub(crate) async fn export(
    app: &App,
    actor: &str,
    id: UserId,
    reason: &str,
) -> Result<AccountExport, ApiError> {
    let stored = Stored {
        accounts: &app.accounts,
        sessions: &app.sessions,
        audit: &app.audit,
        ledger: &app.ledger,
    };
    let (access_secs, now) = (app.config.tokens.access_ttl_secs, app.engines.clock.now());
    let by = (actor, Some(reason));
    AccountExport::noted(stored, access_secs, by, id, now).await?.ok_or(ApiError::NotFound)
}
