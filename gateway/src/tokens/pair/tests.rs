use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::*;

const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";
const OTHER: &[u8] = b"another secret of at least 32 bytes, too";

struct Bench {
    tokens: Tokens,
    clock: Clock,
    dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual();
    let tokens = tokens(&dir, &clock, &Keys::from_secret(SECRET, None));
    Bench { tokens, clock, dir }
}

fn tokens(dir: &tempfile::TempDir, clock: &Clock, keys: &Keys) -> Tokens {
    let token_keys = Arc::new(TokenKeys::load_or_make(dir.path(), None).unwrap());
    let settings = Settings {
        issuer: "https://id.example.test".to_owned(),
        audience: "latchkey".to_owned(),
        access_ttl_secs: 600,
        refresh_idle_secs: 2_592_000,
    };
    Tokens::new(settings, token_keys, keys, clock.clone()).unwrap()
}

impl Bench {
    fn grant<'a>(&self, amr: &'a [String]) -> Grant<'a> {
        Grant {
            user_id: UserId::new(&self.clock),
            session_id: SessionId::new(&self.clock),
            generation: 3,
            auth_time: self.clock.now().plus_secs(-60),
            amr,
            session_ends_at: self.clock.now().plus_secs(15_552_000),
            jkt: None,
        }
    }
}

fn part(token: &str, at: usize) -> Value {
    let coded = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(coded).unwrap()).unwrap()
}

#[test]
fn a_pair_says_what_the_contract_says_and_no_more() {
    let bench = bench();
    let amr = ["sms".to_owned()];
    let grant = bench.grant(&amr);
    let pair = bench.tokens.issue(&grant).unwrap();
    assert_eq!(
        (pair.token_type, pair.expires_in, pair.refresh_expires_in),
        ("Bearer", 600, 2_592_000)
    );

    let header = part(&pair.access, 0);
    let kid = bench.tokens.keys.table().active().kid().to_owned();
    assert_eq!(header, json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" }));
    let claims = part(&pair.access, 1);
    let names: BTreeSet<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = "amr aud auth_time exp iat iss jti nbf sid sub token_type user_id";
    assert_eq!(names, wanted.split(' ').collect());
    assert_eq!(claims["sub"], grant.user_id.to_string());
    assert_eq!(claims["sub"], claims["user_id"]);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);

    let header = part(&pair.refresh, 0);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!("rt+jwt")));
    let names: BTreeSet<_> = part(&pair.refresh, 1).as_object().unwrap().keys().cloned().collect();
    let wanted = "aud auth_time exp gen iat iss jti nbf sid sub token_type user_id";
    assert_eq!(names, wanted.split(' ').map(str::to_owned).collect());
    assert!(!format!("{pair:?}").contains("eyJ"), "p10: tokens are not printed");
}

#[test]
fn what_was_issued_is_read_back() {
    let bench = bench();
    let amr = ["sms".to_owned(), "pwd".to_owned()];
    let grant = bench.grant(&amr);
    let pair = bench.tokens.issue(&grant).unwrap();
    let access = bench.tokens.access(&pair.access).unwrap();
    assert_eq!((access.user_id, access.session_id), (grant.user_id, grant.session_id));
    assert_eq!((access.auth_time_secs, access.amr.as_slice()), (grant.auth_time.secs(), &amr[..]));
    let refresh = bench.tokens.refresh(&pair.refresh).unwrap();
    assert_eq!((refresh.user_id, refresh.session_id), (grant.user_id, grant.session_id));
    assert_eq!((refresh.generation, refresh.auth_time_secs), (3, grant.auth_time.secs()));
    assert_eq!(bench.tokens.any(&pair.access).unwrap(), AnyClaims::Access(access));
    assert_eq!(bench.tokens.any(&pair.refresh).unwrap(), AnyClaims::Refresh(refresh));
    assert!(bench.tokens.any("x").is_err());
    let again = bench.tokens.issue(&grant).unwrap();
    assert_ne!(part(&again.access, 1)["jti"], part(&pair.access, 1)["jti"], "an id of its own");
}

#[test]
fn a_bound_pair_names_its_key_in_the_access_token_and_nothing_else_changes() {
    let bench = bench();
    let amr = ["sms".to_owned()];
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let grant = bench.grant(&amr);
    let (plain, bound) = (
        bench.tokens.issue(&grant).unwrap(),
        bench.tokens.issue(&Grant { jkt: Some(jkt), ..grant }).unwrap(),
    );
    assert_eq!((plain.token_type, bound.token_type), ("Bearer", "DPoP"));
    let mut claims = part(&bound.access, 1);
    assert_eq!(claims.as_object_mut().unwrap().remove("cnf"), Some(json!({ "jkt": jkt })));
    let names = |claims: &Value| -> BTreeSet<String> {
        claims.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&claims), names(&part(&plain.access, 1)));
    assert_eq!(names(&part(&bound.refresh, 1)), names(&part(&plain.refresh, 1)));
    assert_eq!(part(&bound.access, 0), part(&plain.access, 0));
    assert_eq!(bench.tokens.access(&bound.access).unwrap().jkt.as_deref(), Some(jkt));
    assert_eq!(bench.tokens.access(&plain.access).unwrap().jkt, None);
}

#[test]
fn no_token_outlives_its_session() {
    let bench = bench();
    let grant = Grant { session_ends_at: bench.clock.now().plus_secs(90), ..bench.grant(&[]) };
    let pair = bench.tokens.issue(&grant).unwrap();
    assert_eq!((pair.expires_in, pair.refresh_expires_in), (90, 90));
}

#[test]
fn a_token_is_valid_for_its_lifetime_and_five_seconds() {
    let bench = bench();
    let amr = ["sms".to_owned()];
    let pair = bench.tokens.issue(&bench.grant(&amr)).unwrap();
    // The manual clock starts at a fraction of a second, so rounding may add or remove a second.
    bench.clock.advance(Duration::from_secs(600 + 3));
    assert!(bench.tokens.access(&pair.access).is_ok());
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(bench.tokens.access(&pair.access).unwrap_err().reason, "expired");
    assert!(bench.tokens.refresh(&pair.refresh).is_ok());
    bench.clock.advance(Duration::from_hours(30 * 24));
    assert_eq!(bench.tokens.refresh(&pair.refresh).unwrap_err().reason, "expired");
}

#[test]
fn a_refresh_token_of_the_previous_secret_is_still_accepted() {
    let bench = bench();
    let amr = ["sms".to_owned()];
    let pair = bench.tokens.issue(&bench.grant(&amr)).unwrap();
    let rotated = tokens(&bench.dir, &bench.clock, &Keys::from_secret(OTHER, Some(SECRET)));
    assert!(rotated.refresh(&pair.refresh).is_ok());
    let foreign = tokens(&bench.dir, &bench.clock, &Keys::from_secret(OTHER, None));
    assert_eq!(foreign.refresh(&pair.refresh).unwrap_err().reason, "unknown kid");
}

#[test]
fn the_jwks_alone_verifies_a_token_with_another_library() {
    let bench = bench();
    let amr = ["sms".to_owned()];
    let pair = bench.tokens.issue(&bench.grant(&amr)).unwrap();
    let jwks: Value = serde_json::from_slice(&bench.tokens.jwks()).unwrap();
    let kid = &part(&pair.access, 0)["kid"];
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == *kid).unwrap();
    let names: BTreeSet<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, "alg crv kid kty use x y".split(' ').collect(), "public parts only");
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &bytes("x"), &bytes("y")].concat();
    let (signed, signature) = pair.access.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}
