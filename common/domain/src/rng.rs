//! The one source of randomness: the operating system's generator.

use rand::rngs::SysRng;
use rand::{Rng as _, RngExt as _};

fn source() -> impl rand::Rng {
    // The operating system's generator does not fail once it is seeded; should it, no secret may be made without it.
    rand::rand_core::UnwrapErr(SysRng)
}

/// Random bytes for keys, nonces and ids.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    source().fill_bytes(&mut bytes);
    bytes
}

/// A number below `end`, every one equally likely: rejection sampling, so no remainder favours the small ones.
pub fn below(end: u64) -> u64 {
    source().random_range(0..end)
}

/// A fraction in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    source().random()
}
