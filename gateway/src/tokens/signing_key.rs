//! Signing keys and client keys. Only this file calls jsonwebtoken; the rules for tokens and proofs are in
//! [`crate::verify`] and [`crate::proof`].

use std::fmt;

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::keys::MacKey;
use domain::string_enum;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk,
    OctetKeyPairParameters, PublicKeyUse, RSAKeyParameters, ThumbprintHash,
};
use jsonwebtoken::{DecodingKey, EncodingKey, crypto};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

string_enum! {
    /// The signing algorithms, named as in RFC 7518 and RFC 8037.
    pub enum Algorithm {
        /// ECDSA over P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
        /// RSA PKCS#1 v1.5 of 2048 bits or more, for verifiers that support nothing newer.
        Rs256 = "RS256",
        /// HMAC-SHA-256: for refresh tokens, which only we read.
        Hs256 = "HS256",
    }
}

impl Algorithm {
    const fn jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// One key with its id and its one algorithm: a token cannot choose another (RFC 8725, section 3.1).
pub struct TokenKey {
    kid: String,
    algorithm: Algorithm,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Option<Jwk>,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({} {})", self.kid, self.algorithm)
    }
}

impl TokenKey {
    /// Reads a private key in PKCS#8 PEM: P-256, Ed25519, or RSA of 2048 bits or more (contract, ruling 15).
    ///
    /// # Errors
    /// The error says what a key must be and how to convert one. It repeats nothing of the key.
    pub fn from_pem(kid: &str, pem: &[u8]) -> anyhow::Result<Self> {
        check_kid(kid)?;
        let text = std::str::from_utf8(pem).ok().context("a key must be PEM text")?.trim();
        if !text.starts_with("-----BEGIN PRIVATE KEY-----") {
            bail!(
                "a key must be an unencrypted PKCS#8 private key (`BEGIN PRIVATE KEY`): \
                 convert it with `openssl pkcs8 -topk8 -nocrypt`"
            );
        }
        let pem = text.as_bytes();
        // The PEM reader distinguishes the kinds; only one of the three accepts a key.
        let (algorithm, signing) = if let Ok(key) = EncodingKey::from_ec_pem(pem) {
            (Algorithm::Es256, key)
        } else if let Ok(key) = EncodingKey::from_ed_pem(pem) {
            (Algorithm::EdDsa, key)
        } else if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
            (Algorithm::Rs256, key)
        } else {
            bail!("a key must be P-256, Ed25519 or RSA");
        };
        let mut public = Jwk::from_encoding_key(&signing, algorithm.jwt())
            .map_err(|_| anyhow!("a key must be P-256, Ed25519, or RSA of 2048 to 8192 bits"))?;
        public.common.key_id = Some(kid.to_owned());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&public).context("read the public part of a key")?;
        let key = Self { kid: kid.to_owned(), algorithm, signing, verifying, public: Some(public) };
        // A key that cannot sign should fail the start, not the first login.
        let signature = key.sign(b"check").context("sign with a new key")?;
        if !key.verify(b"check", &signature) {
            bail!("the key does not verify its own signature");
        }
        Ok(key)
    }

    /// A shared key for refresh tokens. Its `kid` is the key's id.
    pub(crate) fn shared(key: &MacKey) -> Self {
        Self {
            kid: key.id().to_owned(),
            algorithm: Algorithm::Hs256,
            signing: EncodingKey::from_secret(key.expose()),
            verifying: DecodingKey::from_secret(key.expose()),
            public: None,
        }
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public part as a JWK (RFC 7517); a shared key has none.
    pub fn public(&self) -> Option<Value> {
        self.public.as_ref().and_then(|jwk| serde_json::to_value(jwk).ok())
    }

    /// Signs the bytes. The signature is in base64url.
    pub fn sign(&self, bytes: &[u8]) -> anyhow::Result<String> {
        crypto::sign(bytes, &self.signing, self.algorithm.jwt())
            .map_err(|error| anyhow!("sign with key {}: {error}", self.kid))
    }

    /// Whether `signature`, in base64url, is this key's signature of the bytes. In constant time for a shared key.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> bool {
        crypto::verify(signature, bytes, &self.verifying, self.algorithm.jwt()).unwrap_or(false)
    }
}

/// Checks a `kid`, which is a file name too: at most 64 letters, digits, dots, dashes and underscores, the first a
/// letter or digit.
pub(crate) fn check_kid(kid: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = kid.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first || kid.len() > 64 || !kid.bytes().all(plain) {
        bail!("a key's name must have 1 to 64 letters, digits, dots, dashes and underscores");
    }
    Ok(())
}

/// Generates a private key and its `kid`: the start of the public part's RFC 7638 thumbprint, in hexadecimal because a
/// name that starts with a dash is awkward on a command line.
pub fn generate(algorithm: Algorithm) -> anyhow::Result<(String, Zeroizing<String>)> {
    // The cryptographic library's API accepts only its own random generator.
    let rng = SystemRandom::new();
    let failed = |_| anyhow!("generate a key for {algorithm}");
    let pem = match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng);
            pem(pair.map_err(failed)?.as_ref())
        }
        Algorithm::EdDsa => pem(Ed25519KeyPair::generate_pkcs8v1(&rng).map_err(failed)?.as_ref()),
        // 2048 bits: RFC 7518's minimum, and a larger key signs several times slower.
        Algorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            pem(der.as_ref())
        }
        Algorithm::Hs256 => bail!("a new key must be ES256, EdDSA or RS256"),
    };
    let key = TokenKey::from_pem("new", pem.as_bytes())?;
    Ok((key.thumbprint()?, pem))
}

impl TokenKey {
    fn thumbprint(&self) -> anyhow::Result<String> {
        let public = self.public.as_ref().context("a shared key has no public part")?;
        let coded = public.thumbprint(ThumbprintHash::SHA256).context("hash a key")?;
        let hash = URL_SAFE_NO_PAD.decode(coded).context("read a thumbprint")?;
        Ok(hex::encode(&hash[..8]))
    }
}

/// The public key in a client's proof (RFC 9449), with its one algorithm.
pub(crate) struct ClientKey {
    algorithm: Algorithm,
    verifying: DecodingKey,
    thumbprint: String,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({} {})", self.algorithm, self.thumbprint)
    }
}

impl ClientKey {
    /// Reads a key for an algorithm from its JWK. `None` unless it matches the algorithm, has a size that is both safe
    /// and cheap, and holds only public parts, each in its one encoding, and members that mark it as a signature key.
    pub fn from_jwk(algorithm: Algorithm, members: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        // Fixed length, so that one key has one thumbprint.
        let coded = |name: &str| {
            bytes(name).filter(|bytes| bytes.len() == 32).and(text(name)).map(str::to_owned)
        };
        let (kind, curve, parts, parameters) = match algorithm {
            Algorithm::Es256 => {
                let (curve, x, y) = (EllipticCurve::P256, coded("x")?, coded("y")?);
                let point = EllipticCurveKeyParameters { curve, x, y, ..Default::default() };
                let parameters = AlgorithmParameters::EllipticCurve(point);
                ("EC", Some("P-256"), &["crv", "x", "y"][..], parameters)
            }
            Algorithm::EdDsa => {
                let (curve, x) = (EllipticCurve::Ed25519, coded("x")?);
                let pair = OctetKeyPairParameters { curve, x, ..Default::default() };
                let parameters = AlgorithmParameters::OctetKeyPair(pair);
                ("OKP", Some("Ed25519"), &["crv", "x"][..], parameters)
            }
            Algorithm::Rs256 => {
                // 2048 to 4096 bits without a leading zero, and the usual exponent: a large one would be costly to
                // verify with.
                let modulus = bytes("n").filter(|n| (256..=512).contains(&n.len()) && n[0] != 0);
                let n = modulus.and(text("n"))?.to_owned();
                let e = text("e").filter(|e| *e == "AQAB")?.to_owned();
                let parameters = RSAKeyParameters { n, e, ..Default::default() };
                ("RSA", None, &["e", "n"][..], AlgorithmParameters::RSA(parameters))
            }
            Algorithm::Hs256 => return None,
        };
        let known = |(name, value): (&String, &Value)| match name.as_str() {
            "kty" | "crv" => true,
            "alg" => value == algorithm.as_str(),
            "use" => value == "sig",
            "key_ops" => *value == serde_json::json!(["verify"]),
            "ext" => value.is_boolean(),
            "kid" => value.is_string(),
            name => parts.contains(&name),
        };
        if text("kty") != Some(kind) || members.get("crv") != curve.map(Value::from).as_ref() {
            return None;
        }
        if !members.iter().all(known) {
            return None;
        }
        let jwk = Jwk { common: CommonParameters::default(), algorithm: parameters };
        let verifying = DecodingKey::from_jwk(&jwk).ok()?;
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        Some(Self { algorithm, verifying, thumbprint })
    }

    /// The RFC 7638 thumbprint, SHA-256 in base64url: `jkt`.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether `signature`, in base64url, is this key's signature of the bytes.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> bool {
        crypto::verify(signature, bytes, &self.verifying, self.algorithm.jwt()).unwrap_or(false)
    }
}

/// Whether a text has the form of a thumbprint.
pub(crate) fn is_thumbprint(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|hash| hash.len() == 32)
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let coded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for (at, c) in coded.char_indices() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests;
