//! The one table of settings: parsing, errors, `latchkey config` and docs/configuration.md are made from it.

use std::fmt;

/// What stands when nobody sets a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// Unset is a state of its own.
    Nothing,
    /// This value, read like any other.
    Value(&'static str),
    /// A value that depends on others; told in words.
    Told(&'static str),
}

/// What may be set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whole numbers, both ends included. `zero` says what 0 means where it means something else than "none".
    Number {
        low: u64,
        high: u64,
        zero: Option<&'static str>,
    },
    Words(&'static [&'static str]),
    /// Told in words; its reader judges.
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
                let (last, others) = words.split_last().expect("a list of words has one");
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
    /// Never printed, not even in an error about itself.
    pub(super) secret: bool,
    /// One sentence for operators.
    pub(super) doc: &'static str,
}

impl Setting {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The name in a configuration file: lower case, without our prefix.
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

/// The range of every limit (design, ruling 26).
const LIMIT: Allowed = Allowed::Number { low: 0, high: 1_000_000_000, zero: Some("off") };

/// What our own variables begin with.
pub(super) const PREFIX: &str = "LATCHKEY_";

/// Names the file of settings; the one setting that cannot stand in it.
pub(super) const FILE: &str = "LATCHKEY_CONFIG";
pub(super) const FILE_ALLOWED: Allowed = Shape("the path of a TOML file that can be read");

use Allowed::{Shape, Words};
use Preset::{Nothing, Told, Value};

/// Every setting, in groups, in the order in which they are shown.
#[rustfmt::skip]
pub(super) const GROUPS: &[(&str, &[Setting])] = &[
    ("Start and engines", &[
        setting(FILE, Nothing, FILE_ALLOWED,
            "A file of settings under their lower-case names without the prefix; the environment wins over it."),
        setting("LATCHKEY_ENV", Told("`development` when embedded, else `production`"), Words(&["development", "production"]),
            "Production refuses what is only good for trying."),
        setting("DATABASE_URL", Nothing, Shape("a `postgres://` URL"),
            "PostgreSQL, for accounts, sessions and deliveries; all three engines or none.").secret(),
        setting("REDIS_URL", Nothing, Shape("a `redis://` or `rediss://` URL"),
            "Redis, for codes and limits.").secret(),
        setting("AMQP_URL", Nothing, Shape("an `amqp://` or `amqps://` URL"),
            "RabbitMQ, for events; without the three engines everything runs embedded, in one process.").secret(),
        setting("LATCHKEY_DATA_DIR", Told("`latchkey` in the platform's data folder"), Shape("a folder, or a path where one can be made"),
            "Embedded only: where the accounts, the made secret and the made keys are kept."),
        setting("LATCHKEY_SECRET", Told("made and kept in the data folder when embedded"), Shape("32 bytes or more, no sample outside development"),
            "The master secret that every key is cut from; taken byte by byte as it stands.").secret(),
        setting("LATCHKEY_SECRET_PREVIOUS", Nothing, Shape("32 bytes or more, no sample outside development, other than LATCHKEY_SECRET"),
            "The secret before this one, while a rotation is under way.").secret(),
        setting("LATCHKEY_SERVICE_KEYS", Nothing, Shape("what `latchkey keys derive` printed for this service"),
            "For a service apart, instead of the master secret: only the keys that it needs.").secret(),
    ]),
    ("HTTP", &[
        setting("LATCHKEY_LISTEN", Value("127.0.0.1:8080"), Shape("an address and port, such as `0.0.0.0:8080` or `[::]:8080`"),
            "Where the gateway listens; port 0 takes a free one, and the bound address is logged."),
        setting("LATCHKEY_OPS_LISTEN", Told("`127.0.0.1:9090`; otp-worker `127.0.0.1:9091`, sms-worker `127.0.0.1:9092`"), Shape("an address and port other than LATCHKEY_LISTEN"),
            "Where `/livez`, `/readyz` and `/metrics` are served; not for the public."),
        setting("LATCHKEY_PUBLIC_URL", Nothing, Shape("an `http://` or `https://` URL without query, fragment, user or underscore in its host; `https://` in production"),
            "The address that clients and providers reach the gateway by: for callbacks, the signatures over them, and the URLs in proofs of a key (DPoP)."),
        setting("LATCHKEY_TRUSTED_PROXIES", Nothing, Shape("networks and addresses separated by commas, such as `10.0.0.0/8,192.0.2.7`"),
            "The proxies whose `Forwarded` and `X-Forwarded-For` are believed."),
        setting("LATCHKEY_CORS_ORIGINS", Nothing, Shape("exact origins separated by commas, such as `https://app.example.com`; no `*`, no `null`, no path"),
            "The web origins whose scripts may call the API; unset, none may."),
    ]),
    ("Tokens", &[
        setting("LATCHKEY_ISSUER", Told("LATCHKEY_PUBLIC_URL; in development else `http://` and the address listened on"), Shape("1 to 255 visible ASCII characters"),
            "The `iss` of the tokens."),
        setting("LATCHKEY_AUDIENCE", Value("latchkey"), Shape("1 to 255 visible ASCII characters"),
            "The `aud` of the tokens."),
        setting("LATCHKEY_JWT_KEYS_DIR", Told("`keys` in the data folder when embedded"), Shape("a folder that exists"),
            "The signing keys, PKCS#8 in PEM files named `<kid>.pem`; on the engines the gateway needs it."),
        setting("LATCHKEY_JWT_ACTIVE_KID", Told("the newest key"), Shape("1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_`, `-`"),
            "The key that signs."),
        setting("LATCHKEY_ACCESS_TTL_SECS", Value("600"), number(60, 3_600),
            "The life of an access token."),
        setting("LATCHKEY_REFRESH_IDLE_SECS", Value("2592000"), number(3_600, 31_536_000),
            "A session that is not refreshed for this long ends."),
        setting("LATCHKEY_REFRESH_MAX_SECS", Value("15552000"), number(3_600, 63_072_000),
            "A session ends this long after its login, however often it is refreshed; not below LATCHKEY_REFRESH_IDLE_SECS."),
        setting("LATCHKEY_REFRESH_GRACE_SECS", Value("30"), number(0, 300),
            "The last refresh, or a login with its `Idempotency-Key`, can be repeated for this long."),
    ]),
    ("Codes", &[
        setting("LATCHKEY_OTP_LENGTH", Value("6"), number(4, 10),
            "Digits of a code."),
        setting("LATCHKEY_OTP_TTL_SECS", Value("300"), number(60, 600),
            "The life of a code."),
        setting("LATCHKEY_OTP_ATTEMPTS", Value("5"), number(1, 10),
            "Guesses per code."),
        setting("LATCHKEY_OTP_MAX_FAILURES", Value("100"), number(1, 100),
            "Consecutive failures of a phone that turn its sign-in by code off."),
        setting("LATCHKEY_FAILURE_RESET_SECS", Value("86400"), Allowed::Number { low: 3_600, high: 31_536_000, zero: Some("never, as NIST SP 800-63B-4 has it") },
            "A locked phone opens after this long without a judged guess."),
    ]),
    ("Limits", &[
        setting("LATCHKEY_RESEND_COOLDOWN_SECS", Value("30"), Allowed::Number { low: 0, high: 3_600, zero: Some("off") },
            "The wait between two texts to a phone; doubles per unanswered text, to 10 minutes."),
        setting("LATCHKEY_SENDS_PER_PHONE_HOUR", Value("5"), LIMIT, "Texts to one phone in an hour."),
        setting("LATCHKEY_SENDS_PER_PHONE_DAY", Value("10"), LIMIT, "Texts to one phone in a day."),
        setting("LATCHKEY_SENDS_PER_IP_HOUR", Value("20"), LIMIT, "Texts asked for from one IPv4 address or IPv6 /64 in an hour."),
        setting("LATCHKEY_SENDS_PER_COUNTRY_HOUR", Value("0"), LIMIT, "Texts to one country in an hour."),
        setting("LATCHKEY_SENDS_PER_COUNTRY_DAY", Value("0"), LIMIT, "Texts to one country in a day."),
        setting("LATCHKEY_SENDS_PER_PREFIX_HOUR", Value("0"), LIMIT, "Texts to one operator prefix (calling code and four digits) in an hour."),
        setting("LATCHKEY_SENDS_PER_PREFIX_DAY", Value("0"), LIMIT, "Texts to one operator prefix in a day."),
        setting("LATCHKEY_SENDS_GLOBAL_DAY", Value("0"), LIMIT, "Texts in a day, all together."),
        setting("LATCHKEY_LOGINS_PER_IP_MINUTE", Value("30"), LIMIT, "Logins tried from one IPv4 address or IPv6 /64 in a minute."),
        setting("LATCHKEY_PUMPING_GUARD", Value("record"), Words(&["off", "record", "enforce"]),
            "Whether prefixes whose texts are hardly ever answered are ignored, recorded or stopped."),
    ]),
    ("Who may sign in", &[
        setting("LATCHKEY_COUNTRIES", Told("all; production requires a list"), Shape("ISO 3166 codes of two letters separated by commas, such as `US,IR`"),
            "The countries whose phones may sign in, by numbering region."),
        setting("LATCHKEY_DEFAULT_REGION", Nothing, Shape("one ISO 3166 code of two letters"),
            "The country that numbers in national writing belong to; unset, such numbers are refused."),
        setting("LATCHKEY_UNKNOWN_PHONE", Value("sign_up"), Words(&["sign_up", "silent"]),
            "Whether a phone without an account gets a code and an account at its first login, or silently nothing."),
        setting("LATCHKEY_STRICT_BINDING", Value("false"), Words(&["true", "false", "1", "0"]),
            "Whether a login must name the request that its code was asked for with."),
        setting("LATCHKEY_TEST_NUMBERS", Nothing, Shape("entries `+15550100001=123456@2027-01-01` separated by commas, each phone once: `+` and 7 to 15 digits, a code of LATCHKEY_OTP_LENGTH digits, and the day (UTC) at whose start it ends, which production requires"),
            "Phones with a fixed code, no text and no limits, for tests and app reviews.").secret(),
        setting("LATCHKEY_PASSWORD_MIN", Value("15"), number(8, 64),
            "Characters that a password has at least."),
    ]),
    ("Texts", &[
        setting("LATCHKEY_APP_NAME", Value("Latchkey"), Shape("1 to 20 printable ASCII characters of the GSM-7 alphabet, no `@`, no four digits in a row"),
            "The name in the texts."),
        setting("LATCHKEY_TEXTS_DIR", Told("the built-in texts"), Shape("a folder that exists"),
            "Your own texts per locale."),
        setting("LATCHKEY_ANDROID_APP_HASH", Nothing, Shape("11 of the characters A-Z, a-z, 0-9, `+`, `/`"),
            "The hash by which Android's SMS Retriever gives the text to your app."),
        setting("LATCHKEY_WEBOTP_DOMAIN", Nothing, Shape("a host name, such as `login.example.com`"),
            "The domain of the last line `@domain #code`, by which browsers and iOS fill the code in."),
    ]),
    ("Delivery", &[
        setting("LATCHKEY_SMS_ROUTES", Told("`default=inbox` when embedded"), Shape("`default=` and, separated by semicolons, prefixes without `+`, each with providers in order, such as `default=twilio,http;98=http`; providers: `twilio`, `http`, `console`, `inbox` (the last two in development only)"),
            "Who sends the texts; the longest matching prefix decides; on the engines sms-worker needs it."),
        setting("LATCHKEY_UNKNOWN_OUTCOME", Value("resend"), Words(&["resend", "wait"]),
            "What follows when a provider may or may not have taken a text: once more elsewhere, or nothing."),
        setting("LATCHKEY_VOICE_FALLBACK_SECS", Value("0"), Allowed::Number { low: 10, high: 120, zero: Some("off") },
            "After this long without a receipt of a text's delivery and without a sign-in, its code is said by a call as well, once; the call counts as a text does."),
        setting("TWILIO_ACCOUNT_SID", Nothing, Shape("`AC` and 32 hexadecimal digits"),
            "The Twilio account; needed when a route names `twilio`."),
        setting("TWILIO_AUTH_TOKEN", Nothing, Shape("visible ASCII characters without spaces"),
            "The account's token; Twilio signs its receipts with it, also when an API key is used.").secret(),
        setting("TWILIO_API_KEY", Nothing, Shape("`SK` and 32 hexadecimal digits, together with TWILIO_API_SECRET"),
            "An API key to send with instead of the account's token."),
        setting("TWILIO_API_SECRET", Nothing, Shape("visible ASCII characters without spaces, together with TWILIO_API_KEY"),
            "The API key's secret.").secret(),
        setting("TWILIO_FROM", Nothing, Shape("a number (`+` and 7 to 15 digits), a short code (3 to 8 digits) or a sender name (1 to 11 letters, digits, spaces, `+-_&`, one letter at least)"),
            "The sender of calls, which only a number can be, and of messages where no TWILIO_MESSAGING_SERVICE_SID is set."),
        setting("TWILIO_MESSAGING_SERVICE_SID", Nothing, Shape("`MG` and 32 hexadecimal digits"),
            "The messaging service that picks the sender of messages; it cannot call, so set TWILIO_FROM beside it for calls."),
        setting("TWILIO_BASE_URL", Value("https://api.twilio.com"), Shape("an `http://` or `https://` URL without query, fragment or user; `https://` in production"),
            "Where Twilio's API is: a region, or a stand-in for tests."),
        setting("LATCHKEY_HTTP_PROVIDER_URL", Nothing, Shape("an `http://` or `https://` URL without fragment or user; `https://` in production"),
            "Where the provider `http` posts its signed jobs; needed when a route names `http`."),
        setting("LATCHKEY_HTTP_PROVIDER_SECRET", Nothing, Shape("`whsec_` and base64 of 24 bytes or more (Standard Webhooks), or 24 bytes or more as they stand; no sample outside development"),
            "The secret that those jobs are signed with.").secret(),
    ]),
    ("Seeing it run", &[
        setting("OTEL_EXPORTER_OTLP_ENDPOINT", Nothing, Shape("an `http://` or `https://` URL without query, fragment or user"),
            "The collector that traces are sent to by OTLP over HTTP; unset, none are sent."),
        setting("RUST_LOG", Value("info"), Shape("filters of tracing-subscriber separated by commas, such as `info,gateway=debug`"),
            "What is logged."),
    ]),
];

/// Every setting, in the order in which they are shown.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter())
}

/// The setting of that variable.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_has_a_name_of_its_own_and_one_sentence() {
        let names: BTreeSet<_> = all().map(|setting| setting.name).collect();
        let keys: BTreeSet<_> = all().map(Setting::key).collect();
        assert_eq!((names.len(), keys.len()), (all().count(), all().count()));
        for setting in all() {
            assert!(setting.doc.ends_with('.') && !setting.doc.contains(". "), "{}", setting.name);
            assert!(!setting.allowed.to_string().contains('|'), "{} breaks a table", setting.name);
        }
    }

    #[test]
    fn what_is_allowed_is_told_with_both_ends() {
        let told = |name| find(name).unwrap().allowed.to_string();
        assert_eq!(told("LATCHKEY_OTP_TTL_SECS"), "a whole number from 60 to 600");
        assert!(
            told("LATCHKEY_FAILURE_RESET_SECS").ends_with("a whole number from 3600 to 31536000")
        );
        assert_eq!(
            told("LATCHKEY_SENDS_GLOBAL_DAY"),
            "a whole number from 0 to 1000000000 (0 = off)"
        );
        assert_eq!(told("LATCHKEY_PUMPING_GUARD"), "`off`, `record` or `enforce`");
    }
}
