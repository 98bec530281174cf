//! Parsers for the two import formats. Both return rows with their line numbers.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

/// An account as it is in the file, not yet validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub phone_number: String,
    pub first_name: String,
    pub last_name: String,
    pub locale: String,
    pub created_at: String,
    pub password: String,
    /// Whether the account may sign in.
    pub active: bool,
}

/// Rows, each with its first line and either its content or the reason why it cannot be read.
pub(super) type Rows = Vec<(u64, Result<Row, String>)>;

/// Field names that user models use for the phone number, in order of preference.
const PHONE_FIELDS: [&str; 5] = ["phone_number", "phone", "mobile", "mobile_number", "username"];

/// Parses CSV (RFC 4180) with a heading. Columns, in any order: `phone_number` and optionally `first_name`,
/// `last_name`, `locale`, `created_at`, `password`, `active`; `id` is ignored.
///
/// # Errors
/// If the heading has other columns, or the file is not CSV.
pub(super) fn csv(text: &str) -> anyhow::Result<Rows> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let head: Vec<String> =
        reader.headers().context("read the heading")?.iter().map(|c| c.trim().to_owned()).collect();
    for (at, column) in head.iter().enumerate() {
        if !matches!(
            column.as_str(),
            "id" | "phone_number"
                | "first_name"
                | "last_name"
                | "locale"
                | "created_at"
                | "password"
                | "active"
        ) {
            bail!("the heading has an unknown column, number {}", at + 1);
        }
        ensure!(!head[..at].contains(column), "the heading has {column} twice");
    }
    ensure!(head.iter().any(|column| column == "phone_number"), "the heading has no phone_number");
    let mut rows = Rows::new();
    let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
    for record in reader.records() {
        let record = record.context("read a row")?;
        let line = record.position().map_or(0, |at| lines.line_of(at.byte()));
        let row = if record.len() == head.len() {
            of_cells(head.iter().map(String::as_str).zip(&record))
        } else {
            Err(format!("it has {} cells but the heading has {}", record.len(), head.len()))
        };
        rows.push((line, row));
    }
    Ok(rows)
}

/// Counts the lines up to each row, from the row before: counting from the start would take hours for a large file.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Returns the line of a row that begins at this byte or later than the one asked for before. The reader reports
    /// the `\n` of the preceding `\r\n` as the start.
    fn line_of(&mut self, byte: u64) -> u64 {
        let start = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.at, self.text.len());
        let breaks = self.text[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let start = start + breaks.count();
        let passed = &self.text[self.at..start];
        // There is one piece more than there are line breaks.
        self.line += passed.split(|byte| *byte == b'\n').count() as u64 - 1;
        self.at = start;
        self.line
    }
}

fn of_cells<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Row, String> {
    let mut row = Row { active: true, ..Row::default() };
    for (column, cell) in cells {
        match column {
            "phone_number" => cell.clone_into(&mut row.phone_number),
            "first_name" => cell.clone_into(&mut row.first_name),
            "last_name" => cell.clone_into(&mut row.last_name),
            "locale" => cell.clone_into(&mut row.locale),
            "created_at" => cell.clone_into(&mut row.created_at),
            "password" => cell.clone_into(&mut row.password),
            "active" => {
                row.active = match cell {
                    "" | "true" | "True" | "1" => true,
                    "false" | "False" | "0" => false,
                    _ => return Err("active must be true or false".to_owned()),
                }
            }
            _ => {}
        }
    }
    Ok(row)
}

/// Parses the JSON of Django's `dumpdata`: a list of objects with `model` and `fields`. Objects without a phone field
/// belong to other models and are ignored.
///
/// # Errors
/// If the text is not a complete list of this kind.
pub(super) fn django(text: &str) -> anyhow::Result<Rows> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Rest { text, at: 0, line: 1 };
    ensure!(rest.take('['), "it is not a list of objects as written by dumpdata");
    let mut rows = Rows::new();
    if rest.take(']') {
        return rest.end(rows);
    }
    loop {
        rest.skip_space();
        let line = rest.line;
        let mut values = serde_json::Deserializer::from_str(&rest.text[rest.at..]).into_iter();
        let value: Value = values
            .next()
            .with_context(|| format!("line {line}: the list is incomplete"))?
            .map_err(|_| anyhow::anyhow!("line {line}: invalid JSON object"))?;
        let length = values.byte_offset();
        rest.advance(length);
        if let Some(row) = of_object(&value) {
            rows.push((line, row));
        }
        if rest.take(']') {
            return rest.end(rows);
        }
        ensure!(rest.take(','), "line {}: expected a comma or the end of the list", rest.line);
    }
}

/// A cursor over the text that tracks the current line.
struct Rest<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl Rest<'_> {
    fn advance(&mut self, length: usize) {
        let passed = &self.text[self.at..self.at + length];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count() as u64;
        self.at += length;
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.advance(rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let there = self.text[self.at..].starts_with(wanted);
        if there {
            self.advance(wanted.len_utf8());
        }
        there
    }

    fn end(&mut self, rows: Rows) -> anyhow::Result<Rows> {
        self.skip_space();
        ensure!(self.at == self.text.len(), "line {}: unexpected text after the list", self.line);
        Ok(rows)
    }
}

/// Returns `None` for an object of a model without a phone, such as groups and permissions.
fn of_object(value: &Value) -> Option<Result<Row, String>> {
    let Some(fields) = value.get("fields").and_then(Value::as_object) else {
        return Some(Err("it has no fields".to_owned()));
    };
    let name = PHONE_FIELDS.into_iter().find(|name| fields.contains_key(*name))?;
    Some(of_fields(fields, name))
}

fn of_fields(fields: &Map<String, Value>, phone: &str) -> Result<Row, String> {
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} is not a string")),
    };
    let active = match fields.get("is_active") {
        None | Some(Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(_) => return Err("is_active must be true or false".to_owned()),
    };
    Ok(Row {
        phone_number: text(phone)?,
        first_name: text("first_name")?,
        last_name: text("last_name")?,
        locale: text("locale")?,
        created_at: text("date_joined")?,
        password: text("password")?,
        active,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_parsed_by_its_heading_with_lines_and_quotes() {
        let rows = csv(concat!(
            "\u{feff}last_name,phone_number,active,id\r\n",
            "\"Love,\nlace\",+989121234567,,7\r\n",
            "x,+98912\r\n",
            "B,+989121234568,False,8\n",
            "B,+989121234568,perhaps,8\n",
        ))
        .unwrap();
        let lines: Vec<_> = rows.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(lines, [(2, true), (4, false), (5, true), (6, false)]);
        let first = rows[0].1.as_ref().unwrap();
        assert_eq!((first.last_name.as_str(), first.active), ("Love,\nlace", true));
        assert!(!rows[2].1.as_ref().unwrap().active);
    }

    /// Counted from the start for each row, these lines would take minutes.
    #[test]
    fn a_long_file_is_read_in_one_pass() {
        const ROWS: u64 = 100_000;
        let mut text = "phone_number,last_name\n".to_owned();
        for _ in 0..ROWS {
            text.push_str("+989121234567,\"two\nlines\"\r\n");
        }
        let rows = csv(&text).unwrap();
        assert!((0..ROWS).map(|row| 2 + 2 * row).eq(rows.iter().map(|(line, _)| *line)));
    }

    #[test]
    fn a_file_with_a_wrong_heading_is_refused_entirely() {
        for text in ["", "name\nx\n", "first_name\nA\n", "phone_number,phone_number\n1,2\n"] {
            assert!(csv(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_dump_is_parsed_into_users_with_their_lines() {
        let rows = django(
            r#"[
{"model": "auth.group", "pk": 1, "fields": {"name": "staff"}},
{"model": "accounts.user", "pk": 3,
 "fields": {"password": "pbkdf2_sha256$1$a$b", "phone_number": "+989121234567", "first_name": "Ada",
            "last_name": null, "is_active": false, "date_joined": "2024-02-29T10:00:00.123Z", "groups": []}},
{"model": "accounts.user", "pk": 4, "fields": {"username": "09121234568", "first_name": 7}}, {"pk": 1}
]
"#,
        )
        .unwrap();
        let lines: Vec<_> = rows.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(lines, [(3, true), (6, false), (6, false)]);
        let user = rows[0].1.as_ref().unwrap();
        assert_eq!((user.first_name.as_str(), user.last_name.as_str()), ("Ada", ""));
        assert_eq!(user.created_at, "2024-02-29T10:00:00.123Z");
        assert!(!user.active);
    }

    #[test]
    fn an_incomplete_list_is_refused_entirely() {
        for text in
            ["", "{}", "[", "[{}", "[{},", "[{},]", "[{}] x", "[{} {}]", "[{\"a\":}]", "[nope]"]
        {
            assert!(django(text).is_err(), "{text}");
        }
        assert!(django(" [ ] \n").unwrap().is_empty());
    }
}
