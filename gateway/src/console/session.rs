//! Who sits at the console. The role is read from the database at each request: one that was removed a second ago opens
//! nothing.

use accounts::{ConsoleSession, StaffRole, User};
use axum::extract::{FromRequestParts, OriginalUri};
use domain::timestamp::Timestamp;
use http::Method;
use http::request::Parts;

use crate::app::App;
use crate::console::live::OfItself;
use crate::console::refused::Refused;
use crate::console::secret::{SESSION, Secret};
use crate::staff::name_of;
use crate::staff::rights::{Act, Authority, Denied};

/// A session that nobody used for this long is over.
pub(crate) const IDLE_SECS: i64 = 30 * 60;
/// A session ends after this, however often it is used.
pub(crate) const MAX_SECS: i64 = 12 * 60 * 60;
/// What changes who may do what needs a sign-in younger than this.
pub(crate) const FRESH_SECS: i64 = 10 * 60;
/// The longest address of a page that is opened after a sign-in.
const LONGEST_NEXT: usize = 300;

/// A signed-in member of staff.
pub(crate) struct Staff {
    pub user: User,
    pub role: StaffRole,
    /// The token of its forms.
    pub token: String,
    /// Names its session.
    pub session: String,
    /// When it was signed in.
    pub signed_in_at: Timestamp,
}

impl Staff {
    /// The member of staff whose browser holds this secret. `is_used`: somebody sits there, so the session goes on.
    pub async fn of(app: &App, secret: &Secret, is_used: bool) -> Result<Self, Refused> {
        let hash = secret.hash();
        let Some(live) = live(app, &hash).await? else {
            return Err(Refused::SignIn { next: None });
        };
        if live.awaits_password {
            return Err(Refused::Password);
        }
        let now = app.engines.clock.now();
        if is_used {
            app.console_sessions.touch(&hash, live.last_seen_at, now).await?;
        }
        let token = secret.form_token(app);
        let signed_in_at = live.created_at;
        Ok(Self { user: live.user, role: live.role, token, session: hash, signed_in_at })
    }

    /// Whether the role allows the act.
    pub fn can(&self, act: Act) -> bool {
        act.least() <= self.role
    }

    /// # Errors
    /// 403 if the role does not allow the act.
    pub fn may(&self, act: Act) -> Result<(), Refused> {
        judged(self.authority().may(act))
    }

    /// # Errors
    /// 403 if the role does not allow the act, or the account is of staff with a higher role.
    pub fn may_on(&self, act: Act, account: &User) -> Result<(), Refused> {
        judged(self.authority().may_on(act, account))
    }

    /// Who acts, for what acts on many accounts at once.
    pub fn authority(&self) -> Authority {
        Authority { actor: self.actor(), name: name_of(&self.user), role: self.role }
    }

    /// Whether the sign-in is so young that it is certainly still the same person.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.signed_in_at.plus_secs(FRESH_SECS)
    }

    /// # Errors
    /// 403 if the sign-in is too old for this act.
    pub fn must_be_fresh(&self, now: Timestamp) -> Result<(), Refused> {
        if self.is_fresh(now) { Ok(()) } else { Err(Refused::Stale) }
    }

    /// The name under which the audit knows whoever acts: the account's id.
    pub fn actor(&self) -> String {
        self.user.id.to_string()
    }
}

fn judged(judged: Result<(), Denied>) -> Result<(), Refused> {
    judged.map_err(|denied| match denied {
        Denied::Role(act, role) => Refused::Role(act, role),
        Denied::HigherRole => Refused::HigherRole,
    })
}

/// The live session of this digest, whether or not it awaits a password.
pub(crate) async fn live(app: &App, hash: &str) -> Result<Option<ConsoleSession>, Refused> {
    let now = app.engines.clock.now();
    Ok(app.console_sessions.live(hash, IDLE_SECS, now).await?)
}

impl FromRequestParts<App> for Staff {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let staff = match Secret::of(&parts.headers, SESSION) {
            Some(secret) => {
                let is_used = parts.extensions.get::<OfItself>().is_none();
                Self::of(app, &secret, is_used).await
            }
            None => Err(Refused::SignIn { next: None }),
        };
        staff.map_err(|refused| match refused {
            Refused::SignIn { .. } => Refused::SignIn { next: next_of(parts) },
            other => other,
        })
    }
}

/// The page that was asked for, to be opened after the sign-in.
fn next_of(parts: &Parts) -> Option<String> {
    let OriginalUri(uri) = parts.extensions.get()?;
    let target = uri.path_and_query()?.as_str();
    (parts.method == Method::GET).then(|| own_page(target)).flatten().map(str::to_owned)
}

/// The address, if it is a page of the console and nothing else: a sign-in leads to no other site.
pub(crate) fn own_page(target: &str) -> Option<&str> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let is_ours = path.starts_with("/console/") && !path.starts_with("/console/log");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/?&=%+-_.~:,".contains(&b);
    let is_plain = target.len() <= LONGEST_NEXT
        && target.bytes().all(plain)
        && !path.contains("//")
        && !path.contains("..");
    (is_ours && is_plain).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_no_other_site() {
        for page in ["/console/users", "/console/users?q=%2B98+912", "/console/audit?act=x&actor=y"]
        {
            assert_eq!(own_page(page), Some(page));
        }
        for page in [
            "",
            "/",
            "//evil.example",
            "/console",
            "/consolex",
            "/console//evil.example",
            "/console/../v1/me",
            "/console/login",
            "/console/logout",
            "/console/\\evil.example",
            "/console/users\r\nSet-Cookie: a=b",
            "https://evil.example/console/users",
            "javascript:alert(1)",
        ] {
            assert_eq!(own_page(page), None, "{page}");
        }
    }
}
