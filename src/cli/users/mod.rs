//! `latchkey users`: user accounts, for staff with shell access.

mod file;
mod import;

use accounts::{Creation, NewUser, UndoOutcome, User, former_phone};
use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use config::{EngineSettings, Served};
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
        /// The phone number, such as +989123456789.
        phone_number: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Shows an account.
    Show {
        /// The account's ID or phone number.
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Creates an account without a sign-in.
    Create {
        /// The phone number, such as +989123456789.
        phone_number: String,
        #[arg(long, default_value = "")]
        first_name: String,
        #[arg(long, default_value = "")]
        last_name: String,
        /// The BCP 47 language of messages.
        #[arg(long, default_value = "en")]
        locale: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Blocks an account: its sessions end, and a sign-in with a correct code is refused with 403.
    Block {
        /// The account's ID or phone number.
        user: String,
        /// The reason, for the audit.
        #[arg(long)]
        reason: String,
        #[arg(long, help = "Do not ask for confirmation")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Unblocks an account.
    Unblock {
        /// The account's ID or phone number.
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Unlocks a phone that is locked after too many failed attempts.
    Unlock {
        /// The phone number, such as +989123456789.
        phone_number: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Restores the number that an account had before its last change of phone, within 24 hours of the change. All
    /// sessions end and the password is removed, because the person who changed the number may have both.
    UndoPhone {
        /// The account's ID or current number.
        user: String,
        #[arg(long, help = "Do not ask for confirmation")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Lists the live sessions of an account.
    Sessions {
        /// The account's ID or phone number.
        user: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Exports everything stored about an account as JSON, or all accounts as CSV.
    Export {
        /// The account's ID or phone number; all accounts if omitted.
        user: Option<String>,
        #[arg(long, help = "Print JSON (always the case for one account)")]
        json: bool,
    },
    /// Imports accounts from a CSV file or a Django dump. Passwords in Django's PBKDF2 format keep working.
    Import(users_import::Arguments),
    /// Deletes an account and all data about its phone.
    Delete {
        /// The account's ID or phone number.
        user: String,
        #[arg(long, help = "Do not ask for confirmation")]
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
            match operator.accounts().create(new, ACTOR, now).await.context("create the account")? {
                Creation::Created(user) => {
                    say(json, &shown(&user), &format!("created {}", user.id))
                }
                Creation::Exists => bail!("the number already has an account"),
            }
        }
        Command::Block { user, reason, yes, json } => {
            ensure!(!reason.trim().is_empty(), "--reason must not be empty");
            let user = find(&operator, &user).await?;
            confirm(yes, &format!("block {} and end its sessions", user.id))?;
            ensure!(
                operator.accounts().block(user.id, &reason, ACTOR, now).await?,
                "the account is already blocked or no longer exists"
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
                "unlocked: the count of failed attempts is reset"
            } else {
                "the phone had no failed attempts"
            };
            say(json, &json!({ "phone_number": phone.to_string(), "had_failures": had }), text)
        }
        Command::UndoPhone { user, yes, json } => {
            let user = find(&operator, &user).await?;
            let replaced = operator.accounts().replaced_phones(user.id, now).await?;
            let last =
                replaced.first().context("there is no change of phone that can still be undone")?;
            let old = former_phone::open(&operator.keys, user.id, last)
                .context("unseal the former number")?;
            confirm(
                yes,
                &format!("change the number of {} back to {}", user.id, old.e164().expose()),
            )?;
            let number = (old.e164(), old.region());
            match operator.accounts().undo_phone(user.id, last.id, number, ACTOR, now).await? {
                UndoOutcome::Undone(user) => say(
                    json,
                    &shown(&user),
                    &format!(
                        "{} has the number {} again and is signed out everywhere",
                        user.id,
                        old.e164().expose()
                    ),
                ),
                UndoOutcome::Taken => bail!("another account now has the former number"),
                UndoOutcome::Gone => bail!("the change can no longer be undone"),
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
            confirm(yes, &format!("delete {} and all data about its phone", user.id))?;
            delete(&operator, &user, json).await
        }
    }
}

/// Deletes an account as `DELETE /v1/me` does. The embedded code store is the memory of the running process, which a
/// command cannot reach: it contains no numbers or names, and its entries expire.
async fn delete(operator: &Operator, user: &User, json: bool) -> anyhow::Result<()> {
    let Operator { config, keys, clock, .. } = operator;
    let accounts = operator.accounts();
    let deletion = Deletion::of(user, &accounts, keys, clock.now()).await?;
    ensure!(
        deletion.from_database(&accounts, ACTOR, clock.now()).await?,
        "the account no longer exists"
    );
    let forgotten = match &config.engines {
        EngineSettings::Embedded { .. } => None,
        EngineSettings::Services { redis_url, .. } => {
            let forget = async {
                let otps = OtpStore::connect_redis(redis_url, clock.clone()).await?;
                deletion.from_store(&otps).await
            };
            Some(forget.await)
        }
    };
    let mut text = format!("deleted {}", user.id);
    if let Some(Err(error)) = &forgotten {
        text = format!(
            "{text}; its data in Redis could not be deleted and expires within a day: {error:#}"
        );
    }
    let forgotten = forgotten.map(|outcome| outcome.is_ok());
    let told = json!({ "user_id": user.id, "deleted": true, "codes_forgotten": forgotten });
    say(json, &told, &text)
}

/// Finds an account by ID or phone number.
pub(super) async fn find(operator: &Operator, who: &str) -> anyhow::Result<User> {
    let found = match who.parse::<UserId>() {
        Ok(id) => operator.accounts().get(id).await,
        Err(_) => operator.accounts().by_phone(phone(operator, who)?.e164()).await,
    };
    found.context("look up the account")?.context("there is no such account")
}

fn phone(operator: &Operator, writing: &str) -> anyhow::Result<Phone> {
    // The account may belong to a country that is no longer served.
    let served = Served::of(&operator.config).everywhere();
    served
        .parse(writing, operator.clock.now())
        .map_err(|_| anyhow::anyhow!("not an account ID or a mobile number"))
}

/// Returns an account as staff see it.
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
