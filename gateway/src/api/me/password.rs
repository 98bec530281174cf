//! `PUT` and `DELETE /v1/me/password`: sets, changes and removes the password.

use accounts::{AttemptKind, PasswordChange, PasswordChangeDenied};
use axum::extract::State;
use axum::http::StatusCode;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use passwords::rules::{self, Known};
use passwords::{Password, PasswordCheck, Requester};
use texts::Notice;

use crate::api::me::signed_in::SignedIn;
use crate::api::password_sign_in::{failed, refuse_if_closed};
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::{ClaimedPhone, Device};
use crate::codes::refusals::{throttled, trace_refused};
use crate::http::body::{JsonBody, OptionalJsonBody};
use crate::http::error::ApiError;
use crate::openapi::params::Proof;
use crate::openapi::refusals::refusals;
use utoipa::ToSchema;

/// A new password.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "password": "seven quiet lanterns by the sea" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct NewPassword {
    /// 15 to 256 characters unless the server sets another minimum; neither common nor easily guessed, and without the
    /// phone, a name of the account or the name of the app in it.
    #[schema(format = Password, max_length = 256)]
    password: String,
    /// The password so far, in place of a fresh sign-in by code.
    #[schema(format = Password, value_type = String, required = false)]
    current_password: Option<String>,
}

/// The password so far.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "current_password": "seven quiet lanterns by the sea" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct CurrentPassword {
    /// In place of a fresh sign-in by code.
    #[schema(format = Password, value_type = String, required = false)]
    current_password: Option<String>,
}

refusals!(PasswordRefused: WritingBody, InvalidCredentials, FreshSignInRequired);
/// Sets the password. It takes a fresh sign-in by code, or the current password if there is one (contract, ruling 37);
/// the other sessions end.
#[utoipa::path(
    put, path = "/v1/me/password", tag = "account", operation_id = "setPassword",
    summary = "Set the password",
    description = "Sets or changes the password and ends the other sessions; a text tells the owner. It takes a \
        sign-in by code in the last 10 minutes, or the password so far.",
    params(Proof),
    request_body(content = NewPassword, description = "The new password."),
    responses((status = 204, description = "Done."), PasswordRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn set(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<StatusCode, ApiError> {
    let known = known(&app, &signed_in);
    let minimum = app.config.password_min;
    let rule = |text: &str| Ok(rules::check(text, minimum, &known)?);
    let password = fields.checked("password", rule);
    let current = fields.optional_string("current_password");
    fields.finish()?;
    let change = Change::new(&app, &signed_in, &caller, current);
    let kept = change.kept().await?;
    // What neither a sign-in nor a password allows costs no hashing and is not counted (contract, ruling 44).
    signed_in.count_password_write(&app, &caller).await?;
    if let Some(breaches) = &app.breaches
        && breaches.know(&password).await
    {
        let detail = "This password is known from a data breach; choose another.";
        return Err(ApiError::field("password", "breached", detail));
    }
    // Hash before comparing the current password: a right one and a wrong one must take the same time, because a right
    // one may have to wait too (P4).
    let hash =
        app.passwords.hash_new(change.requester.clone(), Password::new(password), known).await?;
    let hash = hash.map_err(|weak| ApiError::field("password", weak.code, weak.detail))?;
    let made = change.make(kept, Some(&hash)).await;
    trace_refused(made, AttemptKind::Password, &change.claimed.key, &caller)
}

/// What a password of this account must not consist of.
fn known(app: &App, signed_in: &SignedIn) -> Known {
    let user = &signed_in.user;
    Known {
        national_number: user.phone_number.national_number().to_owned(),
        names: [user.first_name.clone(), user.last_name.clone()],
        app_name: app.config.texts.app_name.clone(),
    }
}

/// Removes the password, like [`set`]. An account without one stays as it is.
#[utoipa::path(
    delete, path = "/v1/me/password", tag = "account", operation_id = "removePassword",
    summary = "Remove the password",
    description = "Removes the password and ends the other sessions; a text tells the owner. It takes a sign-in by \
        code in the last 10 minutes, or the password so far. An account without a password stays as it is.",
    params(Proof),
    request_body(content = Option<CurrentPassword>, description = "May be left out."),
    responses((status = 204, description = "Done."), PasswordRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    OptionalJsonBody(mut fields): OptionalJsonBody,
) -> Result<StatusCode, ApiError> {
    let current = fields.optional_string("current_password");
    fields.finish()?;
    let change = Change::new(&app, &signed_in, &caller, current);
    let kept = change.kept().await?;
    signed_in.count_password_write(&app, &caller).await?;
    let made = change.make(kept, None).await;
    trace_refused(made, AttemptKind::Password, &change.claimed.key, &caller)
}

/// A change of the password by a signed-in user, and what shows that it is the owner.
struct Change<'a> {
    app: &'a App,
    signed_in: &'a SignedIn,
    claimed: ClaimedPhone,
    /// The current password, if it was sent: it is then judged, however fresh the sign-in.
    current: Option<Password>,
    /// The session counts as a known device, as it does for `current_password`.
    requester: Requester,
    now: Timestamp,
}

impl<'a> Change<'a> {
    fn new(
        app: &'a App,
        signed_in: &'a SignedIn,
        caller: &Caller,
        current: Option<String>,
    ) -> Self {
        let phone = Phone::from(signed_in.user.phone_number.clone());
        let device = Device::by_session(signed_in.user.id, signed_in.session.id);
        let claimed = ClaimedPhone::new(app, phone, Some(device));
        let (current, now) = (current.map(Password::new), app.engines.clock.now());
        let requester = caller.requester(claimed.known_user());
        Self { app, signed_in, claimed, current, requester, now }
    }

    /// The hash to replace.
    ///
    /// # Errors
    /// 403 if neither the sign-in nor a current password allows the change; 429 while no password is judged.
    async fn kept(&self) -> Result<Option<String>, ApiError> {
        let kept = self.app.accounts.password_hash(self.signed_in.user.id).await?;
        if !self.signed_in.is_fresh(self.now) && (kept.is_none() || self.current.is_none()) {
            return Err(ApiError::FreshSignInRequired { or_password: kept.is_some() });
        }
        if kept.is_some() && self.current.is_some() {
            refuse_if_closed(self.app, self.claimed.claimant(), self.now).await?;
        }
        Ok(kept)
    }

    /// Replaces the password by the one of `hash`, or removes it.
    async fn make(&self, kept: Option<String>, hash: Option<&str>) -> Result<StatusCode, ApiError> {
        if self.replace(kept, hash).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
        // The hash changed since it was read. If a sign-in rehashed an imported password, the current password is
        // still right; if the password was changed, it is not.
        let kept = self.kept().await?;
        let set = self.replace(kept, hash).await?;
        if set { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::InvalidCredentials) }
    }

    /// Returns whether it was done: `kept`, the hash to replace, may be outdated.
    async fn replace(&self, kept: Option<String>, hash: Option<&str>) -> Result<bool, ApiError> {
        let Self { app, ref requester, now, .. } = *self;
        if kept.is_none() && hash.is_none() {
            return Ok(true);
        }
        let claimant = self.claimed.claimant();
        let proof = kept.clone().zip(self.current.clone());
        if let Some((kept, current)) = proof.clone()
            && app.passwords.verify(requester.clone(), current, Some(kept), 0).await?
                == PasswordCheck::Wrong
        {
            return Err(failed(app, claimant, now).await);
        }
        let notice = self.signed_in.notice(app, Notice::PasswordChanged)?;
        let change = PasswordChange {
            user_id: self.signed_in.user.id,
            was: kept.as_deref(),
            hash,
            attempt: proof.is_some().then(|| (claimant, app.attempt_limits())),
            keep: self.signed_in.session.id,
            notice: notice.as_ref(),
            now,
        };
        let set = app.accounts.set_password(change).await?;
        // The owner is told at once: if someone else did this, every second counts.
        app.outbox_filled.notify_one();
        set.map_err(|denied| match denied {
            PasswordChangeDenied::Throttled(throttle) => throttled(throttle, now),
            PasswordChangeDenied::SessionEnded => ApiError::SessionRevoked,
        })
    }
}
