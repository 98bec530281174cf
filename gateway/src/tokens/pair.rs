//! Issues the token pair that a sign-in or a refresh answers with, and reads tokens that clients send.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::clock::Clock;
use domain::ids::{SessionId, UserId};
use domain::keys::Keys;
use domain::rng;
use domain::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::openapi::words;
use crate::tokens::jwt::{self, AccessClaims, Expected, Kind, RefreshClaims, Refused};
use crate::tokens::key_ring::TokenKeys;
use crate::tokens::signing_key::TokenKey;
use utoipa::ToSchema;

#[derive(Clone, Debug)]
pub struct Settings {
    pub issuer: String,
    pub audience: String,
    pub access_ttl_secs: i64,
    /// A refresh token's lifetime, renewed by each use.
    pub refresh_idle_secs: i64,
}

/// What a token pair is issued for.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub generation: i64,
    /// When the user last authenticated.
    pub auth_time: Timestamp,
    /// How: `sms`, `call`, `pwd` (RFC 8176).
    pub amr: &'a [String],
    /// The session's absolute end: no token outlives it.
    pub session_ends_at: Timestamp,
    /// The thumbprint of the key that the session is bound to.
    pub jkt: Option<&'a str>,
}

/// The tokens of a session.
// `Debug` does not print them.
#[derive(Clone, Serialize, ToSchema)]
#[schema(examples(json!({
    "access": "eyJ…the-access-token",
    "refresh": "eyJ…the-refresh-token",
    "token_type": "Bearer",
    "expires_in": 600,
    "refresh_expires_in": 2_592_000,
})))]
pub struct TokenPair {
    /// A JWT for the header `Authorization`.
    pub access: String,
    /// A JWT for a refresh, good once.
    pub refresh: String,
    /// `Bearer`, or `DPoP` when the session is bound to a key: the scheme of `Authorization`.
    #[schema(value_type = words::TokenType)]
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(minimum = 1)]
    pub expires_in: i64,
    /// Seconds until the refresh token expires, unless it is used.
    #[schema(minimum = 1)]
    pub refresh_expires_in: i64,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// A token of either kind, as `POST /v1/token/verify` accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyClaims {
    Access(AccessClaims),
    Refresh(RefreshClaims),
}

/// Issues and reads tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    settings: Arc<Settings>,
    keys: Arc<TokenKeys>,
    refresh: Arc<RefreshKeys>,
    clock: Clock,
}

#[derive(Debug)]
struct RefreshKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
}

impl Tokens {
    /// # Errors
    /// If `keys` holds no refresh key: only a gateway's does.
    pub fn new(
        settings: Settings,
        token_keys: Arc<TokenKeys>,
        keys: &Keys,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let rotating = keys.refresh()?;
        let refresh = RefreshKeys {
            current: TokenKey::shared(&rotating.current),
            previous: rotating.previous.as_ref().map(TokenKey::shared),
        };
        Ok(Self {
            settings: Arc::new(settings),
            keys: token_keys,
            refresh: Arc::new(refresh),
            clock,
        })
    }

    /// Issues the pair of a session's generation.
    pub fn issue(&self, grant: &Grant<'_>) -> anyhow::Result<TokenPair> {
        let now = self.clock.now().secs();
        let ends = grant.session_ends_at.secs();
        // A session at its end gets a token that lives one second, not one that is already expired.
        let until = |ttl: i64| now.saturating_add(ttl).min(ends).max(now + 1);
        let (access_ends, refresh_ends) =
            (until(self.settings.access_ttl_secs), until(self.settings.refresh_idle_secs));

        let mut claims = self.claims(Kind::Access, grant, now, access_ends);
        claims["amr"] = json!(grant.amr);
        if let Some(jkt) = grant.jkt {
            claims["cnf"] = json!({ "jkt": jkt });
        }
        let table = self.keys.table();
        let access = sign(table.active(), Kind::Access, &claims).context("sign an access token")?;

        let mut claims = self.claims(Kind::Refresh, grant, now, refresh_ends);
        claims["gen"] = json!(grant.generation);
        let refresh =
            sign(&self.refresh.current, Kind::Refresh, &claims).context("sign a refresh token")?;

        Ok(TokenPair {
            access,
            refresh,
            // The session's row says what a refresh token is bound to: only we read that token.
            token_type: if grant.jkt.is_some() { "DPoP" } else { "Bearer" },
            expires_in: access_ends - now,
            refresh_expires_in: refresh_ends - now,
        })
    }

    fn claims(&self, kind: Kind, grant: &Grant<'_>, now: i64, ends: i64) -> Value {
        let user = grant.user_id.to_string();
        json!({
            "iss": self.settings.issuer,
            "aud": self.settings.audience,
            "sub": user,
            "user_id": user,
            "sid": grant.session_id.to_string(),
            "jti": rng::id_v4().to_string(),
            "iat": now,
            "nbf": now,
            "exp": ends,
            "token_type": kind.token_type(),
            "auth_time": grant.auth_time.secs(),
        })
    }

    /// Reads an access token.
    pub fn access(&self, token: &str) -> Result<AccessClaims, Refused> {
        let table = self.keys.table();
        let claims = jwt::open(token, self.expected(Kind::Access), |kid| table.get(kid))?;
        jwt::access(&claims)
    }

    /// Reads a refresh token, including one that was signed before the last rotation of the secret.
    pub fn refresh(&self, token: &str) -> Result<RefreshClaims, Refused> {
        let keys = &self.refresh;
        let claims = jwt::open(token, self.expected(Kind::Refresh), |kid| {
            Some(&keys.current).into_iter().chain(&keys.previous).find(|key| key.kid() == kid)
        })?;
        jwt::refresh(&claims)
    }

    /// Reads a token of either kind.
    pub fn any(&self, token: &str) -> Result<AnyClaims, Refused> {
        match self.access(token) {
            Ok(claims) => Ok(AnyClaims::Access(claims)),
            Err(refused) => self.refresh(token).map(AnyClaims::Refresh).map_err(|_| refused),
        }
    }

    /// The JWKS document of the keys that are valid now.
    pub fn jwks(&self) -> bytes::Bytes {
        self.keys.table().jwks()
    }

    fn expected(&self, kind: Kind) -> Expected<'_> {
        Expected {
            kind,
            issuer: &self.settings.issuer,
            audience: &self.settings.audience,
            now_secs: self.clock.now().secs(),
        }
    }
}

impl From<Refused> for crate::http::error::ApiError {
    /// The answer hides which rule the token broke: it would help only a forger.
    fn from(refused: Refused) -> Self {
        tracing::debug!(reason = refused.reason, "token refused");
        Self::TokenNotValid
    }
}

fn sign(key: &TokenKey, kind: Kind, claims: &Value) -> anyhow::Result<String> {
    let header = json!({ "alg": key.algorithm().as_str(), "kid": key.kid(), "typ": kind.typ() });
    let coded = |part: &Value| -> anyhow::Result<String> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).context("write a token")?))
    };
    let signed = format!("{}.{}", coded(&header)?, coded(claims)?);
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests;
