//! Third-party libraries: PyJWT and python-jose verify our tokens with the JWKS alone, and PyJWT makes key proofs.

use std::process::Command;

use testkit::both_sides;
use testkit::http::new_phone;
use testkit::system::{Side, System};

both_sides!(
    pyjwt_and_jose_verify_our_tokens_with_the_jwks_alone,
    the_documented_example_of_a_bound_session_runs,
);

const PYTHON: &str = "/usr/bin/python3";

/// Arguments: the URL of the JWKS, the issuer, the token, its expected algorithm.
const VERIFY: &str = r#"
import json, sys, urllib.request
import jwt
from jose import jwt as jose

url, issuer, token, algorithm = sys.argv[1:]
keys = json.load(urllib.request.urlopen(url))
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
assert jwt.get_unverified_header(token)["alg"] == algorithm

key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token).key
def pyjwt(token, audience="latchkey"):
    required = ["exp", "iat", "nbf", "sub", "aud", "iss", "jti"]
    return jwt.decode(token, key, algorithms=[algorithm], audience=audience, issuer=issuer,
                      options={"require": required})
claims = pyjwt(token)
assert claims["token_type"] == "access" and claims["user_id"] == claims["sub"], claims

def refused(verify):
    try:
        verify()
    except (jwt.InvalidTokenError, Exception) as error:
        return not isinstance(error, AssertionError)
    return False

head, body, signature = token.split(".")
forged = ".".join([head, body, signature[:-6] + ("AAAAAA" if signature[-6:] != "AAAAAA" else "BBBBBB")])
assert refused(lambda: pyjwt(forged)) and refused(lambda: pyjwt(token, audience="other"))

if algorithm != "EdDSA":  # python-jose does not support it
    if algorithm == "RS256":  # python-jose fails if keys of other types come first in the set
        kid = jwt.get_unverified_header(token)["kid"]
        keys = {"keys": [key for key in keys["keys"] if key["kid"] == kid]}
    def by_jose(token, audience="latchkey"):
        return jose.decode(token, keys, algorithms=[algorithm], audience=audience, issuer=issuer)
    assert by_jose(token) == claims
    assert refused(lambda: by_jose(forged)) and refused(lambda: by_jose(token, audience="other"))
print("verified")
"#;

async fn pyjwt_and_jose_verify_our_tokens_with_the_jwks_alone(side: Side) {
    let mut system = System::start(side, &[("LATCHKEY_ISSUER", "http://latchkey.test")]).await;
    for (algorithm, kid) in [("ES256", None), ("EdDSA", Some("ed")), ("RS256", Some("rsa"))] {
        if let Some(kid) = kid {
            let kind = algorithm.to_ascii_lowercase();
            let made =
                system.run(&["keys", "generate", "--algorithm", &kind, "--kid", kid, "--json"]);
            assert!(made.contains(kid), "{made}");
            system.run(&["keys", "activate", kid]);
            for process in &mut system.processes {
                process.restart().await;
            }
        }
        let api = system.api();
        let pair = api.sign_in(&new_phone()).await;
        verify(&api.url, pair["access"].as_str().unwrap(), algorithm);
    }
}

async fn the_documented_example_of_a_bound_session_runs(side: Side) {
    let system = System::start(side, &[]).await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/dpop_client.py");
    let run =
        Command::new(PYTHON).args([example, &system.api().url, &new_phone()]).env_clear().output();
    let output = run.unwrap_or_else(|e| panic!("{PYTHON} does not start ({e}): {MISSING}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("ModuleNotFoundError"), "{MISSING}\n{complaint}");
    assert!(output.status.success(), "{complaint}");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    let [signed_in, called, copied, refreshed, ended] = lines[..] else { panic!("{said}") };
    assert!(signed_in.starts_with("signed in: DPoP, bound to "), "{said}");
    assert!(called.starts_with("called: "), "{said}");
    assert_eq!(copied, "without the key: 401 token_not_valid");
    assert_eq!((refreshed, ended), ("refreshed: DPoP", "signed out"));
}

fn verify(url: &str, token: &str, algorithm: &str) {
    let jwks = format!("{url}/.well-known/jwks.json");
    let output = Command::new(PYTHON)
        .args(["-c", VERIFY, &jwks, "http://latchkey.test", token, algorithm])
        .env_clear()
        .output()
        .unwrap_or_else(|e| panic!("{PYTHON} does not start ({e}): {MISSING}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("ModuleNotFoundError"), "{MISSING}\n{complaint}");
    assert!(output.status.success(), "{complaint}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "verified");
}

const MISSING: &str =
    "install python3-jwt, python3-cryptography and python3-jose, as tests/run does";
