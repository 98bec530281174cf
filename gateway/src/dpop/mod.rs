//! Proof of possession of a client's key (RFC 9449).

pub mod header;
pub(crate) mod nonce;
pub mod proof;

use http::HeaderName;

pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
