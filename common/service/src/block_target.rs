//! What a block is about, as an operator or a member of staff writes it, in the form in which it is stored.

use std::net::IpAddr;

use accounts::BlockKind;
use config::{ProviderName, Served};
use domain::keys::Keys;
use domain::timestamp::Timestamp;
use ipnet::{IpNet, Ipv4Net};

/// The length of the prefix of an IPv4-mapped IPv6 address: `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A blocked value as it is stored and as it is shown. A phone is stored only by its key.
#[derive(Clone, Debug)]
pub struct BlockTarget {
    pub kind: BlockKind,
    pub value: String,
    pub display: String,
    /// The value that an older block may be stored under: a phone's key under the previous secret, during a rotation;
    /// an IPv4-mapped IPv6 address, which an earlier version stored unchanged.
    pub former: Option<String>,
}

impl BlockTarget {
    /// # Errors
    /// What is wrong with the value, for whoever wrote it.
    pub fn of(
        keys: &Keys,
        served: &Served,
        kind: BlockKind,
        value: &str,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let value = value.trim();
        let same = |value: String| Self { kind, display: value.clone(), value, former: None };
        match kind {
            BlockKind::Phone => {
                // The number may be of a country that is not served.
                let served = served.clone().everywhere();
                let phone = served
                    .parse(value, now)
                    .map_err(|_| "not a mobile number: use the form +989123456789")?;
                Ok(Self {
                    kind,
                    value: keys.phone_key(phone.e164()).to_string(),
                    display: phone.to_string(),
                    former: keys.former_phone_key(phone.e164()).map(|key| key.to_string()),
                })
            }
            BlockKind::Prefix => {
                let digits = value.trim_start_matches('+');
                let fits =
                    (1..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
                let wrong = "a prefix must have 1 to 12 digits and begin with the calling code";
                if fits { Ok(same(digits.to_owned())) } else { Err(wrong) }
            }
            BlockKind::Ip => {
                let given = net(value).ok_or("not an address or a range such as 203.0.113.0/24")?;
                let canonical = canonical(given).to_string();
                let former = Some(given.to_string()).filter(|given| *given != canonical);
                Ok(Self { former, ..same(canonical) })
            }
            BlockKind::Provider => {
                let name: Result<ProviderName, _> = value.to_ascii_lowercase().parse();
                let name =
                    name.map_err(|_| "not a provider: use twilio, http, console or inbox")?;
                Ok(same(name.as_str().to_owned()))
            }
            BlockKind::Country => {
                let region = value.to_ascii_uppercase();
                let fits = region.len() == 2 && region.bytes().all(|b| b.is_ascii_uppercase());
                let wrong = "a country must be a two-letter ISO 3166 code, such as IR";
                if fits { Ok(same(region)) } else { Err(wrong) }
            }
        }
    }
}

/// Parses an address or a range, and clears the bits beyond the range's length.
fn net(value: &str) -> Option<IpNet> {
    let net = value.parse().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok();
    net.map(|net| net.trunc())
}

/// Converts an IPv4-mapped IPv6 address (`::ffff:203.0.113.9`) to IPv4, as the gateway does.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= MAPPED_BITS);
    let v4 = mapped.and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS).ok());
    v4.map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_blocked_in_its_canonical_form() {
        for (given, kept) in [
            ("203.0.113.9", "203.0.113.9/32"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.9/32"),
            ("::ffff:203.0.113.9/120", "203.0.113.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:203.0.113.9/95", "::fffe:0:0/95"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
        ] {
            let net = net(given).map(canonical).map(|net| net.to_string());
            assert_eq!(net.as_deref(), Some(kept), "{given}");
        }
        for odd in ["", "203.0.113", "203.0.113.9/33", "::/129", "example.com"] {
            assert_eq!(net(odd), None, "{odd}");
        }
    }
}
