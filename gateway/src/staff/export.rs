//! Lists as CSV (RFC 4180), safe to open in a spreadsheet. An export is an act: the audit has it.

use serde_json::json;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::validate::no_formula;

/// The most rows of one export.
pub(crate) const MOST: u32 = 10_000;

/// A list that is exported: who does it, and what the audit has of it.
pub(crate) struct Export<'a> {
    pub actor: &'a str,
    /// As the audit names it.
    pub act: &'static str,
    /// The names of the filters alone: an entry outlives the accounts that a filter may name.
    pub filtered_by: &'a [&'static str],
}

impl Export<'_> {
    /// Writes to the audit that these rows left, and returns them as CSV.
    ///
    /// # Errors
    /// If the audit cannot be written: then nothing leaves.
    pub async fn write<T, const N: usize>(
        &self,
        app: &App,
        columns: [&str; N],
        rows: &[T],
        fields: impl Fn(&T) -> [String; N],
    ) -> Result<String, ApiError> {
        let detail = json!({ "entries": rows.len(), "filtered_by": self.filtered_by });
        app.audit.add(app.engines.clock.now(), self.actor, self.act, "all", &detail).await?;
        Ok(csv(columns, rows, fields))
    }
}

/// A heading, and a line for each row.
fn csv<T, const N: usize>(
    columns: [&str; N],
    rows: &[T],
    fields: impl Fn(&T) -> [String; N],
) -> String {
    let mut text = columns.join(",") + "\r\n";
    for row in rows {
        let line = fields(row).map(|field| quoted(&field));
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

    #[test]
    fn each_row_is_a_line_under_the_heading() {
        let fields = |row: &(i32, &str)| [row.0.to_string(), row.1.to_owned()];
        let text = csv(["n", "word"], &[(1, "a,b"), (2, "")], fields);
        assert_eq!(text, "n,word\r\n\"1\",\"a,b\"\r\n\"2\",\"\"\r\n");
    }
}
