//! The client's address, which limits count and sessions show (contract, section 7 and ruling 34).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use config::ClientIpHeader;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::http::error::ApiError;
use crate::http::forwarded;

/// The socket's peer address; [`crate::server::serve`] attaches it to every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The proxies that are trusted to report a client's address, and the header in which they do. Without any, no header
/// is read.
///
/// Exactly one header is read (contract, ruling 34): proxies pass on those that they do not write themselves, so any
/// other one is the client's.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    nets: Vec<IpNet>,
    header: ClientIpHeader,
}

impl TrustedProxies {
    pub fn new(nets: Vec<IpNet>, header: ClientIpHeader) -> Self {
        Self { nets, header }
    }

    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.nets.iter().any(|net| net.contains(&ip))
    }

    /// The networks of which some addresses probably do not belong to a proxy: wider than /8, or /16 for IPv6.
    pub fn wide(&self) -> impl Iterator<Item = &IpNet> {
        self.nets.iter().filter(|net| {
            net.prefix_len()
                < match net {
                    IpNet::V4(_) => 8,
                    IpNet::V6(_) => 16,
                }
        })
    }

    /// The right-most hop that is not trusted. The peer if there is none: when the header is missing, when it names
    /// trusted hops only, and when the entry of a trusted hop is unreadable. So a client that a proxy does not name
    /// shares one limit with all such clients, and cannot choose another address by sending garbage.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return ClientIp(peer);
        }
        for hop in self.hops(headers).into_iter().rev() {
            let Some(hop) = hop.map(|ip| ip.to_canonical()) else { break };
            if !self.trusts(hop) {
                return ClientIp(hop);
            }
        }
        ClientIp(peer)
    }

    fn hops(&self, headers: &HeaderMap) -> Vec<forwarded::Hop> {
        let lines = headers.get_all(HeaderName::from_static(self.header.as_str()));
        match self.header {
            ClientIpHeader::XForwardedFor => forwarded::hops(lines, forwarded::x_forwarded_for),
            ClientIpHeader::Forwarded => forwarded::hops(lines, forwarded::forwarded),
            // Of two lines one may be the client's: such a request names no client.
            _ if lines.iter().count() == 1 => forwarded::hops(lines, forwarded::single),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
impl Default for TrustedProxies {
    fn default() -> Self {
        Self::new(Vec::new(), ClientIpHeader::XForwardedFor)
    }
}

/// A client's address. An IPv4 address written as IPv6 (`::ffff:1.2.3.4`) is the IPv4 address. `Debug` truncates it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    pub(crate) fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// The address that [`crate::http::layers::finish`] found. A request without a socket gets the unspecified address.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
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

    /// The wider ranges in which failed attempts at different phones count, and how many times the figure each allows.
    /// The wider one waits only for failures from some of the narrower ones: few networks must not shut a carrier's
    /// (contract, ruling 41).
    pub fn failure_ranges(self) -> [(String, u64, u64); 2] {
        let range = |bits| match self.0 {
            IpAddr::V4(ip) => {
                Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - bits))).to_string()
            }
            IpAddr::V6(ip) => kept(ip, bits).to_string(),
        };
        let [own, wider] = if self.0.is_ipv4() { [24, 16] } else { [48, 32] };
        [(own, 1, 1), (wider, 5, 10)]
            .map(|(bits, times, networks)| (format!("{}/{bits}", range(bits)), times, networks))
    }

    /// The address that sessions store and show, cut to /24, or /48 for IPv6. It identifies a place, not a person.
    pub fn cut(self) -> String {
        self.network().0.to_string()
    }

    /// The address cut in the same way, for what is kept and not yet written.
    pub(crate) fn network(self) -> Self {
        Self(match self.0 {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8))),
            IpAddr::V6(ip) => IpAddr::V6(kept(ip, 48)),
        })
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

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(header: ClientIpHeader) -> TrustedProxies {
        let nets = ["10.0.0.0/8", "192.0.2.1/32", "2001:db8:ffff::/48"];
        TrustedProxies::new(nets.iter().map(|net| net.parse().unwrap()).collect(), header)
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
    fn f01_without_a_trusted_proxy_no_header_is_believed() {
        let spoofs: Vec<_> = ClientIpHeader::ALL
            .map(|header| match header {
                ClientIpHeader::Forwarded => (header.as_str(), "for=1.1.1.1"),
                _ => (header.as_str(), "1.1.1.1"),
            })
            .into();
        assert_eq!(client(&TrustedProxies::default(), "10.0.0.1", &spoofs), "10.0.0.1");
        for header in ClientIpHeader::ALL {
            assert_eq!(client(&proxies(header), "203.0.113.9", &spoofs), "203.0.113.9");
            assert_eq!(client(&proxies(header), "::ffff:203.0.113.9", &spoofs), "203.0.113.9");
        }
    }

    #[test]
    fn f01_only_the_configured_header_is_read() {
        for header in ClientIpHeader::ALL {
            let value = |header, ip: &str| match header {
                ClientIpHeader::Forwarded => format!("for={ip}"),
                _ => ip.to_owned(),
            };
            let own = (header.as_str(), value(header, "203.0.113.9"));
            // A proxy passes on what the client claims in every other header.
            let others = ClientIpHeader::ALL.into_iter().filter(|other| *other != header);
            let claims = others.map(|other| (other.as_str(), value(other, "1.1.1.1")));
            let claims: Vec<_> = claims.collect();
            let lines = |with: Option<&(&'static str, String)>| {
                claims.iter().chain(with).cloned().collect::<Vec<_>>()
            };
            for (given, wanted) in [(lines(Some(&own)), "203.0.113.9"), (lines(None), "10.0.0.1")] {
                let given: Vec<_> = given.iter().map(|(name, value)| (*name, &**value)).collect();
                assert_eq!(client(&proxies(header), "10.0.0.1", &given), wanted, "{header}");
            }
        }
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
            // A client inside a trusted network could name any address of it.
            ("10.0.0.1", xff("10.9.9.9, 10.8.8.8"), "10.0.0.1"),
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
            ("10.0.0.1", fwd("for=10.2.2.2, for=10.1.1.1"), "10.0.0.1"),
            ("10.0.0.1", fwd("for=\"a\\\"b, for=6.6.6.6\", for=203.0.113.9"), "203.0.113.9"),
            (
                "10.0.0.1",
                vec![("forwarded", "for=\"1.1.1.1"), ("forwarded", "for=203.0.113.9")],
                "203.0.113.9",
            ),
            ("10.0.0.1", vec![("x-real-ip", "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", vec![("cf-connecting-ip", "2001:db8:1::9")], "2001:db8:1::9"),
            ("10.0.0.1", vec![("fly-client-ip", "10.9.9.9")], "10.0.0.1"),
        ];
        for (peer, headers, wanted) in table {
            let proxies = proxies(read_by(&headers));
            assert_eq!(client(&proxies, peer, &headers), wanted, "{peer} {headers:?}");
        }
    }

    /// The setting for a proxy that writes the first of these headers.
    fn read_by(headers: &[(&str, &str)]) -> ClientIpHeader {
        headers.first().map_or(ClientIpHeader::XForwardedFor, |(name, _)| name.parse().unwrap())
    }

    #[test]
    fn f01_an_unreadable_proxy_header_falls_back_to_the_peer() {
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
            ("x-real-ip", ""),
            ("x-real-ip", "1.1.1.1, 2.2.2.2"),
            ("x-real-ip", "1.1.1.1:80"),
            ("cf-connecting-ip", "[2001:db8:1::9]"),
            ("true-client-ip", "for=1.1.1.1"),
        ] {
            assert_eq!(
                client(&proxies(read_by(&[(name, "")])), "10.0.0.1", &[(name, value)]),
                "10.0.0.1",
                "{name}: {value}"
            );
        }
        let two = [("x-real-ip", "1.1.1.1"), ("x-real-ip", "203.0.113.9")];
        assert_eq!(client(&proxies(ClientIpHeader::XRealIp), "10.0.0.1", &two), "10.0.0.1");
    }

    #[test]
    fn f01_what_a_client_wrote_hides_no_hop_of_a_proxy() {
        let odd = [
            "\u{e9}",
            "\"",
            "for=\"",
            "\\",
            "for=\"\\",
            "a=\"b\\\"",
            "for=\"x, for=\"",
            ";",
            ";;=",
            "=\"\"\"",
            "for=1.1.1.1;for=2.2.2.2",
            "for=\"[::1]",
            "a,b;c=\"d,e",
            "\t,",
            "for=1.1.1.1, for=\"1.1.1.1",
        ];
        let many = [",".repeat(4_000), "\",".repeat(4_000), "for=\"a,".repeat(1_000)];
        for claim in odd.into_iter().chain(many.iter().map(String::as_str)) {
            for (name, own) in [
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-for", "203.0.113.9, 10.1.1.1"),
                ("forwarded", "for=203.0.113.9"),
                ("forwarded", "for=\"203.0.113.9:80\";proto=https;by=\"_a, b\""),
                ("forwarded", "for=203.0.113.9;host=\"a\\\"b,c\", for=10.1.1.1"),
            ] {
                let line = format!("{claim}, {own}");
                let found = client(&proxies(name.parse().unwrap()), "10.0.0.1", &[(name, &line)]);
                assert_eq!(found, "203.0.113.9", "{name}: {claim} before {own}");
            }
        }
    }

    #[test]
    fn f01_a_network_that_is_too_wide_for_proxies_is_known() {
        let nets = ["10.0.0.0/8", "8.0.0.0/7", "0.0.0.0/1", "2001::/16", "2000::/15"];
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        let proxies = TrustedProxies::new(nets, ClientIpHeader::XForwardedFor);
        let wide: Vec<_> = proxies.wide().map(ToString::to_string).collect();
        assert_eq!(wide, ["8.0.0.0/7", "0.0.0.0/1", "2000::/15"]);
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
    fn f12_failures_count_in_two_wide_ranges() {
        let ranges = |text: &str| ClientIp::new(text.parse().unwrap()).failure_ranges();
        let named = |range: &str, times, networks| (range.to_owned(), times, networks);
        assert_eq!(
            ranges("203.0.113.9"),
            [named("203.0.113.0/24", 1, 1), named("203.0.0.0/16", 5, 10)]
        );
        assert_eq!(
            ranges("2001:db8:1:2f3:4::"),
            [named("2001:db8:1::/48", 1, 1), named("2001:db8::/32", 5, 10)]
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
