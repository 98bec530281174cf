//! The token of a known device (design, ruling 33): who shows one may still guess where a stranger's guesses are
//! spent. It opens nothing else, and nothing about it is stored.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::ids::UserId;
use common::keys::{Keys, MacKey, PhoneKey};
use common::timestamp::Timestamp;

const PREFIX: &str = "dt1";
/// One year (design, ruling 33).
const LIFE_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// How far ahead another gateway's clock may be.
const AHEAD_MS: i64 = 5 * 60 * 1000;
/// Ours have 110 characters.
const MAX_LENGTH: usize = 160;

/// A token for a device on which this user signed in with this phone, now.
pub fn issue(
    keys: &Keys,
    user: UserId,
    phone: &PhoneKey,
    now: Timestamp,
) -> anyhow::Result<String> {
    let key = &keys.device().context("make a device token")?.current;
    let (user, at) = (user.to_string(), now.ms().to_string());
    let tag = key.tag(&parts(&user, phone, &at));
    Ok(format!("{PREFIX}.{user}.{at}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// The user whose device this is, when the token is ours, for this phone, and not older than a year. A wrong or old
/// one is as none.
pub fn check(keys: &Keys, token: &str, phone: &PhoneKey, now: Timestamp) -> Option<UserId> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let pieces: Vec<&str> = token.split('.').collect();
    let &[PREFIX, user, at, tag] = pieces.as_slice() else { return None };
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    let device = keys.device().ok()?;
    let ours = |key: &MacKey| key.verify(&parts(user, phone, at), &tag);
    if !ours(&device.current) && !device.previous.as_ref().is_some_and(ours) {
        return None;
    }
    let age = now.ms().checked_sub(at.parse().ok()?)?;
    (-AHEAD_MS..LIFE_MS).contains(&age).then(|| user.parse().ok())?
}

fn parts<'a>(user: &'a str, phone: &'a PhoneKey, at: &'a str) -> [&'a [u8]; 4] {
    [b"device", user.as_bytes(), phone.as_str().as_bytes(), at.as_bytes()]
}

#[cfg(test)]
mod tests {
    use common::clock::Clock;

    use super::*;

    const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";
    const OTHER: &[u8] = b"another secret of at least 32 bytes, too";

    fn phone_key(text: &str) -> PhoneKey {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).unwrap()
    }

    #[test]
    fn a_device_is_known_for_its_phone_and_for_a_year() {
        let (keys, clock) = (Keys::from_secret(SECRET, None), Clock::manual());
        let (user, phone, now) = (UserId::new(&clock), phone_key("aa"), clock.now());
        let token = issue(&keys, user, &phone, now).unwrap();
        assert!(token.len() <= MAX_LENGTH);
        assert_eq!(check(&keys, &token, &phone, now), Some(user));
        assert_eq!(check(&keys, &token, &phone, now.plus_ms(LIFE_MS - 1)), Some(user));
        assert_eq!(check(&keys, &token, &phone, now.plus_ms(LIFE_MS)), None, "a year is over");
        assert_eq!(check(&keys, &token, &phone, now.plus_ms(-AHEAD_MS - 1)), None, "of the future");
        assert_eq!(check(&keys, &token, &phone_key("ab"), now), None, "another phone's");
    }

    #[test]
    fn a_rotated_secret_still_knows_its_devices_and_a_foreign_one_does_not() {
        let clock = Clock::manual();
        let (user, phone, now) = (UserId::new(&clock), phone_key("aa"), clock.now());
        let token = issue(&Keys::from_secret(OTHER, None), user, &phone, now).unwrap();
        assert_eq!(check(&Keys::from_secret(SECRET, Some(OTHER)), &token, &phone, now), Some(user));
        assert_eq!(check(&Keys::from_secret(SECRET, None), &token, &phone, now), None);
    }

    #[test]
    fn any_changed_character_makes_it_none() {
        let (keys, clock) = (Keys::from_secret(SECRET, None), Clock::manual());
        let (phone, now) = (phone_key("aa"), clock.now());
        let token = issue(&keys, UserId::new(&clock), &phone, now).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(check(&keys, &changed, &phone, now), None, "{at}");
        }
        for odd in
            ["", ".", "...", "dt1...", "dt1.a.b.c", &"x".repeat(10_000), &format!("{token}.")]
        {
            assert_eq!(check(&keys, odd, &phone, now), None);
        }
    }
}
