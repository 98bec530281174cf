//! Entries of the audit as people read them: who, what, to whom; every id a link.

use domain::timestamp::Timestamp;
use serde_json::{Map, Value};

use crate::console::ids::linked;
use crate::console::time::Moment;
use crate::http::validate;
use crate::staff::audit::{ActorKind, AuditRow, KEY};

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

impl Line {
    /// The detail as a part of a page.
    pub fn detail_html(&self) -> String {
        linked(&self.detail)
    }
}

impl Named {
    /// As a part of a page.
    pub fn html(&self) -> String {
        linked(&self.text)
    }
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
const WORDS: &[(&str, &str)] = &[
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
    ("user_exported", "exported the account"),
    ("users_exported", "exported all accounts"),
    ("note_added", "wrote a note"),
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
    ("dead_letters_replayed", "replayed dead letters"),
    ("dead_letters_dropped", "deleted dead letters"),
    ("phone_revealed", "saw the whole phone number"),
    ("code_requested_by_staff", "sent a code"),
    ("console_signed_in", "signed in at the console"),
    ("console_signed_out", "signed out of the console"),
    ("console_refused", "was refused at the console: no role"),
    ("guard_opened", "opened a net of the pumping guard"),
    ("limits_explained", "looked at the limits of a phone or an address"),
    ("audit_exported", "exported the audit"),
    ("requests_exported", "exported requests"),
    ("blocks_exported", "exported the blocks"),
    ("admin_key_created", "made a key of the admin API"),
    ("admin_keys_read", "listed the keys of the admin API"),
    ("admin_key_revoked", "revoked a key of the admin API"),
    ("refresh_reused", "ended a session: a refresh token was used twice"),
];

/// The entries as the page shows them.
pub(crate) fn of(entries: Vec<AuditRow>, now: Timestamp) -> Vec<Line> {
    entries.into_iter().map(|entry| line(entry, now)).collect()
}

fn line(entry: AuditRow, now: Timestamp) -> Line {
    Line {
        at: Moment::of(entry.at, now),
        actor: actor(entry.actor, entry.actor_kind, entry.actor_name),
        words: words(&entry.act),
        act: entry.act,
        subject: named(entry.subject, entry.subject_name),
        detail: detail(&entry.detail),
    }
}

/// A key is told from an account and from a command, whatever its name.
pub(crate) fn actor(value: String, kind: ActorKind, name: Option<String>) -> Named {
    match (kind, value.strip_prefix(KEY)) {
        (ActorKind::Key, Some(key)) => {
            let text = format!("key {} of the admin API", validate::visible(key));
            Named { value, text, address: None }
        }
        _ => named(value, name),
    }
}

pub(super) fn words(act: &str) -> String {
    let known = WORDS.iter().find(|(known, _)| *known == act);
    known.map_or_else(|| act.replace('_', " "), |(_, words)| (*words).to_owned())
}

fn named(value: String, name: Option<String>) -> Named {
    if let Some(text) = name {
        let address = Some(format!("/console/users/{value}"));
        return Named { value, text, address };
    }
    // A phone's key or a pseudonym: the beginning tells it from others.
    let is_digest = value.len() >= 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    let text = if is_digest { format!("…{}", &value[..8]) } else { validate::visible(&value) };
    Named { value, text, address: None }
}

/// The members of an entry's detail in one line.
fn detail(members: &Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => validate::visible(text),
        Value::Null => "none".to_owned(),
        Value::Array(list) if list.len() > 3 => format!("{} of them", list.len()),
        Value::Array(list) => {
            let texts =
                list.iter().map(|one| one.as_str().map_or(one.to_string(), validate::visible));
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
    fn a_key_is_told_from_an_account_and_from_a_command() {
        let told = |actor_name: &str| {
            let kind = crate::staff::audit::kind_of(actor_name);
            actor(actor_name.to_owned(), kind, None).text
        };
        assert_eq!(told("admin-key:helpdesk"), "key helpdesk of the admin API");
        assert_eq!(told("helpdesk"), "helpdesk");
        assert_eq!(told("system"), "system");
    }

    #[test]
    fn a_detail_is_one_line_without_characters_that_deceive() {
        let json = r#"{"reason":"a\u202eb\n","sessions":["x\u202e","y"],"until":null,"n":3}"#;
        let told = detail(&serde_json::from_str(json).unwrap());
        assert!(told.contains("reason: a\u{fffd}b\u{fffd}"), "{told}");
        assert!(told.contains("sessions: x\u{fffd}, y") && told.contains("until: none"), "{told}");
        assert_eq!(detail(&Map::new()), "");
        assert_eq!(words("a_new_act"), "a new act");
    }
}
