//! What the routes share about codes: a request for one, the check of one, and what a caller may try.

pub mod addresses_seen;
pub mod caller;
pub mod check;
pub mod claimed_phone;
pub mod failed_attempts;
pub mod funnel;
pub mod lock_notice;
pub mod matched_code;
pub mod refusals;
pub mod repeated_login;
pub mod request;
