//! Access and refresh tokens: signed, verified, and the keys behind them.

pub mod bearer;
pub mod device_token;
pub mod jwt;
pub mod key_dir;
pub mod key_ring;
pub mod key_table;
pub mod pair;
pub mod signing_key;
