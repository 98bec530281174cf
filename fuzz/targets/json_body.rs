//! The body of a request. What is accepted as JSON has one reading, and every refusal is a problem document.
#![no_main]

use bytes::Bytes;
use gateway::fuzzing::{ApiError, Fields, json};
use gateway::validate;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let plain = serde_json::from_slice::<Value>(body);
    match json::object(body) {
        Ok(object) => {
            let object = Value::Object(object);
            assert_eq!(Some(&object), plain.as_ref().ok(), "another parser reads something else");
            // serde_json's floats change in their last digit when they are written and read; no field of ours is one.
            if !has_float(&object) {
                let written = serde_json::to_vec(&object).expect("a value is written");
                assert_eq!(json::object(&written).map(Value::Object), Ok(object));
            }
        }
        Err(json::JsonFault::Malformed) => assert!(plain.is_err(), "well-formed, but refused"),
        Err(json::JsonFault::NotAnObject) => assert!(!plain.expect("JSON").is_object()),
        Err(_) => {}
    }
    if let Err(refusal) = read(body) {
        assert!(matches!(refusal, ApiError::InvalidRequest(ref errors) if !errors.is_empty()));
    }
});

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(members) => members.values().any(has_float),
        _ => false,
    }
}

/// Reads the fields of several calls.
fn read(body: &[u8]) -> Result<(), ApiError> {
    let mut fields = Fields::parse(&Bytes::copy_from_slice(body))?;
    for name in ["first_name", "last_name"] {
        if let Some(accepted) = fields.optional_checked(name, validate::name) {
            assert!(!accepted.trim().is_empty());
            assert!(accepted.chars().count() <= 100);
            assert!(!accepted.chars().any(char::is_control));
        }
    }
    if let Some(tag) = fields.optional_checked("locale", validate::locale) {
        assert!(tag.len() <= 35 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }
    let _: Option<domain::ids::RequestId> = fields.optional_parsed("request_id", "An id.");
    for name in ["phone_number", "otp", "password", "refresh"] {
        assert!(!fields.string(name).contains('\0'));
    }
    fields.finish()
}
