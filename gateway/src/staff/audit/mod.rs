//! Who did what to whom.

use std::collections::HashMap;

use accounts::{Accounts, AuditEntry, AuditFilter};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::export::{self, Export};
use crate::staff::{name_of, pages};

/// What the name of a key of the admin API stands behind in the audit. No other actor's name begins so: a user's is an
/// id, and a command refuses such a name.
pub(crate) const KEY: &str = "admin-key:";

string_enum! {
    /// What kind of actor an entry names.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum ActorKind {
        /// An account: of a user, or of staff at the console.
        Account = "account",
        /// A key of the admin API.
        Key = "key",
        /// Latchkey itself.
        System = "system",
        /// A command, by the name of whoever ran it; or the pseudonym of a deleted account.
        Other = "other",
    }
}

/// An entry of the audit.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry, examples(json!({
    "id": 4711,
    "at": "2026-11-30T10:24:05.000Z",
    "actor": "admin-key:helpdesk",
    "actor_kind": "key",
    "actor_name": null,
    "act": "user_blocked",
    "subject": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "subject_name": "Ada Lovelace",
    "detail": { "reason": "sold on a market" },
})))]
pub(crate) struct AuditRow {
    pub id: i64,
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    /// As it is stored: a user's id, `admin-key:` and a key's name, `system`, or the name of whoever ran a command.
    pub actor: String,
    #[schema(value_type = words::ActorKind)]
    pub actor_kind: ActorKind,
    /// The name of the actor's account; null if it is none.
    #[schema(required = true)]
    pub actor_name: Option<String>,
    /// A past fact in snake case.
    pub act: String,
    /// A user's id, a phone's key, the id of something else, or the pseudonym of a deleted account.
    pub subject: String,
    /// The name of the subject's account; null if it is none.
    #[schema(required = true)]
    pub subject_name: Option<String>,
    #[schema(value_type = words::Members)]
    pub detail: Map<String, Value>,
}

/// A page of the audit, the newest entries first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditList, examples(json!({
    "items": [{
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
    "next": "4711",
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct AuditList {
    pub items: Vec<AuditRow>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    pub next: Option<String>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// Reads a page of the audit: `rows` entries, older than the entry `before`.
pub(crate) async fn list(
    app: &App,
    filter: AuditFilter<'_>,
    before: Option<i64>,
    rows: u32,
) -> Result<AuditList, ApiError> {
    let found = app.audit.search(filter, before, rows + 1).await?;
    let (found, next) = pages::cut(found, rows, |last| last.id.to_string());
    let items = self::rows(&app.accounts, found).await?;
    Ok(AuditList { items, next, as_of: app.engines.clock.now() })
}

/// Reads the names of everybody that the entries name, in one query.
pub(crate) async fn rows(
    accounts: &Accounts,
    entries: Vec<AuditEntry>,
) -> Result<Vec<AuditRow>, EngineError> {
    let named = entries.iter().flat_map(|entry| [&entry.actor, &entry.subject]);
    let mut ids: Vec<UserId> = named.filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    let users = accounts.by_ids(&ids).await?;
    let names: HashMap<_, _> =
        users.iter().map(|user| (user.id.to_string(), name_of(user))).collect();
    Ok(entries.into_iter().map(|entry| row(entry, &names)).collect())
}

fn row(entry: AuditEntry, names: &HashMap<String, String>) -> AuditRow {
    let detail = match serde_json::from_str(&entry.detail) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    AuditRow {
        id: entry.id,
        at: entry.at,
        actor_kind: kind_of(&entry.actor),
        actor_name: names.get(&entry.actor).cloned(),
        actor: entry.actor,
        act: entry.act,
        subject_name: names.get(&entry.subject).cloned(),
        subject: entry.subject,
        detail,
    }
}

/// What kind of actor has this name in the audit.
pub(crate) fn kind_of(actor: &str) -> ActorKind {
    match actor {
        "system" => ActorKind::System,
        key if key.starts_with(KEY) => ActorKind::Key,
        id if id.parse::<UserId>().is_ok() => ActorKind::Account,
        _ => ActorKind::Other,
    }
}

/// What the filter finds as CSV, 10,000 entries at most.
pub(crate) async fn export(
    app: &App,
    actor: &str,
    filter: AuditFilter<'_>,
    filtered_by: &[&'static str],
) -> Result<String, ApiError> {
    let found = app.audit.search(filter, None, export::MOST).await?;
    let export = Export { actor, act: "audit_exported", filtered_by };
    let columns = ["id", "at", "actor", "act", "subject", "detail"];
    export
        .write(app, columns, &found, |entry| {
            let AuditEntry { id, at, actor, act, subject, detail } = entry.clone();
            [id.to_string(), at.to_string(), actor, act, subject, detail]
        })
        .await
}

/// A point in time as a filter has it: a day in UTC, or a time with its offset.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}
