use std::sync::Arc;

use aws_lc_rs::hmac;
use domain::keys::Keys;
use serde_json::json;

use super::*;
use crate::tokens::key_table::KeyTable;
use crate::tokens::signing_key;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://id.example.test";
const USER: &str = "0193a5c0-0000-7000-8000-000000000001";
const SESSION: &str = "0193a5c0-0000-7000-8000-000000000002";

/// Our keys: two that sign access tokens, one for refresh tokens, and a stranger's.
struct Bench {
    table: KeyTable,
    refresh: TokenKey,
    stranger: TokenKey,
}

impl Bench {
    fn new() -> Self {
        let key = |kid: &str, algorithm| {
            let pem = signing_key::generate(algorithm).unwrap().1;
            Arc::new(TokenKey::from_pem(kid, pem.as_bytes()).unwrap())
        };
        let table =
            KeyTable::new(vec![key("es", Algorithm::Es256), key("ed", Algorithm::EdDsa)], "es")
                .unwrap();
        let shared = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
        let refresh = TokenKey::shared(&shared.refresh().unwrap().current);
        let pem = signing_key::generate(Algorithm::Es256).unwrap().1;
        let stranger = TokenKey::from_pem("es", pem.as_bytes()).unwrap();
        Self { table, refresh, stranger }
    }

    fn es(&self) -> &TokenKey {
        self.table.get("es").unwrap()
    }

    fn judge(&self, token: &str) -> Result<AccessClaims, Refused> {
        open(token, expected(Kind::Access), |kid| self.table.get(kid)).and_then(|c| access(&c))
    }

    fn judge_refresh(&self, token: &str) -> Result<RefreshClaims, Refused> {
        let find = |kid: &str| Some(&self.refresh).filter(|key| key.kid() == kid);
        open(token, expected(Kind::Refresh), find).and_then(|c| refresh(&c))
    }
}

fn expected(kind: Kind) -> Expected<'static> {
    Expected { kind, issuer: ISSUER, audience: "latchkey", now_secs: NOW }
}

fn head() -> Value {
    json!({ "alg": "ES256", "kid": "es", "typ": "at+jwt" })
}

fn body() -> Value {
    json!({
        "iss": ISSUER, "aud": "latchkey", "sub": USER, "user_id": USER, "sid": SESSION,
        "jti": "0193a5c0-0000-4000-8000-000000000003", "iat": NOW, "nbf": NOW, "exp": NOW + 600,
        "token_type": "access", "auth_time": NOW - 10, "amr": ["sms"],
    })
}

/// A value with members replaced or added.
fn with(mut value: Value, change: Value) -> Value {
    let Value::Object(change) = change else { panic!("an object") };
    for (name, new) in change {
        value[name] = new;
    }
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

/// Signs exactly these texts, so that duplicate members and odd numbers survive.
fn raw(head: &str, body: &str, key: &TokenKey) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(body));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{signature}")
}

fn forge(head: &Value, body: &Value, key: &TokenKey) -> String {
    raw(&head.to_string(), &body.to_string(), key)
}

#[test]
fn p9_our_own_token_is_accepted_so_that_refusals_mean_something() {
    let bench = Bench::new();
    let claims = bench.judge(&forge(&head(), &body(), bench.es())).unwrap();
    assert_eq!(claims.user_id.to_string(), USER);
    assert_eq!(claims.session_id.to_string(), SESSION);
    let ed = bench.table.get("ed").unwrap();
    let head = with(head(), json!({ "alg": "EdDSA", "kid": "ed" }));
    assert!(bench.judge(&forge(&head, &body(), ed)).is_ok());
    let later = with(body(), json!({ "of_a_later_version": true }));
    assert!(bench.judge(&forge(&self::head(), &later, bench.es())).is_ok(), "claims may be added");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row a case")]
fn a_forged_header_is_refused() {
    let bench = Bench::new();
    let jwk = bench.stranger.public().unwrap();
    let long = "k".repeat(3000);
    let changes = [
        ("none", json!({ "alg": "none" })),
        ("None", json!({ "alg": "None" })),
        ("NONE", json!({ "alg": "NONE" })),
        ("nOnE", json!({ "alg": "nOnE" })),
        ("empty alg", json!({ "alg": "" })),
        ("lower case", json!({ "alg": "es256" })),
        ("HS256", json!({ "alg": "HS256" })),
        ("RS256", json!({ "alg": "RS256" })),
        ("ES384", json!({ "alg": "ES384" })),
        ("ES256K", json!({ "alg": "ES256K" })),
        ("EdDSA", json!({ "alg": "EdDSA" })),
        ("alg list", json!({ "alg": ["ES256"] })),
        ("alg null", json!({ "alg": null })),
        ("alg number", json!({ "alg": 1 })),
        ("kid of another algorithm", json!({ "kid": "ed" })),
        ("kid unknown", json!({ "kid": "es2" })),
        ("kid empty", json!({ "kid": "" })),
        ("kid null", json!({ "kid": null })),
        ("kid number", json!({ "kid": 0 })),
        ("kid list", json!({ "kid": ["es"] })),
        ("kid as path", json!({ "kid": "../../../../dev/null" })),
        ("kid as file", json!({ "kid": "es.pem" })),
        ("kid as SQL", json!({ "kid": "' OR 1=1 --" })),
        ("kid with NUL", json!({ "kid": "es\u{0}" })),
        ("kid in upper case", json!({ "kid": "ES" })),
        ("kid long", json!({ "kid": long })),
        ("typ JWT", json!({ "typ": "JWT" })),
        ("typ refresh", json!({ "typ": "rt+jwt" })),
        ("typ upper case", json!({ "typ": "AT+JWT" })),
        ("typ media type", json!({ "typ": "application/at+jwt" })),
        ("typ null", json!({ "typ": null })),
        ("crit", json!({ "crit": ["exp"] })),
        ("crit empty", json!({ "crit": [] })),
        ("crit b64", json!({ "crit": ["b64"], "b64": false })),
        ("b64", json!({ "b64": false })),
        ("b64 true", json!({ "b64": true })),
        ("jwk", json!({ "jwk": jwk })),
        ("jku", json!({ "jku": "https://evil.example/jwks.json" })),
        ("x5u", json!({ "x5u": "https://evil.example/cert.pem" })),
        ("x5c", json!({ "x5c": ["MIIB"] })),
        ("x5t", json!({ "x5t": "AAAA" })),
        ("zip", json!({ "zip": "DEF" })),
        ("cty", json!({ "cty": "JWT" })),
        ("enc", json!({ "enc": "A128GCM" })),
        ("unknown", json!({ "foo": "bar" })),
    ];
    for (name, change) in changes {
        let token = forge(&with(head(), change), &body(), bench.es());
        assert!(bench.judge(&token).is_err(), "{name}");
    }
    for name in ["alg", "kid", "typ"] {
        assert!(
            bench.judge(&forge(&without(head(), name), &body(), bench.es())).is_err(),
            "no {name}"
        );
    }
    let text = body().to_string();
    for head in [
        r#"["ES256","es","at+jwt"]"#,
        r#"{"alg":"ES256","kid":"es","typ":"at+jwt","kid":"es"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"es","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","\u0061lg":"none","kid":"es","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"es","typ":"at+jwt"} "x""#,
        "\u{feff}{\"alg\":\"ES256\",\"kid\":\"es\",\"typ\":\"at+jwt\"}",
        "null",
        "\"ES256\"",
        "{",
    ] {
        assert!(bench.judge(&raw(head, &text, bench.es())).is_err(), "{head}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row a case")]
fn a_forged_signature_is_refused() {
    let bench = Bench::new();
    let good = forge(&head(), &body(), bench.es());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let coded = |bytes: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    let swapped = [&bytes[32..], &bytes[..32]].concat();
    let (head_part, body_part) = signed.split_once('.').unwrap();
    let other =
        forge(&head(), &with(body(), json!({ "sub": SESSION, "user_id": SESSION })), bench.es());
    let other_body = other.split('.').nth(1).unwrap();
    // The public key as an HMAC secret: the classic algorithm confusion.
    let public = bench.es().public().unwrap();
    let hmac_with = |secret: &[u8], alg: &str| {
        let head = with(head(), json!({ "alg": alg }));
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(body().to_string())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let x = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
    let forgeries = [
        ("another's key", forge(&head(), &body(), &bench.stranger)),
        ("no signature", format!("{signed}.")),
        ("zeros", coded(&[0; 64])),
        ("ones", coded(&[0xff; 64])),
        ("one bit", coded(&flipped)),
        ("r and s swapped", coded(&swapped)),
        ("cut", coded(&bytes[..63])),
        ("longer", coded(&[&bytes[..], &[0]].concat())),
        ("half", coded(&bytes[..32])),
        ("another body", format!("{head_part}.{other_body}.{signature}")),
        ("hmac by the JWK", hmac_with(public.to_string().as_bytes(), "HS256")),
        ("hmac by the point", hmac_with(&x, "HS256")),
        ("hmac that calls itself ES256", hmac_with(&x, "ES256")),
        ("hmac of nothing", hmac_with(b"", "HS256")),
        ("padding", format!("{good}=")),
        ("plain base64", good.replacen('_', "/", 1).replacen('-', "+", 1) + "+"),
        ("a space after", format!("{good} ")),
        ("a space before", format!(" {good}")),
        ("a line feed", format!("{good}\n")),
        ("two parts", signed.to_owned()),
        ("one part", head_part.to_owned()),
        ("four parts", format!("{good}.")),
        ("five parts", format!("{head_part}.{body_part}.{signature}.a.b")),
        ("no header", format!(".{body_part}.{signature}")),
        ("no body", format!("{head_part}..{signature}")),
        ("only dots", "..".to_owned()),
        ("empty", String::new()),
        ("nonsense", "x".to_owned()),
        ("not ascii", format!("{head_part}.{body_part}.é")),
        (
            "JSON serialization",
            json!({ "payload": body_part, "protected": head_part, "signature": signature })
                .to_string(),
        ),
        ("twice", format!("{good}{good}")),
        ("100 KB", "a".repeat(100_000)),
        ("100 KB in three parts", format!("{signed}.{}", "A".repeat(100_000))),
        ("a megabyte", format!("{}.{signature}", "A".repeat(1 << 20))),
    ];
    for (name, token) in &forgeries {
        assert!(bench.judge(token).is_err(), "{name}");
    }
    // Unused bits of the last character: the same bytes, encoded differently.
    let last = signature.as_bytes()[signature.len() - 1];
    for byte in b'A'..=b'z' {
        let changed = format!("{}{}", &good[..good.len() - 1], char::from(byte));
        assert_eq!(bench.judge(&changed).is_ok(), byte == last, "{}", char::from(byte));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row a case")]
fn claims_of_wrong_type_or_value_are_refused_however_well_signed() {
    let bench = Bench::new();
    let mut changes = vec![
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": format!("{ISSUER}/") }),
        json!({ "iss": [ISSUER] }),
        json!({ "iss": null }),
        json!({ "aud": "other" }),
        json!({ "aud": "" }),
        json!({ "aud": ["latchkey"] }),
        json!({ "aud": ["latchkey", "other"] }),
        json!({ "aud": null }),
        json!({ "token_type": "refresh" }),
        json!({ "token_type": "Access" }),
        json!({ "token_type": null }),
        json!({ "sub": SESSION }),
        json!({ "user_id": SESSION }),
        json!({ "sub": "1", "user_id": "1" }),
        json!({ "sub": 1, "user_id": 1 }),
        json!({ "sub": USER.to_uppercase(), "user_id": USER.to_uppercase() }),
        json!({ "sub": format!("{{{USER}}}"), "user_id": format!("{{{USER}}}") }),
        json!({ "sub": "", "user_id": "" }),
        json!({ "sid": "x" }),
        json!({ "sid": SESSION.replace('-', "") }),
        json!({ "sid": null }),
        json!({ "jti": "x" }),
        json!({ "jti": 7 }),
        json!({ "exp": NOW - 5 }),
        json!({ "exp": NOW - 600 }),
        json!({ "exp": 0 }),
        json!({ "exp": -1 }),
        json!({ "exp": i64::MIN }),
        json!({ "exp": 9_223_372_036_854_775_808_u64 }),
        json!({ "exp": "9999999999" }),
        json!({ "exp": true }),
        json!({ "exp": [NOW + 600] }),
        json!({ "exp": null }),
        json!({ "nbf": NOW + 6 }),
        json!({ "nbf": "0" }),
        json!({ "nbf": i64::MAX }),
        json!({ "iat": NOW + 6 }),
        json!({ "iat": null }),
        json!({ "auth_time": "0" }),
        json!({ "auth_time": null }),
        json!({ "amr": "sms" }),
        json!({ "amr": [] }),
        json!({ "amr": [""] }),
        json!({ "amr": [1] }),
        json!({ "amr": ["sms", null] }),
        json!({ "amr": null }),
        json!({ "cnf": null }),
        json!({ "cnf": {} }),
        json!({ "cnf": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        json!({ "cnf": { "jkt": 1 } }),
        json!({ "cnf": { "jkt": "0ZcOCORZNYy" } }),
        json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4J" } }),
        json!({ "cnf": { "x5t#S256": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }),
        json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "jwk": {} } }),
    ];
    for claim in ["exp", "nbf", "iat", "auth_time"] {
        changes.push(json!({ claim: 1_799_999_999.5 }));
        changes.push(json!({ claim: 1_800_000_000.0 }));
    }
    for change in changes {
        let token = forge(&head(), &with(body(), change.clone()), bench.es());
        assert!(bench.judge(&token).is_err(), "{change}");
    }
    for name in body().as_object().unwrap().keys() {
        assert!(
            bench.judge(&forge(&head(), &without(body(), name), bench.es())).is_err(),
            "no {name}"
        );
    }
    let (head, body) = (head().to_string(), body().to_string());
    let open_end = &body[..body.len() - 1];
    for text in [
        format!(r#"{open_end},"exp":4102444800}}"#),
        format!(r#"{open_end},"\u0065xp":4102444800}}"#),
        body.replace(&(NOW + 600).to_string(), "1e400"),
        body.replace(&(NOW + 600).to_string(), "18e8"),
        body.replace(&(NOW + 600).to_string(), "99999999999999999999999999"),
        format!("{body}{body}"),
        format!("[{body}]"),
        "[]".to_owned(),
        "null".to_owned(),
        "hello".to_owned(),
    ] {
        assert!(bench.judge(&raw(&head, &text, bench.es())).is_err(), "{text}");
    }
}

#[test]
fn leeway_is_five_seconds_and_not_sixty() {
    let bench = Bench::new();
    for (change, good) in [
        (json!({ "exp": NOW - 4 }), true),
        (json!({ "exp": NOW - 5 }), false),
        (json!({ "nbf": NOW + 5, "iat": NOW + 5 }), true),
        (json!({ "nbf": NOW + 6 }), false),
        (json!({ "iat": NOW + 6 }), false),
    ] {
        let token = forge(&head(), &with(body(), change.clone()), bench.es());
        assert_eq!(bench.judge(&token).is_ok(), good, "{change}");
    }
}

#[test]
fn neither_kind_of_token_is_accepted_as_the_other() {
    let bench = Bench::new();
    let refresh_head = json!({ "alg": "HS256", "kid": bench.refresh.kid(), "typ": "rt+jwt" });
    let refresh_body = with(without(body(), "amr"), json!({ "token_type": "refresh", "gen": 2 }));
    let good = forge(&refresh_head, &refresh_body, &bench.refresh);
    assert_eq!(bench.judge_refresh(&good).unwrap().generation, 2);
    assert!(bench.judge(&good).is_err());
    let access = forge(&head(), &body(), bench.es());
    assert!(bench.judge_refresh(&access).is_err());

    for (name, head, body) in [
        ("typ", with(refresh_head.clone(), json!({ "typ": "at+jwt" })), refresh_body.clone()),
        (
            "token_type",
            refresh_head.clone(),
            with(refresh_body.clone(), json!({ "token_type": "access" })),
        ),
        ("gen missing", refresh_head.clone(), without(refresh_body.clone(), "gen")),
        ("gen string", refresh_head.clone(), with(refresh_body.clone(), json!({ "gen": "2" }))),
        ("gen negative", refresh_head.clone(), with(refresh_body.clone(), json!({ "gen": -1 }))),
        ("gen float", refresh_head.clone(), with(refresh_body.clone(), json!({ "gen": 2.0 }))),
        ("alg", with(refresh_head.clone(), json!({ "alg": "ES256" })), refresh_body.clone()),
    ] {
        assert!(bench.judge_refresh(&forge(&head, &body, &bench.refresh)).is_err(), "{name}");
    }
    // Signed with the refresh key, dressed as an access token, and looked up in a table that holds both.
    let dressed = forge(
        &json!({ "alg": "HS256", "kid": bench.refresh.kid(), "typ": "at+jwt" }),
        &body(),
        &bench.refresh,
    );
    let found = open(&dressed, expected(Kind::Access), |_| Some(&bench.refresh));
    assert_eq!(found.unwrap_err().reason, "the key is of the other kind");
}
