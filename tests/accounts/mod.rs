//! Tokens, sessions and accounts over HTTP: what P9 promises, and the life of an account up to its deletion.

mod blocked;
mod bound;
mod bound_attacks;
mod client_key;
mod commands;
pub(crate) mod deletion;
mod import;
pub(crate) mod in_process;
mod lossy;
mod notices;
mod passwords;
mod phone_change;
mod python;
mod quotas;
mod refresh;
mod rotation;
mod sessions;
mod step_up;
