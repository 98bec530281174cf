//! Keys cut by use from the one secret, and the bundle of them that a single service needs.
//!
//! HKDF-SHA-256 (RFC 5869) gives every use its own key, so that a service that lost its keys lost only its own power:
//! sms-worker can neither check a code nor sign a refresh token (design, rulings 27 and 29).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use aws_lc_rs::{constant_time, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::phone::Phone;
use crate::seal::{Seal, SealKey};

type KeyBytes = Zeroizing<[u8; 32]>;

/// The services that keys are cut for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    Gateway,
    OtpWorker,
    SmsWorker,
}

impl Service {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::OtpWorker => "otp-worker",
            Self::SmsWorker => "sms-worker",
        }
    }

    /// The uses whose keys this service gets.
    const fn uses(self) -> &'static [Use] {
        match self {
            Self::Gateway => &[Use::Event, Use::Index, Use::Pepper, Use::Refresh, Use::Device],
            Self::OtpWorker => &[Use::Event, Use::Index, Use::Pepper, Use::Code],
            Self::SmsWorker => &[Use::Event, Use::Index],
        }
    }
}

impl FromStr for Service {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        [Self::Gateway, Self::OtpWorker, Self::SmsWorker]
            .into_iter()
            .find(|service| service.as_str() == text)
            .context("a service is gateway, otp-worker or sms-worker")
    }
}

/// What a key is good for. The names are part of the derivation: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Use {
    /// Sealed parts of events, and the inbox.
    Event,
    /// Keys of phones in stores: an index that a dump does not turn back into numbers.
    Index,
    /// Digests of codes.
    Pepper,
    /// Codes and profiles at rest.
    Code,
    /// Refresh tokens.
    Refresh,
    /// Device tokens.
    Device,
}

impl Use {
    const ALL: [Self; 6] =
        [Self::Event, Self::Index, Self::Pepper, Self::Code, Self::Refresh, Self::Device];

    const fn info(self) -> &'static str {
        match self {
            Self::Event => "latchkey/1/event",
            Self::Index => "latchkey/1/index",
            Self::Pepper => "latchkey/1/pepper",
            Self::Code => "latchkey/1/code",
            Self::Refresh => "latchkey/1/refresh",
            Self::Device => "latchkey/1/device",
        }
    }
}

/// A key for HMAC-SHA-256, with an id to tell it from its predecessor.
pub struct MacKey {
    id: String,
    bytes: KeyBytes,
    key: hmac::Key,
}

impl MacKey {
    fn new(bytes: &KeyBytes) -> Self {
        Self {
            id: key_id(bytes),
            bytes: bytes.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, for the one library that signs with it.
    pub fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The tag over the parts, each with its length.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Whether `tag` is that of the parts, in constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// The current key and, during a rotation, the one before it.
#[derive(Debug)]
pub struct Rotating {
    pub current: MacKey,
    pub previous: Option<MacKey>,
}

/// The keys that a process holds. A use whose key it was not given is `None`.
#[derive(Debug)]
pub struct Keys {
    pub event: Seal,
    index: Rotating,
    pepper: Option<MacKey>,
    code: Option<Seal>,
    refresh: Option<Rotating>,
    device: Option<Rotating>,
}

/// A phone's key in stores: HMAC-SHA-256 of its E.164 form, cut to 128 bits. Says nothing about the number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhoneKey(String);

impl PhoneKey {
    fn under(key: &MacKey, phone: &Phone) -> Self {
        Self(hex(&key.tag(&[b"phone", phone.e164().as_bytes()])[..16]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The derived keys of a secret and of the one before it, as they are handed to one service.
#[derive(Serialize, Deserialize)]
struct Bundle {
    keys: BTreeMap<Use, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    previous: BTreeMap<Use, String>,
}

const BUNDLE_PREFIX: &str = "lk1.";

/// The bundle for `service`: what `LATCHKEY_SERVICE_KEYS` takes. It is a secret.
pub fn derive_bundle(
    secret: &[u8],
    previous: Option<&[u8]>,
    service: Service,
) -> anyhow::Result<Zeroizing<String>> {
    let cut = |secret: &[u8]| -> BTreeMap<Use, String> {
        service
            .uses()
            .iter()
            .map(|&of| (of, URL_SAFE_NO_PAD.encode(derive(secret, of).as_slice())))
            .collect()
    };
    let bundle = Bundle { keys: cut(secret), previous: previous.map(cut).unwrap_or_default() };
    let json = Zeroizing::new(serde_json::to_vec(&bundle).context("encode the bundle")?);
    Ok(Zeroizing::new(format!("{BUNDLE_PREFIX}{}", URL_SAFE_NO_PAD.encode(json.as_slice()))))
}

impl Keys {
    /// All keys, cut from the master secret.
    pub fn from_secret(secret: &[u8], previous: Option<&[u8]>) -> Self {
        let cut = |secret: &[u8]| Use::ALL.into_iter().map(|of| (of, derive(secret, of))).collect();
        Self::from_parts(&cut(secret), &previous.map(cut).unwrap_or_default())
            .expect("every use was cut, so none is missing")
    }

    /// The keys of a bundle that [`derive_bundle`] made.
    ///
    /// # Errors
    /// When the text is no such bundle. The error repeats nothing of it.
    pub fn from_bundle(text: &str) -> anyhow::Result<Self> {
        let coded =
            text.trim().strip_prefix(BUNDLE_PREFIX).context("a bundle starts with `lk1.`")?;
        let json =
            Zeroizing::new(URL_SAFE_NO_PAD.decode(coded).ok().context("a bundle is base64url")?);
        let bundle: Bundle =
            serde_json::from_slice(&json).ok().context("a bundle holds keys by use")?;
        let read = |keys: &BTreeMap<Use, String>| -> anyhow::Result<BTreeMap<Use, KeyBytes>> {
            keys.iter().map(|(&of, text)| Ok((of, decode_key(text)?))).collect()
        };
        Self::from_parts(&read(&bundle.keys)?, &read(&bundle.previous)?)
    }

    fn from_parts(
        now: &BTreeMap<Use, KeyBytes>,
        before: &BTreeMap<Use, KeyBytes>,
    ) -> anyhow::Result<Self> {
        let seal = |of: Use| {
            now.get(&of).map(|key| Seal::new(seal_key(key), before.get(&of).map(seal_key)))
        };
        let rotating = |of: Use| {
            now.get(&of).map(|key| Rotating {
                current: MacKey::new(key),
                previous: before.get(&of).map(MacKey::new),
            })
        };
        Ok(Self {
            event: seal(Use::Event).context("the event key is missing")?,
            index: rotating(Use::Index).context("the index key is missing")?,
            pepper: now.get(&Use::Pepper).map(MacKey::new),
            code: seal(Use::Code),
            refresh: rotating(Use::Refresh),
            device: rotating(Use::Device),
        })
    }

    pub fn phone_key(&self, phone: &Phone) -> PhoneKey {
        PhoneKey::under(&self.index.current, phone)
    }

    /// The key that the phone had under the secret before this one, during a rotation: what was kept by it stands under
    /// it still.
    pub fn former_phone_key(&self, phone: &Phone) -> Option<PhoneKey> {
        self.index.previous.as_ref().map(|key| PhoneKey::under(key, phone))
    }

    /// A key for any other text that a store should not hold plainly: an address, an `Idempotency-Key`.
    pub fn index(&self, kind: &str, text: &str) -> String {
        hex(&self.index.current.tag(&[kind.as_bytes(), text.as_bytes()])[..16])
    }

    /// The digest by which the gateway checks a code: HMAC-SHA-256(pepper, purpose, phone, code), in hex.
    pub fn code_digest(&self, scope: &str, phone: &Phone, code: &Code) -> anyhow::Result<String> {
        let pepper = self.pepper.as_ref().context("this service was given no pepper")?;
        Ok(hex(&pepper.tag(&[scope.as_bytes(), phone.e164().as_bytes(), code.expose().as_bytes()])))
    }

    pub fn code(&self) -> anyhow::Result<&Seal> {
        self.code.as_ref().context("this service was given no code key")
    }

    pub fn refresh(&self) -> anyhow::Result<&Rotating> {
        self.refresh.as_ref().context("this service was given no refresh key")
    }

    pub fn device(&self) -> anyhow::Result<&Rotating> {
        self.device.as_ref().context("this service was given no device key")
    }

    /// Whether the keys that `service` works with are all here.
    ///
    /// # Errors
    /// Names the first key that is missing.
    pub fn check_for(&self, service: Service) -> anyhow::Result<()> {
        for of in service.uses() {
            let here = match of {
                Use::Event | Use::Index => true,
                Use::Pepper => self.pepper.is_some(),
                Use::Code => self.code.is_some(),
                Use::Refresh => self.refresh.is_some(),
                Use::Device => self.device.is_some(),
            };
            if !here {
                bail!("the bundle is not one for {}: its {of:?} key is missing", service.as_str());
            }
        }
        Ok(())
    }
}

fn derive(secret: &[u8], of: Use) -> KeyBytes {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"latchkey");
    let mut key = Zeroizing::new([0; 32]);
    salt.extract(secret)
        .expand(&[of.info().as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF-SHA-256 gives 32 bytes at once");
    key
}

fn seal_key(key: &KeyBytes) -> SealKey {
    SealKey::new(key_id(key), key)
}

/// Eight hex digits that tell one key from another and nothing about either.
fn key_id(key: &KeyBytes) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), b"latchkey key id");
    hex(&tag.as_ref()[..4])
}

fn decode_key(text: &str) -> anyhow::Result<KeyBytes> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok().context("a key is base64url")?);
    Ok(Zeroizing::new(bytes.as_slice().try_into().ok().context("a key has 32 bytes")?))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";

    #[test]
    fn p10_a_bundle_holds_only_what_its_service_needs() -> anyhow::Result<()> {
        for service in [Service::Gateway, Service::OtpWorker, Service::SmsWorker] {
            let keys = Keys::from_bundle(&derive_bundle(SECRET, None, service)?)?;
            keys.check_for(service)?;
            assert_eq!(keys.pepper.is_some(), service != Service::SmsWorker, "{service:?} pepper");
            assert_eq!(keys.code.is_some(), service == Service::OtpWorker, "{service:?} code");
            assert_eq!(keys.refresh.is_some(), service == Service::Gateway, "{service:?} refresh");
        }
        let sms = Keys::from_bundle(&derive_bundle(SECRET, None, Service::SmsWorker)?)?;
        assert!(sms.check_for(Service::Gateway).is_err());
        Ok(())
    }

    #[test]
    fn services_with_bundles_understand_one_with_the_secret() -> anyhow::Result<()> {
        let whole = Keys::from_secret(SECRET, None);
        let worker = Keys::from_bundle(&derive_bundle(SECRET, None, Service::OtpWorker)?)?;
        let sealed = whole.event.seal(&1_u8, &["x"])?;
        assert_eq!(worker.event.open(&sealed, &["x"])?, 1);
        assert_eq!(whole.index("a", "b"), worker.index("a", "b"));
        assert_ne!(whole.index("a", "b"), whole.index("ab", ""));
        Ok(())
    }

    #[test]
    fn a_rotated_secret_still_knows_the_keys_of_phones_and_a_bundle_does_too() -> anyhow::Result<()>
    {
        const NEXT: &[u8] = b"another secret of at least 32 bytes, too";
        let phone = Phone::trusted("+989121234567")?;
        let before = Keys::from_secret(SECRET, None);
        assert_eq!(before.former_phone_key(&phone), None);
        let whole = Keys::from_secret(NEXT, Some(SECRET));
        assert_eq!(whole.former_phone_key(&phone), Some(before.phone_key(&phone)));
        for service in [Service::Gateway, Service::OtpWorker, Service::SmsWorker] {
            let apart = Keys::from_bundle(&derive_bundle(NEXT, Some(SECRET), service)?)?;
            assert_eq!(apart.phone_key(&phone), whole.phone_key(&phone));
            assert_eq!(apart.former_phone_key(&phone), Some(before.phone_key(&phone)));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_bundle_is_refused_without_repeating_it() {
        for text in ["", "hunter2hunter2", "lk1.", "lk1.???", "lk1.e30"] {
            let error = format!(
                "{:#}",
                Keys::from_bundle(text).err().map_or_else(String::new, |e| format!("{e:#}"))
            );
            assert!(
                !error.is_empty() && (text.len() < 8 || !error.contains(text)),
                "{text}: {error}"
            );
        }
    }
}
