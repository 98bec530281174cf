//! What a part measures: values in the cells of tables, one set per round, and their medians.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A table of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name in JSON.
    pub key: &'static str,
    pub title: &'static str,
    /// The heading of its first column.
    pub rows: &'static str,
    pub decimals: usize,
}

pub const CPU: Table =
    Table { key: "cpu", title: "CPU seconds per 1,000", rows: "process", decimals: 3 };
pub const BARE: Table =
    Table { key: "bare", title: "The bare parts of a sign-in", rows: "bare part", decimals: 3 };
pub const TIMES: Table = Table { key: "ms", title: "Milliseconds", rows: "answer", decimals: 1 };
pub const PACE: Table = Table { key: "pace", title: "Pace", rows: "stage", decimals: 0 };
pub const TEXTS: Table = Table { key: "texts", title: "Texts", rows: "provider", decimals: 1 };
pub const MEMORY: Table = Table { key: "memory", title: "Idle", rows: "process", decimals: 1 };
pub const LIMITS: Table = Table { key: "limits", title: "Limits", rows: "limits", decimals: 3 };

pub struct Cell {
    pub table: Table,
    pub row: String,
    pub column: String,
    pub value: f64,
}

/// The values of one round, in the order in which they are shown.
#[derive(Default)]
pub struct Sample(pub Vec<Cell>);

impl Sample {
    pub fn put(&mut self, table: Table, row: &str, column: &str, value: f64) {
        self.0.push(Cell { table, row: row.to_owned(), column: column.to_owned(), value });
    }

    pub fn get(&self, table: Table, row: &str, column: &str) -> Option<f64> {
        let mut cells = self.0.iter();
        let is_it = |cell: &&Cell| cell.table == table && cell.row == row && cell.column == column;
        cells.find(is_it).map(|cell| cell.value)
    }
}

/// All rounds of one part on one set of programs.
#[derive(Default)]
pub struct Rounds(pub Vec<Sample>);

impl Rounds {
    pub fn median(&self, table: Table, row: &str, column: &str) -> Option<f64> {
        median(self.each(table, row, column))
    }

    pub fn each(&self, table: Table, row: &str, column: &str) -> Vec<f64> {
        self.0.iter().filter_map(|sample| sample.get(table, row, column)).collect()
    }

    /// The tables of the first round, in order.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = Vec::new();
        for cell in self.cells() {
            if !tables.contains(&cell.table) {
                tables.push(cell.table);
            }
        }
        tables
    }

    /// The rows and the columns of a table, in order.
    pub fn shape(&self, table: Table) -> (Vec<&str>, Vec<&str>) {
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for cell in self.cells().filter(|cell| cell.table == table) {
            if !rows.contains(&cell.row.as_str()) {
                rows.push(cell.row.as_str());
            }
            if !columns.contains(&cell.column.as_str()) {
                columns.push(cell.column.as_str());
            }
        }
        (rows, columns)
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.0.first().into_iter().flat_map(|sample| &sample.0)
    }

    /// `{table: {row: {column: {"median": …, "rounds": […]}}}}`; with one round, the value itself.
    pub fn json(&self) -> Value {
        let mut tables: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, Value>>> = BTreeMap::new();
        for cell in self.cells() {
            let each = self.each(cell.table, &cell.row, &cell.column);
            let rounds: Vec<f64> = each.iter().copied().map(short).collect();
            let middle = median(each).map(short);
            let value = match rounds.len() {
                1 => json!(middle),
                _ => json!({ "median": middle, "rounds": rounds }),
            };
            let rows = tables.entry(cell.table.key).or_default();
            rows.entry(&cell.row).or_default().insert(&cell.column, value);
        }
        json!(tables)
    }
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// Four decimals: more are noise.
pub fn short(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
