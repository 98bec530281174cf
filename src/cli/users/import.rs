//! `latchkey users import` and the export of all accounts: what a move from another system needs.
//!
//! The whole file is read before the first account is made, so that one that cannot be read makes none. Each account is
//! made in a transaction of its own: it is whole or not there, and an import that was cut off is simply run again.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use accounts::{Creation, NewUser, User};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use config::Served;
use domain::ids::UserId;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use gateway::passwords::django;
use gateway::validate;
use serde_json::json;

use super::file::{self as users_file, Row};
use super::shown;
use crate::cli::operator::{ACTOR, Operator, print_json};

/// Rows of the export that are read at once.
const PAGE: u32 = 1000;
/// Every so many rows the terminal is told.
const TOLD_EVERY: usize = 100;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A heading, then one account a row.
    Csv,
    /// What `manage.py dumpdata --format json` writes.
    DjangoJson,
}

/// What becomes of the rows of a file.
#[derive(Default)]
struct Tally {
    imported: u64,
    /// Of those: without their password, which is of a kind that is not read.
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
        .with_context(|| format!("read {}: it must be UTF-8", file.display()))?;
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
                        "stopped at line {line}; what was imported stays, and running it again goes on"
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

/// A row that can become an account.
struct Account<'a> {
    phone: Phone,
    row: &'a Row,
    locale: &'a str,
    created_at: Option<Timestamp>,
    password: Option<&'a str>,
    password_lost: bool,
}

/// The names, which may be left out, and the locale of an account that staff makes.
pub(super) fn check_profile(first_name: &str, last_name: &str, locale: &str) -> Result<(), String> {
    for (field, name) in [("first_name", first_name), ("last_name", last_name)] {
        if !name.is_empty() {
            validate::name(name).map_err(|fault| format!("{field}: {}", fault.detail))?;
        }
    }
    validate::locale(locale).map_err(|fault| format!("locale: {}", fault.detail))
}

/// The rules that a sign-up has. What is wrong is told without the value: it may be a number or a name.
fn check<'a>(row: &'a Row, served: &Served, now: Timestamp) -> Result<Account<'a>, String> {
    let phone = served
        .parse(&row.phone_number, now)
        .map_err(|_| "its phone number is not a mobile number that can be served".to_owned())?;
    let locale = if row.locale.is_empty() { "en" } else { &row.locale };
    check_profile(&row.first_name, &row.last_name, locale)?;
    let created_at = match row.created_at.as_str() {
        "" => None,
        text => Some(
            Timestamp::parse(text).ok_or("its time of creation is not in RFC 3339".to_owned())?,
        ),
    };
    if created_at.is_some_and(|at| at > now) {
        return Err("it was created in the future".to_owned());
    }
    // Django marks an account without a password by `!` and a random tail.
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
        block_reason: (!account.row.active).then_some("not active when it was imported"),
    };
    let made = operator.accounts().create(new, ACTOR, now).await.context("make an account")?;
    Ok(matches!(made, Creation::Created(_)))
}

impl Tally {
    fn count(&mut self, account: &Account<'_>, made: bool) {
        self.imported += u64::from(made);
        self.existing += u64::from(!made);
        self.without_password += u64::from(made && account.password_lost);
    }

    /// Tells what happened, and fails when rows were left out: a script must not take that for a whole import.
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
                "{} {verb} ({} of them without their password, which is of a kind that cannot be read), \
                 {} had an account already, {} left out",
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

/// All accounts as CSV, in the columns that [`import`] reads; never a password.
pub(crate) async fn export_all(operator: &Operator) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    let head = ["id", "phone_number", "first_name", "last_name", "locale", "created_at", "active"];
    out.write_record(head)?;
    each_user(operator, |user| Ok(out.write_record(cells(user))?)).await?;
    out.flush().context("write the export")
}

/// All accounts as a JSON list of what `users show` prints, one a line.
pub(crate) async fn export_all_json(operator: &Operator) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut before = "[\n";
    each_user(operator, |user| {
        write!(out, "{before}{}", shown(user))?;
        before = ",\n";
        Ok(())
    })
    .await?;
    // Without an account the list is still one.
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
        user.phone_number.clone(),
        no_formula(&user.first_name),
        no_formula(&user.last_name),
        user.locale.clone(),
        user.created_at.to_string(),
        (!user.blocked).to_string(),
    ]
}

/// A name that a spreadsheet would run is made text by an apostrophe (OWASP, CSV injection). A phone number's plus
/// stays: what follows it are digits.
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
    /// How it is written; by default what its name says, `.json` or else CSV.
    #[arg(long)]
    pub format: Option<Format>,
    #[arg(long, help = "Judge every row, make no account")]
    pub dry_run: bool,
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula() {
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
