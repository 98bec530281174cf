//! Accounts and what guards them: who may sign in, with which session, after how many failed attempts.
//!
//! Owns the tables of accounts, sessions, attempts, used codes, the outbox, the audit, run-time blocks, the guard's
//! history and its hours, and the processes that run. Must never know a broker, Redis, HTTP, or the ledger but for one
//! function: a deletion takes the account's
//! number out of it ([`ledger::erase`]).
//!
//! Each facet is a handle on the shared pool with the acts of one concern, each act atomic and in the domain's
//! language. The time comes from the caller. The two acts that every sign-in waits for ([`Accounts::sign_in`],
//! [`Attempts::record_failure`]) are one round trip each on PostgreSQL. Sign-ins and refreshes that arrive together are
//! written together ([`sql::batch`]).

/// A statement that locks rows on PostgreSQL. SQLite has no such clause and needs none: it has one writer at a time.
macro_rules! locking {
    ($work:expr, $before:expr, $lock:literal, $after:literal) => {
        if $work.is_postgres() { concat!($before, $lock, $after) } else { concat!($before, $after) }
    };
}

mod activity;
mod admin_keys;
mod attempts;
mod audit;
mod blocks;
mod console_sessions;
mod deletion;
mod device_ends;
mod document;
mod expired_sessions;
pub mod former_phone;
mod guard_history;
mod hours;
mod lock_marks;
pub mod notice;
mod outbox;
mod outbox_entries;
mod outbox_former;
mod passwords;
mod people;
mod phone_change;
mod phone_undo;
mod processes;
mod redeem;
mod refresh;
mod refresh_batch;
mod sessions;
mod sign_in;
mod sign_in_batch;
mod sign_in_document;
mod sign_in_sqlite;
mod signed_in;
mod staff;
mod sweep;
mod throttle;
mod users;

use sql::batch::Batch;
use sql::{Function, Pool};

pub use activity::SecurityEvent;
pub use admin_keys::{AdminKey, NewAdminKey};
pub use attempts::Counted;
pub use audit::{AuditEntry, AuditFilter};
pub use blocks::{Block, BlockKind};
pub use console_sessions::{
    ConsoleDenied, ConsoleOutcome, ConsoleSession, ConsoleSignIn, NewConsoleSession, PasswordProof,
    ShownConsoleSession,
};
pub use deletion::Deleter;
pub use guard_history::{Converted, NetRow};
pub use hours::{Conversions, ConversionsOf};
pub use outbox::Prepared;
pub use outbox_entries::{OutboxEntry, OutboxEvent, Publisher, Settled};
pub use passwords::{
    PasswordChange, PasswordChangeDenied, PasswordLook, PasswordOutcome, PasswordSignIn,
    StoredPassword,
};
pub use people::{AccountBlock, Find, Person};
pub use phone_change::{PhoneChange, PhoneChangeOutcome};
pub use phone_undo::{ReplacedPhone, UNDO_SECS, Undo, UndoOutcome};
pub use processes::{Beat, Process};
pub use redeem::{Denied, UsedCode};
pub use refresh::{BlacklistOutcome, Presented, RefreshOutcome};
pub use sessions::{KeptSession, LiveSession, Method, NewSession, Session};
pub use sign_in::{LoginOutcome, LoginReplay};
pub use sign_in_document::{LoginKey, SignIn};
pub use signed_in::SignInSpan;
pub use staff::{RoleChange, RoleChanged, StaffRole};
pub use sweep::Swept;
pub use throttle::{AttemptKind, AttemptLimits, Claimant, KnownDevice, Throttle};
pub use users::{Changes, Creation, NewUser, User};

/// The rules that run inside PostgreSQL, each beside the Rust that calls it and takes its steps on SQLite. For
/// [`Pool::migrate`].
pub const FUNCTIONS: &[Function] = &[
    Function { name: "latchkey_lock_mark_2", definition: include_str!("lock_marks.postgres.sql") },
    Function { name: "latchkey_throttle_3", definition: include_str!("throttle.postgres.sql") },
    Function {
        name: "latchkey_record_failure_4",
        definition: include_str!("attempts.postgres.sql"),
    },
    Function { name: "latchkey_sign_in_4", definition: include_str!("sign_in.postgres.sql") },
    Function {
        name: "latchkey_outbox_take_1",
        definition: include_str!("outbox_take.postgres.sql"),
    },
    Function {
        name: "latchkey_outbox_settle_1",
        definition: include_str!("outbox_settle.postgres.sql"),
    },
];

macro_rules! facets {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pool: Pool,
        }

        impl $name {
            /// Cheap: facets share the pool's connections.
            pub fn new(pool: &Pool) -> Self {
                Self { pool: pool.clone() }
            }
        }
    )+ };
}

facets! {
    /// Keys of the admin API.
    AdminKeys,
    /// Failed attempts, counted for a phone and for a code (P4).
    Attempts,
    /// What staff and the system did; append-only.
    Audit,
    /// Whether a phone has an account: all that a service which keeps no accounts may learn.
    Directory,
    /// The blocks of phones, prefixes, addresses and countries that staff set at run time.
    Blocks,
    /// Sessions of staff at the console, apart from those of the app.
    ConsoleSessions,
    /// What the pumping guard counted and did.
    GuardHistory,
    /// What the guard counted and the sessions that began, by the hour.
    GuardHours,
    /// Events that were committed with what they tell, until the broker has them.
    Outbox,
    /// What runs, as each process says it of itself.
    Processes,
    /// Removes rows whose time is over.
    Sweeper,
}

/// Accounts: found, created, changed, signed in, given a password, a role or another phone, deleted.
///
/// Clones write their sign-ins together: a process makes one.
#[derive(Clone, Debug)]
pub struct Accounts {
    pool: Pool,
    sign_ins: Batch<sign_in_batch::Login>,
}

impl Accounts {
    pub fn new(pool: &Pool) -> Self {
        // By key: the plans are made once for each connection, perhaps while the tables are empty.
        Self { pool: pool.clone(), sign_ins: Batch::new(&pool.by_key()) }
    }
}

/// Sessions: read, refreshed, ended.
///
/// Clones write their refreshes together: a process makes one.
#[derive(Clone, Debug)]
pub struct Sessions {
    pool: Pool,
    refreshes: Batch<refresh_batch::Refresh>,
}

impl Sessions {
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), refreshes: Batch::new(&pool.by_key()) }
    }
}
