//! Derives one key per use from the master secret, and the bundle of keys that a separate service needs.
//!
//! HKDF-SHA-256 (RFC 5869) gives every use its own key, so that a service whose keys leak exposes only its own
//! abilities: sms-worker can neither check a code nor sign a refresh token (contract, rulings 27 and 29).

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, bail};
use aws_lc_rs::{constant_time, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::phone::E164;
use crate::seal::{Seal, SealKey};
use crate::string_enum;

type KeyBytes = Zeroizing<[u8; 32]>;

string_enum! {
    /// The services that receive a bundle of keys.
    pub enum Service { Gateway = "gateway", OtpWorker = "otp-worker", SmsWorker = "sms-worker" }
}

impl Service {
    /// Returns the uses whose keys this service gets.
    const fn uses(self) -> &'static [Use] {
        match self {
            Self::Gateway => &[
                Use::Event,
                Use::CodeRequest,
                Use::Notice,
                Use::Index,
                Use::Pepper,
                Use::Refresh,
                Use::Device,
            ],
            Self::OtpWorker => {
                &[Use::Event, Use::CodeRequest, Use::Text, Use::Index, Use::Pepper, Use::Code]
            }
            Self::SmsWorker => &[Use::Event, Use::Text, Use::Notice, Use::Index],
        }
    }
}

string_enum! {
    /// The use of a key. The words are part of the derivation, so they never change.
    #[derive(PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Use {
        /// Seals what two services keep for each other: profiles, the inbox. Until the next release also opens events of
        /// the version before.
        Event = "latchkey/1/event",
        /// Seals code requests: from the gateway to otp-worker.
        CodeRequest = "latchkey/2/code-request",
        /// Seals texts with a code: from otp-worker to sms-worker.
        Text = "latchkey/2/text",
        /// Seals notices to an account's owner: from the gateway to sms-worker.
        Notice = "latchkey/2/notice",
        /// Indexes phones in stores, so that a dump cannot be turned back into numbers.
        Index = "latchkey/1/index",
        /// Hashes codes.
        Pepper = "latchkey/1/pepper",
        /// Seals codes and profiles at rest.
        Code = "latchkey/1/code",
        /// Signs refresh tokens.
        Refresh = "latchkey/1/refresh",
        /// Signs device tokens.
        Device = "latchkey/1/device",
    }
}

/// A key for HMAC-SHA-256, with an ID that distinguishes it from the previous one.
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

    /// Returns the key itself, for the only library that signs with it.
    pub fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Computes the tag over the length-prefixed parts.
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

    /// Verifies in constant time that `tag` is the tag of the parts.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }
}

/// Compares two secrets in a time that depends on their lengths only.
pub fn is_same_secret(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// The current key and, during a rotation, the previous one.
#[derive(Debug)]
pub struct Rotating {
    pub current: MacKey,
    pub previous: Option<MacKey>,
}

/// The keys of a process. `None`: it was not given the key for this use.
#[derive(Debug)]
pub struct Keys {
    pub event: Seal,
    code_request: Option<Seal>,
    text: Option<Seal>,
    notice: Option<Seal>,
    index: Rotating,
    pepper: Option<MacKey>,
    code: Option<Seal>,
    refresh: Option<Rotating>,
    device: Option<Rotating>,
}

/// A phone's key in stores: HMAC-SHA-256 of the E.164 number, truncated to 128 bits. It does not reveal the number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhoneKey(String);

impl PhoneKey {
    fn under(key: &MacKey, phone: &E164) -> Self {
        Self(hex::encode(&key.tag(&[b"phone", phone.expose().as_bytes()])[..16]))
    }

    /// Restores a key from a name in the store. `None` if the text is no such key.
    pub fn stored(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 32 && is_hex).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Eight hex digits: enough to follow a phone through logs and events, too few to look it up.
    pub fn cut(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for PhoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The derived keys of the current and the previous secret for one service.
#[derive(Serialize, Deserialize)]
struct Bundle {
    keys: BTreeMap<Use, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    previous: BTreeMap<Use, String>,
}

const BUNDLE_PREFIX: &str = "lk1.";

/// Derives the bundle for `service`, the value of `LATCHKEY_SERVICE_KEYS`. It is a secret.
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
    /// Derives all keys from the master secret.
    pub fn from_secret(secret: &[u8], previous: Option<&[u8]>) -> Self {
        let cut = |secret: &[u8]| Use::ALL.into_iter().map(|of| (of, derive(secret, of))).collect();
        Self::from_parts(&cut(secret), &previous.map(cut).unwrap_or_default())
            .expect("every use was derived, so none is missing")
    }

    /// Reads the keys of a bundle from [`derive_bundle`].
    ///
    /// # Errors
    /// If the text is not such a bundle. The error never contains any part of it.
    pub fn from_bundle(text: &str) -> anyhow::Result<Self> {
        let coded =
            text.trim().strip_prefix(BUNDLE_PREFIX).context("a bundle starts with `lk1.`")?;
        let json =
            Zeroizing::new(URL_SAFE_NO_PAD.decode(coded).ok().context("a bundle is base64url")?);
        let bundle: Bundle =
            serde_json::from_slice(&json).ok().context("a bundle contains keys by use")?;
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
            code_request: seal(Use::CodeRequest),
            text: seal(Use::Text),
            notice: seal(Use::Notice),
            index: rotating(Use::Index).context("the index key is missing")?,
            pepper: now.get(&Use::Pepper).map(MacKey::new),
            code: seal(Use::Code),
            refresh: rotating(Use::Refresh),
            device: rotating(Use::Device),
        })
    }

    pub fn phone_key(&self, phone: &E164) -> PhoneKey {
        PhoneKey::under(&self.index.current, phone)
    }

    /// Returns the phone's key under the previous secret during a rotation. Records stored before the rotation still
    /// use this key.
    pub fn former_phone_key(&self, phone: &E164) -> Option<PhoneKey> {
        self.index.previous.as_ref().map(|key| PhoneKey::under(key, phone))
    }

    /// Returns a key for any other text that a store must not hold in plain: an address, an `Idempotency-Key`.
    pub fn index(&self, kind: &str, text: &str) -> String {
        hex::encode(&self.index.current.tag(&[kind.as_bytes(), text.as_bytes()])[..16])
    }

    /// Returns the digest that the gateway checks a code with: HMAC-SHA-256(pepper, purpose, phone, code), in hex.
    pub fn code_digest(&self, scope: &str, phone: &E164, code: &Code) -> anyhow::Result<String> {
        let pepper = self.pepper.as_ref().context("this service has no pepper")?;
        Ok(hex::encode(pepper.tag(&[
            scope.as_bytes(),
            phone.expose().as_bytes(),
            code.expose().as_bytes(),
        ])))
    }

    /// The seal of code requests on the broker.
    pub fn code_requests(&self) -> anyhow::Result<&Seal> {
        self.code_request.as_ref().context("this service has no key for code requests")
    }

    /// The seal of texts with a code on the broker.
    pub fn texts(&self) -> anyhow::Result<&Seal> {
        self.text.as_ref().context("this service has no key for texts")
    }

    /// The seal of notices on the broker.
    pub fn notices(&self) -> anyhow::Result<&Seal> {
        self.notice.as_ref().context("this service has no key for notices")
    }

    pub fn code(&self) -> anyhow::Result<&Seal> {
        self.code.as_ref().context("this service has no code key")
    }

    pub fn refresh(&self) -> anyhow::Result<&Rotating> {
        self.refresh.as_ref().context("this service has no refresh key")
    }

    pub fn device(&self) -> anyhow::Result<&Rotating> {
        self.device.as_ref().context("this service has no device key")
    }

    /// Checks that all keys that `service` needs are present.
    ///
    /// # Errors
    /// Names the first missing key.
    pub fn check_for(&self, service: Service) -> anyhow::Result<()> {
        for of in service.uses() {
            let here = match of {
                Use::Event | Use::Index => true,
                Use::CodeRequest => self.code_request.is_some(),
                Use::Text => self.text.is_some(),
                Use::Notice => self.notice.is_some(),
                Use::Pepper => self.pepper.is_some(),
                Use::Code => self.code.is_some(),
                Use::Refresh => self.refresh.is_some(),
                Use::Device => self.device.is_some(),
            };
            if !here {
                let service = service.as_str();
                bail!(
                    "the bundle is not for {service}, or of an earlier release: its {of:?} key is missing; \
                     `latchkey keys derive {service}` prints the one of this release"
                );
            }
        }
        Ok(())
    }
}

fn derive(secret: &[u8], of: Use) -> KeyBytes {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"latchkey");
    let mut key = Zeroizing::new([0; 32]);
    salt.extract(secret)
        .expand(&[of.as_str().as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF-SHA-256 can output 32 bytes");
    key
}

fn seal_key(key: &KeyBytes) -> SealKey {
    SealKey::new(key_id(key), key)
}

/// Returns eight hex digits that distinguish keys without revealing anything about them.
fn key_id(key: &KeyBytes) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), b"latchkey key id");
    hex::encode(&tag.as_ref()[..4])
}

fn decode_key(text: &str) -> anyhow::Result<KeyBytes> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok().context("a key is base64url")?);
    Ok(Zeroizing::new(bytes.as_slice().try_into().ok().context("a key has 32 bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";

    #[test]
    fn p10_a_bundle_contains_only_what_its_service_needs() -> anyhow::Result<()> {
        for service in Service::ALL {
            let keys = Keys::from_bundle(&derive_bundle(SECRET, None, service)?)?;
            keys.check_for(service)?;
            assert_eq!(keys.pepper.is_some(), service != Service::SmsWorker, "{service:?} pepper");
            assert_eq!(keys.code.is_some(), service == Service::OtpWorker, "{service:?} code");
            assert_eq!(keys.refresh.is_some(), service == Service::Gateway, "{service:?} refresh");
            let seals =
                (keys.code_requests().is_ok(), keys.texts().is_ok(), keys.notices().is_ok());
            let expected = match service {
                Service::Gateway => (true, false, true),
                Service::OtpWorker => (true, true, false),
                Service::SmsWorker => (false, true, true),
            };
            assert_eq!(seals, expected, "f26: the gateway reads no text with a code");
        }
        let sms = Keys::from_bundle(&derive_bundle(SECRET, None, Service::SmsWorker)?)?;
        assert!(sms.check_for(Service::Gateway).is_err());
        Ok(())
    }

    #[test]
    fn a_service_with_a_bundle_understands_one_with_the_secret() -> anyhow::Result<()> {
        let whole = Keys::from_secret(SECRET, None);
        let worker = Keys::from_bundle(&derive_bundle(SECRET, None, Service::OtpWorker)?)?;
        let sealed = whole.event.seal(&1_u8, &["x"])?;
        assert_eq!(worker.event.open(&sealed, &["x"])?, 1);
        assert_eq!(whole.index("a", "b"), worker.index("a", "b"));
        assert_ne!(whole.index("a", "b"), whole.index("ab", ""));
        Ok(())
    }

    #[test]
    fn a_secret_and_a_bundle_know_the_former_phone_keys_after_a_rotation() -> anyhow::Result<()> {
        const NEXT: &[u8] = b"another secret of at least 32 bytes, too";
        let phone: E164 = "+989121234567".parse()?;
        let before = Keys::from_secret(SECRET, None);
        assert_eq!(before.former_phone_key(&phone), None);
        let whole = Keys::from_secret(NEXT, Some(SECRET));
        assert_eq!(whole.former_phone_key(&phone), Some(before.phone_key(&phone)));
        for service in Service::ALL {
            let apart = Keys::from_bundle(&derive_bundle(NEXT, Some(SECRET), service)?)?;
            assert_eq!(apart.phone_key(&phone), whole.phone_key(&phone));
            assert_eq!(apart.former_phone_key(&phone), Some(before.phone_key(&phone)));
        }
        Ok(())
    }

    #[test]
    fn an_invalid_bundle_is_refused_without_quoting_it() {
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
