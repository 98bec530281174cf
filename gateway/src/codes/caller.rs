//! The caller of a route, as described by the request's head.

use accounts::{Method, NewSession};
use anyhow::Context as _;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::ids::{SessionId, UserId};
use domain::trace_context::TraceContext;
use domain::vocabulary::Limit;
use passwords::Requester;

use crate::app::App;
use crate::codes::refusals::limited;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::idempotency_key::IdempotencyKey;

pub(crate) struct Caller {
    pub ip: ClientIp,
    pub idempotency: Option<IdempotencyKey>,
    pub traceparent: Option<String>,
    /// The device's own name for itself, cut to a length that a list can show.
    device: String,
    /// The address as a session stores and shows it.
    shown_ip: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let ip =
            parts.extensions.get::<ClientIp>().copied().context("find the client's address")?;
        let user_agent = header("user-agent").unwrap_or_default();
        Ok(Self {
            ip,
            idempotency: IdempotencyKey::from_headers(&parts.headers)?,
            traceparent: parts.extensions.get().map(TraceContext::to_header),
            device: user_agent.chars().filter(|c| !c.is_control()).take(120).collect(),
            shown_ip: ip.cut(),
        })
    }
}

impl Caller {
    /// Counts a login against the caller's address; `by_known_device` as in [`App::login_addresses`].
    ///
    /// # Errors
    /// 429 if the address made too many in this minute, 503 while Redis is away.
    pub async fn count_login(&self, app: &App, by_known_device: bool) -> Result<(), ApiError> {
        let addresses = app.login_addresses(self.ip, by_known_device);
        match app.limits.count_login(&addresses).await? {
            Some(wait) => Err(limited(Limit::LoginsIp, wait.max(1))),
            None => Ok(()),
        }
    }

    /// Who asks for a code or signs in: the known device of this user, or else the address. A short digest, kept for as
    /// long as the request's status.
    pub fn asker(&self, app: &App, known_device: Option<UserId>) -> String {
        let asker = match known_device {
            Some(user) => format!("device {user}"),
            None => self.ip.limit_key(),
        };
        app.engines.keys.index("asker", &asker)[..16].to_owned()
    }

    /// Who wants a password hashed, by whose shares of the pool it is judged (contract, ruling 44): `known_device` is the
    /// user of the caller's known device.
    pub fn requester(&self, known_device: Option<UserId>) -> Requester {
        let known = known_device.map(|user| user.to_string());
        Requester { ranges: self.ip.limit_ranges(), known }
    }

    /// The device's own name and the cut address, as sessions store and show them.
    pub fn place(&self) -> (&str, &str) {
        (&self.device, &self.shown_ip)
    }

    /// A session for the caller's device, bound to the client's key with the thumbprint `jkt`.
    pub fn new_session<'a>(
        &'a self,
        app: &App,
        method: Method,
        jkt: Option<&'a str>,
    ) -> NewSession<'a> {
        NewSession {
            id: SessionId::new(&app.engines.clock),
            method,
            device: &self.device,
            ip: &self.shown_ip,
            idle_secs: app.config.tokens.refresh_idle_secs,
            max_secs: app.config.tokens.refresh_max_secs,
            jkt,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;

    #[test]
    fn f07_the_pool_knows_a_callers_network_and_known_device() {
        let requester = |address: &str, known| {
            let caller = Caller {
                ip: ClientIp::new(address.parse().unwrap()),
                idempotency: None,
                traceparent: None,
                device: String::new(),
                shown_ip: String::new(),
            };
            caller.requester(known)
        };
        let stranger = requester("203.0.113.9", None);
        assert_eq!(
            stranger.ranges,
            [("203.0.113.9".to_owned(), 1), ("203.0.113.0/24".to_owned(), 5)]
        );
        assert_eq!(stranger.known, None);
        let user = UserId::new(&Clock::manual());
        let owner = requester("2001:db8:1:2f3:4::", Some(user));
        assert_eq!(owner.ranges.last(), Some(&("2001:db8:1::/48".to_owned(), 10)));
        assert_eq!(owner.known, Some(user.to_string()));
    }
}
