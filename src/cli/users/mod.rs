//! `latchkey users`: other people's accounts, for staff with a shell.

mod file;
mod import;

use accounts::{Creation, NewUser, UndoOutcome, User, former_phone};
use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use config::{Engines, Served};
use domain::ids::UserId;
use domain::phone::Phone;
use serde_json::{Value, json};
use service::deletion::Deletion;
use store::OtpStore;

use self::import as users_import;
use crate::cli::operator::{ACTOR, Operator, confirm, print_json, print_table, say};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Finds the account of a phone number.
    Find {
        phone_number: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Shows an account, by its id or phone number.
    Show {
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Makes an account without a sign-in.
    Create {
        phone_number: String,
        #[arg(long, default_value = "")]
        first_name: String,
        #[arg(long, default_value = "")]
        last_name: String,
        #[arg(long, default_value = "en")]
        locale: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Blocks an account: its sessions end, a right code is answered with 403.
    Block {
        user: String,
        #[arg(long)]
        reason: String,
        #[arg(long, help = "Do not ask")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Lifts the block of an account.
    Unblock {
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Opens a phone that too many wrong guesses have locked.
    Unlock {
        phone_number: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Puts back the number that an account had before its last change of phone, within 24 hours of the change. All its
    /// sessions end and its password goes: whoever made the change may hold both.
    UndoPhone {
        /// The account's id, or the number that it has now.
        user: String,
        #[arg(long, help = "Do not ask")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Lists the live sessions of an account.
    Sessions {
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Prints all that is kept about an account, as JSON; without one, all accounts as CSV.
    Export {
        user: Option<String>,
        #[arg(long, help = "Print JSON, as it does for one account anyway")]
        json: bool,
    },
    /// Makes accounts of a CSV file or of a Django dump. Passwords in Django's PBKDF2 form keep working.
    Import(users_import::Arguments),
    /// Deletes an account and every trace of its phone.
    Delete {
        user: String,
        #[arg(long, help = "Do not ask")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    let now = operator.clock.now();
    match command {
        Command::Find { phone_number: user, json } | Command::Show { user, json } => {
            let user = find(&operator, &user).await?;
            operator.note("user_read", &user.id.to_string(), &json!({})).await?;
            if json { print_json(&shown(&user)) } else { print_user(&user) }
        }
        Command::Create { phone_number, first_name, last_name, locale, json } => {
            let phone = Served::of(&operator.config)
                .parse(&phone_number, now)
                .map_err(|_| anyhow::anyhow!("not a mobile number that this deployment serves"))?;
            users_import::check_profile(&first_name, &last_name, &locale)
                .map_err(anyhow::Error::msg)?;
            let new = NewUser {
                id: UserId::new(&operator.clock),
                phone_number: phone.e164(),
                first_name: &first_name,
                last_name: &last_name,
                locale: &locale,
                country: phone.region(),
                password_hash: None,
                created_at: now,
                block_reason: None,
            };
            match operator.accounts().create(new, ACTOR, now).await.context("make the account")? {
                Creation::Created(user) => say(json, &shown(&user), &format!("made {}", user.id)),
                Creation::Exists => bail!("the number has an account already"),
            }
        }
        Command::Block { user, reason, yes, json } => {
            ensure!(!reason.trim().is_empty(), "--reason says something");
            let user = find(&operator, &user).await?;
            confirm(yes, &format!("block {} and end its sessions", user.id))?;
            ensure!(
                operator.accounts().block(user.id, &reason, ACTOR, now).await?,
                "the account is blocked already, or gone"
            );
            say(
                json,
                &json!({ "user_id": user.id, "blocked": true }),
                &format!("blocked {}", user.id),
            )
        }
        Command::Unblock { user, json } => {
            let user = find(&operator, &user).await?;
            ensure!(
                operator.accounts().unblock(user.id, ACTOR, now).await?,
                "the account is not blocked"
            );
            say(
                json,
                &json!({ "user_id": user.id, "blocked": false }),
                &format!("unblocked {}", user.id),
            )
        }
        Command::Unlock { phone_number, json } => {
            let phone = phone(&operator, &phone_number)?;
            let keys = &operator.keys;
            let (key, former) = (keys.phone_key(&phone), keys.former_phone_key(&phone));
            let had = operator.attempts().reset_failures(&key, former.as_ref(), ACTOR, now).await?;
            let text = if had {
                "opened: its wrong guesses are forgotten"
            } else {
                "it had no wrong guesses"
            };
            say(json, &json!({ "phone_number": phone.to_string(), "had_failures": had }), text)
        }
        Command::UndoPhone { user, yes, json } => {
            let user = find(&operator, &user).await?;
            let replaced = operator.accounts().replaced_phones(user.id, now).await?;
            let last = replaced.first().context("no change of its phone can be undone any more")?;
            let old = former_phone::open(&operator.keys, user.id, last)
                .context("open the former number")?;
            confirm(yes, &format!("give {} the number {} again", user.id, old.e164()))?;
            let number = (old.e164(), old.region());
            match operator.accounts().undo_phone(user.id, last.id, number, ACTOR, now).await? {
                UndoOutcome::Undone(user) => say(
                    json,
                    &shown(&user),
                    &format!("{} has {} again and is signed out everywhere", user.id, old.e164()),
                ),
                UndoOutcome::Taken => bail!("another account has the former number by now"),
                UndoOutcome::Gone => bail!("the change cannot be undone any more"),
            }
        }
        Command::Sessions { user, json } => {
            let user = find(&operator, &user).await?;
            let sessions = sessions(&operator, &user).await?;
            operator.note("sessions_read", &user.id.to_string(), &json!({})).await?;
            if json {
                return print_json(&sessions.into());
            }
            let cell =
                |session: &Value, name: &str| session[name].as_str().unwrap_or_default().to_owned();
            let row = |session: &Value| {
                ["id", "created_at", "last_seen_at", "ip", "device"]
                    .map(|name| cell(session, name))
                    .to_vec()
            };
            print_table(
                &["ID", "CREATED", "LAST SEEN", "IP", "DEVICE"],
                &sessions.iter().map(row).collect::<Vec<_>>(),
            )
        }
        Command::Import(users_import::Arguments { file, format, dry_run, json }) => {
            users_import::import(&operator, &file, format, dry_run, json).await
        }
        Command::Export { user: None, json } => {
            operator.note("users_exported", "all", &json!({})).await?;
            if json {
                users_import::export_all_json(&operator).await
            } else {
                users_import::export_all(&operator).await
            }
        }
        Command::Export { user: Some(user), json: _ } => {
            let user = find(&operator, &user).await?;
            let sessions = sessions(&operator, &user).await?;
            operator.note("user_exported", &user.id.to_string(), &json!({})).await?;
            print_json(&json!({ "user": shown(&user), "sessions": sessions }))
        }
        Command::Delete { user, yes, json } => {
            let user = find(&operator, &user).await?;
            confirm(yes, &format!("delete {} and every trace of its phone", user.id))?;
            delete(&operator, &user, json).await
        }
    }
}

/// What `DELETE /v1/me` does. The embedded default's store of codes is the running process's own memory, which no command
/// reaches: it holds no number and no name, and forgets by itself.
async fn delete(operator: &Operator, user: &User, json: bool) -> anyhow::Result<()> {
    let Operator { config, keys, clock, .. } = operator;
    let accounts = operator.accounts();
    let deletion = Deletion::of(user, &accounts, keys, clock.now()).await?;
    ensure!(
        deletion.from_database(&accounts, ACTOR, clock.now()).await?,
        "the account is gone already"
    );
    let forgotten = match &config.engines {
        Engines::Embedded { .. } => None,
        Engines::Services { redis_url, .. } => {
            let forget = async {
                let otps = OtpStore::connect_redis(redis_url, clock.clone()).await?;
                deletion.from_store(&otps).await
            };
            Some(forget.await)
        }
    };
    let mut text = format!("deleted {}", user.id);
    if let Some(Err(error)) = &forgotten {
        text = format!("{text}; what Redis holds of it ends within a day: {error:#}");
    }
    let forgotten = forgotten.map(|outcome| outcome.is_ok());
    let told = json!({ "user_id": user.id, "deleted": true, "codes_forgotten": forgotten });
    say(json, &told, &text)
}

/// The account of an id or a phone number.
pub(super) async fn find(operator: &Operator, who: &str) -> anyhow::Result<User> {
    let found = match who.parse::<UserId>() {
        Ok(id) => operator.accounts().get(id).await,
        Err(_) => operator.accounts().by_phone(phone(operator, who)?.e164()).await,
    };
    found.context("look the account up")?.context("there is no such account")
}

fn phone(operator: &Operator, writing: &str) -> anyhow::Result<Phone> {
    // An account may be of a country that is no longer served.
    let served = Served::of(&operator.config).everywhere();
    served
        .parse(writing, operator.clock.now())
        .map_err(|_| anyhow::anyhow!("neither an account's id nor a mobile number"))
}

/// An account as staff sees it.
pub(super) fn shown(user: &User) -> Value {
    json!({
        "id": user.id, "phone_number": user.phone_number, "first_name": user.first_name, "last_name": user.last_name,
        "locale": user.locale, "country": user.country, "role": user.role, "blocked": user.blocked,
        "created_at": user.created_at,
    })
}

fn print_user(user: &User) -> anyhow::Result<()> {
    let Value::Object(fields) = shown(user) else { return Ok(()) };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> = fields.iter().map(|(name, value)| vec![name.clone(), text(value)]).collect();
    print_table(&["FIELD", "VALUE"], &rows)
}

async fn sessions(operator: &Operator, user: &User) -> anyhow::Result<Vec<Value>> {
    let sessions = operator
        .sessions()
        .of_user(user.id, operator.clock.now())
        .await
        .context("read the sessions")?;
    Ok(sessions
        .iter()
        .map(|s| {
            json!({
                "id": s.id, "device": s.device, "ip": s.ip, "created_at": s.created_at, "last_seen_at": s.last_seen_at,
            })
        })
        .collect())
}
