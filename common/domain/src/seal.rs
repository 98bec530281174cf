//! Sealing: AES-256-GCM over a value's JSON, bound to its location.
//!
//! Access to the broker or Redis is not enough to read a sealed value, to forge it, to move it to another record or to
//! prolong it: its location is the associated data (NIST SP 800-38D).

use std::fmt;
use std::marker::PhantomData;

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rng;

/// A `T` that only holders of the key can read: `<key ID>.<base64url of nonce and ciphertext>`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed<T> {
    text: String,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The place of a sealed value that is not sealed yet: no key opens it.
    pub fn none() -> Self {
        Self::from_text(String::new())
    }

    /// Wraps a text from a store. Opening it checks that it is intact.
    pub fn from_text(text: String) -> Self {
        Self { text, of: PhantomData }
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::from_text(self.text.clone())
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// A key with the ID that its sealed texts carry.
pub struct SealKey {
    id: String,
    key: LessSafeKey,
}

impl SealKey {
    /// # Panics
    /// Never: 32 bytes is the key length of AES-256.
    pub fn new(id: String, bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes is AES-256's key length");
        Self { id, key: LessSafeKey::new(key) }
    }
}

/// Seals with the current key and opens with the current or the previous one.
pub struct Seal {
    current: SealKey,
    previous: Option<SealKey>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.current.id)
    }
}

impl Seal {
    pub fn new(current: SealKey, previous: Option<SealKey>) -> Self {
        Self { current, previous }
    }

    /// Seals `value` for the location that `bound_to` names.
    pub fn seal<T: Serialize>(
        &self,
        value: &T,
        bound_to: &[impl AsRef<str>],
    ) -> anyhow::Result<Sealed<T>> {
        let mut data = serde_json::to_vec(value).context("encode the value to seal")?;
        let nonce: [u8; NONCE_LEN] = rng::secret_bytes();
        self.current
            .key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(bound_to), &mut data)
            .map_err(|_| anyhow!("seal"))?;
        let mut whole = nonce.to_vec();
        whole.append(&mut data);
        Ok(Sealed::from_text(format!("{}.{}", self.current.id, URL_SAFE_NO_PAD.encode(whole))))
    }

    /// Opens a value that was sealed for the same location.
    ///
    /// # Errors
    /// If the key is unknown, or the text was altered or moved to another location.
    pub fn open<T: DeserializeOwned>(
        &self,
        sealed: &Sealed<T>,
        bound_to: &[impl AsRef<str>],
    ) -> anyhow::Result<T> {
        let (id, text) = sealed.text.split_once('.').context("sealed text without a key id")?;
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == id)
            .context("sealed with an unknown key")?;
        let mut whole =
            URL_SAFE_NO_PAD.decode(text).ok().context("sealed text is not base64url")?;
        if whole.len() < NONCE_LEN {
            bail!("sealed text is too short");
        }
        let mut data = whole.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&whole)
            .map_err(|_| anyhow!("nonce of the wrong length"))?;
        let plain = key
            .key
            .open_in_place(nonce, aad(bound_to), &mut data)
            .map_err(|_| anyhow!("sealed text was altered or moved"))?;
        serde_json::from_slice(plain).map_err(|_| anyhow!("sealed text has unexpected content"))
    }
}

/// Encodes the parts with their lengths, so that no two lists of parts give the same bytes.
fn aad(bound_to: &[impl AsRef<str>]) -> Aad<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in bound_to.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(id: &str, byte: u8, previous: Option<SealKey>) -> Seal {
        Seal::new(SealKey::new(id.to_owned(), &[byte; 32]), previous)
    }

    #[test]
    fn p10_a_sealed_value_opens_only_in_its_location_with_its_key() -> anyhow::Result<()> {
        let ours = seal("a", 1, None);
        let sealed = ours.seal(&"+989123456789".to_owned(), &["type", "id"])?;
        assert!(!sealed.as_str().contains("98912"));
        assert_eq!(ours.open(&sealed, &["type", "id"])?, "+989123456789");
        for other in
            [&["type", "other"][..], &["typ", "eid"], &["typeid"], &["type", "id", ""], &[]]
        {
            assert!(ours.open(&sealed, other).is_err(), "{other:?}");
        }
        assert!(seal("a", 2, None).open(&sealed, &["type", "id"]).is_err());
        Ok(())
    }

    #[test]
    fn an_altered_text_is_refused() -> anyhow::Result<()> {
        let ours = seal("a", 1, None);
        let text = ours.seal(&7_u8, &["x"])?.as_str().to_owned();
        for at in 2..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = Sealed::<u8>::from_text(String::from_utf8(bytes)?);
            // The last character has unused bits, which the base64url decoder also refuses.
            assert!(ours.open(&altered, &["x"]).is_err(), "byte {at}");
        }
        for odd in ["", "a", "a.", "a.AAAA", "b.AAAA"] {
            assert!(
                ours.open(&Sealed::<u8>::from_text(odd.to_owned()), &["x"]).is_err(),
                "{odd:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_rotation_still_opens_what_the_previous_key_sealed() -> anyhow::Result<()> {
        let old = seal("old", 1, None).seal(&1_u8, &["x"])?;
        let rotated = seal("new", 2, Some(SealKey::new("old".to_owned(), &[1; 32])));
        assert_eq!(rotated.open(&old, &["x"])?, 1);
        assert!(rotated.seal(&1_u8, &["x"])?.as_str().starts_with("new."));
        Ok(())
    }
}
