//! An engine's URL that names several hosts: the nodes of a cluster, or the watchers of one.

use secrecy::SecretString;
use url::Url;

/// Splits `scheme://user:password@one:1,two:2/rest` into a URL for each host, in their order. A URL with one host comes
/// back as it is. Nothing else of the URL is checked.
pub fn one_each(url: &str) -> Vec<SecretString> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.into()] };
    // A password's own `/`, `?` and `#` are percent-encoded (RFC 3986, section 3.2.1).
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts_at = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, hosts) = authority.split_at(hosts_at);
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}").into()).collect()
}

/// What Sentinels watch, by the path of their URL, `/name` or `/name/database`: the name, and the number of the database,
/// 0 if there is none. `None`: it is neither.
pub fn watched(url: &Url) -> Option<(&str, u16)> {
    let mut path = url.path().strip_prefix('/')?.split('/');
    let name = path.next().filter(|name| !name.is_empty())?;
    let database = path.next().unwrap_or("0").parse().ok()?;
    path.next().is_none().then_some((name, database))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn each_host_gets_a_url_with_all_the_rest() {
        for (url, each) in [
            ("amqp://u:p@a:1,b:2/v", &["amqp://u:p@a:1/v", "amqp://u:p@b:2/v"][..]),
            (
                "redis://:a,b@[::1]:1,c/0?d=e,f",
                &["redis://:a,b@[::1]:1/0?d=e,f", "redis://:a,b@c/0?d=e,f"],
            ),
            ("amqp://a,b", &["amqp://a", "amqp://b"]),
            ("amqp://a,", &["amqp://a", "amqp://"]),
            ("redis://u@h/0", &["redis://u@h/0"]),
            ("postgres:///d?host=a,b", &["postgres:///d?host=a,b"]),
            ("nothing", &["nothing"]),
        ] {
            let split = one_each(url);
            let split: Vec<&str> = split.iter().map(ExposeSecret::expose_secret).collect();
            assert_eq!(split, each, "{url}");
        }
    }
}
