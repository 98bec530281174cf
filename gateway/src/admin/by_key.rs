//! Who calls: the key of each call is read from the database, so that one which was revoked or ran out a second ago opens
//! nothing.

use std::sync::{Mutex, PoisonError};

use accounts::{AdminKeys, User};
use axum::extract::FromRequestParts;
use domain::admin_key::AdminKeyText;
use domain::keys::is_same_secret;
use http::HeaderMap;
use http::request::Parts;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::rare_line::RareLine;
use crate::staff::audit::KEY;
use crate::staff::rights::{Act, Authority, Denied};
use crate::tokens::bearer::{Scheme, SentToken};

/// The caller: a key that opens something now.
pub(super) struct ByKey(pub Authority);

impl ByKey {
    /// # Errors
    /// 403 if the role of the key does not allow the act.
    pub fn may(&self, act: Act) -> Result<(), ApiError> {
        self.0.may(act).map_err(refused_for_role)
    }

    /// # Errors
    /// 403 if the role of the key does not allow the act, or the account is of staff with a higher role.
    pub fn may_on(&self, act: Act, account: &User) -> Result<(), ApiError> {
        self.0.may_on(act, account).map_err(refused_for_role)
    }

    /// The name under which the audit knows the key.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }
}

fn refused_for_role(denied: Denied) -> ApiError {
    count("role");
    denied.into()
}

impl FromRequestParts<App> for ByKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let found = match sent(&parts.headers) {
            Some(key) => live(app, &key).await?,
            None => None,
        };
        found.map(Self).ok_or_else(|| {
            count("key");
            warn();
            ApiError::AdminKeyNotValid
        })
    }
}

/// The key in `Authorization: Bearer`; a key elsewhere is none.
fn sent(headers: &HeaderMap) -> Option<AdminKeyText> {
    let token = SentToken::from_headers(headers).ok()?;
    (token.scheme == Scheme::Bearer).then(|| AdminKeyText::parse(token.expose())).flatten()
}

/// Who acts by this key; `None` if it is unknown, revoked or over.
async fn live(app: &App, sent: &AdminKeyText) -> Result<Option<Authority>, ApiError> {
    let (keys, now) = (AdminKeys::new(&app.engines.sql), app.engines.clock.now());
    let Some((key, hash)) = keys.by_id(sent.id()).await? else { return Ok(None) };
    if !is_same_secret(&hash, &sent.hash()) || !key.is_live(now) {
        return Ok(None);
    }
    let Some(role) = key.role else { return Ok(None) };
    keys.touch(&key, now).await?;
    let actor = format!("{KEY}{}", key.name);
    Ok(Some(Authority { name: actor.clone(), actor, role }))
}

fn count(reason: &'static str) {
    metrics::counter!("latchkey_admin_refused_total", "reason" => reason).increment(1);
}

/// Whoever reaches the port can make these: one line a minute is enough.
fn warn() {
    static LINE: Mutex<Option<RareLine>> = Mutex::new(None);
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    if line.get_or_insert_default().is_due() {
        tracing::warn!("calls of the admin API without a valid key are refused");
    }
}
