//! What the load generator and the timing test share.

pub mod ring;
