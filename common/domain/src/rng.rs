//! The only source of randomness, in two kinds that no caller can confuse.
//!
//! *Secrets* come from the operating system, byte for byte: [`secret_bytes`] and [`secret_below`]. No copy of this
//! process's memory (a core dump, a snapshot of a machine that is started twice) foretells one or makes it come again.
//!
//! *Ids* only have to be unique and not guessable: [`id_v7`], [`id_v4`] and the trace context's. They come from a
//! generator in the process (`ChaCha12`, seeded by the operating system and again after each 64 KiB of a thread), because a
//! sign-in makes a dozen and each would be a system call. It answers with ids only, never with bytes for a key. A `fork`
//! would copy it; nothing here forks without an exec.

use rand::rngs::SysRng;
use rand::{Rng as _, RngExt as _};
use uuid::{Builder, Uuid};

fn system() -> impl rand::Rng {
    // The operating system's generator does not fail once it is seeded. If it did, no secret may be generated.
    rand::rand_core::UnwrapErr(SysRng)
}

/// Returns random bytes for keys, salts, tokens, and nonces of a cipher.
pub fn secret_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    system().fill_bytes(&mut bytes);
    bytes
}

/// Returns a number below `end`, for codes. Every number is equally likely: rejection sampling avoids modulo bias.
pub fn secret_below(end: u64) -> u64 {
    system().random_range(0..end)
}

/// Returns random bytes of an id.
#[expect(clippy::disallowed_methods, reason = "the one use of the process's own generator")]
pub(crate) fn id_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Returns a UUIDv7 of this time in milliseconds: ordered by time, with 74 random bits.
pub fn id_v7(ms: i64) -> Uuid {
    Builder::from_unix_timestamp_millis(u64::try_from(ms).unwrap_or_default(), &id_bytes())
        .into_uuid()
}

/// Returns the least UUIDv7 of this time in milliseconds: those made before are less.
pub fn id_v7_min(ms: i64) -> Uuid {
    Builder::from_unix_timestamp_millis(u64::try_from(ms).unwrap_or_default(), &[0; 10]).into_uuid()
}

/// Returns a UUID of version 4: 122 random bits.
pub fn id_v4() -> Uuid {
    Builder::from_random_bytes(id_bytes()).into_uuid()
}

/// Returns 64 random bits: an id among those of a short time.
pub fn id_u64() -> u64 {
    u64::from_be_bytes(id_bytes())
}

/// Returns a number below `end`, to spread what happens at once.
#[expect(clippy::disallowed_methods, reason = "the one use of the process's own generator")]
pub fn spread_below(end: u64) -> u64 {
    rand::rng().random_range(0..end)
}

/// Returns a fraction in `0.0..1.0`, to spread what happens at once.
#[expect(clippy::disallowed_methods, reason = "the one use of the process's own generator")]
pub fn spread_fraction() -> f64 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn ids_of_all_threads_are_distinct_and_ordered_by_time() {
        let make = || (0..10_000).map(|_| id_v7(1_000)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(make)).collect();
        let ids: BTreeSet<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 80_000);
        assert!(ids.iter().all(|id| *id >= id_v7_min(1_000) && *id < id_v7_min(1_001)));
        assert_eq!(id_v4().get_version_num(), 4);
    }

    #[test]
    fn secrets_do_not_repeat() {
        let secrets: BTreeSet<_> = (0..1_000).map(|_| secret_bytes::<16>()).collect();
        assert_eq!(secrets.len(), 1_000);
        assert!((0..1_000).all(|_| secret_below(10) < 10));
    }
}
