//! Entries of the audit as people read them: who, what, to whom; every id a link.

use std::collections::HashMap;

use accounts::AuditEntry;
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use serde_json::Value;

use crate::app::App;
use crate::console::page::name_of;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::http::validate;

/// An entry.
pub(crate) struct Line {
    pub at: Moment,
    pub actor: Named,
    /// As it is stored: what a filter takes.
    pub act: String,
    pub words: String,
    pub subject: Named,
    pub detail: String,
}

/// Who or what an entry names.
pub(crate) struct Named {
    /// As it is stored.
    pub value: String,
    pub text: String,
    /// The page of an account.
    pub address: Option<String>,
}

/// Acts in words, after a name.
const WORDS: [(&str, &str); 33] = [
    ("signed_up", "signed up"),
    ("signed_in", "signed in"),
    ("sign_in_refused_blocked", "was refused: the account is blocked"),
    ("session_ended", "ended sessions"),
    ("password_set", "set a password"),
    ("password_removed", "removed the password"),
    ("password_cleared", "removed the password for its user"),
    ("phone_changed", "changed the phone number"),
    ("phone_change_undone", "put the former phone number back"),
    ("phone_change_refused_taken", "could not change the number: it is taken"),
    ("profile_changed", "changed the profile"),
    ("user_created", "created the user"),
    ("user_deleted", "deleted the account"),
    ("user_blocked", "blocked the account"),
    ("user_unblocked", "unblocked the account"),
    ("user_read", "read the account"),
    ("sessions_read", "read the sessions"),
    ("staff_read", "listed the staff"),
    ("role_granted", "granted a role"),
    ("role_revoked", "removed the role"),
    ("phone_slowed", "slowed sign-in after wrong attempts"),
    ("phone_locked", "locked sign-in after wrong attempts"),
    ("phone_unlocked", "opened the lock"),
    ("lock_told", "told the owner of the lock"),
    ("block_added", "set a block"),
    ("block_removed", "ended a block"),
    ("phone_revealed", "saw the whole phone number"),
    ("code_requested_by_staff", "sent a code"),
    ("console_signed_in", "signed in at the console"),
    ("console_signed_out", "signed out of the console"),
    ("console_refused", "was refused at the console: no role"),
    ("audit_exported", "exported the audit"),
    ("refresh_reused", "ended a session: a refresh token was used twice"),
];

/// Reads the names of everybody that the entries name, in one query.
pub(crate) async fn of(
    app: &App,
    entries: Vec<AuditEntry>,
    now: Timestamp,
) -> Result<Vec<Line>, ApiError> {
    let named = entries.iter().flat_map(|entry| [&entry.actor, &entry.subject]);
    let mut ids: Vec<UserId> = named.filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    let users = app.accounts.by_ids(&ids).await?;
    let names: HashMap<_, _> =
        users.iter().map(|user| (user.id.to_string(), name_of(user))).collect();
    Ok(entries.into_iter().map(|entry| line(entry, &names, now)).collect())
}

fn line(entry: AuditEntry, names: &HashMap<String, String>, now: Timestamp) -> Line {
    Line {
        at: Moment::of(entry.at, now),
        actor: named(entry.actor, names),
        words: words(&entry.act),
        act: entry.act,
        subject: named(entry.subject, names),
        detail: detail(&entry.detail),
    }
}

pub(super) fn words(act: &str) -> String {
    let known = WORDS.iter().find(|(known, _)| *known == act);
    known.map_or_else(|| act.replace('_', " "), |(_, words)| (*words).to_owned())
}

fn named(value: String, names: &HashMap<String, String>) -> Named {
    if let Some(name) = names.get(&value) {
        let address = Some(format!("/console/users/{value}"));
        return Named { text: name.clone(), address, value };
    }
    // A phone's key or a pseudonym: the beginning tells it from others.
    let is_digest = value.len() >= 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    let text = if is_digest { format!("…{}", &value[..8]) } else { validate::visible(&value) };
    Named { value, text, address: None }
}

/// The members of an entry's detail in one line.
fn detail(json: &str) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str(json) else { return String::new() };
    let text = |value: &Value| match value {
        Value::String(text) => validate::visible(text),
        Value::Null => "none".to_owned(),
        Value::Array(list) if list.len() > 3 => format!("{} of them", list.len()),
        Value::Array(list) => {
            let texts = list.iter().map(|one| one.as_str().map_or(one.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let parts = members.iter().map(|(name, value)| format!("{name}: {}", text(value)));
    parts.collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_line_without_characters_that_deceive() {
        let json = r#"{"reason":"a\u202eb\n","sessions":["x","y"],"until":null,"n":3}"#;
        let told = detail(json);
        assert!(told.contains("reason: a\u{fffd}b\u{fffd}"), "{told}");
        assert!(told.contains("sessions: x, y") && told.contains("until: none"), "{told}");
        assert_eq!(detail("not json"), "");
        assert_eq!(words("a_new_act"), "a new act");
    }
}
