//! Password hashes imported from Django: `pbkdf2_sha256$<iterations>$<salt>$<hash>`.

use std::num::NonZeroU32;

use anyhow::{Context as _, ensure};
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) const PREFIX: &str = "pbkdf2_sha256$";

/// Django 5.2 uses a million. A far higher count would block the password pool.
const ITERATIONS_MAX: u32 = 5_000_000;

/// Whether the password matches the imported hash, and the iterations that the check took.
///
/// # Errors
/// If the text is not in Django's format. The error does not repeat it.
pub(crate) fn verify(password: &str, kept: &str) -> anyhow::Result<(bool, u32)> {
    let (iterations, salt, hash) = parse(kept).context("read an imported password hash")?;
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    let verified =
        pbkdf2::verify(algorithm, iterations, salt.as_bytes(), password.as_bytes(), &hash);
    Ok((verified.is_ok(), iterations.get()))
}

/// Does the work of that many iterations of [`verify`], only to take the same time. Returns the number done: at most
/// what a hash may have.
pub(crate) fn work(password: &str, iterations: u32) -> u32 {
    let Some(iterations) = NonZeroU32::new(iterations.min(ITERATIONS_MAX)) else { return 0 };
    let mut hash = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, b"nobody's salt", password.as_bytes(), &mut hash);
    std::hint::black_box(hash);
    iterations.get()
}

/// Whether [`verify`] can read this hash.
pub fn is_well_formed(kept: &str) -> bool {
    parse(kept).is_ok()
}

fn parse(kept: &str) -> anyhow::Result<(NonZeroU32, &str, Vec<u8>)> {
    let rest = kept.strip_prefix(PREFIX).context("it is not pbkdf2_sha256")?;
    let pieces: Vec<&str> = rest.split('$').collect();
    let &[iterations, salt, hash] = pieces.as_slice() else {
        anyhow::bail!("it does not have four parts");
    };
    // The only spelling that the database's pattern finds as well: the work for a phone without an account follows what
    // the database finds (P6).
    let is_plain = (1..=9).contains(&iterations.len())
        && !iterations.starts_with('0')
        && iterations.bytes().all(|b| b.is_ascii_digit());
    ensure!(is_plain, "its iteration count is not a plain number");
    let iterations: NonZeroU32 = iterations.parse().context("read its iteration count")?;
    ensure!(iterations.get() <= ITERATIONS_MAX, "its iteration count is too high");
    let hash = STANDARD.decode(hash).ok().context("its hash is not base64")?;
    ensure!(hash.len() == 32, "its hash is not 32 bytes long");
    Ok((iterations, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `django.contrib.auth.hashers.PBKDF2PasswordHasher` writes it; computed with Python's hashlib.
    const KEPT: &str =
        "pbkdf2_sha256$260000$Zr4kSaltSalt$/w0y118jq5ZlvQGkz1yTkgHUAqAH75fYOo6Ru1KD5aY=";

    #[test]
    fn djangos_own_hash_is_verified() {
        assert!(verify("vq7 blue kite 9", KEPT).unwrap().0);
        assert!(!verify("vq7 blue kite 8", KEPT).unwrap().0);
        assert!(!verify("", KEPT).unwrap().0);
    }

    #[test]
    fn p6_an_iteration_count_has_one_spelling() {
        let with = |count: &str| KEPT.replacen("260000", count, 1);
        assert!(is_well_formed(&with("260000")));
        for count in ["+260000", "0260000", "0000260000", " 260000", "260000 ", "", "２６００００"]
        {
            assert!(!is_well_formed(&with(count)), "{count}");
        }
    }

    #[test]
    fn a_hash_not_in_djangos_format_is_an_error() {
        for kept in [
            "pbkdf2_sha256$",
            "pbkdf2_sha256$1000$salt",
            "pbkdf2_sha256$0$salt$AAAA",
            "pbkdf2_sha256$-1$salt$AAAA",
            "pbkdf2_sha256$4000000000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "pbkdf2_sha256$1000$salt$AAAA",
            "pbkdf2_sha256$1000$salt$????",
            "pbkdf2_sha1$1000$salt$AAAA",
            "!unusable",
        ] {
            assert!(verify("x", kept).is_err(), "{kept}");
        }
    }
}
