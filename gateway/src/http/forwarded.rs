//! Parses `Forwarded` (RFC 7239), `X-Forwarded-For` and headers with one address into hops, left to right as the
//! proxies wrote them. A client writes what it likes into a line before a proxy appends to it, so what stands on the left
//! must not change how a hop on the right is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderValue;

/// A hop's address, or `None` if it is unreadable (`unknown`, `_hidden`, garbage).
pub type Hop = Option<IpAddr>;

/// How many commas of a line of `Forwarded` are tried. There are fewer proxies in a row, and each may cost a whole line.
const COMMAS_MAX: usize = 64;

/// The hops of all lines.
pub fn hops<'a>(
    lines: impl IntoIterator<Item = &'a HeaderValue>,
    read: impl Fn(&[u8]) -> Vec<Hop>,
) -> Vec<Hop> {
    lines.into_iter().flat_map(|line| read(line.as_bytes())).collect()
}

/// A line of `X-Forwarded-For`: addresses with or without a port, separated by commas.
pub fn x_forwarded_for(line: &[u8]) -> Vec<Hop> {
    line.split(|byte| *byte == b',').map(|hop| address(text(hop)?, true)).collect()
}

/// A line of a header with one address, without a port.
pub fn single(line: &[u8]) -> Vec<Hop> {
    vec![text(line).and_then(|line| line.parse().ok())]
}

/// A line of `Forwarded`, read from its end: each hop is the shortest text after a comma that is an element. So a quote
/// that a client leaves open hides no element of a proxy. What is left of the first text that is none is one unreadable
/// hop.
pub fn forwarded(line: &[u8]) -> Vec<Hop> {
    let (mut hops, mut end) = (Vec::new(), line.len());
    let commas = line.iter().enumerate().rev().filter(|(_, byte)| **byte == b',');
    for (comma, _) in commas.take(COMMAS_MAX) {
        if let Some(hop) = element(&line[comma + 1..end]) {
            hops.push(hop);
            end = comma;
        }
    }
    hops.push(element(&line[..end]).flatten());
    hops.reverse();
    hops
}

/// `for=192.0.2.60;proto=http;by=203.0.113.43`. `None` if it is no element; an element may name no address.
fn element(bytes: &[u8]) -> Option<Hop> {
    let mut named = Vec::new();
    for pair in split_unquoted(std::str::from_utf8(bytes).ok()?, ';')? {
        let Some((name, value)) = pair.trim_matches([' ', '\t']).split_once('=') else {
            // An empty one is allowed (RFC 7239, section 4).
            pair.trim_matches([' ', '\t']).is_empty().then_some(())?;
            continue;
        };
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") {
            named.push(address(&value, false));
        }
    }
    // Two of them are ambiguous.
    Some(if let [hop] = *named { hop } else { None })
}

/// The value of a pair. `None` if it is neither a quoted string nor free of quotes, commas and backslashes.
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return (!value.contains(['"', ',', '\\'])).then(|| value.to_owned());
    };
    let (mut plain, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(plain),
            '\\' => plain.push(chars.next()?),
            c => plain.push(c),
        }
    }
}

/// Splits at separators outside quotes. `None` if a quote is not closed.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    (!quoted).then_some(pieces)
}

fn text(bytes: &[u8]) -> Option<&str> {
    Some(std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\t']))
}

/// An address with or without a port. `Forwarded` writes IPv6 in brackets only; `bare_v6` also accepts it without.
fn address(text: &str, bare_v6: bool) -> Hop {
    if let Some(v6) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(v4));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    text.parse::<Ipv6Addr>().ok().filter(|_| bare_v6).map(IpAddr::V6)
}
