use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::tokens::signing_key::{self, TokenKey};

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://id.example.test/v1/me";
const TOKEN: &str = "an.access.token";

static KEY: LazyLock<TokenKey> = LazyLock::new(|| new(Algorithm::Es256));
static STRANGER: LazyLock<TokenKey> = LazyLock::new(|| new(Algorithm::Es256));
static ED: LazyLock<TokenKey> = LazyLock::new(|| new(Algorithm::EdDsa));
static RSA: LazyLock<TokenKey> = LazyLock::new(|| new(Algorithm::Rs256));

fn new(algorithm: Algorithm) -> TokenKey {
    TokenKey::from_pem("k", signing_key::generate(algorithm).unwrap().1.as_bytes()).unwrap()
}

/// The largest key that is accepted.
fn rsa_4096() -> TokenKey {
    let key = RsaKeyPair::generate(KeySize::Rsa4096).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let coded = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{coded}\n-----END PRIVATE KEY-----\n");
    TokenKey::from_pem("k", pem.as_bytes()).unwrap()
}

/// The key's JWK as clients write it: only its parts.
fn jwk(key: &TokenKey) -> Value {
    let mut jwk = key.public().unwrap();
    for name in ["kid", "alg", "use"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    jwk
}

fn head(key: &TokenKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm().as_str(), "jwk": jwk(key) })
}

fn body() -> Value {
    let ath = URL_SAFE_NO_PAD.encode(digest(&SHA256, TOKEN.as_bytes()));
    json!({ "jti": "a-jti", "htm": "GET", "htu": URL, "iat": NOW, "ath": ath })
}

fn with(mut value: Value, name: &str, new: impl Into<Value>) -> Value {
    value[name] = new.into();
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

/// Signs exactly these texts.
fn raw(head: &str, body: &str, key: &TokenKey) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(body));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{signature}")
}

fn sign(head: &Value, body: &Value, key: &TokenKey) -> String {
    raw(&head.to_string(), &body.to_string(), key)
}

fn call() -> Call<'static> {
    Call { method: "GET", url: URL, access_token: Some(TOKEN), now_secs: NOW, nonces: None }
}

#[test]
fn a_right_proof_of_each_algorithm_is_accepted_so_that_refusals_mean_something() {
    for key in [&*KEY, &*ED, &*RSA, &rsa_4096()] {
        let proof = sign(&head(key), &body(), key);
        let proven = check(&proof, call()).unwrap();
        assert_eq!(proven.jti, "a-jti");
        assert!(signing_key::is_thumbprint(&proven.jkt));
        let again = sign(&head(key), &with(body(), "jti", "another"), key);
        assert_eq!(check(&again, call()).unwrap().jkt, proven.jkt, "one key, one thumbprint");
        // There is room for a long URL.
        assert!(proof.len() < PROOF_MAX * 2 / 3, "{}", proof.len());
    }
    let more = with(with(body(), "nonce", "n"), "of_a_later_version", true);
    assert!(check(&sign(&head(&KEY), &more, &KEY), call()).is_ok(), "claims may be added");
    let unasked = Call { access_token: None, ..call() };
    assert!(check(&sign(&head(&KEY), &without(body(), "ath"), &KEY), unasked).is_ok());
}

/// RFC 9449, sections 4.1, 6.1 and 7.1.
#[test]
fn the_examples_of_rfc_9449_are_accepted_and_have_its_thumbprint() {
    const HEAD: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    let expected = Call {
        method: "POST",
        url: "https://server.example.com/token",
        access_token: None,
        now_secs: 1_562_262_616,
        nonces: None,
    };
    let proof = format!(
        "{HEAD}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let proven = check(&proof, expected).unwrap();
    assert_eq!(proven.jkt, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(proven.jti, "-BwC3ESc6acc2lTc");
    let protected = Call {
        method: "GET",
        url: "https://resource.example.org/protectedresource",
        access_token: Some("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        now_secs: 1_562_262_618,
        nonces: None,
    };
    let proof = format!(
        "{HEAD}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    assert_eq!(check(&proof, protected).unwrap().jkt, proven.jkt);
    assert_eq!(
        check(&proof, Call { access_token: Some("x"), ..protected }),
        Err(Flaw::AccessToken)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row a case")]
fn a_forged_or_malformed_header_is_refused() {
    let key = jwk(&KEY);
    let (ed, rsa) = (jwk(&ED), jwk(&RSA));
    let changed = |name: &str, value: Value| with(key.clone(), name, value);
    let table: Vec<(&str, Value, Flaw)> = vec![
        ("no typ", without(head(&KEY), "typ"), Flaw::Header),
        ("typ JWT", with(head(&KEY), "typ", "JWT"), Flaw::Header),
        ("typ of an access token", with(head(&KEY), "typ", "at+jwt"), Flaw::Header),
        ("typ in upper case", with(head(&KEY), "typ", "DPOP+JWT"), Flaw::Header),
        ("typ as a list", with(head(&KEY), "typ", json!(["dpop+jwt"])), Flaw::Header),
        ("crit", with(head(&KEY), "crit", json!(["b64"])), Flaw::Header),
        ("b64", with(head(&KEY), "b64", false), Flaw::Header),
        ("kid", with(head(&KEY), "kid", "k"), Flaw::Header),
        ("jku", with(head(&KEY), "jku", "https://evil.test/jwks"), Flaw::Header),
        ("x5c", with(head(&KEY), "x5c", json!([])), Flaw::Header),
        ("no alg", without(head(&KEY), "alg"), Flaw::Algorithm),
        ("alg none", with(head(&KEY), "alg", "none"), Flaw::Algorithm),
        ("alg in lower case", with(head(&KEY), "alg", "es256"), Flaw::Algorithm),
        ("alg HS256", with(head(&KEY), "alg", "HS256"), Flaw::Algorithm),
        ("alg ES384", with(head(&KEY), "alg", "ES384"), Flaw::Algorithm),
        ("alg PS256", with(head(&KEY), "alg", "PS256"), Flaw::Algorithm),
        ("alg as a number", with(head(&KEY), "alg", 256), Flaw::Algorithm),
        ("alg of another kind", with(head(&KEY), "alg", "EdDSA"), Flaw::Key),
        ("alg of a third kind", with(head(&KEY), "alg", "RS256"), Flaw::Key),
        ("no jwk", without(head(&KEY), "jwk"), Flaw::Key),
        ("jwk as text", with(head(&KEY), "jwk", key.to_string()), Flaw::Key),
        ("an empty jwk", with(head(&KEY), "jwk", json!({})), Flaw::Key),
        ("a set of keys", with(head(&KEY), "jwk", json!({ "keys": [key] })), Flaw::Key),
        ("a private part", with(head(&KEY), "jwk", changed("d", key["x"].clone())), Flaw::Key),
        ("a private Ed25519", with(head(&ED), "jwk", with(ed.clone(), "d", "AA")), Flaw::Key),
        ("a private RSA", with(head(&RSA), "jwk", with(rsa.clone(), "p", "AQAB")), Flaw::Key),
        ("a shared secret", with(head(&KEY), "jwk", changed("k", json!("AAAA"))), Flaw::Key),
        ("an unknown member", with(head(&KEY), "jwk", changed("x5u", json!("x"))), Flaw::Key),
        ("for encryption", with(head(&KEY), "jwk", changed("use", json!("enc"))), Flaw::Key),
        ("to sign with", with(head(&KEY), "jwk", changed("key_ops", json!(["sign"]))), Flaw::Key),
        ("of another alg", with(head(&KEY), "jwk", changed("alg", json!("ES384"))), Flaw::Key),
        ("kty oct", with(head(&KEY), "jwk", json!({ "kty": "oct", "k": "AAAA" })), Flaw::Key),
        ("kty missing", with(head(&KEY), "jwk", without(key.clone(), "kty")), Flaw::Key),
        ("kty in lower case", with(head(&KEY), "jwk", changed("kty", json!("ec"))), Flaw::Key),
        ("P-384", with(head(&KEY), "jwk", changed("crv", json!("P-384"))), Flaw::Key),
        ("secp256k1", with(head(&KEY), "jwk", changed("crv", json!("secp256k1"))), Flaw::Key),
        ("crv missing", with(head(&KEY), "jwk", without(key.clone(), "crv")), Flaw::Key),
        ("y missing", with(head(&KEY), "jwk", without(key.clone(), "y")), Flaw::Key),
        ("x too short", with(head(&KEY), "jwk", changed("x", json!("AAAA"))), Flaw::Key),
        ("x padded", with(head(&KEY), "jwk", changed("x", json!(padded(&key["x"])))), Flaw::Key),
        ("x that ends the text", with(head(&KEY), "jwk", changed("x", json!("\"}"))), Flaw::Key),
        (
            "a point off the curve",
            with(head(&KEY), "jwk", changed("y", key["x"].clone())),
            Flaw::Signature,
        ),
        ("X25519", with(head(&ED), "jwk", with(ed.clone(), "crv", "X25519")), Flaw::Key),
        (
            "Ed25519 with a y",
            with(head(&ED), "jwk", with(ed.clone(), "y", ed["x"].clone())),
            Flaw::Key,
        ),
        ("an RSA exponent of 1", with(head(&RSA), "jwk", with(rsa.clone(), "e", "AQ")), Flaw::Key),
        ("a small RSA", with(head(&RSA), "jwk", with(rsa.clone(), "n", "wQ")), Flaw::Key),
        (
            "an RSA with a curve",
            with(head(&RSA), "jwk", with(rsa.clone(), "crv", "P-256")),
            Flaw::Key,
        ),
        ("another's key", with(head(&KEY), "jwk", jwk(&STRANGER)), Flaw::Signature),
    ];
    for (name, head, flaw) in table {
        let key = match head["alg"].as_str() {
            Some("EdDSA") if head["jwk"]["kty"] == "OKP" => &*ED,
            Some("RS256") if head["jwk"]["kty"] == "RSA" => &*RSA,
            _ => &*KEY,
        };
        assert_eq!(check(&sign(&head, &body(), key), call()), Err(flaw), "{name}");
    }
    for (name, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("ext", json!(true)),
        ("kid", json!("k")),
        ("alg", json!("ES256")),
    ] {
        let head = with(head(&KEY), "jwk", changed(name, value));
        assert!(check(&sign(&head, &body(), &KEY), call()).is_ok(), "{name} is what browsers add");
    }
    let twice = head(&KEY).to_string().replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(check(&raw(&twice, &body().to_string(), &KEY), call()), Err(Flaw::NotAJwt));
}

fn padded(part: &Value) -> String {
    format!("{}=", part.as_str().unwrap())
}

#[test]
fn a_forged_or_malformed_claim_is_refused() {
    let other = URL_SAFE_NO_PAD.encode(digest(&SHA256, b"another.access.token"));
    let url = |htu: &str| with(body(), "htu", htu);
    let table: Vec<(&str, Value, Flaw)> = vec![
        ("no htm", without(body(), "htm"), Flaw::Method),
        ("another method", with(body(), "htm", "POST"), Flaw::Method),
        ("the method in lower case", with(body(), "htm", "get"), Flaw::Method),
        ("a list of methods", with(body(), "htm", json!(["GET"])), Flaw::Method),
        ("no htu", without(body(), "htu"), Flaw::Url),
        ("htu as a number", with(body(), "htu", 1), Flaw::Url),
        ("an empty htu", url(""), Flaw::Url),
        ("another path", url("https://id.example.test/v1/me/sessions"), Flaw::Url),
        ("a path in upper case", url("https://id.example.test/v1/ME"), Flaw::Url),
        ("a path that is escaped", url("https://id.example.test/v1/%6de"), Flaw::Url),
        ("a path that climbs", url("https://id.example.test/v1/x/../me"), Flaw::Url),
        ("the path alone", url("/v1/me"), Flaw::Url),
        ("no scheme", url("id.example.test/v1/me"), Flaw::Url),
        ("another scheme", url("http://id.example.test/v1/me"), Flaw::Url),
        ("another host", url("https://evil.test/v1/me"), Flaw::Url),
        ("a longer host", url("https://id.example.test.evil.test/v1/me"), Flaw::Url),
        ("another port", url("https://id.example.test:8443/v1/me"), Flaw::Url),
        ("a query", url("https://id.example.test/v1/me?a=b"), Flaw::Url),
        ("an empty query", url("https://id.example.test/v1/me?"), Flaw::Url),
        ("a fragment", url("https://id.example.test/v1/me#top"), Flaw::Url),
        ("a user", url("https://user@id.example.test/v1/me"), Flaw::Url),
        ("a space", url("https://id.example.test/v1/me "), Flaw::Url),
        ("two slashes at the end", url("https://id.example.test/v1/me//"), Flaw::Url),
        ("a backslash", url("https:\\\\id.example.test/v1/me"), Flaw::Url),
        ("no iat", without(body(), "iat"), Flaw::Time),
        ("iat as text", with(body(), "iat", NOW.to_string()), Flaw::Time),
        ("iat as a float", with(body(), "iat", 1.8e9), Flaw::Time),
        ("iat in milliseconds", with(body(), "iat", NOW * 1000), Flaw::Time),
        ("iat at the end of time", with(body(), "iat", i64::MIN), Flaw::Time),
        ("iat of a minute ago", with(body(), "iat", NOW - 61), Flaw::Time),
        ("iat 6 s ahead", with(body(), "iat", NOW + 6), Flaw::Time),
        ("no jti", without(body(), "jti"), Flaw::Id),
        ("an empty jti", with(body(), "jti", ""), Flaw::Id),
        ("a jti as a number", with(body(), "jti", 7), Flaw::Id),
        ("a long jti", with(body(), "jti", "j".repeat(129)), Flaw::Id),
        ("no ath", without(body(), "ath"), Flaw::AccessToken),
        ("the ath of another token", with(body(), "ath", other), Flaw::AccessToken),
        ("the token itself as ath", with(body(), "ath", TOKEN), Flaw::AccessToken),
        ("a padded ath", with(body(), "ath", padded(&body()["ath"])), Flaw::AccessToken),
    ];
    for (name, body, flaw) in table {
        assert_eq!(check(&sign(&head(&KEY), &body, &KEY), call()), Err(flaw), "{name}");
    }
    for iat in [NOW - 60, NOW + 5] {
        assert!(
            check(&sign(&head(&KEY), &with(body(), "iat", iat), &KEY), call()).is_ok(),
            "{iat}"
        );
    }
    assert!(check(&sign(&head(&KEY), &with(body(), "jti", "j".repeat(128)), &KEY), call()).is_ok());
    let twice = body().to_string().replacen('{', r#"{"htm":"POST","#, 1);
    let twice = raw(&head(&KEY).to_string(), &twice, &KEY);
    assert_eq!(check(&twice, call()), Err(Flaw::NotAJwt), "a claim twice");
}

#[test]
fn f28_a_proof_carries_one_of_the_nonces_where_they_are_demanded() {
    let nonces = ["a".to_owned(), "b".to_owned()];
    let demanding = Call { nonces: Some(&nonces), ..call() };
    for (nonce, good) in
        [(json!("a"), true), (json!("b"), true), (json!("c"), false), (json!(["a"]), false)]
    {
        let checked =
            check(&sign(&head(&KEY), &with(body(), "nonce", nonce.clone()), &KEY), demanding);
        assert_eq!(checked.map(drop), if good { Ok(()) } else { Err(Flaw::Nonce) }, "{nonce}");
    }
    assert_eq!(check(&sign(&head(&KEY), &body(), &KEY), demanding), Err(Flaw::Nonce));
}

#[test]
fn a_proof_that_is_not_a_signed_jwt_is_refused() {
    let good = sign(&head(&KEY), &body(), &KEY);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (first, second) = signed.split_once('.').unwrap();
    let other = sign(&head(&KEY), &with(body(), "htm", "POST"), &KEY);
    let (_, foreign) = other.rsplit_once('.').unwrap();
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let long = sign(&head(&KEY), &with(body(), "x", "x".repeat(PROOF_MAX)), &KEY);
    let array = raw("[]", &body().to_string(), &KEY);
    let bom = raw(&format!("\u{feff}{}", head(&KEY)), &body().to_string(), &KEY);
    let deep = raw(&head(&KEY).to_string(), &format!("{}{}", "[".repeat(50), "]".repeat(50)), &KEY);
    for (name, proof, flaw) in [
        ("empty", "", Flaw::NotAJwt),
        ("text", "proof", Flaw::NotAJwt),
        ("two parts", signed, Flaw::NotAJwt),
        ("four parts", &format!("{good}.x"), Flaw::NotAJwt),
        ("a padded head", &format!("{first}=.{second}.{signature}"), Flaw::NotAJwt),
        ("a head that is a list", &array, Flaw::NotAJwt),
        ("a byte order mark", &bom, Flaw::NotAJwt),
        ("claims too deep", &deep, Flaw::NotAJwt),
        ("no signature", &format!("{signed}."), Flaw::Signature),
        ("a signature of zeros", &format!("{signed}.{zeros}"), Flaw::Signature),
        ("another proof's signature", &format!("{signed}.{foreign}"), Flaw::Signature),
        ("a padded signature", &format!("{good}="), Flaw::Signature),
        ("two in one", &format!("{good}, {good}"), Flaw::NotAJwt),
        ("too long", &long, Flaw::TooLong),
    ] {
        assert_eq!(check(proof, call()), Err(flaw), "{name}");
    }
    // One changed character, anywhere.
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(check(&changed, call()).is_err(), "byte {at}");
    }
}

#[test]
fn a_url_is_the_same_in_any_case_with_its_default_port_and_a_trailing_slash() {
    for htu in [
        URL,
        "https://id.example.test/v1/me/",
        "HTTPS://ID.example.TEST/v1/me",
        "https://id.example.test:443/v1/me",
    ] {
        assert!(is_url(htu, URL), "{htu}");
    }
    assert!(is_url("http://127.0.0.1:8080/v1/me", "http://127.0.0.1:8080/v1/me"));
    assert!(is_url("http://[::1]:80/v1/me", "http://[::1]/v1/me"));
    assert!(is_url("https://x.test", "https://x.test/"));
    assert!(!is_url("http://127.0.0.1/v1/me", "http://127.0.0.1:8080/v1/me"));
    assert!(!is_url("ftp://x.test/v1/me", "ftp://x.test/v1/me"), "not a scheme of ours");
}
