//! Notes of staff about an account. Each is an entry of the audit, whose text goes with the account (contract, ruling 71);
//! the owner of the account does not see it.

use accounts::AuditFilter;
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::audit::{self, ActorKind, AuditRow};

/// The act of a note in the audit.
pub(crate) const ACT: &str = "note_added";
/// How many notes are shown; the audit has all.
const SHOWN: u32 = 20;

/// A note of staff about an account.
#[derive(Serialize, ToSchema)]
#[schema(as = UserNote, examples(json!({
    "at": "2026-11-30T10:24:05.000Z",
    "actor": "admin-key:helpdesk",
    "actor_kind": "key",
    "actor_name": null,
    "note": "called about a lost phone, ticket 4711",
})))]
pub(crate) struct UserNote {
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    /// Who wrote it, as the audit names them.
    pub actor: String,
    #[schema(value_type = words::ActorKind)]
    pub actor_kind: ActorKind,
    /// The name of the actor's account; null if it is none.
    #[schema(required = true)]
    pub actor_name: Option<String>,
    pub note: String,
}

/// The last 20 notes about an account, the newest first.
pub(super) async fn of(app: &App, user: UserId) -> Result<Vec<UserNote>, ApiError> {
    let subject = user.to_string();
    let filter = AuditFilter { subject: Some(&subject), act: Some(ACT), ..AuditFilter::default() };
    let entries = app.audit.search(filter, None, SHOWN).await?;
    let rows = audit::rows(&app.accounts, entries).await?;
    Ok(rows.into_iter().map(note).collect())
}

fn note(entry: AuditRow) -> UserNote {
    UserNote {
        at: entry.at,
        actor: entry.actor,
        actor_kind: entry.actor_kind,
        actor_name: entry.actor_name,
        note: entry.detail.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

/// Writes a note about an account; returns when.
pub(crate) async fn add(
    app: &App,
    actor: &str,
    user: UserId,
    note: &str,
) -> Result<Timestamp, ApiError> {
    let (now, detail) = (app.engines.clock.now(), json!({ "reason": note }));
    app.audit.add(now, actor, ACT, &user.to_string(), &detail).await?;
    Ok(now)
}
