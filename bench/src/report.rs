//! The report: Markdown for people, JSON for programs, from the same measurements.

use serde_json::{Map, Value, json};

use crate::bounds::{BOUNDS, Bound};
use crate::parts::{Amounts, Part};
use crate::sample::{CPU, Rounds, Table, short};
use bench::machine::Machine;
use bench::table::{markdown, number};

/// The measurements of one part: our programs, and those to compare with, if there are any.
pub struct Measured {
    pub part: Part,
    pub ours: Rounds,
    pub theirs: Option<Rounds>,
}

pub fn text(measured: &[Measured], amounts: &Amounts, machine: &Machine) -> String {
    let mut text = format!("# What a sign-in costs\n\n{machine}");
    for part in measured {
        text += &["\n## ", &part.part.title(amounts), "\n"].concat();
        for table in part.ours.tables() {
            text.push_str(&part.table(table));
        }
        text.push_str(&part.rounds());
    }
    text + "\n## The bounds\n\n" + &bounds(measured)
}

impl Measured {
    /// The medians; beside programs to compare with, one table more with the ratios.
    fn table(&self, table: Table) -> String {
        let shown = |value: &dyn Fn(&str, &str) -> Option<f64>, title: &str, decimals: usize| {
            let (rows, columns) = self.ours.shape(table);
            let mut head = vec![table.rows.to_owned()];
            head.extend(columns.iter().map(|column| (*column).to_owned()));
            let cells = |row: &str| {
                let cells = columns.iter().map(|column| number(value(row, column), decimals));
                [row.to_owned()].into_iter().chain(cells).collect()
            };
            let rows: Vec<Vec<String>> = rows.into_iter().map(cells).collect();
            format!("\n{title}:\n\n{}", markdown(&head, &rows))
        };
        let ours = |row: &str, column: &str| self.ours.median(table, row, column);
        let mut text = shown(&ours, table.title, table.decimals);
        if let Some(theirs) = &self.theirs {
            let theirs = |row: &str, column: &str| theirs.median(table, row, column);
            let ratio = |row: &str, column: &str| Some(ours(row, column)? / theirs(row, column)?);
            text += &shown(&theirs, &format!("{}, before", table.title), table.decimals);
            text += &shown(&ratio, &format!("{}, as a ratio to before", table.title), 2);
        }
        text
    }

    /// The totals of each round.
    fn rounds(&self) -> String {
        let both = [("", Some(&self.ours)), ("before, ", self.theirs.as_ref())];
        let mut rows = Vec::new();
        let (_, columns) = self.ours.shape(CPU);
        for (whose, rounds) in both.iter().filter_map(|(whose, rounds)| Some((whose, (*rounds)?))) {
            for (at, sample) in rounds.0.iter().enumerate() {
                let mut row = vec![format!("{whose}round {}", at + 1)];
                let value = |column: &&str| number(sample.get(CPU, "total", column), CPU.decimals);
                row.extend(columns.iter().map(value));
                rows.push(row);
            }
        }
        if rows.len() < 2 || columns.is_empty() {
            return String::new();
        }
        let head = [String::from("total of")].into_iter();
        let head: Vec<_> = head.chain(columns.iter().map(|column| (*column).to_owned())).collect();
        format!(
            "\n{}, each round (the tables show medians):\n\n{}",
            CPU.title,
            markdown(&head, &rows)
        )
    }

    fn bounds(&self) -> impl Iterator<Item = (&'static Bound, f64)> {
        let ours = BOUNDS.iter().filter(|bound| bound.part == self.part);
        ours.filter_map(|bound| Some((bound, bound.value(&self.ours)?)))
    }
}

fn bounds(measured: &[Measured]) -> String {
    let compares = measured.iter().any(|part| part.theirs.is_some());
    let mut head = vec!["figure", "measured", "bound", "unit", "ratio to it", ""];
    if compares {
        head.extend(["before", "ratio to before"]);
    }
    let head: Vec<_> = head.into_iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for part in measured {
        for (bound, value) in part.bounds() {
            let verdict = if bound.limit.keeps(value) { "ok" } else { "missed" };
            let mut row = vec![
                bound.name.to_owned(),
                number(Some(value), 2),
                bound.limit.text(),
                bound.unit.to_owned(),
                number(Some(bound.limit.ratio(value)), 2),
                verdict.to_owned(),
            ];
            if compares {
                let before = part.theirs.as_ref().and_then(|theirs| bound.value(theirs));
                row.push(number(before, 2));
                row.push(number(before.map(|before| value / before), 2));
            }
            rows.push(row);
        }
    }
    markdown(&head, &rows)
}

/// Whether every measured bound is kept.
pub fn all_kept(measured: &[Measured]) -> bool {
    measured.iter().flat_map(Measured::bounds).all(|(bound, value)| bound.limit.keeps(value))
}

/// Everything in one object; `history` appends it as a line.
pub fn json(measured: &[Measured], amounts: &Amounts, machine: &Machine) -> Value {
    let (mut parts, mut before, mut bounds) = (Map::new(), Map::new(), Map::new());
    for part in measured {
        parts.insert(part.part.name().to_owned(), part.ours.json());
        if let Some(theirs) = &part.theirs {
            before.insert(part.part.name().to_owned(), theirs.json());
        }
        for (bound, value) in part.bounds() {
            let (limit, ratio) = (bound.limit.number(), short(bound.limit.ratio(value)));
            let kept = bound.limit.keeps(value);
            let entry =
                json!({ "value": short(value), "bound": limit, "ratio": ratio, "kept": kept });
            bounds.insert(bound.name.to_owned(), entry);
        }
    }
    let mut report = json!({
        "date": machine.date, "commit": machine.commit, "profile": machine.profile,
        "machine": { "cores": machine.cores, "model": machine.model, "load": machine.load },
        "sign_ins": amounts.sign_ins, "at_once": amounts.at_once, "rate": amounts.rate,
        "bounds": bounds, "parts": parts,
    });
    if !before.is_empty() {
        report["before"] = Value::Object(before);
    }
    report
}
