//! `latchkey admin-keys`: the keys of the admin API, made here and never over HTTP.

use accounts::{AdminKey, NewAdminKey, StaffRole};
use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use domain::admin_key::AdminKeyText;
use domain::timestamp::Timestamp;
use serde_json::{Value, json};

use super::operator::{Operator, actor};
use super::terminal::{ConfirmArgs, OutputArgs, print, print_json};

const DAY_SECS: i64 = 86_400;
const LONGEST_NAME: usize = 40;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a key and prints it, once: only its digest is kept.
    Create {
        /// What the audit calls it: a to z, 0 to 9, `-`, `_` and `.`. A name is never given again.
        name: String,
        /// viewer, support, operator or owner: it may do what staff of that role may.
        #[arg(long)]
        role: String,
        /// Its end: days, such as `90d`, or a time (RFC 3339). Without it, it has none.
        #[arg(long)]
        expires: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Lists the keys, those that open nothing any more included.
    List(OutputArgs),
    /// Revokes a key: it opens nothing from now on.
    Revoke {
        /// The name or the id.
        key: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    match command {
        Command::Create { name, role, expires, output } => {
            create(&operator, &name, &role, expires.as_deref(), output).await
        }
        Command::List(output) => {
            let (keys, now) = (operator.admin_keys.all().await?, operator.clock.now());
            operator.note("admin_keys_read", "all", &json!({})).await?;
            let rows: Vec<_> = keys.iter().map(|key| row(key, now)).collect();
            let values = keys.iter().map(|key| shown(key, now)).collect();
            let heading = ["ID", "NAME", "ROLE", "STATE", "CREATED", "BY", "LAST USED"];
            output.table(&values, &heading, &rows)
        }
        Command::Revoke { key, confirm, output } => {
            let keys = operator.admin_keys.all().await?;
            let found = keys.iter().find(|it| it.name == key || it.id == key);
            let found = found.with_context(|| format!("there is no key `{key}`"))?;
            confirm.ask(&format!("revoke the key {} ({})", found.name, found.id))?;
            let revoked =
                operator.admin_keys.revoke(&found.id, actor(), operator.clock.now()).await?;
            ensure!(revoked, "the key {} is revoked already", found.name);
            let value = json!({ "id": found.id, "name": found.name, "state": "revoked" });
            output.say(&value, &format!("the key {} ({}) is revoked", found.name, found.id))
        }
    }
}

async fn create(
    operator: &Operator,
    name: &str,
    role: &str,
    expires: Option<&str>,
    output: OutputArgs,
) -> anyhow::Result<()> {
    let role =
        StaffRole::named(role).context("--role must be viewer, support, operator or owner")?;
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    ensure!(
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain),
        "NAME must be 1 to {LONGEST_NAME} of the characters a-z, 0-9, `-`, `_` and `.`"
    );
    let now = operator.clock.now();
    let expires_at = expires.map(|text| end(text, now)).transpose()?;
    let key = AdminKeyText::new();
    let new = NewAdminKey { id: key.id(), name, hash: &key.hash(), role, expires_at };
    ensure!(
        operator.admin_keys.create(new, actor(), now).await?,
        "there is, or was, a key of the name {name}: choose another"
    );
    if output.json {
        return print_json(&json!({
            "id": key.id(),
            "name": name,
            "role": role.as_str(),
            "expires_at": expires_at,
            "key": key.expose(),
        }));
    }
    print(&format!("{}\n", key.expose()))?;
    let until = expires_at.map_or_else(|| "without an end".to_owned(), |at| format!("until {at}"));
    eprintln!(
        "The key {name} has the role {role}, {until}. It is not shown again: keep it as a password."
    );
    Ok(())
}

/// The end of a key: in so many days, or at a time.
fn end(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    let at = match days {
        Some(days) => now.plus_secs(i64::from(days) * DAY_SECS),
        None => Timestamp::parse(text).context(
            "--expires must be days, such as 90d, or an RFC 3339 time, such as 2027-01-01T00:00:00Z",
        )?,
    };
    if at <= now {
        bail!("--expires is over already");
    }
    Ok(at)
}

fn state(key: &AdminKey, now: Timestamp) -> &'static str {
    match key {
        key if key.revoked_at.is_some() => "revoked",
        key if !key.is_live(now) => "expired",
        _ => "live",
    }
}

fn row(key: &AdminKey, now: Timestamp) -> Vec<String> {
    let end = key.expires_at.filter(|_| state(key, now) == "live");
    let state = end.map_or_else(|| state(key, now).to_owned(), |end| format!("live until {end}"));
    vec![
        key.id.clone(),
        key.name.clone(),
        key.role.map_or("unknown", StaffRole::as_str).to_owned(),
        state,
        key.created_at.to_string(),
        key.created_by.clone(),
        key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
    ]
}

fn shown(key: &AdminKey, now: Timestamp) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role.map(StaffRole::as_str),
        "state": state(key, now),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_days_or_a_time_and_never_over() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        assert_eq!(end("90d", now).unwrap(), now.plus_secs(90 * DAY_SECS));
        assert_eq!(
            end("2027-02-01T00:00:00Z", now).unwrap().to_string(),
            "2027-02-01T00:00:00.000Z"
        );
        for text in ["", "d", "0d", "-1d", "90", "90h", "999999d", "2020-01-01T00:00:00Z", "never"]
        {
            assert!(end(text, now).is_err(), "{text}");
        }
    }
}
