//! Passwords: which are accepted, and how they are hashed and checked.
//!
//! Owns the rules of a new password, the cost of a hash and the pool that bounds it, and the hashes that Django wrote.
//! Must never know an account, an engine, or HTTP.

mod django;
mod hasher;
pub mod rules;
mod turns;

pub use django::is_well_formed as is_django_hash;
pub use hasher::{Password, PasswordCheck, PasswordError, Passwords};
pub use turns::Requester;
