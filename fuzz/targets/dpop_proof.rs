//! A DPoP proof. `$JWK` and `$ATH` stand for the key's public part and the hash of the access token, so that the fuzzer
//! gets past them.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway::fuzzing::proof::{self, AHEAD_SECS, BEHIND_SECS, Call};
use gateway::signing_key::{self, Algorithm, TokenKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://id.example.test/v1/me";
const TOKEN: &str = "an.access.token";
/// The SHA-256 of [`TOKEN`].
const ATH: &str = "UkM2b42E54u4hWzuKV_B3zyulUA6vtNYjJUv_ru2Qck";

static KEY: LazyLock<TokenKey> = LazyLock::new(|| {
    let (_, pem) = signing_key::generate(Algorithm::EdDsa).expect("generate a key");
    TokenKey::from_pem("k", pem.as_bytes()).expect("read the key")
});
static JWK: LazyLock<String> = LazyLock::new(|| {
    let mut jwk = KEY.public().expect("an asymmetric key");
    jwk.as_object_mut()
        .expect("an object")
        .retain(|name, _| ["kty", "crv", "x"].contains(&&**name));
    jwk.to_string()
});

// The first line is the header, the rest the claims.
fuzz_target!(|text: &str| {
    let _ = check(text, false);
    let text = text.replace("$JWK", &JWK).replace("$ATH", ATH);
    let (header, claims) = text.split_once('\n').unwrap_or((&text, ""));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = KEY.sign(signed.as_bytes()).expect("sign");
    let proof = format!("{signed}.{signature}");
    let Ok(proven) = check(&proof, false) else { return };

    let claims: Value = serde_json::from_str(claims).expect("accepted, so JSON");
    assert_eq!(claims["htm"], "GET");
    assert_eq!(claims["jti"], proven.jti);
    assert!((1..=128).contains(&proven.jti.len()));
    let made_at = claims["iat"].as_i64().expect("a time");
    assert!((NOW - BEHIND_SECS..=NOW + AHEAD_SECS).contains(&made_at));
    let path = claims["htu"].as_str().expect("a URL").to_ascii_lowercase();
    assert!(path.starts_with("https://id.example.test"), "{path}");
    assert_eq!(claims["ath"], ATH);
    assert_eq!(check(&proof, true).is_ok(), claims["nonce"] == "n");
    assert!(check(&format!("{signed}A.{signature}"), false).is_err());
});

fn check(proof: &str, with_nonce: bool) -> Result<proof::Proven, proof::Flaw> {
    let nonces = ["n".to_owned()];
    let call = Call {
        method: "GET",
        url: URL,
        access_token: Some(TOKEN),
        now_secs: NOW,
        nonces: with_nonce.then_some(&nonces[..]),
    };
    proof::check(proof, call)
}
