//! How much of something each address holds at the moment, counted with the ranges around it (contract, rulings 35 and 45).

use std::collections::HashMap;

use crate::http::client_ip::ClientIp;

/// Counts by range, as [`ClientIp::limit_ranges`] has them.
#[derive(Debug, Default)]
pub(crate) struct AddressCounts(HashMap<String, usize>);

impl AddressCounts {
    /// Counts one more for this address, unless it or a range around it has what it may: `most`, and as many times that
    /// as the range allows.
    ///
    /// # Errors
    /// The narrowest range that is full.
    pub(crate) fn enter(&mut self, ip: ClientIp, most: usize) -> Result<(), String> {
        let mut ranges = ip.limit_ranges();
        let full = ranges.iter().position(|(range, times)| {
            let most = most.saturating_mul(usize::try_from(*times).unwrap_or(usize::MAX));
            self.0.get(range).copied().unwrap_or_default() >= most
        });
        if let Some(full) = full {
            return Err(ranges.swap_remove(full).0);
        }
        for (range, _) in ranges {
            *self.0.entry(range).or_default() += 1;
        }
        Ok(())
    }

    /// Takes back one that [`AddressCounts::enter`] counted.
    pub(crate) fn leave(&mut self, ip: ClientIp) {
        for (range, _) in ip.limit_ranges() {
            if let Some(count) = self.0.get_mut(&range) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&range);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(counts: &mut AddressCounts, ips: impl IntoIterator<Item = String>) -> usize {
        let enter = |ip: &String| counts.enter(ClientIp::new(ip.parse().unwrap()), 4).is_ok();
        ips.into_iter().filter(enter).count()
    }

    #[test]
    fn f02_f06_an_address_and_the_networks_around_it_are_counted() {
        let mut counts = AddressCounts::default();
        let same = |ip: &str| std::iter::repeat_n(ip.to_owned(), 9);
        assert_eq!(entered(&mut counts, same("192.0.2.1")), 4);
        assert_eq!(entered(&mut counts, same("::ffff:192.0.2.1")), 0, "the same address");
        assert_eq!(entered(&mut counts, (2..100).map(|n| format!("192.0.2.{n}"))), 16, "a /24");
        assert_eq!(entered(&mut counts, same("192.0.3.1")), 4);
        assert_eq!(entered(&mut counts, (0..9).map(|n| format!("2001:db8:0:1::{n}"))), 4, "a /64");
        assert_eq!(
            entered(&mut counts, (2..99).map(|n| format!("2001:db8:0:{n:x}::1"))),
            8,
            "a /56"
        );
        let others = (0..400).map(|n| format!("2001:db8:0:{:x}::1", 0x100 + n * 0x100 / 4));
        assert_eq!(entered(&mut counts, others), 28, "a /48");
        assert_eq!(entered(&mut counts, same("2001:db8:1::1")), 4);
    }

    #[test]
    fn what_leaves_makes_room() {
        let mut counts = AddressCounts::default();
        let ip = ClientIp::new("2001:db8::1".parse().unwrap());
        assert_eq!(counts.enter(ip, 1), Ok(()));
        assert_eq!(counts.enter(ip, 1), Err("2001:db8::/64".to_owned()));
        counts.leave(ip);
        assert!(counts.is_empty() && counts.enter(ip, 1).is_ok());
    }
}
