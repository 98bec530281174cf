//! Proof of possession of a client's key (RFC 9449).

pub mod header;
pub mod proof;
