//! What the gateway and the workers share. A thing enters here when a second crate needs it.
//!
//! The seams to the engines are closed enums with one arm for the embedded default and one for the real engine:
//! [`bus::Bus`] (RabbitMQ), [`otp::OtpStore`] (Redis) and [`db::Db`] (PostgreSQL, SQLite). Each act on them is atomic
//! and speaks the domain's language; policy stands above them.

pub mod blocklist;
pub mod bus;
pub mod clock;
pub mod code;
pub mod config;
pub mod db;
pub mod deletion;
pub mod engine_error;
pub mod engines;
pub mod event;
pub mod former_phone;
pub mod guard;
pub mod ids;
pub mod inbox;
pub mod keys;
pub mod ops;
pub mod otp;
pub mod phone;
pub mod rng;
pub mod seal;
pub mod service;
pub mod store_time;
pub mod telemetry;
pub mod texts;
pub mod timestamp;
pub mod twilio_signature;
pub mod vocabulary;
pub mod worker;
