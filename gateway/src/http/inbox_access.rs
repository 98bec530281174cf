//! Who may read the development inbox, where every code stands in clear (contract, ruling 50).

use std::net::IpAddr;

use domain::keys::is_same_secret;
use domain::rng;
use http::Version;
use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::request::Parts;
use secrecy::{ExposeSecret as _, SecretString};

use crate::http::error::ApiError;

/// What a reader of the inbox must show.
#[derive(Debug)]
pub(crate) enum InboxAccess {
    /// On loopback: a `Host` that names loopback, and no sign of a proxy. A page of the web whose name was pointed at
    /// loopback (DNS rebinding) sends its own name; a proxy on this machine brings requests from elsewhere.
    LoopbackHost,
    /// Elsewhere: this token.
    Token(SecretString),
}

impl InboxAccess {
    /// The rule for a gateway that listens on this address. The second is whether the token was made here, and must be
    /// shown to the operator.
    pub fn new(configured: Option<&SecretString>, address: IpAddr) -> (Self, bool) {
        match configured {
            Some(token) => (Self::Token(token.clone()), false),
            None if address.to_canonical().is_loopback() => (Self::LoopbackHost, false),
            None => (Self::Token(SecretString::from(hex::encode(rng::secret_bytes::<16>()))), true),
        }
    }

    /// # Errors
    /// 401 or 403 when the reader does not show it. `in_query`: the token of a browser, which sends no header.
    pub fn check(&self, request: &Parts, in_query: Option<&str>) -> Result<(), ApiError> {
        match self {
            Self::LoopbackHost => {
                let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
                let target = request.uri.authority().map(http::uri::Authority::as_str);
                let is_ours = host.is_some_and(names_loopback) && target.is_none_or(names_loopback);
                if is_ours && !is_by_proxy(request) {
                    Ok(())
                } else {
                    Err(ApiError::HostNotAllowed)
                }
            }
            Self::Token(token) => {
                let header =
                    request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let given = header.and_then(bearer).or(in_query).unwrap_or_default();
                let is_right = is_same_secret(given, token.expose_secret());
                if is_right { Ok(()) } else { Err(ApiError::InboxTokenNotValid) }
            }
        }
    }
}

/// Whether the request shows that a proxy brought it: by a header that only proxies send, or by HTTP/1.0, which nginx
/// speaks to what is behind it unless told otherwise.
fn is_by_proxy(request: &Parts) -> bool {
    request.version < Version::HTTP_11 || request.headers.keys().any(is_of_a_proxy)
}

/// Whether a header's name is `Via` or `CDN-Loop`, or contains, dashes and underscores aside, `forwarded`, or a word for
/// the client (`client`, `connecting`, `originating`, `real`, `remote`, `user`) before `ip` or `addr`, or
/// `externaladdress` (Envoy). There are too many to list each: `CF-Connecting-IPv6`, `Fastly-Client-IP`,
/// `X-Azure-ClientIP`, `X-Original-Forwarded-For`.
fn is_of_a_proxy(name: &HeaderName) -> bool {
    const CLIENT: [&str; 6] = ["client", "connecting", "originating", "real", "remote", "user"];
    let name = name.as_str().replace(['-', '_'], "");
    let names_address = |word: &&str| {
        name.match_indices(*word).any(|(at, _)| {
            let rest = &name[at + word.len()..];
            rest.starts_with("ip") || rest.starts_with("addr")
        })
    };
    matches!(&*name, "via" | "cdnloop")
        || name.contains("forwarded")
        || name.contains("externaladdress")
        || CLIENT.iter().any(names_address)
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a `Host` is `localhost`, 127.0.0.0/8 or `[::1]`, with or without a port.
fn names_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix("[::1]") {
        return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, headers: &[(HeaderName, &str)]) -> Parts {
        let request = http::Request::builder().uri(target);
        let request = headers.iter().fold(request, |it, (name, value)| it.header(name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn with(name: HeaderName, value: &str) -> Parts {
        asked("/", &[(name, value)])
    }

    fn on_loopback() -> InboxAccess {
        InboxAccess::new(None, "127.0.0.1".parse().unwrap()).0
    }

    const PROXYS: [&str; 29] = [
        "Via",
        "CDN-Loop",
        "Forwarded",
        "Forwarded-For",
        "X-Forwarded",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Original-Forwarded-For",
        "X-Amzn-Forwarded-For",
        "Client-IP",
        "True-Client-IP",
        "Fly-Client-IP",
        "Fastly-Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Azure-ClientIP",
        "WL-Proxy-Client-IP",
        "CF-Connecting-IP",
        "CF-Connecting-IPv6",
        "X-Originating-IP",
        "X-Real-IP",
        "X-Real-Address",
        "X-Remote-IP",
        "X-Remote-Addr",
        "X-Appengine-User-IP",
        "X-ProxyUser-IP",
        "X-Envoy-External-Address",
    ];

    /// What browsers and command-line clients send.
    const BROWSERS: [&str; 16] = [
        "Accept",
        "Accept-Language",
        "Cache-Control",
        "Connection",
        "Cookie",
        "Idempotency-Key",
        "Origin",
        "Referer",
        "Sec-CH-UA",
        "Sec-CH-Viewport-Width",
        "Sec-Fetch-User",
        "Traceparent",
        "Upgrade-Insecure-Requests",
        "User-Agent",
        "X-Request-Id",
        "X-Requested-With",
    ];

    #[test]
    fn f17_a_proxy_on_this_machine_opens_the_inbox_to_nobody() {
        let access = on_loopback();
        let host = (HOST, "127.0.0.1:8080");
        for name in PROXYS {
            let named = (HeaderName::from_bytes(name.as_bytes()).unwrap(), "127.0.0.1");
            let refused = access.check(&asked("/", &[host.clone(), named]), None);
            assert!(matches!(refused, Err(ApiError::HostNotAllowed)), "{name}");
        }
        for name in BROWSERS {
            let named = (HeaderName::from_bytes(name.as_bytes()).unwrap(), "127.0.0.1");
            let answer = access.check(&asked("/", &[host.clone(), named]), None);
            assert!(answer.is_ok(), "{name}");
        }
        let mut old = asked("/", std::slice::from_ref(&host));
        old.version = Version::HTTP_10;
        assert!(access.check(&old, None).is_err(), "HTTP/1.0");
        for (target, is_ours) in [
            ("http://127.0.0.1:8080/inbox/messages", true),
            ("http://localhost/inbox/messages", true),
            ("http://evil.example/inbox/messages", false),
        ] {
            let answer = access.check(&asked(target, std::slice::from_ref(&host)), None);
            assert_eq!(answer.is_ok(), is_ours, "{target}");
        }
    }

    #[test]
    fn f17_on_loopback_only_a_name_of_loopback_reads_the_inbox() {
        let access = on_loopback();
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "[::1]"]
        {
            assert!(access.check(&with(HOST, host), None).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "192.0.2.1",
            "localhost:x",
            "[::1]evil",
            "[::2]",
            "",
        ] {
            let refused = access.check(&with(HOST, host), None);
            assert!(matches!(refused, Err(ApiError::HostNotAllowed)), "{host}");
        }
        assert!(access.check(&asked("/", &[]), None).is_err());
    }

    #[test]
    fn f17_elsewhere_only_the_token_reads_the_inbox() {
        for address in ["0.0.0.0", "192.0.2.1", "::"] {
            let (access, is_made) = InboxAccess::new(None, address.parse().unwrap());
            let InboxAccess::Token(token) = &access else { panic!("{address} needs no token") };
            assert!(is_made && token.expose_secret().len() == 32);
            let token = token.expose_secret();
            let header = with(AUTHORIZATION, &format!("Bearer {token}"));
            assert!(access.check(&header, None).is_ok());
            assert!(access.check(&asked("/", &[]), Some(token)).is_ok());
            for wrong in ["", "Bearer", "Bearer ", "Bearer x", &format!("Basic {token}"), token] {
                let refused = access.check(&with(AUTHORIZATION, wrong), None);
                assert!(matches!(refused, Err(ApiError::InboxTokenNotValid)), "{wrong}");
            }
            assert!(access.check(&with(HOST, "127.0.0.1"), Some(&token[1..])).is_err());
        }
        let set = SecretString::from("a-token-of-the-operator");
        let (access, is_made) = InboxAccess::new(Some(&set), "127.0.0.1".parse().unwrap());
        assert!(!is_made && access.check(&with(HOST, "127.0.0.1"), None).is_err());
    }
}
