//! How much of something each address holds at the moment, counted by its networks (contract, rulings 35 and 45).

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Counts by network. An IPv4 address counts by itself and, at 5 times the figure, with its /24; an IPv6 address with
/// its /64, at 3 times with its /56 and at 10 times with its /48: one subscriber may have so many of them.
#[derive(Debug, Default)]
pub(crate) struct AddressCounts(HashMap<IpNet, usize>);

const V4: [(u8, usize); 2] = [(32, 1), (24, 5)];
const V6: [(u8, usize); 3] = [(64, 1), (56, 3), (48, 10)];

fn networks(ip: IpAddr) -> impl Iterator<Item = (IpNet, usize)> {
    let ip = ip.to_canonical();
    let widths: &[_] = if ip.is_ipv4() { &V4 } else { &V6 };
    widths.iter().map(move |&(width, times)| (IpNet::new_assert(ip, width).trunc(), times))
}

impl AddressCounts {
    /// Counts one more for this address, unless it or a network of it has the `most`.
    pub(crate) fn enter(&mut self, ip: IpAddr, most: usize) -> bool {
        let has_room = networks(ip).all(|(net, times)| {
            self.0.get(&net).copied().unwrap_or_default() < most.saturating_mul(times)
        });
        if has_room {
            networks(ip).for_each(|(net, _)| *self.0.entry(net).or_default() += 1);
        }
        has_room
    }

    /// Takes back one that [`AddressCounts::enter`] counted.
    pub(crate) fn leave(&mut self, ip: IpAddr) {
        for (net, _) in networks(ip) {
            if let Some(count) = self.0.get_mut(&net) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&net);
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
        ips.into_iter().filter(|ip| counts.enter(ip.parse().unwrap(), 4)).count()
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
        let ip = "2001:db8::1".parse().unwrap();
        assert!(counts.enter(ip, 1) && !counts.enter(ip, 1));
        counts.leave(ip);
        assert!(counts.is_empty() && counts.enter(ip, 1));
    }
}
