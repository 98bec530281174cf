//! A token. Raw text is never accepted. A header and claims that our own key signed are accepted only as what they say.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway::fuzzing::jwt::{self, Expected, Kind, LEEWAY_SECS};
use gateway::signing_key::{self, Algorithm, TokenKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NOW: i64 = 1_800_000_000;

static KEY: LazyLock<TokenKey> = LazyLock::new(|| {
    let (_, pem) = signing_key::generate(Algorithm::EdDsa).expect("generate a key");
    TokenKey::from_pem("k", pem.as_bytes()).expect("read the key")
});

// The first line is the header, the rest the claims.
fuzz_target!(|text: &str| {
    for kind in [Kind::Access, Kind::Refresh] {
        assert!(open(text, kind).is_err(), "a text without a signature");
    }
    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = KEY.sign(signed.as_bytes()).expect("sign");
    let token = format!("{signed}.{signature}");
    assert!(open(&token, Kind::Refresh).is_err(), "a refresh token by an asymmetric key");
    let Ok(opened) = open(&token, Kind::Access) else { return };

    let read = |text| serde_json::from_str::<Value>(text).expect("accepted, so JSON");
    let (header, claims) = (read(header), read(claims));
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(claims["iss"], "issuer");
    assert_eq!(claims["aud"], "audience");
    assert_eq!(claims["token_type"], "access");
    assert!(claims["exp"].as_i64().expect("a time").saturating_add(LEEWAY_SECS) > NOW);
    if let Ok(access) = jwt::access(&opened) {
        assert_eq!(claims["sub"], access.user_id.to_string());
        assert_eq!(claims["sid"], access.session_id.to_string());
        assert_eq!(claims.get("cnf").is_some(), access.jkt.is_some());
    }
    let _ = jwt::refresh(&opened);
    let other = format!("{signed}A.{signature}");
    assert!(open(&other, Kind::Access).is_err(), "the signature of another text");
});

fn open(token: &str, kind: Kind) -> Result<jwt::Claims, jwt::Refused> {
    let expected = Expected { kind, issuer: "issuer", audience: "audience", now_secs: NOW };
    jwt::open(token, expected, |kid| (kid == KEY.kid()).then_some(&*KEY))
}
