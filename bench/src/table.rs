//! Markdown tables that can be read on a terminal: columns of equal width, numbers to the right.

use std::fmt::Write as _;

/// Formats a table. The first column is text.
pub fn markdown(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(Vec::as_slice).chain([head]);
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = line(head, &widths);
    for (column, width) in widths.iter().enumerate() {
        let dashes = "-".repeat(*width);
        let end = if column == 0 { "-" } else { ":" };
        write!(text, "|-{dashes}{end}").expect("writing to a string cannot fail");
    }
    text.push_str("|\n");
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let blank = " ".repeat(width - cell.chars().count());
        let padded = if column == 0 { format!("{cell}{blank}") } else { format!("{blank}{cell}") };
        write!(text, "| {padded} ").expect("writing to a string cannot fail");
    }
    text + "|\n"
}

/// A number with this many decimals; a dash if there is none, or if it is a ratio of nothing to nothing.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        Some(value) if !value.is_nan() => "never".to_owned(),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let head = ["é".to_owned(), "p50".to_owned()];
        let rows = [
            vec!["login".to_owned(), number(Some(1.25), 1)],
            vec!["→".to_owned(), number(None, 1)],
        ];
        let lines: Vec<_> =
            markdown(&head, &rows).lines().map(|line| line.chars().count()).collect();
        assert!(lines.iter().all(|length| *length == lines[0]), "{lines:?}");
    }
}
