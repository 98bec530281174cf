//! The master secret: the check against weak secrets, and the secret that is generated when running embedded.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use secrecy::SecretString;
use zeroize::Zeroizing;

use domain::rng;

/// The minimum length of a secret: the output length of HMAC-SHA-256 (RFC 2104, section 3).
pub(super) const LEAST_BYTES: usize = 32;

/// Returns whether a secret contains a word that samples contain.
pub(super) fn has_telltale(secret: &str) -> bool {
    const WORDS: [&str; 8] = [
        "changeme",
        "change-me",
        "change_me",
        "secret",
        "example",
        "password",
        "replace",
        "insecure",
    ];
    let lower = Zeroizing::new(secret.to_ascii_lowercase());
    WORDS.iter().any(|word| lower.contains(word))
}

/// A word that is shorter than this and repeated has too few bits, whatever it is: 15 hexadecimal digits have 60.
const REPEATED_LEAST: usize = 16;

/// Returns whether a secret looks copied from an example or typed by hand: it contains a telltale word, the product's
/// name, a row of a keyboard, fewer than eight distinct bytes, eight ascending bytes, or nothing but one repeated word.
/// Fewer than one in a million 32-byte random secrets in hex or base64 match.
pub(super) fn is_sample(secret: &str) -> bool {
    let bytes = secret.as_bytes();
    let ascending = bytes
        .windows(8)
        .any(|run| run.windows(2).all(|pair| i16::from(pair[1]) - i16::from(pair[0]) == 1));
    let different: BTreeSet<u8> = bytes.iter().copied().collect();
    ascending
        || different.len() < 8
        || is_repeated(bytes)
        || is_typed(secret)
        || has_telltale(secret)
}

/// Whether the whole text repeats a word, such as `latchkeylatchkey`; the last time may be cut.
fn is_repeated(bytes: &[u8]) -> bool {
    (1..REPEATED_LEAST.min(bytes.len()))
        .any(|length| bytes[length..] == bytes[..bytes.len() - length])
}

/// Whether it has the product's name or the start of a row of the keyboard. Such words are sought in our own secrets
/// only: a password for an engine may well begin with the name of what it opens.
fn is_typed(secret: &str) -> bool {
    const WORDS: [&str; 5] = ["latchkey", "qwerty", "qwertz", "asdfgh", "zxcvbn"];
    let lower = Zeroizing::new(secret.to_ascii_lowercase());
    WORDS.iter().any(|word| lower.contains(word))
}

/// Reads the secret from the file `secret` in the data folder, or generates one: 32 random bytes in hex. The text
/// itself is the secret, so it can be set as `LATCHKEY_SECRET` when the installation moves to real engines.
///
/// Concurrent first starts agree on one secret: the file appears atomically under its name.
///
/// # Errors
/// If the folder or file cannot be created or read, or the secret in the file is too short.
pub(super) fn made_in(data_dir: &Path) -> anyhow::Result<SecretString> {
    let path = data_dir.join("secret");
    let shown = path.display();
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .with_context(|| format!("create the data folder {}", data_dir.display()))?;
        make(data_dir, &path).with_context(|| format!("create the secret file {shown}"))?;
    }
    let text = Zeroizing::new(
        std::fs::read_to_string(&path).with_context(|| format!("read the secret file {shown}"))?,
    );
    let secret = text.trim_end();
    ensure!(
        secret.len() >= LEAST_BYTES,
        "the secret in {shown} is shorter than {LEAST_BYTES} bytes: restore the original file, \
         or delete it and lose all sessions and codes that depend on it"
    );
    Ok(SecretString::from(secret.to_owned()))
}

/// Writes a new secret to a draft and links it into place. Linking fails, rather than replaces, if the file exists.
fn make(data_dir: &Path, path: &Path) -> anyhow::Result<()> {
    let draft = data_dir.join(format!("secret.{}", hex::encode(rng::secret_bytes::<8>())));
    let written = write(&draft).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    // Whatever happened, leave no second copy of the secret behind.
    let removed = std::fs::remove_file(&draft);
    written?;
    removed.context("remove the draft secret file")?;
    // The directory entry must survive a power failure: sessions will depend on the secret.
    File::open(data_dir).and_then(|folder| folder.sync_all()).context("sync the data folder")
}

fn write(draft: &Path) -> std::io::Result<()> {
    let secret = Zeroizing::new(hex::encode(Zeroizing::new(rng::secret_bytes::<32>()).as_slice()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn samples_are_recognized_and_random_secrets_are_not_mistaken_for_them() {
        for sample in [
            "0".repeat(64),
            "ab".repeat(20),
            "c0ffee".repeat(11),
            "0123456789abcdef0123456789abcdef".to_owned(),
            "0123".repeat(10),
            "abcdefghijklmnopqrstuvwxyzabcdef".to_owned(),
            "please-CHANGEME-please-please-pl".to_owned(),
            "this is not a Secret, is it? xxx".to_owned(),
            "example-example-example-example!".to_owned(),
            "Password Password Password Passw".to_owned(),
            "latchkey".repeat(4),
            "Latchkey-of-4-houses-and-3-barns".to_owned(),
            "qwertyuiopasdfghjklzxcvbnm123456".to_owned(),
            "kl93ASDFGHJKL-zz-09-mm-11-tt-7-w".to_owned(),
            "marigold-7".repeat(4),
            "9f8e7d6c5b4a302".repeat(3),
        ] {
            assert!(is_sample(&sample), "{sample}");
        }
        assert!(!is_sample(&"9f8e7d6c5b4a3021".repeat(4)));
        assert!(!is_sample("correct horse battery staple, twice"));
        for _ in 0..1_000 {
            let random = hex::encode(rng::secret_bytes::<32>());
            assert!(!is_sample(&random), "{random}");
        }
    }

    #[test]
    fn a_generated_secret_is_kept_and_only_its_owner_can_read_it() -> anyhow::Result<()> {
        let folder = Folder::new();
        let data_dir = folder.path().join("share/latchkey");
        let secret = made_in(&data_dir)?;
        assert_eq!(secret.expose_secret().len(), 64);
        assert_eq!(made_in(&data_dir)?.expose_secret(), secret.expose_secret());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&data_dir.join("secret"))), (0o700, 0o600));
        let left: Vec<_> = std::fs::read_dir(&data_dir)?.collect::<Result<_, _>>()?;
        assert_eq!(left.len(), 1, "no draft is left behind: {left:?}");
        Ok(())
    }

    #[test]
    fn concurrent_first_starts_agree_on_one_secret() {
        for _ in 0..20 {
            let folder = Folder::new();
            let gate = std::sync::Barrier::new(8);
            let secrets: BTreeSet<String> = std::thread::scope(|scope| {
                let start = || {
                    gate.wait();
                    made_in(&folder.path().join("data")).unwrap().expose_secret().to_owned()
                };
                let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            assert_eq!(secrets.len(), 1);
        }
    }

    #[test]
    fn a_damaged_secret_is_reported_and_not_replaced() -> anyhow::Result<()> {
        let folder = Folder::new();
        std::fs::write(folder.path().join("secret"), "cut off\n")?;
        let error = format!("{:#}", made_in(folder.path()).unwrap_err());
        assert!(error.contains("/secret is shorter than 32 bytes"), "{error}");
        assert!(!error.contains("cut off"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("secret"))?, "cut off\n");
        Ok(())
    }
}
