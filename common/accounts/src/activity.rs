//! What happened to an account, as its owner may see it (contract, ruling 38). The audit holds it: names of acts, ids and
//! reasons. Devices and addresses come from the sessions, which are kept for three months after their end.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::Accounts;
use domain::engine_error::EngineError;
use domain::ids::{SessionId, UserId};
use domain::timestamp::Timestamp;
use sql::{Row, args};

/// How many events are shown.
const SHOWN: u32 = 100;

/// An act of the audit and the name of its event; other acts are not the owner's business, or are told by another one.
const KINDS: [(&str, &str); 11] = [
    ("signed_up", "user.created"),
    ("signed_in", "session.started"),
    ("sign_in_refused_blocked", "session.refused"),
    ("session_ended", "session.ended"),
    ("password_set", "password.set"),
    ("password_removed", "password.removed"),
    ("password_cleared", "password.removed"),
    ("phone_changed", "phone.changed"),
    ("phone_change_undone", "phone.restored"),
    ("user_blocked", "user.blocked"),
    ("user_unblocked", "user.unblocked"),
];

/// A security event of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Unique within the account. It counts what all accounts do: not to be shown.
    pub key: String,
    pub kind: &'static str,
    pub at: Timestamp,
    /// The session that was started or ended, or made the change.
    pub session: Option<SessionId>,
    /// How it was started: `sms`, `call` or `pwd`.
    pub method: Option<String>,
    pub reason: Option<String>,
    /// Of the session, while it is kept.
    pub device: Option<String>,
    /// Already truncated.
    pub ip: Option<String>,
}

impl SecurityEvent {
    /// Every `kind` that there is.
    pub fn kinds() -> BTreeSet<&'static str> {
        KINDS.into_iter().map(|(_, kind)| kind).collect()
    }
}

/// The parts of an entry's detail that are shown.
#[derive(Default, Deserialize)]
struct Detail {
    session: Option<SessionId>,
    #[serde(default)]
    sessions: Vec<SessionId>,
    method: Option<String>,
    reason: Option<String>,
}

impl Accounts {
    /// The last 100 security events of an account, newest first.
    pub async fn activity(&self, user: UserId) -> Result<Vec<SecurityEvent>, EngineError> {
        let name = user.to_string();
        let acts = serde_json::json!(KINDS.map(|(act, _)| act)).to_string();
        self.pool
            .read("read an account's activity", async |work| {
                let sql = if work.is_postgres() {
                    "SELECT id, at, act, detail FROM audit WHERE subject = $1 AND act <> 'profile_changed'
                     AND act IN (SELECT json_array_elements_text($2::json)) ORDER BY id DESC LIMIT $3"
                } else {
                    "SELECT id, at, act, detail FROM audit WHERE subject = $1 AND act <> 'profile_changed'
                     AND act IN (SELECT value FROM json_each($2)) ORDER BY id DESC LIMIT $3"
                };
                let rows = work.rows(sql, args![&name, &acts, SHOWN]).await?;
                let mut events = Vec::with_capacity(rows.len());
                for row in &rows {
                    events.extend(of_entry(row)?);
                }
                events.truncate(SHOWN as usize);
                let ids: Vec<_> = events.iter().filter_map(|event| event.session).collect();
                let ids = serde_json::json!(ids).to_string();
                let sql = if work.is_postgres() {
                    "SELECT id, device, ip FROM sessions WHERE user_id = $1
                     AND id IN (SELECT value::uuid FROM json_array_elements_text($2::json))"
                } else {
                    "SELECT id, device, ip FROM sessions WHERE user_id = $1
                     AND id IN (SELECT unhex(value, '-') FROM json_each($2))"
                };
                let mut places: HashMap<SessionId, (String, String)> = HashMap::new();
                for row in work.rows(sql, args![user, &ids]).await? {
                    let place = (row.get("device")?, row.get("ip")?);
                    places.insert(SessionId::from_uuid(row.get("id")?), place);
                }
                for event in &mut events {
                    let place = event.session.and_then(|session| places.get(&session).cloned());
                    (event.device, event.ip) = place.unzip();
                }
                Ok(events)
            })
            .await
    }
}

/// The events of an entry: one for each session that it names.
fn of_entry(row: &Row) -> Result<Vec<SecurityEvent>, sqlx::Error> {
    let (id, act, detail): (i64, String, String) =
        (row.get("id")?, row.get("act")?, row.get("detail")?);
    let Some((act, kind)) = KINDS.into_iter().find(|(known, _)| *known == act) else {
        return Ok(Vec::new());
    };
    let detail: Detail = serde_json::from_str(&detail).unwrap_or_default();
    let reason = match act {
        "session_ended" => detail.reason,
        "sign_in_refused_blocked" => Some("account_blocked".to_owned()),
        "password_cleared" | "phone_change_undone" => Some("staff".to_owned()),
        // What staff wrote about a block is for staff.
        _ => None,
    };
    let event = SecurityEvent {
        key: id.to_string(),
        kind,
        at: row.time("at")?,
        session: detail.session,
        method: detail.method,
        reason,
        device: None,
        ip: None,
    };
    if detail.sessions.is_empty() {
        return Ok(vec![event]);
    }
    let of_session = |session: SessionId| SecurityEvent {
        key: format!("{id} {session}"),
        session: Some(session),
        ..event.clone()
    };
    Ok(detail.sessions.into_iter().map(of_session).collect())
}
