//! What the load generator and the other measurements share.

pub mod load;
pub mod provider;
pub mod ring;
pub mod table;
