//! An account that staff create; its owner then signs in by code.

use accounts::{Creation, NewUser};
use domain::ids::UserId;

use crate::app::App;
use crate::http::error::{ApiError, FieldError};
use crate::http::validate;

/// What staff say of a new account. Nothing of it is checked yet.
pub(crate) struct NewAccount<'a> {
    /// In any writing.
    pub phone_number: &'a str,
    /// May be empty, like the last name.
    pub first_name: &'a str,
    pub last_name: &'a str,
    /// Empty: `en`.
    pub locale: &'a str,
}

/// Creates an account.
///
/// # Errors
/// For each field that is wrong; for a number that has an account.
pub(crate) async fn create(
    app: &App,
    actor: &str,
    new: &NewAccount<'_>,
) -> Result<UserId, ApiError> {
    let phone = app.phone(new.phone_number)?;
    let locale = if new.locale.is_empty() { "en" } else { new.locale };
    let mut errors = Vec::new();
    for (field, name) in [("first_name", new.first_name), ("last_name", new.last_name)] {
        if let (false, Err(fault)) = (name.is_empty(), validate::name(name)) {
            errors.push(FieldError::new(field, fault.code, fault.detail));
        }
    }
    if let Err(fault) = validate::locale(locale) {
        errors.push(FieldError::new("locale", fault.code, fault.detail));
    }
    if !errors.is_empty() {
        return Err(ApiError::InvalidRequest(errors));
    }
    let now = app.engines.clock.now();
    let id = UserId::new(&app.engines.clock);
    let new = NewUser {
        id,
        phone_number: phone.e164(),
        first_name: new.first_name,
        last_name: new.last_name,
        locale,
        country: phone.region(),
        password_hash: None,
        created_at: now,
        block_reason: None,
    };
    match app.accounts.create(new, actor, now).await? {
        Creation::Created(_) => {
            app.outbox_filled.notify_one();
            Ok(id)
        }
        Creation::Exists => {
            Err(ApiError::field("phone_number", "taken", "This number has an account already."))
        }
    }
}
