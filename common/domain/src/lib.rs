//! The words of the product as types: phone numbers, codes, ids, events, keys, time.
//!
//! Owns what the services say to each other and how secrets are cut and sealed. Must never know an engine, a setting, a
//! socket or a runtime: no I/O, no tokio. Everything else may import it.

pub mod admin_key;
pub mod clock;
pub mod code;
pub mod engine_error;
pub mod engine_hosts;
pub mod event;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod phone;
pub mod rng;
pub mod seal;
pub mod speech;
pub mod string_enum;
pub mod timestamp;
pub mod trace_context;
pub mod twilio_receipt;
pub mod twilio_sid;
pub mod twilio_signature;
pub mod vocabulary;
