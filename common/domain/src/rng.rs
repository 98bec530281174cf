//! The only source of randomness: the operating system's generator.

use rand::rngs::SysRng;
use rand::{Rng as _, RngExt as _};

fn source() -> impl rand::Rng {
    // The operating system's generator does not fail once it is seeded. If it did, no secret may be generated.
    rand::rand_core::UnwrapErr(SysRng)
}

/// Returns random bytes for keys, nonces and IDs.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    source().fill_bytes(&mut bytes);
    bytes
}

/// Returns a number below `end`. Every number is equally likely: rejection sampling avoids modulo bias.
pub fn below(end: u64) -> u64 {
    source().random_range(0..end)
}

/// Returns a fraction in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    source().random()
}
