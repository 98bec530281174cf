//! Checks tokens (RFC 8725, RFC 9068). Everything is checked here, and a token chooses nothing but the name of one of
//! our keys.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::{SessionId, UserId};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::http::json;
use crate::tokens::signing_key::{self, Algorithm, TokenKey};

/// Longer texts are refused before any work is done. Our tokens have less than 1 KiB.
pub const TOKEN_MAX: usize = 8 * 1024;

/// How far host clocks may differ (contract, section 9).
pub const LEEWAY_SECS: i64 = 5;

/// A token that was not accepted. `reason` is for logs and tests; a client never sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token was refused: {reason}")]
pub struct Refused {
    pub reason: &'static str,
}

const fn no<T>(reason: &'static str) -> Result<T, Refused> {
    Err(Refused { reason })
}

/// The two kinds of token. Neither is ever accepted as the other: keys, `typ` and `token_type` all differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Access,
    Refresh,
}

impl Kind {
    /// The header's `typ` (RFC 9068, section 2.1, for access tokens).
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }

    /// The claim that clients of djangorestframework-simplejwt read.
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// The claims of an accepted access token. Whether its session still lives is checked elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub jti: Uuid,
    /// When the user last authenticated, in seconds since the epoch.
    pub auth_time_secs: i64,
    pub amr: Vec<String>,
    /// The thumbprint of the key that the token is bound to; without a proof of that key it is worthless (RFC 9449).
    pub jkt: Option<String>,
}

/// The claims of an accepted refresh token. Whether its generation is the session's current one is checked elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshClaims {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub generation: i64,
    pub jti: Uuid,
    pub auth_time_secs: i64,
}

/// What a token must match.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub kind: Kind,
    pub issuer: &'a str,
    pub audience: &'a str,
    pub now_secs: i64,
}

pub fn access(claims: &Claims) -> Result<AccessClaims, Refused> {
    Ok(AccessClaims {
        user_id: claims.user()?,
        session_id: claims.id("sid")?,
        jti: claims.id("jti")?,
        auth_time_secs: claims.integer("auth_time")?,
        amr: claims.amr()?,
        jkt: claims.jkt()?,
    })
}

pub fn refresh(claims: &Claims) -> Result<RefreshClaims, Refused> {
    let generation = claims.integer("gen")?;
    if generation < 0 {
        return no("gen is negative");
    }
    Ok(RefreshClaims {
        user_id: claims.user()?,
        session_id: claims.id("sid")?,
        generation,
        jti: claims.id("jti")?,
        auth_time_secs: claims.integer("auth_time")?,
    })
}

/// Opens a compact JWS: checks the three parts, the header's three members, our key and its signature, then the claims
/// that both kinds have.
pub fn open<'k>(
    token: &str,
    expected: Expected<'_>,
    find: impl FnOnce(&str) -> Option<&'k TokenKey>,
) -> Result<Claims, Refused> {
    if token.len() > TOKEN_MAX {
        return no("too long");
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return no("not three parts");
    };
    if header.is_empty() || payload.is_empty() || signature.is_empty() {
        return no("an empty part");
    }
    let header = Header::read(header)?;
    if header.typ != expected.kind.typ() {
        return no("typ");
    }
    let Some(key) = find(&header.kid) else { return no("unknown kid") };
    if header.alg != key.algorithm().as_str() {
        return no("alg is not the key's");
    }
    // A symmetric key signs only refresh tokens, and an asymmetric key never signs them.
    if (key.algorithm() == Algorithm::Hs256) != (expected.kind == Kind::Refresh) {
        return no("the key is of the other kind");
    }
    let signed = &token[..token.len() - signature.len() - 1];
    if !key.verify(signed.as_bytes(), signature) {
        return no("signature");
    }
    let claims = Claims(object(payload)?);
    claims.check(expected)?;
    Ok(claims)
}

struct Header {
    alg: String,
    kid: String,
    typ: String,
}

impl Header {
    /// Accepts exactly the members that we write. `crit`, `b64`, `jwk`, `jku`, `x5u`, `x5c`, `zip`, `cty` and all
    /// others would require something that we do not do.
    fn read(coded: &str) -> Result<Self, Refused> {
        let mut members = object(coded)?;
        let mut text = |name| match members.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => no("a header member is missing or not a string"),
        };
        let header = Self { alg: text("alg")?, kid: text("kid")?, typ: text("typ")? };
        if members.is_empty() { Ok(header) } else { no("an unknown header member") }
    }
}

/// Decodes one JSON object from base64url without padding and without unused bits.
pub(crate) fn object(coded: &str) -> Result<Map<String, Value>, Refused> {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(coded) else { return no("base64url") };
    json::object(&bytes).or_else(|_| no("json"))
}

/// A signed payload whose common claims are right.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    fn check(&self, expected: Expected<'_>) -> Result<(), Refused> {
        if self.text("iss")? != expected.issuer {
            return no("iss");
        }
        // A string, not a list: one audience has only one form.
        if self.text("aud")? != expected.audience {
            return no("aud");
        }
        if self.text("token_type")? != expected.kind.token_type() {
            return no("token_type");
        }
        let now = expected.now_secs;
        if self.integer("exp")?.saturating_add(LEEWAY_SECS) <= now {
            return no("expired");
        }
        for claim in ["nbf", "iat"] {
            if self.integer(claim)?.saturating_sub(LEEWAY_SECS) > now {
                return no("not yet valid");
            }
        }
        Ok(())
    }

    fn text(&self, name: &'static str) -> Result<&str, Refused> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            _ => no(name),
        }
    }

    /// A JSON integer: no float, even a whole one, no string, nothing beyond 64 bits.
    fn integer(&self, name: &'static str) -> Result<i64, Refused> {
        self.0.get(name).and_then(Value::as_i64).ok_or(Refused { reason: name })
    }

    /// An id in the one spelling that we use.
    fn id<T: FromStr + ToString>(&self, name: &'static str) -> Result<T, Refused> {
        let text = self.text(name)?;
        let id = text.parse::<T>().ok().filter(|id| id.to_string() == text);
        id.ok_or(Refused { reason: name })
    }

    fn user(&self) -> Result<UserId, Refused> {
        if self.text("sub")? != self.text("user_id")? {
            return no("sub is not user_id");
        }
        self.id("sub")
    }

    /// `cnf` with a key's thumbprint and nothing else (RFC 9449, section 6.1). A token that is bound to something that
    /// we do not check is not accepted as an unbound one.
    fn jkt(&self) -> Result<Option<String>, Refused> {
        let Some(confirmation) = self.0.get("cnf") else { return Ok(None) };
        match confirmation.as_object().map(|members| (members.len(), members.get("jkt"))) {
            Some((1, Some(Value::String(jkt)))) if signing_key::is_thumbprint(jkt) => {
                Ok(Some(jkt.clone()))
            }
            _ => no("cnf"),
        }
    }

    fn amr(&self) -> Result<Vec<String>, Refused> {
        let Some(Value::Array(methods)) = self.0.get("amr") else { return no("amr") };
        let text = |method: &Value| method.as_str().filter(|m| !m.is_empty()).map(str::to_owned);
        match methods.iter().map(text).collect::<Option<Vec<_>>>() {
            Some(methods) if !methods.is_empty() => Ok(methods),
            _ => no("amr"),
        }
    }
}

#[cfg(test)]
mod tests;
