//! Statistics of the two classes, and the table.

use std::ops::RangeInclusive;

use anyhow::ensure;
use serde_json::Value;

pub const AUC: RangeInclusive<f64> = 0.45..=0.55;
const MEDIANS_APART_MS: f64 = 1.0;

/// Members that differ between two calls by chance or by phone number.
const OWN: [&str; 5] = ["request_id", "phone_number", "expires_at", "expires_in", "updated_at"];

/// Returns the body without the values that are the call's own.
pub fn form(mut body: Value) -> Value {
    for member in OWN {
        if let Some(value) = body.get_mut(member) {
            *value = "…".into();
        }
    }
    body
}

/// What the calls for both classes took, and how many events their streams had; unknown phones first.
#[derive(Default)]
pub struct Figures {
    took_ms: [Vec<f64>; 2],
    events: [Vec<f64>; 2],
}

impl Figures {
    pub fn add(&mut self, class: usize, took_ms: f64, events: usize) -> anyhow::Result<()> {
        self.took_ms[class].push(took_ms);
        self.events[class].push(f64::from(u32::try_from(events)?));
        Ok(())
    }

    /// Prints a row of the table. Returns whether all figures are within the bounds.
    pub fn report(&self, engines: &str, call: &str) -> bool {
        let [unknown, known] = &self.took_ms;
        let auc_of_times = auc(unknown, known);
        let medians = [median(unknown), median(known)];
        let apart = (medians[0] - medians[1]).abs();
        let holds =
            AUC.contains(&auc_of_times) && apart <= MEDIANS_APART_MS && self.events_alike(call);
        println!(
            "| {engines} | {call} | {} | {auc_of_times:.3} | {} to {} | {:.2} | {:.2} | {apart:.2} | {MEDIANS_APART_MS} | {} |",
            unknown.len(),
            AUC.start(),
            AUC.end(),
            medians[0],
            medians[1],
            if holds { "yes" } else { "NO" }
        );
        holds
    }

    /// Whether both classes saw equally many events. A stream skips the statuses that were over when it began, so their
    /// number varies: as with times, only its distribution can be compared.
    fn events_alike(&self, call: &str) -> bool {
        let [unknown, known] = &self.events;
        let auc_of_events = auc(unknown, known);
        let alike = AUC.contains(&auc_of_events);
        if !alike {
            eprintln!("{call}: the AUC of the number of events is {auc_of_events:.3}");
        }
        alike
    }
}

/// Fails if the two classes got different answers.
pub fn check_alike(call: &str, answers: &[Value; 2]) -> anyhow::Result<()> {
    let [unknown, known] = answers;
    ensure!(unknown == known, "{call}: unknown phones get {unknown} and known ones {known}");
    Ok(())
}

pub fn print_head() {
    println!(
        "| engines | call | pairs | AUC | bound | median unknown, ms | median known, ms | difference, ms | bound | within bounds |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

/// Returns the probability that a value of the second class is greater than one of the first; ties count half.
fn auc(first: &[f64], second: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        first.iter().map(|t| (*t, false)).chain(second.iter().map(|t| (*t, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for same in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let of_second: f64 = same.iter().map(|(_, second)| f64::from(u8::from(*second))).sum();
        let of_first: f64 = same.iter().map(|(_, second)| f64::from(u8::from(!*second))).sum();
        wins += of_second * (below + of_first / 2.0);
        below += of_first;
    }
    let count = |values: &[f64]| values.iter().map(|_| 1.0).sum::<f64>();
    wins / (count(first) * count(second))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
