//! The header in which a proxy names the client. What a client wrote before the proxy's own entry never chooses another
//! address.
#![no_main]

use std::net::IpAddr;

use config::ClientIpHeader;
use gateway::fuzzing::TrustedProxies;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "203.0.113.9";

// The first byte chooses the header; the rest are its lines.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, text)) = bytes.split_first() else { return };
    let header = ClientIpHeader::ALL[usize::from(first) % ClientIpHeader::ALL.len()];
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], header);
    let (proxy, client) = (ip(PROXY), ip(CLIENT));
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let Some(sent) = headers(header, lines.iter().copied()) else { return };

    assert_eq!(proxies.client(client, &sent).ip(), client, "nobody trusts this peer");
    let found = proxies.client(proxy, &sent);
    assert!(found.ip() == proxy || !proxies.trusts(found.ip()), "a trusted hop is no client");
    assert!(found.limit_ranges().iter().all(|(range, times)| !range.is_empty() && *times > 0));
    let _ = (found.cut(), found.failure_ranges(), found.limit_key());

    let list = matches!(header, ClientIpHeader::XForwardedFor | ClientIpHeader::Forwarded);
    if !list {
        return;
    }
    let own = match header {
        ClientIpHeader::Forwarded => format!("for={CLIENT}"),
        _ => CLIENT.to_owned(),
    };
    // A proxy appends a line of its own, or to the last line.
    let appended = headers(header, lines.iter().copied().chain([own.as_bytes()])).expect("a line");
    assert_eq!(proxies.client(proxy, &appended).ip(), client);
    let (last, before) = lines.split_last().expect("a text has a line");
    let joined = [last, format!(", {own}").as_bytes()].concat();
    let appended =
        headers(header, before.iter().copied().chain([&*joined])).expect("a longer line");
    assert_eq!(proxies.client(proxy, &appended).ip(), client, "hidden by what stands before");
});

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// `None` if HTTP could not carry a line.
fn headers<'a>(header: ClientIpHeader, lines: impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let value = HeaderValue::from_bytes(line).ok()?;
        headers.append(HeaderName::from_static(header.as_str()), value);
    }
    Some(headers)
}
