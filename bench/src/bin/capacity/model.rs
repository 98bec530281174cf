//! From the cost of one sign-in to what a day of many needs, and to what breaks first. A pure function of its inputs.

use crate::inputs::{Cost, Inputs, Table};

pub const DAY_SECS: f64 = 86_400.0;
pub const GB: f64 = 1e9;

/// What an operator has to know of their own service; these values are assumed.
#[derive(Clone, Copy, Debug)]
pub struct Assumed {
    /// The busiest second, times the day's mean.
    pub peak: f64,
    /// How much of a core is used at the peak: beyond it waiting grows fast.
    pub busy: f64,
    /// Refreshes of a session for each sign-in: an app that is open refreshes each ten minutes.
    pub refreshes: f64,
    /// Seconds that the provider takes for a text.
    pub call_secs: f64,
    /// Receipts for a text.
    pub receipts: f64,
    /// How often an account signs in, in days.
    pub sign_in_every_days: f64,
    /// Bytes a second that the disk of PostgreSQL's log takes, with copies to standbys.
    pub wal_bytes_a_second: f64,
    /// Cores of the largest machine for PostgreSQL.
    pub database_cores: f64,
    /// Connections that PostgreSQL is set up for.
    pub connections: f64,
    /// A table, or a partition of one, is kept below this, with its indexes: a vacuum or a new index takes an hour then.
    pub table_bytes: f64,
    /// Texts a second that one account of a provider takes.
    pub account_texts: f64,
    pub core_hour_price: f64,
    /// For a month.
    pub gb_price: f64,
    pub text_price: f64,
}

pub const ASSUMED: Assumed = Assumed {
    peak: 3.0,
    busy: 0.6,
    refreshes: 10.0,
    call_secs: 0.5,
    receipts: 2.0,
    sign_in_every_days: 3.0,
    wal_bytes_a_second: 200e6,
    database_cores: 64.0,
    connections: 2_000.0,
    table_bytes: 100e9,
    account_texts: 100.0,
    core_hour_price: 0.04,
    gb_price: 0.10,
    text_price: 0.02,
};

/// The most connections to PostgreSQL of one process (docs/clusters.md).
pub const CONNECTIONS_OF_ONE: f64 = 34.0;
/// Statuses that share an event at most (contract, ruling 60).
const STATUSES_OF_AN_EVENT: f64 = 12.0;
/// Of each phone that verified in the last 90 to 120 days: 110 MB for 10 million users (docs/ARCHITECTURE.md).
const PROVEN_BYTES: f64 = 11.0;
/// Hours of a month.
const MONTH_HOURS: f64 = 730.0;

/// How many days a row of a table stays; `None`: for good.
///
/// Sources: the ledger's 30 days (contract, section 8); a session that is not used again ends after 30 days and is removed
/// 90 days later (`common/accounts/src/sweep.rs`); the fence of used codes and login keys stay a day after their end; the
/// audit is append-only.
pub fn days(table: &str) -> Option<f64> {
    match table {
        "sms_ledger" | "sms_attempts" | "sms_history" => Some(30.0),
        "sessions" => Some(120.0),
        "used_codes" | "code_guesses" | "login_keys" => Some(1.0),
        "outbox" | "outbox_entries" => Some(0.0),
        _ => None,
    }
}

/// Whether a row belongs to an account rather than to a sign-in.
pub fn is_of_account(table: &str) -> bool {
    matches!(table, "users" | "guesses")
}

pub struct Plan<'a> {
    inputs: &'a Inputs,
    assumed: Assumed,
    pub a_day: f64,
}

impl<'a> Plan<'a> {
    pub fn of(inputs: &'a Inputs, assumed: Assumed, a_day: f64) -> Self {
        Self { inputs, assumed, a_day }
    }

    pub fn mean(&self) -> f64 {
        self.a_day / DAY_SECS
    }

    pub fn peak(&self) -> f64 {
        self.mean() * self.assumed.peak
    }

    /// Cores that a process is busy with in the peak.
    pub fn busy_cores(&self, cost: &Cost) -> f64 {
        self.peak() * cost.sign_in(self.assumed.refreshes)
    }

    /// Cores to have.
    pub fn cores(&self, cost: &Cost) -> f64 {
        self.busy_cores(cost) / self.assumed.busy
    }

    pub fn all_cores(&self) -> f64 {
        self.inputs.costs.iter().map(|cost| self.cores(cost)).sum()
    }

    /// Processes of a service, two at least: a worker is one thread, a gateway is given two cores, and a sms-worker takes
    /// as many texts as its provider answers, too.
    pub fn processes(&self, cost: &Cost) -> Option<f64> {
        let by_cores = match cost.process {
            "gateway" => self.cores(cost) / 2.0,
            "otp-worker" => self.cores(cost),
            "sms-worker" => {
                let by_calls = self.peak() / (self.inputs.worker_rate * self.worker_share());
                self.cores(cost).max(by_calls)
            }
            _ => return None,
        };
        Some(by_cores.ceil().max(2.0))
    }

    /// How much of its measured rate a sms-worker does when the autoscaler holds it (40 of 64 handlers:
    /// docs/kubernetes.md), with a provider that takes another time than the half second of the measurement.
    fn worker_share(&self) -> f64 {
        40.0 / 64.0 * (0.5 / self.assumed.call_secs)
    }

    pub fn connections(&self) -> f64 {
        let all = self.inputs.costs.iter().filter_map(|cost| self.processes(cost));
        all.sum::<f64>() * CONNECTIONS_OF_ONE
    }

    /// Bytes of Redis: each kind of key is there for as long as it stays. Those of accounts and of the process do not
    /// grow with sign-ins and are left out.
    pub fn redis_bytes(&self) -> f64 {
        self.a_sign_ins_redis_byte_secs() * self.mean()
    }

    /// Bytes of Redis for the phones that verified lately.
    pub fn proven_bytes(&self) -> f64 {
        self.accounts() * PROVEN_BYTES
    }

    pub fn accounts(&self) -> f64 {
        self.a_day * self.assumed.sign_in_every_days
    }

    fn a_sign_ins_redis_byte_secs(&self) -> f64 {
        let grow = self.inputs.keys.iter().filter(|kind| kind.keys >= 0.1 && kind.secs > 0.0);
        grow.map(|kind| kind.keys * kind.bytes * kind.secs.min(DAY_SECS)).sum()
    }

    /// Rows of a table, after a year where they stay for good.
    pub fn rows(&self, table: &Table) -> f64 {
        if is_of_account(&table.name) {
            return self.accounts();
        }
        self.a_day * table.rows * days(&table.name).unwrap_or(365.0)
    }

    pub fn bytes(&self, table: &Table) -> f64 {
        self.rows(table) * (table.row_bytes + table.index_bytes)
    }

    /// Partitions that keep each below what is assumed; 1: none needed.
    pub fn partitions(&self, table: &Table) -> f64 {
        (self.bytes(table) / self.assumed.table_bytes).ceil().max(1.0)
    }

    pub fn all_bytes(&self) -> f64 {
        self.inputs.tables.iter().map(|table| self.bytes(table)).sum()
    }

    pub fn wal_a_day(&self) -> f64 {
        self.a_day * self.inputs.wal(self.assumed.refreshes)
    }

    pub fn wal_at_peak(&self) -> f64 {
        self.peak() * self.inputs.wal(self.assumed.refreshes)
    }

    /// Messages a second of a queue in the peak.
    pub fn messages(&self, queue: &str) -> f64 {
        self.peak() * messages(queue, self.assumed.receipts)
    }

    /// Queues of a kind, so that each leader is as busy as other cores are.
    pub fn queues(&self, queue: &str) -> f64 {
        (self.messages(queue) / (self.inputs.queues[0] * self.assumed.busy)).ceil().max(1.0)
    }

    /// Price of a month: cores at the peak all the time, disk with one copy more, texts.
    pub fn prices(&self) -> [f64; 3] {
        let assumed = &self.assumed;
        let cores = self.all_cores().max(6.0) * MONTH_HOURS * assumed.core_hour_price;
        let disk = self.all_bytes() * 2.0 / GB * assumed.gb_price;
        let texts = self.a_day * (MONTH_HOURS / 24.0) * assumed.text_price;
        [cores, disk, texts]
    }
}

/// Messages of a sign-in that go through a queue: a code request, and what becomes of its text; a text and its receipts.
/// Under load statuses share events.
fn messages(queue: &str, receipts: f64) -> f64 {
    match queue {
        "otp-worker" => 1.0 + 2.0 / STATUSES_OF_AN_EVENT,
        _ => 1.0 + receipts,
    }
}

/// A limit: what breaks, and at how many sign-ins a day.
pub struct Limit {
    pub what: &'static str,
    pub a_day: f64,
    pub remedy: &'static str,
}

/// What breaks, in the order in which it does.
pub fn limits(inputs: &Inputs, assumed: Assumed) -> Vec<Limit> {
    let mut limits = limits_of_rate(inputs, assumed);
    limits.extend(limits_of_size(inputs, assumed));
    limits.retain(|limit| limit.a_day.is_finite());
    limits.sort_by(|one, other| one.a_day.total_cmp(&other.a_day));
    limits
}

/// What is full in the busiest second.
fn limits_of_rate(inputs: &Inputs, assumed: Assumed) -> Vec<Limit> {
    let cost = |process: &str| {
        let found = inputs.costs.iter().find(|cost| cost.process == process);
        found.map_or(f64::NAN, |cost| cost.sign_in(assumed.refreshes))
    };
    let leader = |queue: &str| inputs.queues[0] * assumed.busy / messages(queue, assumed.receipts);
    let large = Plan::of(inputs, assumed, 1e9);
    let of_connections = assumed.connections / large.connections() * large.peak();
    let of_log = assumed.wal_bytes_a_second / inputs.wal(assumed.refreshes);
    let of_cores = assumed.database_cores * assumed.busy / cost("PostgreSQL");
    [
        (
            "one account of a provider",
            assumed.account_texts,
            "a higher rate, several senders, several providers by country (`LATCHKEY_SMS_ROUTES`)",
        ),
        (
            "Redis, which runs scripts on one core",
            assumed.busy / cost("Redis"),
            "a faster core; then cells, below",
        ),
        (
            "the leader of the queue `sms-worker`",
            leader("sms-worker"),
            "several queues by hash of the phone",
        ),
        ("the leader of the queue `otp-worker`", leader("otp-worker"), "the same"),
        ("PostgreSQL's cores", of_cores, "cells"),
        ("the disk of PostgreSQL's log", of_log, "the ledger in a database of its own, then cells"),
        (
            "connections to PostgreSQL",
            of_connections,
            "fewer, larger gateways; more handlers for each sms-worker",
        ),
    ]
    .into_iter()
    .map(|(what, a_second, remedy)| Limit {
        what,
        a_day: a_second / assumed.peak * DAY_SECS,
        remedy,
    })
    .collect()
}

/// What grows with what is kept.
fn limits_of_size(inputs: &Inputs, assumed: Assumed) -> Vec<Limit> {
    let one = Plan::of(inputs, assumed, 1e6);
    let table = |name: &str| {
        let found = inputs.tables.iter().find(|table| table.name == name);
        assumed.table_bytes / found.map_or(f64::NAN, |table| one.bytes(table)) * one.a_day
    };
    [
        ("the table `sms_ledger`", table("sms_ledger"), "partitions by day"),
        ("the table `audit`, after a year", table("audit"), "partitions by month, and an archive"),
        ("the table `sessions`", table("sessions"), "partitions by hash of the account"),
    ]
    .into_iter()
    .map(|(what, a_day, remedy)| Limit { what, a_day, remedy })
    .collect()
}
