//! Guard findings from the store's operations, held until the gateway publishes them: changes for log, metrics and
//! event, counts for the history. Kept in memory: a crash loses the last seconds of it but no decision, since decisions
//! use the store's own counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Destination;
use super::net::Change;
use domain::timestamp::Timestamp;

/// The limit of rows that wait for the database: a day of 30 prefixes. A longer outage, or an attacker who keeps using
/// new prefixes, must not fill the memory; rows beyond it are not recorded.
const MOST_TALLIES: usize = 50_000;
const MOST_CHANGES: usize = 1_000;

/// A change, with the number block and time of its detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub change: Change,
    pub country: String,
    /// The prefix of the request that revealed it, also for a country's change.
    pub operator_prefix: String,
    pub at: Timestamp,
}

/// The counts of one minute at one prefix. A withdrawn request counts -1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole minutes since the epoch.
    pub minute: i64,
    pub operator_prefix: String,
    pub country: String,
    pub sends: i64,
    pub verified: i64,
    /// Requests that the guard refused.
    pub refused: i64,
}

/// Sends and verifications of a country in the guard's window, as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub country: String,
    pub sends: u64,
    pub verified: u64,
}

/// Everything collected since the last call.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub changes: Vec<Finding>,
    pub tallies: Vec<Tally>,
    pub conversions: Vec<Conversion>,
    /// Requests that `record` admitted and `enforce` would have refused.
    pub would_refuse: u64,
}

/// Collects the findings. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    changes: Vec<Finding>,
    tallies: HashMap<(i64, String, String), (i64, i64, i64)>,
    conversions: HashMap<String, (u64, u64)>,
    would_refuse: u64,
}

/// Counts to add to a tally.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta {
    pub sends: i64,
    pub verified: i64,
    pub refused: i64,
}

/// Guard results of one store operation.
#[derive(Debug)]
pub struct Observation {
    pub minute: i64,
    pub at: Timestamp,
    /// Sends and verifications of the country.
    pub country: (u64, u64),
    pub would_refuse: bool,
    pub changes: Vec<Change>,
    pub added: Delta,
}

impl Findings {
    /// Returns at once if there is a change that was not taken yet, otherwise when the next one is found.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Takes everything collected since the last call.
    pub fn take(&self) -> Taken {
        let heard = std::mem::take(&mut *self.lock());
        let tally = |((minute, operator_prefix, country), (sends, verified, refused))| Tally {
            minute,
            operator_prefix,
            country,
            sends,
            verified,
            refused,
        };
        let conversion = |(country, (sends, verified))| Conversion { country, sends, verified };
        Taken {
            changes: heard.changes,
            tallies: heard.tallies.into_iter().map(tally).collect(),
            conversions: heard.conversions.into_iter().map(conversion).collect(),
            would_refuse: heard.would_refuse,
        }
    }

    /// Puts back counts that could not be written, for the next attempt.
    pub fn put_back(&self, tallies: Vec<Tally>) {
        let mut heard = self.lock();
        for t in tallies {
            heard.add(
                (t.minute, t.operator_prefix, t.country),
                Delta { sends: t.sends, verified: t.verified, refused: t.refused },
            );
        }
    }

    pub fn note(&self, destination: Destination<'_>, shown: Observation) {
        let mut heard = self.lock();
        let Delta { sends, verified, refused } = shown.added;
        if sends != 0 || verified != 0 || refused != 0 {
            heard.add(
                (
                    shown.minute,
                    destination.operator_prefix.to_owned(),
                    destination.country.to_owned(),
                ),
                shown.added,
            );
        }
        heard.conversions.insert(destination.country.to_owned(), shown.country);
        heard.would_refuse += u64::from(shown.would_refuse);
        let found_any = !shown.changes.is_empty();
        for change in shown.changes {
            if heard.changes.len() < MOST_CHANGES {
                heard.changes.push(Finding {
                    change,
                    country: destination.country.to_owned(),
                    operator_prefix: destination.operator_prefix.to_owned(),
                    at: shown.at,
                });
            }
        }
        drop(heard);
        if found_any {
            self.shared.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn add(&mut self, row: (i64, String, String), added: Delta) {
        if self.tallies.len() >= MOST_TALLIES && !self.tallies.contains_key(&row) {
            return;
        }
        let tally = self.tallies.entry(row).or_default();
        tally.0 += added.sends;
        tally.1 += added.verified;
        tally.2 += added.refused;
    }
}
