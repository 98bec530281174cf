//! A client that proves possession of its own key (DPoP, RFC 9449), and proofs made by it or by a forger.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::clock::Clock;
use gateway::signing_key::{self, Algorithm, TokenKey};
use reqwest::Method;
use serde_json::{Value, json};

use testkit::http::{Answer, Api};

/// A client's key, and the clock that dates its proofs.
pub struct ClientKey {
    key: TokenKey,
    clock: Clock,
}

impl ClientKey {
    pub fn new(clock: &Clock) -> Self {
        Self::of(Algorithm::Es256, clock)
    }

    pub fn of(algorithm: Algorithm, clock: &Clock) -> Self {
        let (_, pem) = signing_key::generate(algorithm).expect("make a key");
        let key = TokenKey::from_pem("client", pem.as_bytes()).expect("read a key");
        Self { key, clock: clock.clone() }
    }

    /// The public key as a client sends it.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.key.public().expect("a key pair");
        for name in ["kid", "alg", "use"] {
            jwk.as_object_mut().expect("a JWK").remove(name);
        }
        jwk
    }

    /// The thumbprint of RFC 7638, computed by hand: members sorted by name.
    pub fn thumbprint(&self) -> String {
        let sorted: std::collections::BTreeMap<String, Value> =
            serde_json::from_value(self.jwk()).expect("a JWK");
        hash(&serde_json::to_string(&sorted).expect("strings"))
    }

    pub fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.key.algorithm().as_str(), "jwk": self.jwk() })
    }

    /// The claims of a valid proof for a call.
    pub fn claims(&self, method: &Method, url: &str, access: Option<&str>) -> Value {
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(domain::rng::secret_bytes::<16>()),
            "htm": method.as_str(),
            "htu": url,
            "iat": self.clock.now().secs(),
        });
        if let Some(access) = access {
            claims["ath"] = hash(access).into();
        }
        claims
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let coded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", coded(header), coded(claims));
        let signature = self.key.sign(signed.as_bytes()).expect("sign");
        format!("{signed}.{signature}")
    }

    /// A valid proof for a call.
    pub fn proof(&self, method: &Method, url: &str, access: Option<&str>) -> String {
        self.sign(&self.header(), &self.claims(method, url, access))
    }

    /// A POST with a proof, for a sign-in or a refresh.
    pub async fn post(&self, api: &Api, path: &str, body: Value) -> Answer {
        self.post_with(api, path, body, &[]).await
    }

    pub async fn post_with(
        &self,
        api: &Api,
        path: &str,
        body: Value,
        more: &[(&str, &str)],
    ) -> Answer {
        let proof = self.proof(&Method::POST, &format!("{}{path}", api.url), None);
        let headers: Vec<_> =
            [("dpop", proof.as_str())].into_iter().chain(more.iter().copied()).collect();
        api.post_with(path, body, &headers).await
    }

    /// A call with a bound access token and its proof.
    pub async fn call(
        &self,
        api: &Api,
        method: Method,
        path: &str,
        access: &str,
        body: Option<&Value>,
    ) -> Answer {
        let proof = self.proof(&method, &format!("{}{path}", api.url), Some(access));
        call(
            api,
            method,
            path,
            body,
            &[("authorization", &format!("DPoP {access}")), ("dpop", &proof)],
        )
        .await
    }

    /// Signs in with a fresh code to a session bound to this key; returns the whole body of the login.
    pub async fn sign_in(&self, api: &Api, phone: &str) -> Value {
        let code = api.fresh_code(phone).await;
        let body = json!({ "phone_number": phone, "otp": code });
        self.post(api, "/v1/login", body).await.expect(200).body
    }

    pub async fn refresh(&self, api: &Api, refresh: &str) -> Answer {
        self.post(api, "/v1/token/refresh", json!({ "refresh": refresh })).await
    }

    pub async fn blacklist(&self, api: &Api, refresh: &str) -> Answer {
        self.post(api, "/v1/token/blacklist", json!({ "refresh": refresh })).await
    }

    pub async fn me(&self, api: &Api, access: &str) -> Answer {
        self.call(api, Method::GET, "/v1/me", access, None).await
    }
}

/// A call with exactly these headers.
pub async fn call(
    api: &Api,
    method: Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Answer {
    api.try_call(method, path, body, headers).await.expect("an answer")
}

/// The base64url of the SHA-256 of a text: `ath`, `jkt`.
pub fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}
