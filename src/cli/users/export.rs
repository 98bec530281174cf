//! `users export`: one account, or all of them for another system.

use std::io::Write as _;

use accounts::User;
use anyhow::Context as _;
use clap::Args;
use gateway::validate::no_formula;
use serde_json::json;

use super::account::{find, shown};
use crate::cli::operator::Operator;
use crate::cli::progress::Progress;
use crate::cli::terminal::print_json;

/// Accounts per database page.
const PAGE: u32 = 1000;

#[derive(Args)]
pub(crate) struct Export {
    /// The account's ID or phone number; all accounts if omitted.
    user: Option<String>,
    #[arg(long, help = "Print JSON (always the case for one account)")]
    json: bool,
}

impl Export {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        match self.user {
            Some(user) => one(operator, &user).await,
            None => {
                operator.note("users_exported", "all", &json!({})).await?;
                if self.json { all_as_json(operator).await } else { all_as_csv(operator).await }
            }
        }
    }
}

async fn one(operator: &Operator, user: &str) -> anyhow::Result<()> {
    let user = find(operator, user).await?;
    print_json(&json!(operator.export(user.id).await?))
}

/// Writes all accounts as CSV with the columns that `users import` reads, but without passwords.
async fn all_as_csv(operator: &Operator) -> anyhow::Result<()> {
    let mut out = quoted(std::io::stdout().lock());
    let head = ["id", "phone_number", "first_name", "last_name", "locale", "created_at", "active"];
    out.write_record(head)?;
    each_user(operator, |user| Ok(out.write_record(cells(user))?)).await?;
    out.flush().context("write the export")
}

/// Writes all accounts as a JSON list, one per line, each as `users show` prints it.
async fn all_as_json(operator: &Operator) -> anyhow::Result<()> {
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
    mut write: impl FnMut(&User) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let progress = Progress::counting("accounts");
    let mut after = None;
    loop {
        let page = operator.accounts.page(after, PAGE).await.context("read accounts")?;
        page.iter().try_for_each(&mut write)?;
        progress.add(page.len());
        match page.last() {
            Some(last) => after = Some(last.id),
            None => return Ok(()),
        }
    }
}

/// The plus of a phone number is no formula: only digits follow it.
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

/// Writes CSV with every cell in quotes: a spreadsheet that separates cells by another character than the comma does
/// not begin a cell within a name (OWASP, CSV injection).
fn quoted<W: std::io::Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(out)
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
            ("＝cmd|' /C calc'!A0", "'＝cmd|' /C calc'!A0"),
            ("＋1", "'＋1"),
            ("－1", "'－1"),
            ("＠SUM(A1)", "'＠SUM(A1)"),
            ("\n=1", "'\n=1"),
            ("Ada = B", "Ada = B"),
            ("", ""),
        ] {
            assert_eq!(no_formula(name), cell);
        }
    }

    #[test]
    fn every_cell_is_quoted_so_that_no_name_begins_another_cell() {
        let mut out = quoted(Vec::new());
        out.write_record(["Ada;=HYPERLINK(1)", "a\";=1"]).unwrap();
        let text = String::from_utf8(out.into_inner().unwrap()).unwrap();
        assert_eq!(text, "\"Ada;=HYPERLINK(1)\",\"a\"\";=1\"\n");
    }
}
