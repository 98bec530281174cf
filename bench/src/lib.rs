//! What the load generator and the other measurements share.

pub mod load;
pub mod machine;
pub mod provider;
pub mod recorded;
pub mod ring;
pub mod svg;
pub mod table;
