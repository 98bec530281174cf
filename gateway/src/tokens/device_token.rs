//! The token of a known device (contract, rulings 33 and 39): its holder may still enter codes and passwords after
//! strangers exhausted their attempts. It grants nothing else. Its own failures are stored for a day, under a digest.

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::UserId;
use domain::keys::{Keys, MacKey};
use domain::limits::DEVICE_TOKEN_LIFE_MS;
use domain::phone::Phone;
use domain::timestamp::Timestamp;

const PREFIX: &str = "dt2";
/// Tokens that name the phone by its key, and so by two keys of one secret: accepted until the last one is a year old.
const PREFIX_BY_KEY: &str = "dt1";
/// How far ahead another gateway's clock may be.
const AHEAD_MS: i64 = 5 * 60 * 1000;
/// Our tokens have 110 characters.
const MAX_LENGTH: usize = 160;

/// Issues a token for a device on which this user signed in with this phone, then. One sign-in has one token.
pub fn issue(keys: &Keys, user: UserId, phone: &Phone, at: Timestamp) -> anyhow::Result<String> {
    let key = &keys.device().context("make a device token")?.current;
    let (user, at) = (user.to_string(), at.ms().to_string());
    let tag = key.tag(&parts(&user, phone.e164().expose(), &at));
    Ok(format!("{PREFIX}.{user}.{at}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// Returns the device's user, and the time of the sign-in that made the token, if it is ours, for this phone, and less
/// than a year old. A wrong or old token counts as no token.
pub fn check(
    keys: &Keys,
    token: &str,
    phone: &Phone,
    now: Timestamp,
) -> Option<(UserId, Timestamp)> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let pieces: Vec<&str> = token.split('.').collect();
    let &[prefix, user, at, tag] = pieces.as_slice() else { return None };
    let (named_now, named_before) = match prefix {
        PREFIX => {
            let number = phone.e164().expose().to_owned();
            (number.clone(), Some(number))
        }
        PREFIX_BY_KEY => {
            let before = keys.former_phone_key(phone.e164()).map(|key| key.to_string());
            (keys.phone_key(phone.e164()).to_string(), before)
        }
        _ => return None,
    };
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    let device = keys.device().ok()?;
    let ours = |key: &MacKey, phone: &str| key.verify(&parts(user, phone, at), &tag);
    let before = device.previous.as_ref().zip(named_before);
    if !ours(&device.current, &named_now) && !before.is_some_and(|(key, phone)| ours(key, &phone)) {
        return None;
    }
    let at: i64 = at.parse().ok()?;
    let age = now.ms().checked_sub(at)?;
    if !(-AHEAD_MS..DEVICE_TOKEN_LIFE_MS).contains(&age) {
        return None;
    }
    Some((user.parse().ok()?, Timestamp::from_ms(at)))
}

/// The name that a device's failures are counted under. A token has one spelling and 256 bits that nobody can guess, so
/// its digest tells nothing; and it stays the same when the secret is rotated.
pub fn counted_as(token: &str) -> String {
    hex::encode(&digest(&SHA256, token.as_bytes()).as_ref()[..16])
}

fn parts<'a>(user: &'a str, phone: &'a str, at: &'a str) -> [&'a [u8]; 4] {
    [b"device", user.as_bytes(), phone.as_bytes(), at.as_bytes()]
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;

    const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";
    const OTHER: &[u8] = b"another secret of at least 32 bytes, too";

    fn number(e164: &str) -> Phone {
        Phone::trusted(e164).unwrap()
    }

    /// A token as the previous version issued it.
    fn by_key(keys: &Keys, user: UserId, phone: &Phone, now: Timestamp) -> String {
        let (user, at, phone) =
            (user.to_string(), now.ms().to_string(), keys.phone_key(phone.e164()));
        let tag = keys.device().unwrap().current.tag(&parts(&user, phone.as_str(), &at));
        format!("dt1.{user}.{at}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    #[test]
    fn a_device_is_known_for_its_phone_and_for_a_year() {
        let (keys, clock) = (Keys::from_secret(SECRET, None), Clock::manual());
        let (user, phone, now) = (UserId::new(&clock), number("+989121234567"), clock.now());
        let token = issue(&keys, user, &phone, now).unwrap();
        assert!(token.len() <= MAX_LENGTH);
        let known = Some((user, now));
        assert_eq!(check(&keys, &token, &phone, now), known);
        assert_eq!(check(&keys, &token, &phone, now.plus_ms(DEVICE_TOKEN_LIFE_MS - 1)), known);
        let after = now.plus_ms(DEVICE_TOKEN_LIFE_MS);
        assert_eq!(check(&keys, &token, &phone, after), None, "a year is over");
        assert_eq!(check(&keys, &token, &phone, now.plus_ms(-AHEAD_MS - 1)), None, "in the future");
        assert_eq!(check(&keys, &token, &number("+989121234568"), now), None, "another phone's");
    }

    #[test]
    fn a_rotated_secret_still_knows_its_devices_and_a_foreign_one_does_not() {
        let clock = Clock::manual();
        let (user, owned, now) = (UserId::new(&clock), number("+989121234567"), clock.now());
        let before = Keys::from_secret(OTHER, None);
        let rotated = Keys::from_secret(SECRET, Some(OTHER));
        for token in
            [issue(&before, user, &owned, now).unwrap(), by_key(&before, user, &owned, now)]
        {
            assert_eq!(check(&before, &token, &owned, now), Some((user, now)));
            assert_eq!(check(&rotated, &token, &owned, now), Some((user, now)), "{token}");
            assert_eq!(check(&rotated, &token, &number("+989121234568"), now), None);
            assert_eq!(check(&Keys::from_secret(SECRET, None), &token, &owned, now), None);
        }
    }

    #[test]
    fn a_token_with_any_changed_character_is_refused() {
        let (keys, clock) = (Keys::from_secret(SECRET, None), Clock::manual());
        let (phone, now) = (number("+989121234567"), clock.now());
        let token = issue(&keys, UserId::new(&clock), &phone, now).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(check(&keys, &changed, &phone, now), None, "{at}");
        }
        for odd in
            ["", ".", "...", "dt1...", "dt2.a.b.c", &"x".repeat(10_000), &format!("{token}.")]
        {
            assert_eq!(check(&keys, odd, &phone, now), None);
        }
    }
}
