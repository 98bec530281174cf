//! What the load generator and the other measurements share.

pub mod ring;
pub mod table;
