//! Passwords: hashing behind a bounded pool, the rules of choosing one, hashes of Django's.

pub mod django;
pub mod hasher;
pub mod rules;
