//! Entries of the audit as CSV (RFC 4180), safe to open in a spreadsheet.

use accounts::AuditEntry;

use crate::http::validate::no_formula;

/// A heading and a line for each entry.
pub(super) fn of(entries: &[AuditEntry]) -> String {
    let mut text = "id,at,actor,act,subject,detail\r\n".to_owned();
    for entry in entries {
        let (id, at) = (entry.id.to_string(), entry.at.to_string());
        let fields = [&id, &at, &entry.actor, &entry.act, &entry.subject, &entry.detail];
        let line: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
        text.push_str(&line.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A field in quotes, and never a formula.
fn quoted(field: &str) -> String {
    format!("\"{}\"", no_formula(field).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_a_formula_and_none_ends_early() {
        for (field, written) in [
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\tx", "\"'\tx\""),
            ("＝1", "\"'＝1\""),
            ("a\",=1", "\"a\"\",=1\""),
            ("a\r\n=1", "\"a\r\n=1\""),
            ("plain", "\"plain\""),
        ] {
            assert_eq!(quoted(field), written);
        }
    }
}
