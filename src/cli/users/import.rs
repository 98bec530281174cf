//! `users import`, for migrations from another system.
//!
//! The whole file is parsed before the first account is created, so that an unreadable file creates none. Each account
//! is created in its own transaction, completely or not at all; an interrupted import can simply be run again.

use std::path::{Path, PathBuf};

use accounts::{Creation, NewUser};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use config::Served;
use domain::ids::UserId;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use serde_json::json;

use super::create::check_profile;
use super::file::{self, Row};
use crate::cli::operator::{Operator, actor};
use crate::cli::progress::Progress;
use crate::cli::terminal::{OutputArgs, print_json};

#[derive(Args)]
pub(crate) struct Import {
    /// The file to read.
    file: PathBuf,
    /// The format of the file; by default Django JSON for `.json` and CSV otherwise.
    #[arg(long)]
    format: Option<Format>,
    #[arg(long, help = "Validate every row but create no accounts")]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A heading, then one account per row.
    Csv,
    /// The output of `manage.py dumpdata --format json`.
    DjangoJson,
}

/// The outcome of an import.
#[derive(Default)]
struct Tally {
    imported: u64,
    /// Imported without their password, because its format is not supported.
    without_password: u64,
    existing: u64,
    bad: Vec<(u64, String)>,
}

impl Import {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let file = self.file.as_path();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("read {} as UTF-8", file.display()))?;
        let rows = match self.format.unwrap_or_else(|| by_name(file)) {
            Format::Csv => file::csv(&text),
            Format::DjangoJson => file::django(&text),
        }
        .with_context(|| format!("read {}; nothing was imported", file.display()))?;

        let (mut tally, served) = (Tally::default(), Served::of(&operator.config).everywhere());
        let progress = Progress::of("importing", rows.len());
        for (line, row) in &rows {
            progress.add(1);
            let checked = row.as_ref().map_err(Clone::clone);
            match checked.and_then(|row| check(row, &served, operator.clock.now())) {
                Ok(account) if self.dry_run => tally.count(&account, true),
                Ok(account) => {
                    let made = make(operator, &account).await.with_context(|| {
                        format!(
                            "stopped at line {line}; imported accounts are kept: run the command again to continue"
                        )
                    })?;
                    tally.count(&account, made);
                }
                Err(why) => tally.bad.push((*line, why)),
            }
        }
        drop(progress);
        tally.print(self.dry_run, self.output.json)
    }
}

fn by_name(file: &Path) -> Format {
    if file.extension().is_some_and(|ext| ext == "json") { Format::DjangoJson } else { Format::Csv }
}

/// A validated row.
struct Account<'a> {
    phone: Phone,
    row: &'a Row,
    locale: &'a str,
    created_at: Option<Timestamp>,
    password: Option<&'a str>,
    password_lost: bool,
}

/// Validates a row by the rules of a sign-up. Errors do not quote the value, which may be a number or a name.
fn check<'a>(row: &'a Row, served: &Served, now: Timestamp) -> Result<Account<'a>, String> {
    let phone = served
        .parse(&row.phone_number, now)
        .map_err(|_| "its phone number is not a valid mobile number".to_owned())?;
    let locale = if row.locale.is_empty() { "en" } else { &row.locale };
    check_profile(&row.first_name, &row.last_name, locale)?;
    let created_at = match row.created_at.as_str() {
        "" => None,
        text => Some(
            Timestamp::parse(text)
                .ok_or("its creation time is not in RFC 3339 format".to_owned())?,
        ),
    };
    if created_at.is_some_and(|at| at > now) {
        return Err("its creation time is in the future".to_owned());
    }
    // Django marks an account without a password with `!` and a random suffix.
    let password = Some(row.password.as_str()).filter(|p| !p.is_empty() && !p.starts_with('!'));
    let readable = password.filter(|kept| passwords::is_django_hash(kept));
    Ok(Account {
        phone,
        row,
        locale,
        created_at,
        password: readable,
        password_lost: password.is_some() && readable.is_none(),
    })
}

async fn make(operator: &Operator, account: &Account<'_>) -> anyhow::Result<bool> {
    let now = operator.clock.now();
    let new = NewUser {
        id: UserId::new(&operator.clock),
        phone_number: account.phone.e164(),
        first_name: &account.row.first_name,
        last_name: &account.row.last_name,
        locale: account.locale,
        country: account.phone.region(),
        password_hash: account.password,
        created_at: account.created_at.unwrap_or(now),
        block_reason: (!account.row.active).then_some("inactive at import"),
    };
    let made = operator.accounts.create(new, actor(), now).await.context("create an account")?;
    Ok(matches!(made, Creation::Created(_)))
}

impl Tally {
    fn count(&mut self, account: &Account<'_>, made: bool) {
        self.imported += u64::from(made);
        self.existing += u64::from(!made);
        self.without_password += u64::from(made && account.password_lost);
    }

    /// Prints the outcome, and fails if rows were left out: a script must not mistake that for a complete import.
    fn print(&self, dry_run: bool, json: bool) -> anyhow::Result<()> {
        for (line, why) in &self.bad {
            eprintln!("line {line}: left out: {why}");
        }
        if json {
            let bad: Vec<_> =
                self.bad.iter().map(|(line, why)| json!({ "line": line, "reason": why })).collect();
            print_json(&json!({
                "imported": self.imported, "existing": self.existing,
                "without_password": self.without_password, "bad": bad, "dry_run": dry_run,
            }))?;
        } else {
            let verb = if dry_run { "would be imported" } else { "imported" };
            println!(
                "{} {verb} ({} of them without their password, which has an unsupported format), \
                 {} already had an account, {} left out",
                self.imported,
                self.without_password,
                self.existing,
                self.bad.len()
            );
        }
        if !self.bad.is_empty() {
            bail!("{} rows were left out", self.bad.len());
        }
        Ok(())
    }
}
