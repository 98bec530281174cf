//! The codes of refusals as rows, and as docs/errors.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::http::error::ErrorKind;
use crate::http::error_code::ErrorCode;

/// A code that an answer may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    pub code: &'static str,
    /// The statuses that it comes with; most have one.
    pub statuses: BTreeSet<u16>,
    pub when: &'static str,
    /// What an app does about it.
    pub then: &'static str,
    /// The members of the answer beside those that every problem has. One with `?` may be missing.
    pub members: Vec<String>,
}

/// Every code that an app may get, in the order of the statuses.
pub fn errors() -> Vec<ErrorRow> {
    let of_apps = ErrorCode::ALL.into_iter().filter(|code| !code.is_of_admin());
    let mut rows: Vec<ErrorRow> = of_apps.map(row).collect();
    rows.sort_by_key(|row| row.statuses.first().copied());
    rows
}

fn row(code: ErrorCode) -> ErrorRow {
    let kinds = ErrorKind::ALL.into_iter().filter(|kind| kind.code() == code);
    let name = |(name, always): (&str, bool)| {
        if always { name.to_owned() } else { format!("{name}?") }
    };
    ErrorRow {
        code: code.as_str(),
        statuses: kinds.map(|kind| kind.status().as_u16()).collect(),
        when: code.when(),
        then: code.then(),
        members: code.members().iter().map(|member| name(member.name_and_always())).collect(),
    }
}

const HEAD: &str = "# Errors

<!-- Made by `latchkey errors --markdown`; a test compares them. -->

Every refusal is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail` and `code`. Branch on
`code`: it is stable, and the texts are not. `detail` says to a developer what to do now. Some codes have more members;
one with `?` may be missing. Where waiting helps, `retry_after` holds whole seconds, and the header `Retry-After` the same.
Treat a code that you do not know by its status.

| status | code | when | what an app does | members |
|---|---|---|---|---|
";

/// The page docs/errors.md.
pub fn errors_page() -> String {
    let mut page = HEAD.to_owned();
    for ErrorRow { code, statuses, when, then, members } in errors() {
        let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let members: Vec<String> = members.iter().map(|member| format!("`{member}`")).collect();
        let (statuses, members) = (statuses.join(", "), members.join(", "));
        let _ = writeln!(page, "| {statuses} | `{code}` | {when} | {then} | {members} |");
    }
    page
}
