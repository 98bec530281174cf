//! The number of an account before a change, sealed while the change can be undone.

use super::phone_undo::{ReplacedPhone, UNDO_SECS};
use domain::ids::UserId;
use domain::keys::Keys;
use domain::phone::E164;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;

/// Seals the old number for the record of its change, and returns until when that change can be undone. The sealed
/// value cannot be moved to another account or extended.
pub fn seal(
    keys: &Keys,
    user: UserId,
    old: &E164,
    now: Timestamp,
) -> anyhow::Result<(Sealed<E164>, Timestamp)> {
    let until = now.plus_secs(UNDO_SECS);
    let sealed = keys.event.seal(old, &bound_to(user, until))?;
    Ok((sealed, until))
}

/// Opens the number of a record.
///
/// # Errors
/// When the record was altered, or its key is no longer ours.
pub fn open(keys: &Keys, user: UserId, replaced: &ReplacedPhone) -> anyhow::Result<E164> {
    let sealed = Sealed::<E164>::from_text(replaced.old_sealed.clone());
    keys.event.open(&sealed, &bound_to(user, replaced.undo_until))
}

/// What the sealed number is bound to.
fn bound_to(user: UserId, until: Timestamp) -> [String; 3] {
    ["former phone".to_owned(), user.to_string(), until.ms().to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::clock::Clock;

    #[test]
    fn a_former_number_opens_where_it_was_sealed_and_nowhere_else() {
        let keys = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
        let (clock, phone) = (Clock::manual(), "+989121234567".parse().unwrap());
        let (user, other) = (UserId::new(&clock), UserId::new(&clock));
        let (sealed, until) = seal(&keys, user, &phone, clock.now()).unwrap();
        assert!(!sealed.as_str().contains("912123"));
        let mut record = ReplacedPhone {
            id: uuid::Uuid::nil(),
            old_sealed: sealed.as_str().to_owned(),
            changed_at: clock.now(),
            undo_until: until,
        };
        assert_eq!(open(&keys, user, &record).unwrap(), phone);
        assert!(open(&keys, other, &record).is_err());
        record.undo_until = until.plus_ms(1);
        assert!(open(&keys, user, &record).is_err(), "it cannot be extended");
    }
}
