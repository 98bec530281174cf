//! Strict JSON for a security boundary: an accepted text has exactly one reading.
//!
//! If two parsers disagree on a duplicate member or a lone surrogate, one may check something that the other does not
//! see (RFC 8725, section 3.10; RFC 8259, sections 4 and 8.2). So any text that can be read in two ways is refused.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

/// How deep objects and arrays may nest (contract, section 3).
pub const MAX_DEPTH: usize = 16;

/// Why a text is refused as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFault {
    Empty,
    NotUtf8,
    ByteOrderMark,
    TooDeep,
    DuplicateMember,
    Malformed,
    NotAnObject,
}

impl JsonFault {
    /// Its code, and what to do about it.
    pub const fn code_and_detail(self) -> (&'static str, &'static str) {
        match self {
            Self::Empty => ("empty", "Send a JSON object."),
            Self::NotUtf8 => ("not_utf8", "Encode the JSON in UTF-8."),
            Self::ByteOrderMark => ("byte_order_mark", "Remove the byte order mark."),
            Self::TooDeep => ("too_deep", "Nest objects and arrays at most 16 levels deep."),
            Self::DuplicateMember => ("duplicate_field", "Send each field once."),
            Self::Malformed => {
                ("malformed_json", "Send one well-formed JSON text and nothing after it.")
            }
            Self::NotAnObject => ("not_an_object", "Send a JSON object at the top level."),
        }
    }
}

/// Reads one JSON object: UTF-8, no byte order mark, no duplicate member at any level, no lone surrogate, nothing after
/// it, at most [`MAX_DEPTH`] deep.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonFault::ByteOrderMark);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotUtf8)?;
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Err(JsonFault::Empty);
    }
    // Before the parser, which has a different limit and uses our stack.
    if depth(text.as_bytes()) > MAX_DEPTH {
        return Err(JsonFault::TooDeep);
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Once.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(JsonFault::NotAnObject),
        // `Once` accepts every type, so a data error can only be its own.
        Err(error) if error.is_data() => Err(JsonFault::DuplicateMember),
        Err(_) => Err(JsonFault::Malformed),
    }
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Builds a [`Value`] and refuses duplicate members.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value_seed(Self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(object))
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_can_be_read_in_two_ways_is_refused() {
        let deep = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let arrays = "[".repeat(100_000);
        let sixteen = deep(16);
        let seventeen = deep(17);
        let table: &[(&[u8], Option<JsonFault>)] = &[
            (br#"{"a":"b"}"#, None),
            (b" \r\n\t{ } \n", None),
            (br#"{"a":"[[[[[[[[[[[[[[[[[[[[\"{{{{"}"#, None),
            (br#"{"a":"\ud83d\ude00","b":{"a":1}}"#, None),
            (br#"{"a":-1,"b":1.5,"c":18446744073709551615,"d":null,"e":true,"f":[1]}"#, None),
            (sixteen.as_bytes(), None),
            (seventeen.as_bytes(), Some(JsonFault::TooDeep)),
            (arrays.as_bytes(), Some(JsonFault::TooDeep)),
            (b"", Some(JsonFault::Empty)),
            (b" \n", Some(JsonFault::Empty)),
            (b"\xef\xbb\xbf{}", Some(JsonFault::ByteOrderMark)),
            (b"{\"a\":\"\xff\"}", Some(JsonFault::NotUtf8)),
            (b"\xfe\xff\x00{\x00}", Some(JsonFault::NotUtf8)),
            (b"\xc0\xaf", Some(JsonFault::NotUtf8)),
            (b"[]", Some(JsonFault::NotAnObject)),
            (b"null", Some(JsonFault::NotAnObject)),
            (b"\"a\"", Some(JsonFault::NotAnObject)),
            (b"1", Some(JsonFault::NotAnObject)),
            (br#"{"a":1,"a":1}"#, Some(JsonFault::DuplicateMember)),
            (br#"{"a":1,"\u0061":2}"#, Some(JsonFault::DuplicateMember)),
            (br#"{"a":[{"b":{"c":1,"c":2}}]}"#, Some(JsonFault::DuplicateMember)),
            (br#"{"a":1} x"#, Some(JsonFault::Malformed)),
            (br#"{"a":1}{"a":1}"#, Some(JsonFault::Malformed)),
            (b"{\"a\":1}\0", Some(JsonFault::Malformed)),
            (br#"{"a":"\ud800"}"#, Some(JsonFault::Malformed)),
            (br#"{"a":"\ude00\ud83d"}"#, Some(JsonFault::Malformed)),
            (br#"{"a":1e400}"#, Some(JsonFault::Malformed)),
            (br#"{"a":-1e999}"#, Some(JsonFault::Malformed)),
            (br#"{"a":NaN}"#, Some(JsonFault::Malformed)),
            (br#"{"a":01}"#, Some(JsonFault::Malformed)),
            (br#"{"a":"\x00"}"#, Some(JsonFault::Malformed)),
            (b"{\"a\":\"\x01\"}", Some(JsonFault::Malformed)),
            (br#"{"a":1,}"#, Some(JsonFault::Malformed)),
            (br"{'a':1}", Some(JsonFault::Malformed)),
            (br#"{"a":1 /* c */}"#, Some(JsonFault::Malformed)),
            (br#"{"a":"#, Some(JsonFault::Malformed)),
            (b"}{", Some(JsonFault::Malformed)),
            (b"hello", Some(JsonFault::Malformed)),
        ];
        for (text, fault) in table {
            let shown = String::from_utf8_lossy(&text[..text.len().min(60)]);
            assert_eq!(object(text).err(), *fault, "{shown}");
        }
    }

    #[test]
    fn values_keep_their_types() {
        let read = object(br#"{"i":1,"f":1.0,"big":9223372036854775808,"s":"1"}"#).unwrap();
        assert!(read["i"].is_i64() && read["f"].is_f64() && read["s"].is_string());
        assert!(!read["big"].is_i64(), "2^63 exceeds i64");
    }
}
