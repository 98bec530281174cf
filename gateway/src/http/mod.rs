//! HTTP itself: connections, bodies, headers, problems, what all answers have in common.

pub(crate) mod address_counts;
pub mod body;
pub(crate) mod body_slots;
pub mod client_ip;
pub mod connection_limits;
pub(crate) mod connection_slots;
pub(crate) mod connection_timeouts;
pub mod error;
pub mod error_code;
pub mod fields;
pub mod forwarded;
pub mod idempotency_key;
pub(crate) mod inbox_access;
pub mod json;
pub mod layers;
pub mod path_params;
pub mod problem;
pub mod rare_line;
mod raw_error_response;
pub(crate) mod request_head;
pub(crate) mod request_socket;
pub mod request_timeout;
pub mod server;
pub mod stream_limits;
pub mod trailing_slash;
pub mod validate;
pub mod watched_body;
