//! What staff see and do, whoever asks: a page of the console or a key of the admin API.
//!
//! Each subject has a file here: what it shows as plain data (`Serialize` and `ToSchema`, so that a page and an answer
//! never differ), and its acts as functions of the application and the actor. A caller checks the right ([`rights`])
//! before it calls; an act writes itself to the audit. It must never know whether a page or an answer comes of it, and it
//! shows no code, no token and no whole phone number that nobody asked to see.

pub(crate) mod audit;
pub(crate) mod blocks;
pub(crate) mod delivery;
pub(crate) mod developers;
pub(crate) mod engines;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod find;
pub(crate) mod guard;
pub(crate) mod limits;
pub(crate) mod members;
pub(crate) mod pages;
pub(crate) mod processes;
pub(crate) mod providers;
pub(crate) mod pulse;
pub(crate) mod queues;
pub(crate) mod requests;
pub(crate) mod rights;
pub(crate) mod settings;
pub(crate) mod users;
pub(crate) mod webhook_calls;

use accounts::User;

use crate::http::error::ApiError;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 200;
/// The longest note about a user, in characters.
const LONGEST_NOTE: usize = 500;

/// The name of an account; its masked number if it has none.
pub(crate) fn name_of(user: &User) -> String {
    let name = format!("{} {}", user.first_name, user.last_name);
    if name.trim().is_empty() { user.phone_number.to_string() } else { name.trim().to_owned() }
}

/// A reason, for the audit: it must say something, in 200 characters at most.
///
/// # Errors
/// The field `reason`, and what is wrong with it.
pub(crate) fn reason(text: &str) -> Result<&str, ApiError> {
    let empty = "Give a reason: the audit keeps it.";
    said("reason", text, LONGEST_REASON, empty, "A reason has at most 200 characters.")
}

/// A note about a user: it must say something, in 500 characters at most.
///
/// # Errors
/// The field `note`, and what is wrong with it.
pub(crate) fn note(text: &str) -> Result<&str, ApiError> {
    said("note", text, LONGEST_NOTE, "Write the note.", "A note has at most 500 characters.")
}

/// A text that says something, without the space around it.
fn said<'a>(
    field: &'static str,
    text: &'a str,
    longest: usize,
    empty: &str,
    too_long: &str,
) -> Result<&'a str, ApiError> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(ApiError::field(field, "required", empty)),
        count if count <= longest => Ok(text),
        _ => Err(ApiError::field(field, "too_long", too_long)),
    }
}
