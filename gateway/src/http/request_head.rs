//! The head of a request as the bytes that arrive: where it ends, how long its body is, and what hyper would let pass
//! (RFC 9112).

use std::net::Ipv6Addr;

use crate::http::error::ApiError;

/// The length of the body that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Exactly(u64),
    /// Known at its end only.
    Chunked,
}

/// Whether a request can begin with this byte: a method is a token (RFC 9110, section 5.6.2).
pub(crate) fn can_begin_with(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Finds the end of the head that these bytes begin with, after the empty line. The first `scanned` bytes were searched
/// before, and no empty line precedes the head. A line that ends without a carriage return is refused at once: a proxy in front of us may see another head.
pub(crate) fn end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, ApiError> {
    let ends = bytes.iter().enumerate().skip(scanned).filter(|(_, byte)| **byte == b'\n');
    for (at, _) in ends {
        match bytes[..at].strip_suffix(b"\r") {
            None => {
                let detail = "End each line of the head with a carriage return and a line feed.";
                return Err(ApiError::field("request", "bare_line_feed", detail));
            }
            Some(line) if line.ends_with(b"\n") => return Ok(Some(at + 1)),
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Checks a whole head where hyper is lenient: `Host` (RFC 9112, section 3.2) and the framing of the body (section 6.3).
/// Returns the body's length. All else is left to hyper, which refuses what it cannot read.
pub(crate) fn check(head: &[u8]) -> Result<BodyLength, ApiError> {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let needs_host = lines.next().is_some_and(|line| line.ends_with(b" HTTP/1.1"));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let values = |name: &str| {
        let named =
            headers.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    match *values("host") {
        [host] if is_host(host) => {}
        [] if !needs_host => {}
        _ => {
            let detail =
                "Send exactly one Host header: a host name or address, and the port if any.";
            return Err(ApiError::field("Host", "invalid", detail));
        }
    }
    let is_chunked = match *values("transfer-encoding") {
        [] => false,
        [coding] if coding.eq_ignore_ascii_case(b"chunked") => true,
        // hyper reads the body of any list that ends with `chunked`, and leaves the other codings in it.
        _ => {
            let detail = "Send the body as it is, or with `Transfer-Encoding: chunked` alone.";
            return Err(ApiError::field("Transfer-Encoding", "unknown_coding", detail));
        }
    };
    match *values("content-length") {
        [] if is_chunked => Ok(BodyLength::Chunked),
        [] => Ok(BodyLength::Exactly(0)),
        // A proxy in front of us may see the request's end elsewhere than we do.
        _ if is_chunked => Err(ApiError::field(
            "Content-Length",
            "conflicting_framing",
            "Send either Content-Length or Transfer-Encoding, not both.",
        )),
        [length] if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
            length.map(BodyLength::Exactly).ok_or_else(wrong_length)
        }
        _ => Err(wrong_length()),
    }
}

fn wrong_length() -> ApiError {
    let detail = "Send one Content-Length: the number of bytes in the body, in decimal digits.";
    ApiError::field("Content-Length", "invalid", detail)
}

/// The name and the value of a line.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// `uri-host [ ":" port ]` (RFC 3986, section 3.2). An `http` URI has a host that is not empty (RFC 9110, section 4.2.1).
fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (host_is_good, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => (v6.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_registered_name(name), port)
        }
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    host_is_good && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_registered_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b);
    let mut pieces = name.split('%');
    let first = pieces.next().unwrap_or_default();
    !name.is_empty()
        && first.bytes().all(plain)
        && pieces.all(|piece| {
            let (digits, rest) = piece.as_bytes().split_at(piece.len().min(2));
            digits.len() == 2
                && digits.iter().all(u8::is_ascii_hexdigit)
                && rest.iter().copied().all(plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(refusal: &ApiError) -> (String, &'static str) {
        let ApiError::InvalidRequest(errors) = refusal else { panic!("{refusal:?}") };
        (errors[0].field.clone(), errors[0].code)
    }

    #[test]
    fn f20_a_head_ends_at_its_empty_line_wherever_it_is_cut() {
        let bytes = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        for scanned in 0..27 {
            assert_eq!(end(bytes, scanned).unwrap(), Some(28), "{scanned}");
        }
        for length in 0..28 {
            assert_eq!(end(&bytes[..length], 0).unwrap(), None, "{length}");
        }
        for bare in [
            &b"GET / HTTP/1.1\nHost: a\n\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"\nGET / HTTP/1.1\r\n",
        ] {
            let refused = code(&end(bare, 0).unwrap_err());
            assert_eq!(refused, ("request".to_owned(), "bare_line_feed"));
        }
    }

    #[test]
    fn f20_a_request_names_exactly_one_host() {
        let host = |lines: &str| check(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes());
        for good in [
            "a",
            "auth.example.com",
            "a_b.internal:8080",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "caf%C3%A9.example",
            "a:",
        ] {
            host(&format!("Host: {good}\r\n")).unwrap_or_else(|_| panic!("{good}"));
        }
        for bad in [
            "",
            "a b",
            "a@b",
            "a b@c/",
            "a/b",
            "http://a",
            "a:b",
            "a:123456",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "a%4",
            "a%zz",
            "caf\u{e9}.example",
            "a?b",
            "a#b",
            "a\\b",
            "a\tb",
            "<a>",
        ] {
            let refused = host(&format!("Host: {bad}\r\n")).unwrap_err();
            assert_eq!(code(&refused), ("Host".to_owned(), "invalid"), "{bad}");
        }
        for lines in ["", "Accept: x\r\n", "Host: a\r\nhOsT: a\r\n", "Host: a\r\nHost: b\r\n"] {
            assert_eq!(code(&host(lines).unwrap_err()).0, "Host", "{lines}");
        }
        check(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        check(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n").unwrap_err();
    }

    #[test]
    fn the_length_of_a_body_is_given_in_one_way() {
        let length = |lines: &str| {
            check(format!("POST /?Content-Length:3 HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
        };
        for (lines, wanted) in [
            ("", BodyLength::Exactly(0)),
            ("Content-Length: 3\r\n", BodyLength::Exactly(3)),
            ("content-LENGTH:3\r\n", BodyLength::Exactly(3)),
            ("X-Content-Length: 3\r\nContent-Lengths: 3\r\n", BodyLength::Exactly(0)),
            ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
            ("transfer-encoding:CHUNKED\r\n", BodyLength::Chunked),
        ] {
            assert_eq!(length(lines).unwrap(), wanted, "{lines}");
        }
        for (lines, wanted) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "conflicting_framing"),
            ("transfer-encoding:chunked\r\ncontent-length:x\r\n", "conflicting_framing"),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "invalid"),
            ("Content-Length: 3, 3\r\n", "invalid"),
            ("Content-Length: +3\r\n", "invalid"),
            ("Content-Length: -1\r\n", "invalid"),
            ("Content-Length: 0x3\r\n", "invalid"),
            ("Content-Length:\r\n", "invalid"),
            ("Transfer-Encoding: gzip, chunked\r\n", "unknown_coding"),
            ("Transfer-Encoding: chunked, chunked\r\n", "unknown_coding"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "unknown_coding"),
            ("Transfer-Encoding:\r\n", "unknown_coding"),
            ("Content-Length: 99999999999999999999\r\n", "invalid"),
        ] {
            assert_eq!(code(&length(lines).unwrap_err()).1, wanted, "{lines}");
        }
    }
}
