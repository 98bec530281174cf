//! Checks DPoP proofs (RFC 9449, section 4.3). Everything is checked here, and a proof chooses nothing but the key that
//! it proves.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde_json::{Map, Value};

use crate::http::trailing_slash::without_slash;
use crate::tokens::jwt;
use crate::tokens::signing_key::{Algorithm, ClientKey};

/// Longer texts are refused before any work is done. A proof by a 4096-bit RSA key has about 2 KiB, others 0.6 KiB.
pub const PROOF_MAX: usize = 4 * 1024;

/// How old a proof may be by our clock: a phone on a bad network sends late. RFC 9449, section 11.1, speaks of seconds or
/// minutes.
pub const BEHIND_SECS: i64 = 60;

/// How far a proof's `iat` may lie ahead of our clock. Short, because whoever may use the key for a moment can make
/// proofs in advance for this long (RFC 9449, section 11.2; contract, ruling 55).
pub const AHEAD_SECS: i64 = 5;

/// Maximum bytes of a `jti`. A UUID has 36, a SHA-256 in hexadecimal 64.
const ID_MAX: usize = 128;

/// Why a proof was not accepted. Unlike the flaw of a token, it is reported to the client: the sender makes proofs with
/// its own key, so it learns nothing but how to make the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Missing,
    /// More than one header, or one that is not text.
    NotOne,
    TooLong,
    NotAJwt,
    Header,
    Algorithm,
    Key,
    Signature,
    Method,
    Url,
    Time,
    Id,
    AccessToken,
    OtherKey,
    Used,
    Nonce,
}

impl Flaw {
    /// What the client can do now (P8).
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Missing => {
                "This session is bound to a key: send a fresh proof by that key in a `DPoP` header (RFC 9449)."
            }
            Self::NotOne => "Send one `DPoP` header with one proof.",
            Self::TooLong => "Send a proof of at most 4 KiB.",
            Self::NotAJwt => "The proof in the `DPoP` header must be a signed JWT of three parts.",
            Self::Header => {
                "The proof's header must contain exactly `typ` (`dpop+jwt`), `alg` and `jwk`."
            }
            Self::Algorithm => "Sign the proof with ES256, EdDSA (Ed25519) or RS256.",
            Self::Key => {
                "The proof's `jwk` must be a public key that matches its `alg`: P-256, Ed25519, or RSA of 2048 to 4096 bits, without private parts."
            }
            Self::Signature => "The proof is not signed by the key in its `jwk`.",
            Self::Method => "The proof's `htm` must be this call's HTTP method.",
            Self::Url => {
                "The proof's `htu` must be this call's public URL, without query and fragment."
            }
            Self::Time => {
                "The proof's `iat` must be at most 60 s behind the service's clock and 5 s ahead of it: make the proof when you send it, and correct your clock by the `Date` header of this response."
            }
            Self::Id => {
                "The proof needs a `jti`: a new random string of 1 to 128 characters for each call."
            }
            Self::AccessToken => {
                "The proof's `ath` must be the SHA-256 hash of the access token, in base64url."
            }
            Self::OtherKey => {
                "The proof is signed by a different key than the session is bound to: use the key of the sign-in."
            }
            Self::Used => "This proof was already used: make a new one for each call.",
            Self::Nonce => {
                "The proof's `nonce` must be the value of this answer's `DPoP-Nonce` header: make the proof again with it."
            }
        }
    }
}

/// The call that a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub method: &'a str,
    /// With scheme and host, without a query.
    pub url: &'a str,
    /// The access token that comes with it, if any.
    pub access_token: Option<&'a str>,
    pub now_secs: i64,
    /// The nonces of which the proof must carry one; `None` if none is required.
    pub nonces: Option<&'a [String]>,
}

/// A proof that was accepted for its call. Whether it was used before is checked elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The thumbprint of the key (RFC 7638).
    pub jkt: String,
    pub jti: String,
}

/// Checks a proof.
pub fn check(proof: &str, call: Call<'_>) -> Result<Proven, Flaw> {
    if proof.len() > PROOF_MAX {
        return Err(Flaw::TooLong);
    }
    let mut parts = proof.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::NotAJwt);
    };
    let key = key_of(object(header)?)?;
    let signed = &proof[..proof.len() - signature.len() - 1];
    if !key.verify(signed.as_bytes(), signature) {
        return Err(Flaw::Signature);
    }
    let claims = object(payload)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("htm") != Some(call.method) {
        return Err(Flaw::Method);
    }
    if !text("htu").is_some_and(|htu| is_url(htu, call.url)) {
        return Err(Flaw::Url);
    }
    let made_at = claims.get("iat").and_then(Value::as_i64).ok_or(Flaw::Time)?;
    let valid =
        call.now_secs.saturating_sub(BEHIND_SECS)..=call.now_secs.saturating_add(AHEAD_SECS);
    if !valid.contains(&made_at) {
        return Err(Flaw::Time);
    }
    let jti = text("jti").filter(|jti| (1..=ID_MAX).contains(&jti.len())).ok_or(Flaw::Id)?;
    if let Some(token) = call.access_token {
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
        if text("ath") != Some(hash.as_str()) {
            return Err(Flaw::AccessToken);
        }
    }
    // Last, so that a proof with another flaw is not made again for a nonce alone.
    if let Some(nonces) = call.nonces
        && !text("nonce").is_some_and(|sent| nonces.iter().any(|nonce| nonce == sent))
    {
        return Err(Flaw::Nonce);
    }
    Ok(Proven { jkt: key.thumbprint().to_owned(), jti: jti.to_owned() })
}

fn object(coded: &str) -> Result<Map<String, Value>, Flaw> {
    jwt::object(coded).map_err(|_| Flaw::NotAJwt)
}

/// Accepts exactly the members that RFC 9449 names. `crit`, `b64`, `kid`, `jku`, `x5c` and all others would require
/// something that we do not do.
fn key_of(mut header: Map<String, Value>) -> Result<ClientKey, Flaw> {
    let (typ, alg, jwk) = (header.remove("typ"), header.remove("alg"), header.remove("jwk"));
    if !header.is_empty() || typ.as_ref().and_then(Value::as_str) != Some("dpop+jwt") {
        return Err(Flaw::Header);
    }
    let alg = alg.as_ref().and_then(Value::as_str).ok_or(Flaw::Algorithm)?;
    // Asymmetric algorithms only: with a shared key we could make the client's proofs ourselves.
    let allowed = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    let algorithm = allowed.into_iter().find(|allowed| allowed.as_str() == alg);
    let algorithm = algorithm.ok_or(Flaw::Algorithm)?;
    let jwk = jwk.as_ref().and_then(Value::as_object).ok_or(Flaw::Key)?;
    ClientKey::from_jwk(algorithm, jwk).ok_or(Flaw::Key)
}

/// Whether two URLs are equal except for case, default port (RFC 3986, sections 6.2.2.1 and 6.2.3) and a trailing
/// slash, which the router accepts too. Paths are compared as written: ours need no escapes.
fn is_url(htu: &str, url: &str) -> bool {
    let plain = htu.bytes().all(|byte| byte.is_ascii_graphic()) && !htu.contains(['?', '#', '@']);
    let (Ok(htu), Ok(url)) = (htu.parse::<Uri>(), url.parse::<Uri>()) else { return false };
    plain && target(&htu).is_some_and(|there| target(&url) == Some(there))
}

/// Scheme, host, port and path.
fn target(url: &Uri) -> Option<(String, String, u16, &str)> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = match (url.port_u16(), scheme.as_str()) {
        (Some(port), _) => port,
        (None, "http") => 80,
        (None, "https") => 443,
        (None, _) => return None,
    };
    let path = without_slash(url.path()).unwrap_or(url.path());
    Some((scheme, url.host()?.to_ascii_lowercase(), port, path))
}

#[cfg(test)]
mod tests;
