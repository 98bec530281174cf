//! What production accepts as the address of an engine: credentials of its own, and TLS wherever others could listen
//! (contract, ruling 49).

use std::borrow::Cow;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::Url;

use super::parse::Parsed;
use super::secret::has_telltale;

/// Passwords that engines, their images or their manuals come with, and those that attackers try first.
const DEFAULTS: [&str; 20] = [
    "1234",
    "12345",
    "123456",
    "1234567",
    "12345678",
    "123456789",
    "admin",
    "default",
    "foobared",
    "guest",
    "latchkey",
    "letmein",
    "postgres",
    "qwerty",
    "rabbit",
    "rabbitmq",
    "redis",
    "root",
    "test",
    "user",
];

/// Checks the URL of an engine for production.
pub(super) fn fit_for_production(text: &str, plaintext_is_allowed: bool) -> Parsed<()> {
    let url = Url::parse(text).map_err(|_| String::new())?;
    let server = Server::of(&url);
    server.check_credentials(&url)?;
    if plaintext_is_allowed || server.tls || server.near != Near::No {
        return Ok(());
    }
    let tls = match url.scheme() {
        "postgres" | "postgresql" => "`sslmode=verify-full` or `sslmode=require`",
        "redis" => "`rediss://`",
        "redis+sentinel" => "`rediss+sentinel://`",
        _ => "`amqps://`",
    };
    Err(format!(
        "it is plain text to a host outside loopback, private ranges and container names: use {tls}, \
         or set LATCHKEY_PLAINTEXT_ENGINES=allow if the network encrypts"
    ))
}

/// Whether a connection stays where no stranger can listen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Near {
    Loopback,
    /// A private range, or the name of a container, which has one label.
    Private,
    No,
}

/// What a URL says about its server. For PostgreSQL the query overrides what stands before it, as in sqlx.
struct Server<'u> {
    user: Cow<'u, str>,
    password: Option<Cow<'u, str>>,
    /// What the Sentinels take, where they are not open to all.
    sentinel_password: Cow<'u, str>,
    /// The server identifies its client by a certificate.
    certificate: bool,
    tls: bool,
    near: Near,
}

impl<'u> Server<'u> {
    fn of(url: &'u Url) -> Self {
        let mut host = Cow::Borrowed(url.host_str().unwrap_or_default());
        let mut server = Self {
            user: decoded(url.username()),
            password: url.password().map(decoded),
            sentinel_password: Cow::Borrowed(""),
            certificate: false,
            // `rediss://…/#insecure` checks no certificate.
            tls: matches!(url.scheme(), "rediss" | "rediss+sentinel" | "amqps")
                && url.fragment().is_none(),
            near: Near::No,
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" | "hostaddr" => host = value,
                "user" => server.user = value,
                "password" => server.password = Some(value),
                "sslmode" | "ssl-mode" => {
                    server.tls = matches!(&*value, "require" | "verify-ca" | "verify-full");
                }
                "sslcert" | "ssl-cert" => server.certificate = true,
                "sentinel_password" => server.sentinel_password = value,
                "auth_mechanism" => server.certificate = value.eq_ignore_ascii_case("external"),
                _ => {}
            }
        }
        server.near = near(&host);
        server
    }

    fn check_credentials(&self, url: &Url) -> Parsed<()> {
        let missing = self.password.as_ref().is_none_or(|password| password.is_empty());
        if missing && !self.certificate {
            if url.scheme().starts_with("amqp") {
                return Err("without a password it means the default `guest`".to_owned());
            }
            if self.near != Near::Loopback {
                return Err("it has no password".to_owned());
            }
        }
        let is_default = |password: &str| {
            let password = password.to_ascii_lowercase();
            !password.is_empty() && password == self.user.to_ascii_lowercase()
                || DEFAULTS.contains(&&*password)
                || has_telltale(&password)
        };
        if is_default(self.password.as_deref().unwrap_or_default()) {
            return Err("its password is a sample or a default".to_owned());
        }
        if is_default(&self.sentinel_password) {
            return Err("its `sentinel_password` is a sample or a default".to_owned());
        }
        Ok(())
    }
}

/// The clients decode it too: `%70ostgres` is `postgres`.
fn decoded(part: &str) -> Cow<'_, str> {
    percent_decode_str(part).decode_utf8_lossy()
}

fn near(host: &str) -> Near {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    // A socket of this machine; a URL writes `/` as `%2F`. Without a host it is this machine too.
    if host.is_empty() || host.starts_with('/') || host.starts_with("%2f") {
        return Near::Loopback;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return match address.to_canonical() {
            ip if ip.is_loopback() => Near::Loopback,
            IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => Near::Private,
            IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Near::Private,
            _ => Near::No,
        };
    }
    // A resolver takes `134744072` for an address.
    let is_name = host.starts_with(|first: char| first.is_ascii_alphabetic());
    match host.rsplit('.').next() {
        Some("localhost") => Near::Loopback,
        _ if is_name && !host.contains('.') => Near::Private,
        _ => Near::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_plain_text_stays_on_this_machine_or_its_private_network() {
        for near in [
            "postgres://u:9f8e@127.0.0.1/d",
            "postgres://u:9f8e@10.1.2.3/d?sslmode=prefer",
            "postgres://u:9f8e@postgres:5432/d",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "postgres://u@elsewhere.example/d?host=/run/postgresql",
            "postgres://u@localhost/d",
            "redis://:9f8e@[::1]:6379/0",
            "redis://:9f8e@[fd00::7]:6379/0",
            "redis://127.0.0.1/0",
            "amqp://u:9f8e@rabbitmq:5672/v",
            "amqp://u:9f8e@192.168.7.7",
            "redis+sentinel://:9f8e@sentinel:26379/mymaster",
        ] {
            assert_eq!(fit_for_production(near, false), Ok(()), "{near}");
        }
        for far in [
            "postgres://u:9f8e@db.example/d",
            "postgres://u:9f8e@db.example/d?sslmode=prefer",
            "postgres://u:9f8e@127.0.0.1/d?host=db.example",
            "postgres://u:9f8e@127.0.0.1/d?hostaddr=192.0.2.1",
            "redis://:9f8e@192.0.2.1",
            "redis://:9f8e@134744072",
            "redis://:9f8e@172.32.0.1",
            "redis://:9f8e@[2001:db8::1]",
            "redis://:9f8e@[::ffff:192.0.2.1]",
            "amqp://u:9f8e@mq.example.",
            "redis+sentinel://:9f8e@sentinel.example:26379/mymaster",
            "rediss://:9f8e@redis.example/0#insecure",
        ] {
            let why = fit_for_production(far, false).unwrap_err();
            assert!(why.contains("LATCHKEY_PLAINTEXT_ENGINES"), "{far}: {why}");
            assert_eq!(fit_for_production(far, true), Ok(()), "{far}");
        }
        for tls in [
            "postgres://u:9f8e@db.example/d?sslmode=require",
            "postgres://u:9f8e@db.example/d?sslmode=verify-full",
            "postgres://u@db.example/d?sslmode=verify-full&sslcert=/c.pem",
            "rediss://:9f8e@redis.example",
            "rediss+sentinel://:9f8e@sentinel.example:26379/mymaster",
            "amqps://u:9f8e@mq.example",
            "amqps://mq.example?auth_mechanism=external",
        ] {
            assert_eq!(fit_for_production(tls, false), Ok(()), "{tls}");
        }
    }

    #[test]
    fn f16_a_sample_or_default_password_opens_no_engine() {
        for wrong in [
            "amqp://guest:guest@127.0.0.1",
            "amqp://127.0.0.1",
            "amqp://u@rabbitmq",
            "amqps://mq.example",
            "postgres://postgres:postgres@127.0.0.1/d",
            "postgres://u:Changeme1@postgres/d",
            "postgres://postgres:%70ostgres@127.0.0.1/d",
            "amqp://guest:gues%74@127.0.0.1",
            "postgres://latchkey:latchkey@postgres/d",
            "postgres://u@db.example/d?sslmode=require",
            "postgres://u@postgres/d",
            "postgres://u@postgres/d?password=PASSWORD",
            "redis://redis:6379",
            "redis://:@redis:6379",
            "redis://:foobared@127.0.0.1",
            "rediss://default:default@redis.example",
            "redis+sentinel://sentinel:26379/mymaster",
            "redis+sentinel://:9f8e@sentinel:26379/mymaster?sentinel_password=redis",
        ] {
            assert!(fit_for_production(wrong, true).is_err(), "{wrong}");
        }
    }
}
