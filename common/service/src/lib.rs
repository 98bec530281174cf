//! How a process of Latchkey lives: it starts, connects to its engines, is watched, and stops (P12).
//!
//! Owns signals, exit codes, connections, readiness, the ops port and telemetry, and the tasks that several services
//! run beside their work. Must never know HTTP's public routes, a provider of texts, or what an event means.

pub mod block_target;
pub mod blocklist;
pub mod connections;
pub mod deletion;
pub mod delivery;
pub mod guard_replay;
pub mod guard_report;
pub mod health;
pub mod load_report;
pub mod open_files;
pub mod ops;
pub mod presence;
pub mod standalone;
pub mod start;
pub mod telemetry;
