//! What the routes share about codes: a request for one, and the check of one.

pub mod check;
pub mod request;
