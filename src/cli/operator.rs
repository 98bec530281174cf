//! What the commands work with: the settings, the database and the audit.

use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use accounts::notice::OwnerNotice;
use accounts::{Accounts, AdminKeys, Attempts, Blocks, GuardHistory, Sessions, User, notice};
use anyhow::{Context as _, ensure};
use config::{Config, EngineSettings, Served};
use domain::clock::Clock;
use domain::ids::UserId;
use domain::keys::Keys;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use gateway::{AccountExport, Stored, validate};
use ledger::Reader;
use serde_json::Value;
use service::connections::open_pool;
use sql::Pool;
use texts::{Notice, Texts};

/// The context of a command.
pub(crate) struct Operator {
    pub config: Config,
    pub accounts: Accounts,
    pub admin_keys: AdminKeys,
    pub attempts: Attempts,
    pub blocks: Blocks,
    pub guard_history: GuardHistory,
    pub sessions: Sessions,
    pub keys: Keys,
    pub clock: Clock,
    sql: Pool,
}

impl Operator {
    /// Connects with the settings of the services and migrates the schema to this version.
    pub async fn connect() -> anyhow::Result<Self> {
        let config = Config::load_as_found()?;
        let sql = connect(&config.engines).await?;
        Ok(Self {
            accounts: Accounts::new(&sql),
            admin_keys: AdminKeys::new(&sql),
            attempts: Attempts::new(&sql),
            blocks: Blocks::new(&sql),
            guard_history: GuardHistory::new(&sql),
            sessions: Sessions::new(&sql),
            keys: config.keys()?,
            clock: Clock::system(),
            config,
            sql,
        })
    }

    /// A text that tells an account's number of a change, as its user would get it; `None` if notices are off, or no
    /// text reaches the number.
    pub fn notice(&self, user: &User, what: Notice) -> anyhow::Result<Option<OwnerNotice>> {
        let served = Served::of(&self.config);
        let is_test = served.test_code(&user.phone_number, self.clock.now()).is_some();
        if !self.config.notices || is_test {
            return Ok(None);
        }
        let phone = Phone::from(user.phone_number.clone());
        let texts =
            Texts::load(&self.config.texts, self.config.otp.length).context("load the texts")?;
        let text = texts.notice(what, Some(&user.locale));
        let of_deleted = what == Notice::AccountDeleted;
        notice::prepare(&self.keys, &self.clock, &phone, text, of_deleted).map(Some)
    }

    /// All that is stored about an account, once the audit has that it was read.
    pub async fn export(&self, user: UserId) -> anyhow::Result<AccountExport> {
        let access_secs = self.config.tokens.access_ttl_secs;
        let (audit, ledger) = (accounts::Audit::new(&self.sql), Reader::new(&self.sql));
        let stored = Stored {
            accounts: &self.accounts,
            sessions: &self.sessions,
            audit: &audit,
            ledger: &ledger,
        };
        let by = (actor(), None);
        AccountExport::noted(stored, access_secs, by, user, self.clock.now())
            .await
            .context("read the account")?
            .context("the account no longer exists")
    }

    /// Records an action in the audit. Call it before printing: nothing is shown that could not be recorded.
    pub async fn note(&self, action: &str, subject: &str, detail: &Value) -> anyhow::Result<()> {
        note(&self.sql, self.clock.now(), action, subject, detail).await
    }
}

async fn connect(engines: &EngineSettings) -> anyhow::Result<Pool> {
    let sql = open_pool(engines).await.context("connect to the database")?;
    sql.migrate(accounts::FUNCTIONS).await.context("migrate the database")?;
    Ok(sql)
}

async fn note(
    sql: &Pool,
    now: Timestamp,
    action: &str,
    subject: &str,
    detail: &Value,
) -> anyhow::Result<()> {
    accounts::Audit::new(sql)
        .add(now, actor(), action, subject, detail)
        .await
        .context("write to the audit")
}

/// The audit for actions outside the database. Opened before the action: if the audit is not writable, the command
/// does nothing.
pub(crate) struct Audit(Option<Pool>);

impl Audit {
    /// Opens the audit in PostgreSQL, or in the embedded database if it exists: the first start creates that database,
    /// and a key can be generated before.
    pub async fn open(engines: &EngineSettings) -> anyhow::Result<Self> {
        let there = match engines {
            EngineSettings::Services { .. } => true,
            EngineSettings::Embedded { data_dir } => Pool::sqlite_is_in(data_dir),
        };
        Ok(Self(if there { Some(connect(engines).await?) } else { None }))
    }

    /// Records nothing, for use without a configured database.
    pub const fn none() -> Self {
        Self(None)
    }

    pub async fn note(&self, action: &str, subject: &str, detail: &Value) -> anyhow::Result<()> {
        match &self.0 {
            Some(sql) => note(sql, Clock::system().now(), action, subject, detail)
                .await
                .context("the action was done but is missing in the audit"),
            None => Ok(()),
        }
    }
}

static NAME: OnceLock<String> = OnceLock::new();

/// Takes the name of `--as` for the audit; without one it is the login name of the shell.
///
/// # Errors
/// If nobody could be recognised by this name, or it is an account's id.
pub(crate) fn act_as(name: Option<String>) -> anyhow::Result<()> {
    if let Some(name) = name {
        ensure!(
            names_a_person(&name),
            "--as must be 1 to 64 characters, none of them a control, text direction mark or invisible, and neither `system` nor an account's id, nor begin with `admin-key:`"
        );
        NAME.get_or_init(|| name);
    }
    Ok(())
}

/// Whether the audit may show this name for a person: it cannot pass for what acts by itself, for an account, or for a key
/// of the admin API.
fn names_a_person(name: &str) -> bool {
    (1..=64).contains(&name.chars().count())
        && validate::name(name).is_ok()
        && name.trim() == name
        && !name.eq_ignore_ascii_case("system")
        && !name.to_ascii_lowercase().starts_with("admin-key:")
        && name.parse::<UserId>().is_err()
}

/// Who acts, for the audit (contract, ruling 57): the name of `--as`, else the shell's, else the number of its user.
pub(crate) fn actor() -> &'static str {
    NAME.get_or_init(|| {
        let by_number = || match std::fs::metadata("/proc/self") {
            Ok(process) => format!("uid {}", process.uid()),
            Err(_) => "operator".to_owned(),
        };
        config::login_name().filter(|name| names_a_person(name)).unwrap_or_else(by_number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f29_no_operators_name_passes_for_the_system_or_hides_a_character() {
        for name in ["ada", "Mary Shaw", "O’Brien", "李小龍", "systems", "uid 1000"] {
            assert!(names_a_person(name), "{name}");
        }
        let long = "x".repeat(65);
        for name in [
            "",
            " ",
            " ada",
            "ada\n",
            "system",
            "System",
            "SYSTEM",
            "sy\u{200b}stem",
            "system\u{2060}",
            "\u{202e}root",
            "a\u{1b}[31m",
            "a\u{2028}b",
            "00000000-0000-0000-0000-000000000000",
            "admin-key:helpdesk",
            "Admin-Key:x",
            &long,
        ] {
            assert!(!names_a_person(name), "{name:?}");
        }
    }
}
