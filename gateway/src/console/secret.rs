//! What a browser of staff holds: a random secret in a cookie. Stored is its digest; forms carry a token made from it.

use aws_lc_rs::digest::{SHA256, digest};
use domain::rng;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::app::App;

/// The cookie of a session.
pub(crate) const SESSION: &str = "__Host-latchkey_console";
/// The cookie of a browser that is not signed in yet: it binds the forms of the sign-in to the browser that opened them.
pub(crate) const VISIT: &str = "__Host-latchkey_visit";

/// 256 random bits, in hex.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub fn new() -> Self {
        Self(hex::encode(rng::secret_bytes::<32>()))
    }

    /// The secret in the cookie of this name. Anything that was not made here counts as none.
    pub fn of(headers: &HeaderMap, cookie: &str) -> Option<Self> {
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|it| it.split_once('='));
        let (_, value) = pairs.find(|(name, _)| name.trim() == cookie)?;
        let value = value.trim();
        let is_ours = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
        is_ours.then(|| Self(value.to_owned()))
    }

    /// The name under which the session is stored.
    pub fn hash(&self) -> String {
        hex::encode(digest(&SHA256, self.0.as_bytes()))
    }

    /// The token of this browser's forms. Another site can make the browser send the cookie's request, and not read this.
    pub fn form_token(&self, app: &App) -> String {
        app.engines.keys.index("console form", &self.0)
    }

    /// The `Set-Cookie` that gives the secret to the browser, until the browser is closed: the session's own ends are kept
    /// by the server.
    pub fn cookie(&self, name: &str) -> HeaderValue {
        cookie(name, &self.0, "")
    }
}

/// The `Set-Cookie` that takes it back.
pub(crate) fn no_cookie(name: &str) -> HeaderValue {
    cookie(name, "", "; Max-Age=0")
}

fn cookie(name: &str, value: &str, more: &str) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{more}");
    HeaderValue::from_str(&text).expect("a name, hex digits and attributes are a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_read_among_others_and_nothing_else_counts() {
        let secret = Secret::new();
        let own = format!("{SESSION}={}", secret.0);
        for cookies in [vec![own.as_str()], vec!["a=b; c=d", &own], vec![&format!("a=b; {own}; c")]]
        {
            assert!(Secret::of(&sent(&cookies), SESSION) == Some(secret.clone()), "{cookies:?}");
        }
        let plain = format!("latchkey_console={}", secret.0);
        let longer = format!("{own}0");
        let odd = format!("{SESSION}={}", "g".repeat(64));
        for cookies in [vec![], vec![plain.as_str()], vec![&longer], vec![&odd], vec!["=;;="]] {
            assert!(Secret::of(&sent(&cookies), SESSION).is_none(), "{cookies:?}");
        }
        assert!(Secret::of(&sent(&[&own]), VISIT).is_none());
    }

    #[test]
    fn a_cookie_is_sent_to_this_host_alone_and_read_by_no_script() {
        let secret = Secret::new();
        let set = secret.cookie(SESSION);
        let wanted = format!("{SESSION}={}; Path=/; Secure; HttpOnly; SameSite=Strict", secret.0);
        assert_eq!(set, wanted);
        assert!(no_cookie(SESSION).to_str().unwrap().ends_with("; Max-Age=0"));
        assert!(!secret.hash().contains(&secret.0));
    }
}
