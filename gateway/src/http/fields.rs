//! The fields of a JSON body, read one by one. All faults are collected, so that one answer names them all.

use std::ops::RangeInclusive;
use std::str::FromStr;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::http::error::{ApiError, FieldError};
use crate::http::json;
use crate::http::validate::Fault;

/// A body's object. Read each field, then call [`Fields::finish`]: until it returns `Ok`, a value may be the empty
/// placeholder of an invalid field.
#[derive(Debug)]
pub struct Fields {
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads the object, as strictly as [`json::object`] does.
    pub fn parse(body: &Bytes) -> Result<Self, ApiError> {
        let refusal = |(code, detail)| ApiError::body(code, detail);
        let left = json::object(body).map_err(|fault| refusal(fault.code_and_detail()))?;
        Ok(Self { left, errors: Vec::new() })
    }

    /// Reads a required string.
    pub fn string(&mut self, name: &'static str) -> String {
        self.require(name);
        self.optional_string(name).unwrap_or_default()
    }

    fn require(&mut self, name: &'static str) {
        if !self.left.contains_key(name) {
            self.refuse(name, "required", "This field is required.");
        }
    }

    /// Reads an optional string. `null` does not count as absent.
    pub fn optional_string(&mut self, name: &'static str) -> Option<String> {
        match self.left.remove(name)? {
            // No field of the API accepts a NUL, and PostgreSQL cannot store one.
            Value::String(text) if text.contains('\0') => {
                self.refuse(name, "invalid_characters", "Remove the character U+0000.");
                None
            }
            Value::String(text) => Some(text),
            _ => {
                self.refuse(name, "wrong_type", "This field must be a JSON string.");
                None
            }
        }
    }

    /// Reads a required whole number of a range; 0 until [`Fields::finish`] says otherwise. `wanted` is the error's detail.
    pub fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        wanted: &'static str,
    ) -> i64 {
        self.require(name);
        match self.left.remove(name) {
            None => 0,
            Some(Value::Number(number)) => {
                let whole = number.as_i64().filter(|whole| range.contains(whole));
                if whole.is_none() {
                    self.refuse(name, "invalid", wanted);
                }
                whole.unwrap_or_default()
            }
            Some(_) => {
                self.refuse(name, "wrong_type", "This field must be a JSON number.");
                0
            }
        }
    }

    /// Reads an optional `true` or `false`.
    pub fn optional_bool(&mut self, name: &'static str) -> Option<bool> {
        let Value::Bool(is_so) = self.left.remove(name)? else {
            self.refuse(name, "wrong_type", "This field must be `true` or `false`.");
            return None;
        };
        Some(is_so)
    }

    /// Reads a required list of strings.
    pub fn strings(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.require(name);
        let list = match self.left.remove(name)? {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        if list.is_none() {
            self.refuse(name, "wrong_type", "This field must be a JSON array of strings.");
        }
        list
    }

    /// Reads a required string that must satisfy a rule of [`crate::validate`].
    pub fn checked(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&str) -> Result<(), Fault>,
    ) -> String {
        self.require(name);
        self.optional_checked(name, rule).unwrap_or_default()
    }

    /// Reads an optional string that must satisfy a rule of [`crate::validate`].
    pub fn optional_checked(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&str) -> Result<(), Fault>,
    ) -> Option<String> {
        let text = self.optional_string(name)?;
        match rule(&text) {
            Ok(()) => Some(text),
            Err(fault) => {
                self.refuse(name, fault.code, fault.detail);
                None
            }
        }
    }

    /// Reads an optional string as a `T`. `wanted` is the error's detail: it says what to send.
    pub fn optional_parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
    ) -> Option<T> {
        let parsed = self.optional_string(name)?.parse().ok();
        if parsed.is_none() {
            self.refuse(name, "invalid", wanted);
        }
        parsed
    }

    /// Reads a required string as a `T`; `None` until [`Fields::finish`] says why.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, wanted: &'static str) -> Option<T> {
        self.require(name);
        self.optional_parsed(name, wanted)
    }

    /// Records a fault that the route found, unless the field has one already: the value of such a field is a
    /// placeholder, and a fault found in it would mislead the client.
    pub fn refuse(&mut self, field: &'static str, code: &'static str, detail: impl Into<String>) {
        if self.errors.iter().all(|error| error.field != field) {
            self.errors.push(FieldError::new(field, code, detail));
        }
    }

    /// Returns the collected faults, and one for every field that was not read.
    pub fn finish(mut self) -> Result<(), ApiError> {
        // Invalid fields were removed when they were read; the fields left are unknown.
        let unknown = self.left.keys().map(|name| {
            FieldError::new(shown(name), "unknown_field", "This call does not accept this field.")
        });
        self.errors.extend(unknown);
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::InvalidRequest(self.errors)) }
    }
}

/// A field name chosen by the client, cut to a length that fits an answer.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use domain::vocabulary::Channel;

    use super::*;
    use crate::http::validate;

    fn fields(text: &str) -> Fields {
        Fields::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn faults(result: Result<(), ApiError>) -> Vec<(String, &'static str)> {
        match result {
            Err(ApiError::InvalidRequest(errors)) => {
                errors.into_iter().map(|error| (error.field, error.code)).collect()
            }
            Ok(()) => Vec::new(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn valid_fields_are_returned_without_a_fault() {
        let mut f = fields(r#"{"phone_number":"+1","channel":"voice","first_name":"Ada"}"#);
        assert_eq!(f.string("phone_number"), "+1");
        assert_eq!(f.optional_parsed::<Channel>("channel", "sms or voice"), Some(Channel::Voice));
        assert_eq!(f.checked("first_name", validate::name), "Ada");
        assert_eq!(f.optional_string("locale"), None);
        assert_eq!(faults(f.finish()), []);
    }

    #[test]
    fn p8_one_answer_names_every_invalid_field() {
        let mut f = fields(
            r#"{"phone_number":5,"otp":null,"locale":"en_US","channel":"fax","role":"x","a\u0000b":1,"password":"a\u0000"}"#,
        );
        f.string("phone_number");
        f.string("otp");
        f.string("first_name");
        f.checked("last_name", validate::name);
        f.string("password");
        f.optional_checked("locale", validate::locale);
        f.optional_parsed::<Channel>("channel", "sms or voice");
        let mut found = faults(f.finish());
        found.sort();
        let mut wanted = [
            ("phone_number", "wrong_type"),
            ("otp", "wrong_type"),
            ("first_name", "required"),
            ("last_name", "required"),
            ("password", "invalid_characters"),
            ("locale", "not_a_locale"),
            ("channel", "invalid"),
            ("role", "unknown_field"),
            ("ab", "unknown_field"),
        ]
        .map(|(field, code)| (field.to_owned(), code));
        wanted.sort();
        assert_eq!(found, wanted);
    }

    #[test]
    fn numbers_and_truths_are_read_as_what_they_are() {
        let mut f = fields(r#"{"minutes":60,"all":true}"#);
        assert_eq!(f.whole("minutes", 1..=60, "1 to 60"), 60);
        assert_eq!((f.optional_bool("all"), f.optional_bool("none")), (Some(true), None));
        assert_eq!(faults(f.finish()), []);
        for (minutes, code) in [
            ("0", "invalid"),
            ("61", "invalid"),
            ("1.5", "invalid"),
            ("1e300", "invalid"),
            ("99999999999999999999999", "invalid"),
            ("\"60\"", "wrong_type"),
            ("null", "wrong_type"),
        ] {
            let mut f = fields(&format!(r#"{{"minutes":{minutes},"all":1}}"#));
            f.whole("minutes", 1..=60, "1 to 60");
            f.optional_bool("all");
            let wanted = [("minutes".to_owned(), code), ("all".to_owned(), "wrong_type")];
            assert_eq!(faults(f.finish()), wanted, "{minutes}");
        }
        let mut f = fields("{}");
        f.whole("minutes", 1..=60, "1 to 60");
        assert_eq!(faults(f.finish()), [("minutes".to_owned(), "required")]);
    }

    #[test]
    fn an_invalid_field_is_named_once() {
        let mut f = fields(r#"{"first_name":""}"#);
        f.checked("first_name", validate::name);
        assert_eq!(faults(f.finish()), [("first_name".to_owned(), "required")]);
        for (body, code) in
            [(r#"{"request_id":"x"}"#, "invalid"), (r#"{"request_id":5}"#, "wrong_type")]
        {
            let mut f = fields(body);
            if f.optional_parsed::<Channel>("request_id", "an id").is_none() {
                f.refuse("request_id", "required", "Name the request.");
            }
            assert_eq!(faults(f.finish()), [("request_id".to_owned(), code)]);
        }
    }
}
