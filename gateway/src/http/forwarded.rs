//! Parses `Forwarded` (RFC 7239), `X-Forwarded-For` and headers with one address into hops, left to right as the
//! proxies wrote them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderValue;

/// A hop's address, or `None` if it is unreadable (`unknown`, `_hidden`, garbage).
pub type Hop = Option<IpAddr>;

/// The hops of all lines. An unreadable line counts as one unreadable hop: the lines after it were added later, by a
/// proxy nearer to us, and still count.
pub fn hops<'a>(
    lines: impl IntoIterator<Item = &'a HeaderValue>,
    read: impl Fn(&str) -> Vec<Hop>,
) -> Vec<Hop> {
    lines.into_iter().flat_map(|line| line.to_str().map_or_else(|_| vec![None], &read)).collect()
}

/// A line of `X-Forwarded-For`: addresses with or without a port, separated by commas.
pub fn x_forwarded_for(line: &str) -> Vec<Hop> {
    line.split(',').map(|hop| address(hop.trim_matches([' ', '\t']), true)).collect()
}

/// A line of a header with one address, without a port.
pub fn single(line: &str) -> Vec<Hop> {
    vec![line.trim_matches([' ', '\t']).parse().ok()]
}

/// A line of `Forwarded`. A line with an unclosed quote is unreadable as a whole.
pub fn forwarded(line: &str) -> Vec<Hop> {
    split_unquoted(line, ',')
        .map_or_else(|| vec![None], |elements| elements.into_iter().map(element).collect())
}

/// `for=192.0.2.60;proto=http;by=203.0.113.43`
fn element(text: &str) -> Hop {
    let mut found = None;
    for pair in split_unquoted(text, ';')? {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            // Two of them are ambiguous.
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(rest) => address(&unescape(rest.strip_suffix('"')?), false),
        None => address(value, false),
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

fn unescape(text: &str) -> String {
    let mut escaped = false;
    text.chars()
        .filter(|&c| {
            escaped = c == '\\' && !escaped;
            !escaped
        })
        .collect()
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
