//! The client's address, which limits count and sessions show (contract, section 7 and ruling 17).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use http::header::FORWARDED;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::http::error::ApiError;
use crate::http::forwarded;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The socket's peer address; [`crate::server::serve`] attaches it to every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The proxies that are trusted to report a client's address. Without any, no header is read.
///
/// A trusted proxy must write or strip `Forwarded` itself, not only `X-Forwarded-For`: `Forwarded` wins, so a header
/// that it passes through would let the client choose its own address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(nets: Vec<IpNet>) -> Self {
        Self(nets)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// The right-most hop that is not trusted. If a trusted hop's entry is unreadable, the peer: all such requests
    /// share one limit, which a client cannot escape by sending garbage.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return ClientIp(peer);
        }
        let hops = if headers.contains_key(FORWARDED) {
            forwarded::hops(headers.get_all(FORWARDED), forwarded::forwarded)
        } else {
            forwarded::hops(headers.get_all(X_FORWARDED_FOR), forwarded::x_forwarded_for)
        };
        let mut left_most = peer;
        for hop in hops.into_iter().rev() {
            let Some(hop) = hop.map(|ip| ip.to_canonical()) else { return ClientIp(peer) };
            if !self.trusts(hop) {
                return ClientIp(hop);
            }
            left_most = hop;
        }
        // All hops are trusted: the first one made the request.
        ClientIp(left_most)
    }
}

/// A client's address. An IPv4 address written as IPv6 (`::ffff:1.2.3.4`) is the IPv4 address. `Debug` truncates it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    #[cfg(test)]
    fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// The full address, for blocklists.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The unit that limits count: an IPv4 address, or the /64 that belongs to one IPv6 subscriber.
    pub fn limit_key(self) -> String {
        match self.0 {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("{}/64", kept(ip, 64)),
        }
    }

    /// The ranges in which limits count an address, narrowest first, and how many times its limit each allows
    /// (contract, ruling 35): one provider's customer often has a whole /24, or a /56 or /48 of IPv6.
    pub fn limit_ranges(self) -> Vec<(String, u64)> {
        let own = (self.limit_key(), 1);
        match self.0 {
            IpAddr::V4(_) => vec![own, (format!("{}/24", self.cut()), 5)],
            IpAddr::V6(ip) => {
                let wider = [(56, 3), (48, 10)]
                    .map(|(bits, times)| (format!("{}/{bits}", kept(ip, bits)), times));
                [vec![own], wider.to_vec()].concat()
            }
        }
    }

    /// The address that sessions store and show, cut to /24, or /48 for IPv6. It identifies a place, not a person.
    pub fn cut(self) -> String {
        match self.0 {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).to_string(),
            IpAddr::V6(ip) => kept(ip, 48).to_string(),
        }
    }
}

/// The first `bits` of an address.
fn kept(ip: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits)))
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cut())
    }
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = ApiError;

    /// The address that [`crate::middleware::finish`] found. A request without a socket gets the unspecified address.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies() -> TrustedProxies {
        let nets = ["10.0.0.0/8", "192.0.2.1/32", "2001:db8:ffff::/48"];
        TrustedProxies::new(nets.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn client(proxies: &TrustedProxies, peer: &str, lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        proxies.client(peer.parse().unwrap(), &headers).ip().to_string()
    }

    #[test]
    fn without_a_trusted_proxy_no_header_is_believed() {
        let spoofs: &[(&str, &str)] = &[
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("true-client-ip", "1.1.1.1"),
        ];
        assert_eq!(client(&TrustedProxies::default(), "10.0.0.1", spoofs), "10.0.0.1");
        assert_eq!(client(&proxies(), "203.0.113.9", spoofs), "203.0.113.9");
        assert_eq!(client(&proxies(), "::ffff:203.0.113.9", spoofs), "203.0.113.9");
        assert_eq!(
            client(&proxies(), "10.0.0.1", &spoofs[2..]),
            "10.0.0.1",
            "only the two headers"
        );
    }

    #[test]
    fn behind_proxies_the_right_most_hop_that_is_not_trusted_is_the_client() {
        let xff = |value| vec![("x-forwarded-for", value)];
        let fwd = |value| vec![("forwarded", value)];
        let table = vec![
            ("10.0.0.1", Vec::new(), "10.0.0.1"),
            ("10.0.0.1", xff("203.0.113.9"), "203.0.113.9"),
            ("192.0.2.1", xff("203.0.113.9"), "203.0.113.9"),
            ("192.0.2.2", xff("203.0.113.9"), "192.0.2.2"),
            ("::ffff:10.0.0.1", xff("203.0.113.9"), "203.0.113.9"),
            ("2001:db8:ffff::7", xff("2001:db8:1::9"), "2001:db8:1::9"),
            ("10.0.0.1", xff("1.1.1.1, 203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", xff("1.1.1.1, 203.0.113.9, 10.2.3.4"), "203.0.113.9"),
            ("10.0.0.1", xff("1.1.1.1,203.0.113.9,10.2.3.4,192.0.2.1"), "203.0.113.9"),
            ("10.0.0.1", xff("10.9.9.9, 10.8.8.8"), "10.9.9.9"),
            ("10.0.0.1", xff("garbage, 203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", xff("203.0.113.9:4711"), "203.0.113.9"),
            ("10.0.0.1", xff("[2001:db8:1::9]:4711"), "2001:db8:1::9"),
            ("10.0.0.1", xff("[2001:db8:1::9]"), "2001:db8:1::9"),
            ("10.0.0.1", xff("::ffff:203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", xff("  203.0.113.9  "), "203.0.113.9"),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")],
                "203.0.113.9",
            ),
            ("10.0.0.1", fwd("for=203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", fwd("For=\"203.0.113.9:80\";proto=https;by=10.0.0.1"), "203.0.113.9"),
            ("10.0.0.1", fwd("proto=https; for=203.0.113.9"), "203.0.113.9"),
            ("10.0.0.1", fwd("for=\"[2001:db8:1::9]:4711\""), "2001:db8:1::9"),
            ("10.0.0.1", fwd("for=1.1.1.1, for=203.0.113.9, for=10.1.1.1"), "203.0.113.9"),
            ("10.0.0.1", fwd("for=\"a\\\"b, for=6.6.6.6\", for=203.0.113.9"), "203.0.113.9"),
            (
                "10.0.0.1",
                vec![("forwarded", "for=\"1.1.1.1"), ("forwarded", "for=203.0.113.9")],
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=203.0.113.9")],
                "203.0.113.9",
            ),
        ];
        for (peer, headers, wanted) in table {
            assert_eq!(client(&proxies(), peer, &headers), wanted, "{peer} {headers:?}");
        }
    }

    #[test]
    fn an_unreadable_proxy_header_falls_back_to_the_peer() {
        for (name, value) in [
            ("x-forwarded-for", ""),
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-for", "1.1.1.1, "),
            ("x-forwarded-for", "1.1.1.1, garbage"),
            ("x-forwarded-for", "1.1.1.1, 999.1.1.1"),
            ("x-forwarded-for", "1.1.1.1, 1.1.1"),
            ("x-forwarded-for", "1.1.1.1, 010.0.0.1"),
            ("x-forwarded-for", "1.1.1.1:99999"),
            ("x-forwarded-for", "[1.1.1.1]"),
            ("x-forwarded-for", "\"1.1.1.1\""),
            ("x-forwarded-for", "fe80::1%eth0"),
            ("x-forwarded-for", "1.1.1.1, unknown, 10.1.1.1"),
            ("x-forwarded-for", "1.1.1.1\u{e9}"),
            ("forwarded", ""),
            ("forwarded", "for=unknown"),
            ("forwarded", "for=_hidden"),
            ("forwarded", "for="),
            ("forwarded", "for=1.1.1.1;for=2.2.2.2"),
            ("forwarded", "proto=https"),
            ("forwarded", "for=\"1.1.1.1"),
            ("forwarded", "for=2001:db8:1::9"),
            ("forwarded", "for=\"2001:db8:1::9\""),
            ("forwarded", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1, "),
        ] {
            assert_eq!(
                client(&proxies(), "10.0.0.1", &[(name, value)]),
                "10.0.0.1",
                "{name}: {value}"
            );
        }
        // A broken `Forwarded` does not fall back to an X-Forwarded-For that the proxy did not write.
        let both = [("forwarded", "for=unknown"), ("x-forwarded-for", "1.1.1.1")];
        assert_eq!(client(&proxies(), "10.0.0.1", &both), "10.0.0.1");
    }

    #[test]
    fn limits_count_v4_addresses_and_v6_64s() {
        let key = |text: &str| ClientIp::new(text.parse().unwrap()).limit_key();
        assert_eq!(key("203.0.113.9"), "203.0.113.9");
        assert_eq!(key("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(key("2001:db8:1:2:ffff::"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:3::1"), key("2001:db8:1:2::1"));
    }

    #[test]
    fn f02_limits_count_wider_ranges_too() {
        let ranges = |text: &str| ClientIp::new(text.parse().unwrap()).limit_ranges();
        let wanted = |of: &[(&str, u64)]| -> Vec<(String, u64)> {
            of.iter().map(|(range, times)| ((*range).to_owned(), *times)).collect()
        };
        assert_eq!(ranges("203.0.113.9"), wanted(&[("203.0.113.9", 1), ("203.0.113.0/24", 5)]));
        assert_eq!(
            ranges("2001:db8:1:2f3:4::"),
            wanted(&[
                ("2001:db8:1:2f3::/64", 1),
                ("2001:db8:1:200::/56", 3),
                ("2001:db8:1::/48", 10)
            ])
        );
    }

    #[test]
    fn p10_an_address_is_shown_cut_even_in_debug() {
        let cut = |text: &str| ClientIp::new(text.parse().unwrap()).cut();
        assert_eq!(cut("203.0.113.9"), "203.0.113.0");
        assert_eq!(cut("127.0.0.1"), "127.0.0.0");
        assert_eq!(cut("::ffff:203.0.113.9"), "203.0.113.0");
        assert_eq!(cut("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(cut("::1"), "::");
        assert_eq!(format!("{:?}", ClientIp::new("203.0.113.9".parse().unwrap())), "203.0.113.0");
    }
}
