//! What the targets in `fuzz/` reach: the parsers of what strangers send. Only `cargo fuzz` builds it.

use std::collections::BTreeMap;

pub use crate::dpop::proof;
pub use crate::http::client_ip::TrustedProxies;
pub use crate::http::error::ApiError;
pub use crate::http::fields::Fields;
pub use crate::http::json;
pub use crate::tokens::jwt;

use crate::api::twilio_webhook;
use crate::http::request_head::{self, BodyLength};

/// The end of the request's head that these bytes begin with, and its body's length: `None` for a chunked one.
///
/// # Errors
/// If the head is refused.
pub fn head(bytes: &[u8]) -> Result<Option<(usize, Option<u64>)>, ApiError> {
    if !bytes.first().copied().is_some_and(request_head::can_begin_with) {
        return Ok(None);
    }
    let Some(end) = request_head::end(bytes, 0)? else { return Ok(None) };
    let length = match request_head::check(&bytes[..end])? {
        BodyLength::Exactly(length) => Some(length),
        BodyLength::Chunked => None,
    };
    Ok(Some((end, length)))
}

/// What of a provider's receipt goes on the bus.
pub fn receipt_fields(form: &[u8]) -> BTreeMap<String, String> {
    twilio_webhook::public_part(twilio_webhook::fields_of(form))
}
