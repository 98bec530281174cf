//! Parsers of single values. An error text says what is wrong beyond what the table states; an empty text adds nothing.
//! No error contains a secret.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use domain::engine_hosts::{one_each, watched};
use domain::phone::E164;
use ipnet::{IpNet, Ipv6Net};
use secrecy::ExposeSecret as _;
use url::{Host, Url};

use super::countries::is_country;

/// A parsed value, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, String>;

fn when<T>(fits: bool, value: T) -> Parsed<T> {
    if fits { Ok(value) } else { Err(String::new()) }
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| String::new())
}

/// Parses a comma-separated list. An error gives the position of an entry, not the entry, which may hold a secret.
fn list<T, L: FromIterator<T>>(
    text: &str,
    what: &str,
    entry: impl Fn(&str) -> Option<T>,
) -> Parsed<L> {
    let entries = (1..).zip(text.split(',').map(str::trim));
    entries
        .map(|(position, part)| {
            entry(part).ok_or_else(|| format!("entry {position} is not a valid {what}"))
        })
        .collect()
}

/// Parses networks in CIDR notation; a single address becomes a network of one. IPv4 addresses written as IPv6 ones
/// (RFC 4291, section 2.5.5.2) become IPv4, as those of clients do.
pub(super) fn networks(text: &str) -> Parsed<Vec<IpNet>> {
    list(text, "network", |part| {
        let net = part.parse::<IpNet>().map(|net| net.trunc());
        let net = net.ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from))?;
        let IpNet::V6(v6) = net else { return Some(net) };
        match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(V4_MAPPED.prefix_len())) {
            (Some(v4), Some(width)) => IpNet::new(v4.into(), width).ok(),
            // It would hold no IPv4 client, although it looks as if it did. `/0` has a refusal of its own.
            _ if v6.prefix_len() > 0 && v6.contains(&V4_MAPPED) => None,
            _ => Some(net),
        }
    })
}

/// `::ffff:0:0/96`.
const V4_MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

pub(super) fn country(text: &str) -> Parsed<String> {
    country_code(text).ok_or_else(String::new)
}

pub(super) fn countries(text: &str) -> Parsed<BTreeSet<String>> {
    list(text, "country", country_code)
}

fn country_code(text: &str) -> Option<String> {
    let code = text.to_ascii_uppercase();
    is_country(&code).then_some(code)
}

/// Parses a share of 1.
pub(super) fn share(text: &str) -> Parsed<f64> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(String::new)
}

/// Parses an `http` or `https` URL without query, fragment or user, and removes a trailing slash from the path.
pub(super) fn base_url(text: &str) -> Parsed<Url> {
    let mut url = hook_url(text)?;
    if url.query().is_some() {
        return Err("it has a query".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Parses an `http` or `https` URL that may have a query, as some providers' hooks do.
pub(super) fn hook_url(text: &str) -> Parsed<Url> {
    let url = Url::parse(text).map_err(|_| String::new())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(String::new());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it contains a user or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("it has a fragment".to_owned());
    }
    Ok(url)
}

/// Like [`base_url`], but refuses underscores in the host: Twilio does not call such hosts back (its documentation of
/// `StatusCallback`).
pub(super) fn public_url(text: &str) -> Parsed<Url> {
    let url = base_url(text)?;
    if url.host_str().is_some_and(|host| host.contains('_')) {
        return Err("its host contains an underscore".to_owned());
    }
    Ok(url)
}

/// Checks the URL of an engine: one of the schemes, and an authority.
pub(super) fn engine_url(text: &str, schemes: &[&str]) -> Parsed<()> {
    let url = Url::parse(text).map_err(|_| String::new())?;
    when(schemes.contains(&url.scheme()) && url.has_authority(), ())
}

/// Checks the URL of an engine that may name several hosts, separated by commas: each with the whole rest of the URL.
pub(super) fn engine_urls(text: &str, check: impl Fn(&str) -> Parsed<()>) -> Parsed<()> {
    for url in one_each(text) {
        check(url.expose_secret())?;
        let parsed = Url::parse(url.expose_secret()).map_err(|_| String::new())?;
        when(parsed.host_str().is_some_and(|host| !host.is_empty()), ())?;
    }
    Ok(())
}

/// Checks the path of a URL that finds Redis through Sentinels: the name of what they watch, and a database.
pub(super) fn watched_by_sentinels(text: &str) -> Parsed<()> {
    let url = Url::parse(text).map_err(|_| String::new())?;
    if !url.scheme().ends_with("+sentinel") {
        return Ok(());
    }
    let why = "after the Sentinels comes the name of what they watch, and perhaps a database: `/mymaster/0`";
    watched(&url).map(drop).ok_or_else(|| why.to_owned())
}

/// Parses origins into the form that browsers send (RFC 6454, section 6.1): lower case, without a default port.
pub(super) fn origins(text: &str) -> Parsed<Vec<String>> {
    list(text, "origin", origin)
}

fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*'))?;
    // An origin has no path (not even `/`), user, query or fragment.
    let authority = text.split_once("://")?.1;
    let bare = !authority.contains(['/', '?', '#', '@', '\\']) && !authority.ends_with(':');
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    bare.then(|| format!("{}://{host}{port}", url.scheme()))
}

/// Parses a host name by its labels (RFC 1123, section 2.1) and lower-cases it.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = text.len() <= 253
        && text.split('.').all(label)
        && matches!(Host::parse(text), Ok(Host::Domain(_)));
    when(is_name, text.to_ascii_lowercase())
}

pub(super) fn key_id(text: &str) -> Parsed<String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    when((1..=64).contains(&text.len()) && text.bytes().all(known), text.to_owned())
}

/// Parses an issuer or audience: visible ASCII, at most 255 characters.
pub(super) fn visible(text: &str) -> Parsed<String> {
    when(text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()), text.to_owned())
}

pub(super) fn credential(text: &str) -> Parsed<()> {
    when(text.bytes().all(|b| b.is_ascii_graphic()), ())
}

/// Parses the token of the inbox: long enough that it cannot be guessed over the network.
pub(super) fn inbox_token(text: &str) -> Parsed<()> {
    credential(text)?;
    when(text.len() >= 16, ())
}

/// Parses a Twilio SID: two letters and 32 hexadecimal digits.
pub(super) fn sid(text: &str, letters: &str) -> Parsed<String> {
    let digits = text.strip_prefix(letters).unwrap_or_default();
    let is_sid = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    when(is_sid, text.to_owned())
}

/// Parses a Twilio `From`: a number, a short code or an alphanumeric sender of at most 11 characters.
pub(super) fn sender(text: &str) -> Parsed<String> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'+' | b'-' | b'_' | b'&');
    let is_sender = text.parse::<E164>().is_ok()
        || (3..=8).contains(&text.len()) && digits(text)
        || (1..=11).contains(&text.len())
            && text.bytes().all(named)
            && text.bytes().any(|b| b.is_ascii_alphabetic());
    when(is_sender, text.to_owned())
}

/// Parses the app name used in messages. Each character is one GSM-7 septet (3GPP TS 23.038, 6.2.1), so the name cannot
/// make a message longer than it looks. `@` would begin a WebOTP line, and four digits in a row look like a code.
pub(super) fn app_name(text: &str) -> Parsed<String> {
    let one_septet = |b: u8| matches!(b, b' '..=b'~') && !b"@`^{}[]~\\|".contains(&b);
    let like_a_code = text.as_bytes().windows(4).any(|four| four.iter().all(u8::is_ascii_digit));
    let fits = (1..=20).contains(&text.len()) && text.bytes().all(one_septet) && !like_a_code;
    when(fits, text.to_owned())
}

/// Parses the app hash of Google's SMS Retriever: the first 11 characters of a base64 digest.
pub(super) fn android_hash(text: &str) -> Parsed<String> {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    when(text.len() == 11 && text.bytes().all(base64), text.to_owned())
}

pub(super) fn existing_folder(text: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(text);
    if path.is_dir() { Ok(path) } else { Err("the folder does not exist".to_owned()) }
}

/// Parses the path of a folder that may be created later.
pub(super) fn folder(text: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(text);
    if path.exists() && !path.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    Ok(path)
}

pub(super) fn filters(text: &str) -> Parsed<String> {
    let known = tracing_subscriber::EnvFilter::builder().parse(text);
    when(known.is_ok(), text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f01_a_v4_network_written_as_v6_is_that_v4_network() {
        for (text, wanted) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/128", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(networks(text).unwrap(), [wanted.parse::<IpNet>().unwrap()], "{text}");
        }
        for text in ["::/64", "::/80", "::ffff:0:0/95", "::ffff:10.0.0.1/48", "::/1"] {
            assert!(networks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_truncated_to_their_prefix_and_addresses_are_kept_whole() {
        let read = networks("10.1.2.3/8, 192.0.2.7,2001:db8::1").unwrap();
        let written: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::1/128"]);
        for wrong in ["everybody", "10.0.0.0/33", "10.0.0.0/8,", "10.0.0/8", "*"] {
            assert!(networks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_normalized_to_what_browsers_send() {
        let read =
            origins("https://App.Example.com:443,http://localhost:3000,capacitor://localhost");
        assert_eq!(
            read.unwrap(),
            ["https://app.example.com", "http://localhost:3000", "capacitor://localhost"]
        );
        for wrong in [
            "*",
            "null",
            "https://*.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://u@app.example.com",
            "https://app.example.com?x",
            "https://app.example.com:",
            "app.example.com",
            "https://",
            "mailto:a",
            "file:///x",
        ] {
            assert!(origins(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_base_url_loses_its_trailing_slash_and_has_no_extra_parts() {
        assert_eq!(base_url("https://a.example/auth/").unwrap().as_str(), "https://a.example/auth");
        for wrong in ["a.example", "ftp://a.example", "https://a.example/?q", "https://a.example#f"]
        {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
        assert!(base_url("https://user:pass@a.example").is_err());
        assert!(public_url("https://my_host.example").is_err());
        assert!(hook_url("https://a.example/hook?tenant=1").is_ok());
    }

    #[test]
    fn engine_urls_are_recognized_by_their_schemes() {
        assert!(engine_url("postgres://u:p@h:1/d", &["postgres"]).is_ok());
        assert!(engine_url("postgres:///d?host=/run/postgresql", &["postgres"]).is_ok());
        assert!(engine_url("mysql://h/d", &["postgres"]).is_err());
        assert!(engine_url("postgres:d", &["postgres"]).is_err());
    }

    #[test]
    fn every_host_of_a_cluster_is_checked() {
        let amqp = |text| engine_urls(text, |url| engine_url(url, &["amqp"]));
        for right in ["amqp://u:p@a:5672,b:5672/v", "amqp://u:p@a,[::1]:5672,10.0.0.1", "amqp://a"]
        {
            assert!(amqp(right).is_ok(), "{right}");
        }
        for wrong in ["amqp://u:p@a,,b", "amqp://u:p@a,b:x", "amqp://,a", "amqp://", "http://a,b"] {
            assert!(amqp(wrong).is_err(), "{wrong}");
        }
        for right in
            ["redis+sentinel://:p@a:1/m", "rediss+sentinel://a/m/3", "redis://a", "redis://a/x/y"]
        {
            assert!(watched_by_sentinels(right).is_ok(), "{right}");
        }
        for wrong in ["", "/", "//0", "/m/x", "/m/0/1", "/m/"] {
            let url = format!("redis+sentinel://a:26379{wrong}");
            assert!(watched_by_sentinels(&url).is_err(), "{url}");
        }
    }

    #[test]
    fn senders_are_numbers_short_codes_or_names() {
        for right in ["+15005550006", "+1500555", "12345", "Acme", "A 1"] {
            assert!(sender(right).is_ok(), "{right}");
        }
        for wrong in ["+150055", "12", "123456789", "", "twelve chars", "Ac@me"] {
            assert!(sender(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_app_name_cannot_lengthen_a_message_or_look_like_a_code() {
        for right in ["Latchkey", "A", "Shop 24/7 & more :-)", "$_# \"x\" 123"] {
            assert!(app_name(right).is_ok(), "{right}");
        }
        for wrong in ["", "Caf\u{e9}", "a@b", "[x]", "`", "Shop 1234", &"x".repeat(21), "a\nb"] {
            assert!(app_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_name_is_not_an_address_and_has_no_special_characters() {
        assert_eq!(host_name("Login.Example.com").unwrap(), "login.example.com");
        for wrong in ["https://a.example", "a_b.example", "-a.example", "a..b", "192.0.2.1", "a:1"]
        {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }
}
