//! The HTTP edge: admits and publishes code requests, checks codes, issues tokens and manages accounts.
//!
//! Each route has a file; `ask.rs` and `guess.rs` hold what several routes share.

mod app;
mod ask;
pub mod authorization;
pub mod body;
pub mod client_ip;
mod deadline;
pub mod device_token;
pub mod django;
mod dpop;
pub mod error;
mod events;
pub mod fields;
mod forwarded;
mod guess;
pub mod idempotency;
mod inbox;
pub mod json;
pub mod jwks;
pub mod key_folder;
pub mod keys;
mod login;
mod me;
mod me_password;
mod me_phone;
pub mod middleware;
mod otp;
mod outbox;
mod pace;
pub mod password;
pub mod password_rules;
mod path;
pub mod problem;
pub mod proof;
mod refusal;
mod router;
mod run;
pub mod server;
mod sessions;
mod signup;
mod streams;
mod token;
pub mod tokens;
pub mod validate;
pub mod verify;
mod webhook;

pub use self::run::{run, serve};
