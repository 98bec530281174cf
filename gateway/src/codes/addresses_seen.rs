//! How many addresses ask for codes. Behind a proxy that is not trusted all users have one address, and share its limits.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use domain::timestamp::Timestamp;

use crate::http::client_ip::ClientIp;

/// Addresses of this window and of the last one are counted.
const WINDOW_MS: i64 = 5 * 60 * 1000;
/// As many of a window are told apart: who has more has no proxy that hides them.
const MOST: usize = 1000;

/// The addresses of the code requests to this process, as digests that mean nothing outside it.
pub(crate) struct AddressesSeen {
    digest: RandomState,
    windows: Mutex<Windows>,
}

struct Windows {
    began_at: Timestamp,
    this: HashSet<u64>,
    last: HashSet<u64>,
}

impl AddressesSeen {
    pub fn new(now: Timestamp) -> Self {
        let windows = Windows { began_at: now, this: HashSet::new(), last: HashSet::new() };
        Self { digest: RandomState::new(), windows: Mutex::new(windows) }
    }

    pub fn note(&self, ip: ClientIp) {
        let digest = self.digest.hash_one(ip);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.this.len() < MOST {
            windows.this.insert(digest);
        }
    }

    /// How many addresses there were in the last five to ten minutes, 2,000 at most.
    pub fn count(&self, now: Timestamp) -> u32 {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if now.ms() - windows.began_at.ms() >= WINDOW_MS {
            windows.began_at = now;
            windows.last = std::mem::take(&mut windows.this);
        }
        u32::try_from(windows.this.union(&windows.last).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> ClientIp {
        ClientIp::new(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn addresses_count_once_for_five_minutes_at_least_and_ten_at_most() {
        let start = Timestamp::from_ms(0);
        let seen = AddressesSeen::new(start);
        for n in [1, 2, 2, 1, 3] {
            seen.note(address(n));
        }
        assert_eq!(seen.count(start.plus_ms(WINDOW_MS - 1)), 3);
        assert_eq!(seen.count(start.plus_ms(WINDOW_MS)), 3);
        seen.note(address(3));
        seen.note(address(4));
        assert_eq!(seen.count(start.plus_ms(2 * WINDOW_MS - 1)), 4);
        assert_eq!(seen.count(start.plus_ms(2 * WINDOW_MS)), 2);
        assert_eq!(seen.count(start.plus_ms(3 * WINDOW_MS)), 0);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_than_a_thousand() {
        let seen = AddressesSeen::new(Timestamp::from_ms(0));
        for n in 0..100_000 {
            seen.note(address(n));
        }
        assert_eq!(seen.count(Timestamp::from_ms(0)), 1000);
    }
}
