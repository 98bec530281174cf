//! The table of settings. It drives parsing, errors, `latchkey config` and docs/configuration.md.

use std::fmt;

/// The default of a setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// No default: unset is a valid state.
    Nothing,
    /// This value, parsed like any other.
    Value(&'static str),
    /// A value that depends on other settings, described in words.
    Derived(&'static str),
}

/// The allowed values of a setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whole numbers, both ends included. `zero` is the special meaning of 0, if it has one.
    Number {
        low: u64,
        high: u64,
        zero: Option<&'static str>,
    },
    Words(&'static [&'static str]),
    /// Described in words; the parser checks the value.
    Shape(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number { low, high, zero: None } => {
                write!(f, "a whole number from {low} to {high}")
            }
            Self::Number { low: 0, high, zero: Some(meaning) } => {
                write!(f, "a whole number from 0 to {high} (0 = {meaning})")
            }
            Self::Number { low, high, zero: Some(meaning) } => {
                write!(f, "0 ({meaning}) or a whole number from {low} to {high}")
            }
            Self::Words(words) => {
                let (last, others) = words.split_last().expect("a list of words is not empty");
                write!(f, "`{}` or `{last}`", others.join("`, `"))
            }
            Self::Shape(shape) => f.write_str(shape),
        }
    }
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// The environment variable.
    pub(super) name: &'static str,
    pub(super) preset: Preset,
    pub(super) allowed: Allowed,
    /// Never printed, not even in an error about this setting.
    pub(super) secret: bool,
    /// One sentence for operators.
    pub(super) doc: &'static str,
}

impl Setting {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Returns the name in a settings file: lower case, without the prefix.
    pub(super) fn key(&self) -> String {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name).to_lowercase()
    }
}

const fn setting(
    name: &'static str,
    preset: Preset,
    allowed: Allowed,
    doc: &'static str,
) -> Setting {
    Setting { name, preset, allowed, secret: false, doc }
}

const fn number(low: u64, high: u64) -> Allowed {
    Allowed::Number { low, high, zero: None }
}

/// The range of every limit (contract, ruling 26).
const LIMIT: Allowed =
    Allowed::Number { low: 0, high: 1_000_000_000, zero: Some("off, also written `unlimited`") };

/// Written for a limit that is meant to be off.
pub(super) const UNLIMITED: &str = "unlimited";

impl Allowed {
    /// Returns whether these are the values of a limit, which may be `unlimited`.
    pub(super) fn is_limit(self) -> bool {
        matches!(self, Self::Number { zero: Some(zero), .. } if zero.contains(UNLIMITED))
    }
}

/// The prefix of Latchkey's own variables.
pub(super) const PREFIX: &str = "LATCHKEY_";

/// Names the settings file; the only setting that the file itself cannot contain.
pub(super) const FILE: &str = "LATCHKEY_CONFIG";
pub(super) const FILE_ALLOWED: Allowed = Shape("the path of a readable TOML file");

use Allowed::{Shape, Words};
use Preset::{Derived, Nothing, Value};

/// Every setting, grouped, in display order.
#[rustfmt::skip]
pub(super) const GROUPS: &[(&str, &[Setting])] = &[
    ("Start and engines", &[
        setting(FILE, Nothing, FILE_ALLOWED,
            "A settings file with lower-case names without the prefix; the environment overrides it."),
        setting("LATCHKEY_ENV", Derived("`development` when embedded, else `production`"), Words(&["development", "production"]),
            "Production refuses what is only suitable for trying things out."),
        setting("DATABASE_URL", Nothing, Shape("a `postgres://` URL"),
            "PostgreSQL, for accounts, sessions and deliveries; set all three engines or none.").secret(),
        setting("REDIS_URL", Nothing, Shape("a `redis://` or `rediss://` URL, or `redis+sentinel://:password@host:26379,host:26379/name/0` (`rediss+sentinel://`) for the primary that Sentinels watch under a name"),
            "Redis, for codes and limits; Sentinels with a password of their own: `?sentinel_password=`.").secret(),
        setting("AMQP_URL", Nothing, Shape("an `amqp://` or `amqps://` URL; the nodes of a cluster separated by commas: `amqp://user:password@one:5672,two:5672/vhost`"),
            "RabbitMQ, for events; without the three engines everything runs embedded, in one process.").secret(),
        setting("LATCHKEY_PLAINTEXT_ENGINES", Value("refuse"), Words(&["refuse", "allow"]),
            "Whether production may reach an engine without TLS outside loopback, private ranges and container names."),
        setting("LATCHKEY_DATA_DIR", Derived("`latchkey` in the platform's data folder"), Shape("a folder, or a path where one can be created"),
            "Embedded only: the folder for the accounts, the generated secret and the generated keys."),
        setting("LATCHKEY_THREADS", Derived("1 for a worker, and for a gateway with fewer than 4 cores; else the number of cores"), number(1, 1_024),
            "Threads that do the process's work but hash no passwords; more workers of one thread each cost less than more threads."),
        setting("LATCHKEY_SECRET", Derived("generated and kept in the data folder when embedded"), Shape("32 bytes or more, not a sample outside development"),
            "The master secret that every key is derived from; every byte counts, spaces included.").secret(),
        setting("LATCHKEY_SECRET_PREVIOUS", Nothing, Shape("32 bytes or more, not a sample outside development, different from LATCHKEY_SECRET"),
            "The previous secret, during a rotation.").secret(),
        setting("LATCHKEY_SERVICE_KEYS", Nothing, Shape("the output of `latchkey keys derive` for this service"),
            "For a separate service, instead of the master secret: only the keys that it needs.").secret(),
    ]),
    ("HTTP", &[
        setting("LATCHKEY_LISTEN", Value("127.0.0.1:8080"), Shape("an address and port, such as `0.0.0.0:8080` or `[::]:8080`"),
            "The address that the gateway listens on; port 0 picks a free port, and the bound address is logged."),
        setting("LATCHKEY_OPS_LISTEN", Derived("`127.0.0.1:9090`; otp-worker `127.0.0.1:9091`, sms-worker `127.0.0.1:9092`"), Shape("an address and port other than LATCHKEY_LISTEN"),
            "The address that serves `/livez`, `/readyz` and `/metrics`; keep it private."),
        setting("LATCHKEY_ADMIN_LISTEN", Nothing, Shape("an address and port other than LATCHKEY_LISTEN and LATCHKEY_OPS_LISTEN, such as `127.0.0.1:8082`"),
            "The address on which the gateway serves the admin API, by keys of `latchkey admin-keys`; if unset, it is off; keep it private."),
        setting("LATCHKEY_PUBLIC_URL", Nothing, Shape("an `http://` or `https://` URL without query, fragment, user or underscore in its host; `https://` in production"),
            "The URL at which clients and providers reach the gateway: used for callbacks, their signatures, and the URLs in DPoP proofs, which production refuses without it."),
        setting("LATCHKEY_TRUSTED_PROXIES", Nothing, Shape("comma-separated networks and addresses, such as `10.0.0.0/8,192.0.2.7`"),
            "The proxies that are trusted to name the client's address, in the header LATCHKEY_CLIENT_IP_HEADER; a network of width 0 is refused."),
        setting("LATCHKEY_CLIENT_IP_HEADER", Value("x-forwarded-for"), Words(&["x-forwarded-for", "forwarded", "cf-connecting-ip", "x-real-ip", "fly-client-ip", "true-client-ip"]),
            "The one header in which a trusted proxy names the client's address; every other is ignored."),
        setting("LATCHKEY_CONNECTIONS_PER_IP", Value("100"), LIMIT,
            "Open connections from one IPv4 address or IPv6 /64, and 3 to 10 times as many from the networks around it; those of trusted proxies are not counted."),
        setting("LATCHKEY_INBOX_TOKEN", Derived("generated and printed at start where the inbox needs one"), Shape("16 or more visible ASCII characters without spaces"),
            "What opens the development inbox on an address other than loopback, as `Authorization: Bearer` or `?token=`; if set, it is required on loopback as well.").secret(),
        setting("LATCHKEY_CORS_ORIGINS", Nothing, Shape("comma-separated origins, such as `https://app.example.com`; no `*`, no `null`, no path; no `http://` in production"),
            "The web origins whose scripts may call the API; if unset, none may."),
    ]),
    ("Tokens", &[
        setting("LATCHKEY_ISSUER", Derived("LATCHKEY_PUBLIC_URL; if unset in development, `http://` and the listen address"), Shape("1 to 255 visible ASCII characters"),
            "The `iss` claim of tokens."),
        setting("LATCHKEY_AUDIENCE", Value("latchkey"), Shape("1 to 255 visible ASCII characters"),
            "The `aud` claim of tokens."),
        setting("LATCHKEY_JWT_KEYS_DIR", Derived("`keys` in the data folder when embedded"), Shape("a folder that exists"),
            "The folder of signing keys, PKCS#8 in PEM files named `<kid>.pem`; the gateway needs it unless embedded."),
        setting("LATCHKEY_JWT_ACTIVE_KID", Derived("the newest key"), Shape("1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_`, `-`"),
            "The key that signs new tokens."),
        setting("LATCHKEY_ACCESS_TTL_SECS", Value("600"), number(60, 3_600),
            "The lifetime of an access token."),
        setting("LATCHKEY_REFRESH_IDLE_SECS", Value("2592000"), number(3_600, 31_536_000),
            "A session ends if it is not refreshed for this long."),
        setting("LATCHKEY_REFRESH_MAX_SECS", Value("15552000"), number(3_600, 63_072_000),
            "A session ends this long after its login, even if it is refreshed; not below LATCHKEY_REFRESH_IDLE_SECS."),
        setting("LATCHKEY_REFRESH_GRACE_SECS", Value("30"), number(0, 300),
            "How long the last refresh, or a login with an `Idempotency-Key`, can be repeated."),
        setting("LATCHKEY_DPOP_NONCE", Value("false"), Words(&["true", "false", "1", "0"]),
            "Whether the proofs of bound sessions must carry a nonce of ours (RFC 9449), which costs a client one more call now and then."),
    ]),
    ("Codes", &[
        setting("LATCHKEY_OTP_LENGTH", Value("6"), number(4, 10),
            "The number of digits in a code."),
        setting("LATCHKEY_OTP_TTL_SECS", Value("300"), number(60, 600),
            "The lifetime of a code."),
        setting("LATCHKEY_OTP_ATTEMPTS", Value("5"), number(1, 10),
            "Attempts per code."),
        setting("LATCHKEY_OTP_MAX_FAILURES", Value("100"), number(1, 100),
            "Consecutive failed attempts after which sign-in by code is locked for a phone."),
        setting("LATCHKEY_FAILURE_RESET_SECS", Value("86400"), Allowed::Number { low: 3_600, high: 31_536_000, zero: Some("never, as NIST SP 800-63B-4 requires") },
            "A locked phone is unlocked after this long without a code check."),
    ]),
    ("Limits", &[
        setting("LATCHKEY_RESEND_COOLDOWN_SECS", Value("30"), Allowed::Number { low: 0, high: 3_600, zero: Some("off") },
            "The wait between two messages to a phone; it doubles with each unanswered message, up to 10 minutes."),
        setting("LATCHKEY_SENDS_PER_PHONE_HOUR", Value("5"), LIMIT, "Messages to one phone per hour."),
        setting("LATCHKEY_SENDS_PER_PHONE_DAY", Value("10"), LIMIT, "Messages to one phone per day."),
        setting("LATCHKEY_SENDS_PER_IP_HOUR", Value("20"), LIMIT, "Messages requested from one IPv4 address or IPv6 /64 per hour; 5 times as many from an IPv4 /24, 3 times from an IPv6 /56, 10 times from a /48."),
        setting("LATCHKEY_SENDS_PER_COUNTRY_HOUR", Derived("`1000` in production, else `0`"), LIMIT, "Messages to one country per hour."),
        setting("LATCHKEY_SENDS_PER_COUNTRY_DAY", Value("0"), LIMIT, "Messages to one country per day."),
        setting("LATCHKEY_SENDS_PER_PREFIX_HOUR", Value("0"), LIMIT, "Messages to one operator prefix (calling code and four digits) per hour."),
        setting("LATCHKEY_SENDS_PER_PREFIX_DAY", Value("0"), LIMIT, "Messages to one operator prefix per day."),
        setting("LATCHKEY_SENDS_GLOBAL_DAY", Derived("`0`; production requires a number above 0, or `unlimited`"), LIMIT, "Messages to all phones together per day."),
        setting("LATCHKEY_LOGINS_PER_IP_MINUTE", Value("30"), LIMIT, "Login attempts from one IPv4 address or IPv6 /64 per minute; wider ranges as for LATCHKEY_SENDS_PER_IP_HOUR."),
        setting("LATCHKEY_PUMPING_GUARD", Derived("`enforce` in production, else `record`"), Words(&["off", "record", "enforce"]),
            "What to do about prefixes whose messages are rarely answered: ignore, record or block them."),
    ]),
    ("Who may sign in", &[
        setting("LATCHKEY_COUNTRIES", Derived("all; production requires a list"), Shape("comma-separated two-letter ISO 3166 codes, such as `US,IR`"),
            "The countries (numbering regions) whose phones may sign in."),
        setting("LATCHKEY_DEFAULT_REGION", Nothing, Shape("one two-letter ISO 3166 code"),
            "The country of numbers in national format; if unset, such numbers are refused."),
        setting("LATCHKEY_UNKNOWN_PHONE", Value("sign_up"), Words(&["sign_up", "silent"]),
            "Whether a phone without an account can sign up by signing in, or silently receives no code."),
        setting("LATCHKEY_STRICT_BINDING", Value("false"), Words(&["true", "false", "1", "0"]),
            "Whether a login must name the code request that its code comes from."),
        setting("LATCHKEY_TEST_NUMBERS", Nothing, Shape("comma-separated entries such as `+12125550199=123456@2027-01-01`, each phone once: `+` and 7 to 15 digits, a code of LATCHKEY_OTP_LENGTH digits, and an end date (it ends at 00:00 UTC), which production requires within 90 days"),
            "Phones with a fixed code, no messages, and limits of their own (100 requests an hour), for tests and app reviews.").secret(),
        setting("LATCHKEY_PASSWORD_MIN", Value("15"), number(8, 64),
            "The minimum number of characters in a password."),
        setting("LATCHKEY_BREACHED_PASSWORDS_URL", Nothing, Shape("an `http://` or `https://` URL without query, fragment or user; `https://` in production"),
            "A range service of breached passwords, such as `https://api.pwnedpasswords.com/range`: it is sent the first five digits of a new password's SHA-1."),
    ]),
    ("Messages", &[
        setting("LATCHKEY_APP_NAME", Value("Latchkey"), Shape("1 to 20 printable ASCII characters of the GSM-7 alphabet, no `@`, no four digits in a row"),
            "The name of your app in messages."),
        setting("LATCHKEY_NOTICES", Value("on"), Words(&["on", "off"]),
            "Whether an account's owner gets a text when its password, its phone or the account itself was changed or removed."),
        setting("LATCHKEY_TEXTS_DIR", Derived("the built-in wordings"), Shape("a folder that exists"),
            "A folder with your own wordings for each locale."),
        setting("LATCHKEY_ANDROID_APP_HASH", Nothing, Shape("11 of the characters A-Z, a-z, 0-9, `+`, `/`"),
            "The hash by which Android's SMS Retriever delivers the message to your app."),
        setting("LATCHKEY_WEBOTP_DOMAIN", Nothing, Shape("a host name, such as `login.example.com`"),
            "The domain in the last line `@domain #code`, which lets browsers and iOS fill in the code."),
    ]),
    ("Delivery", &[
        setting("LATCHKEY_SMS_ROUTES", Derived("`default=inbox` when embedded"), Shape("semicolon-separated routes, one for `default` and any for prefixes without `+`, each with its providers in order, such as `default=twilio,http;98=http`; providers: `twilio`, `http`, `console`, `inbox` (the last two in development only)"),
            "The providers that send messages; the longest matching prefix decides; sms-worker needs it unless embedded."),
        setting("LATCHKEY_UNKNOWN_OUTCOME", Value("resend"), Words(&["resend", "wait"]),
            "What to do if a provider may or may not have accepted a message: send it again through another provider, or wait."),
        setting("LATCHKEY_VOICE", Value("true"), Words(&["true", "false", "1", "0"]),
            "Whether a client may request a call that reads out the code; a call costs more than a message."),
        setting("LATCHKEY_VOICE_FALLBACK_SECS", Value("0"), Allowed::Number { low: 10, high: 120, zero: Some("off") },
            "After this long without a delivery receipt or a sign-in, a call reads out the code once; the call counts as a message."),
        setting("TWILIO_ACCOUNT_SID", Nothing, Shape("`AC` and 32 hexadecimal digits"),
            "The Twilio account; needed if a route names `twilio`."),
        setting("TWILIO_AUTH_TOKEN", Nothing, Shape("visible ASCII characters without spaces"),
            "The auth token of the account; Twilio signs its receipts with it, even if an API key is used.").secret(),
        setting("TWILIO_API_KEY", Nothing, Shape("`SK` and 32 hexadecimal digits, together with TWILIO_API_SECRET"),
            "An API key to send with instead of the auth token."),
        setting("TWILIO_API_SECRET", Nothing, Shape("visible ASCII characters without spaces, together with TWILIO_API_KEY"),
            "The API key's secret.").secret(),
        setting("TWILIO_FROM", Nothing, Shape("a number (`+` and 7 to 15 digits), a short code (3 to 8 digits) or a sender name (1 to 11 letters, digits, spaces and `+-_&`, with at least one letter)"),
            "The sender of calls, which must be a number, and of messages if TWILIO_MESSAGING_SERVICE_SID is not set."),
        setting("TWILIO_MESSAGING_SERVICE_SID", Nothing, Shape("`MG` and 32 hexadecimal digits"),
            "The messaging service that picks the sender of messages; it cannot place calls, so set TWILIO_FROM as well for calls."),
        setting("TWILIO_BASE_URL", Value("https://api.twilio.com"), Shape("an `http://` or `https://` URL without query, fragment or user; `https://` in production"),
            "The base URL of Twilio's API: a region, or a fake for tests."),
        setting("LATCHKEY_HTTP_PROVIDER_URL", Nothing, Shape("an `http://` or `https://` URL without fragment or user; `https://` in production"),
            "The URL to which the provider `http` posts its signed jobs; needed if a route names `http`."),
        setting("LATCHKEY_HTTP_PROVIDER_SECRET", Nothing, Shape("`whsec_` and base64 of 24 bytes or more (Standard Webhooks), or 24 or more raw bytes; not a sample outside development"),
            "The secret that signs those jobs.").secret(),
    ]),
    ("Observability", &[
        setting("OTEL_EXPORTER_OTLP_ENDPOINT", Nothing, Shape("an `http://` or `https://` URL without query, fragment or user"),
            "The collector to which traces are sent by OTLP over HTTP, at `/v1/traces` below this URL; if unset, none are sent."),
        setting("OTEL_TRACES_SAMPLER", Value("parentbased_traceidratio"), Words(&["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"]),
            "Which traces are recorded; those that begin with `parentbased_` follow the flag of a caller that may choose it."),
        setting("OTEL_TRACES_SAMPLER_ARG", Derived("1, in production 0.1"), Shape("a number from 0 to 1, such as `0.05`"),
            "The share of the traces that a sampler with `traceidratio` records."),
        setting("RUST_LOG", Value("info"), Shape("comma-separated tracing-subscriber filters, such as `info,gateway=debug`"),
            "The log filter."),
    ]),
];

/// Iterates over every setting in display order.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter())
}

/// Finds the setting of a variable.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// Finds the secret setting whose file a variable names: `LATCHKEY_SECRET_FILE`.
pub(super) fn of_secret_file(variable: &str) -> Option<&'static Setting> {
    find(variable.strip_suffix("_FILE")?).filter(|setting| setting.secret)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_has_a_unique_name_and_one_sentence() {
        let names: BTreeSet<_> = all().map(|setting| setting.name).collect();
        let keys: BTreeSet<_> = all().map(Setting::key).collect();
        assert_eq!((names.len(), keys.len()), (all().count(), all().count()));
        for setting in all() {
            assert!(setting.doc.ends_with('.') && !setting.doc.contains(". "), "{}", setting.name);
            assert!(!setting.allowed.to_string().contains('|'), "{} breaks a table", setting.name);
        }
    }

    #[test]
    fn allowed_ranges_are_described_with_both_ends() {
        let allowed = |name| find(name).unwrap().allowed.to_string();
        assert_eq!(allowed("LATCHKEY_OTP_TTL_SECS"), "a whole number from 60 to 600");
        assert!(
            allowed("LATCHKEY_FAILURE_RESET_SECS")
                .ends_with("a whole number from 3600 to 31536000")
        );
        assert_eq!(
            allowed("LATCHKEY_SENDS_GLOBAL_DAY"),
            "a whole number from 0 to 1000000000 (0 = off, also written `unlimited`)"
        );
        assert_eq!(allowed("LATCHKEY_PUMPING_GUARD"), "`off`, `record` or `enforce`");
    }
}
