//! `latchkey users import` and the export of all accounts, for migrations between systems.
//!
//! The whole file is parsed before the first account is created, so that an unreadable file creates none. Each account
//! is created in its own transaction, completely or not at all; an interrupted import can simply be run again.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use accounts::{Creation, NewUser, User};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use config::Served;
use domain::ids::UserId;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use gateway::{django, validate};
use serde_json::json;

use super::file::{self as users_file, Row};
use super::shown;
use crate::cli::operator::{ACTOR, Operator, print_json};

/// Accounts per database page of an export.
const PAGE: u32 = 1000;
/// The progress on the terminal is updated after this many rows.
const TOLD_EVERY: usize = 100;

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

pub(crate) async fn import(
    operator: &Operator,
    file: &Path,
    format: Option<Format>,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read {} as UTF-8", file.display()))?;
    let rows = match format.unwrap_or_else(|| by_name(file)) {
        Format::Csv => users_file::csv(&text),
        Format::DjangoJson => users_file::django(&text),
    }
    .with_context(|| format!("read {}; nothing was imported", file.display()))?;

    let (mut tally, served) = (Tally::default(), Served::of(&operator.config).everywhere());
    let progress = std::io::stderr().is_terminal();
    for (done, (line, row)) in rows.iter().enumerate() {
        if progress && done.is_multiple_of(TOLD_EVERY) {
            eprint!("\r{done} of {}", rows.len());
        }
        let checked = row.as_ref().map_err(Clone::clone);
        match checked.and_then(|row| check(row, &served, operator.clock.now())) {
            Ok(account) if dry_run => tally.count(&account, true),
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
    if progress {
        eprintln!("\r{0} of {0}", rows.len());
    }
    tally.tell(dry_run, json)
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

/// Checks the names, which may be empty, and the locale of an account that staff create.
pub(super) fn check_profile(first_name: &str, last_name: &str, locale: &str) -> Result<(), String> {
    for (field, name) in [("first_name", first_name), ("last_name", last_name)] {
        if !name.is_empty() {
            validate::name(name).map_err(|fault| format!("{field}: {}", fault.detail))?;
        }
    }
    validate::locale(locale).map_err(|fault| format!("locale: {}", fault.detail))
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
    let readable = password.filter(|kept| django::is_well_formed(kept));
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
    let made = operator.accounts().create(new, ACTOR, now).await.context("create an account")?;
    Ok(matches!(made, Creation::Created(_)))
}

impl Tally {
    fn count(&mut self, account: &Account<'_>, made: bool) {
        self.imported += u64::from(made);
        self.existing += u64::from(!made);
        self.without_password += u64::from(made && account.password_lost);
    }

    /// Prints the outcome, and fails if rows were left out: a script must not mistake that for a complete import.
    fn tell(&self, dry_run: bool, json: bool) -> anyhow::Result<()> {
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

/// Writes all accounts as CSV with the columns that [`import`] reads, but without passwords.
pub(crate) async fn export_all(operator: &Operator) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    let head = ["id", "phone_number", "first_name", "last_name", "locale", "created_at", "active"];
    out.write_record(head)?;
    each_user(operator, |user| Ok(out.write_record(cells(user))?)).await?;
    out.flush().context("write the export")
}

/// Writes all accounts as a JSON list, one per line, each as `users show` prints it.
pub(crate) async fn export_all_json(operator: &Operator) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut before = "[\n";
    each_user(operator, |user| {
        write!(out, "{before}{}", shown(user))?;
        before = ",\n";
        Ok(())
    })
    .await?;
    // Without accounts, the output is still a list.
    let end = if before == ",\n" { "\n]" } else { "[]" };
    writeln!(out, "{end}").context("write the export")
}

async fn each_user(
    operator: &Operator,
    mut tell: impl FnMut(&User) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = operator.accounts().page(after, PAGE).await.context("read accounts")?;
        page.iter().try_for_each(&mut tell)?;
        match page.last() {
            Some(last) => after = Some(last.id),
            None => return Ok(()),
        }
    }
}

fn cells(user: &User) -> [String; 7] {
    [
        user.id.to_string(),
        user.phone_number.expose().to_owned(),
        no_formula(&user.first_name),
        no_formula(&user.last_name),
        user.locale.clone(),
        user.created_at.to_string(),
        (!user.blocked).to_string(),
    ]
}

/// Prefixes an apostrophe to a name that a spreadsheet would run as a formula (OWASP, CSV injection). The plus of a
/// phone number stays: only digits follow it.
fn no_formula(name: &str) -> String {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{name}")
    } else {
        name.to_owned()
    }
}

/// The arguments of `users import`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file to read.
    pub file: PathBuf,
    /// The format of the file; by default Django JSON for `.json` and CSV otherwise.
    #[arg(long)]
    pub format: Option<Format>,
    #[arg(long, help = "Validate every row but create no accounts")]
    pub dry_run: bool,
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_formula() {
        for (name, cell) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("Ada = B", "Ada = B"),
            ("", ""),
        ] {
            assert_eq!(no_formula(name), cell);
        }
    }
}
