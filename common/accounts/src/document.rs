//! The one argument of a function in PostgreSQL: a document, by the names of a struct's fields.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use domain::timestamp::Timestamp;

/// The document's text.
///
/// # Errors
/// For a NUL in a text: `jsonb` takes any other JSON, and PostgreSQL repeats what it cannot take in its server's log.
/// The edge refuses a NUL in every text, so none comes this far.
pub(super) fn text(document: &impl Serialize) -> Result<String, sqlx::Error> {
    let mut bytes = Vec::with_capacity(4096);
    document
        .serialize(&mut Serializer::with_formatter(&mut bytes, NoNul))
        .map_err(|cause| sqlx::Error::Encode(cause.into()))?;
    String::from_utf8(bytes).map_err(|cause| sqlx::Error::Encode(cause.into()))
}

/// A time as the tables have it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde's `with` calls")]
pub(super) fn ms<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.ms())
}

struct NoNul;

impl Formatter for NoNul {
    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        match escape {
            CharEscape::AsciiControl(0) => Err(io::Error::other("a NUL in a text")),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_document_holds_every_text_but_a_nul() {
        for fine in ["\\u0000", "\u{1}\n\"\\", "\u{1f511}"] {
            assert_eq!(text(&[fine]).unwrap(), serde_json::to_string(&[fine]).unwrap());
        }
        let error = text(&["secret\0"]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
