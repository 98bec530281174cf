//! Requests that limits refused, counted in their metric, and kept in this process for staff to see.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::vocabulary::Limit;

static REFUSED: [AtomicU64; Limit::ALL.len()] = [const { AtomicU64::new(0) }; Limit::ALL.len()];

/// Counts a request that this limit refused, in `latchkey_limited_total` and for [`refused`].
pub fn count_refused(limit: Limit) {
    metrics::counter!("latchkey_limited_total", "limit" => limit.as_str()).increment(1);
    of(limit).fetch_add(1, Ordering::Relaxed);
}

/// How many requests this limit refused in this process since it started. Other processes have counts of their own.
pub fn refused(limit: Limit) -> u64 {
    of(limit).load(Ordering::Relaxed)
}

fn of(limit: Limit) -> &'static AtomicU64 {
    &REFUSED[limit as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_count_of_its_own() {
        // No other test of this crate refuses by these two.
        let before = (refused(Limit::GlobalDay), refused(Limit::Blocked));
        count_refused(Limit::GlobalDay);
        count_refused(Limit::GlobalDay);
        count_refused(Limit::Blocked);
        assert_eq!(
            (refused(Limit::GlobalDay), refused(Limit::Blocked)),
            (before.0 + 2, before.1 + 1)
        );
        for (place, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, place, "{limit}");
        }
    }
}
