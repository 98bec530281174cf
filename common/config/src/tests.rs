//! Tests of the settings as operators see them: defaults, ranges, mistakes, production, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::table::{self, Allowed};
use super::*;
use domain::clock::Clock;
use domain::keys::derive_bundle;
use domain::rng;
use domain::vocabulary::Limit;

/// A temporary folder for one test, removed when the test ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let name = format!("latchkey-config-{}", hex::encode(rng::secret_bytes::<8>()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    /// Writes a settings file; returns the variable that names it and its path.
    fn settings(&self, toml: &str) -> (String, String) {
        let path = self.0.join("latchkey.toml");
        std::fs::write(&path, toml).unwrap();
        (table::FILE.to_owned(), path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Pairs = &'static [(&'static str, &'static str)];
type Variables = BTreeMap<String, String>;

/// 32 random-looking bytes in hex.
const SECRET: &str = "7c41f09be2d85a6313a4c9f70e5b28d6917fe03cb46a52d8c01e9b7753fa86d4";
const OTHER_SECRET: &str = "e5b28d6917fe03cb46a52d8c01e9b7753fa86d47c41f09be2d85a6313a4c9f70";

const ENGINES: Pairs = &[
    ("DATABASE_URL", "postgres://u:p4ss@db:5432/latchkey"),
    ("REDIS_URL", "redis://:p4ss@redis:6379/"),
    ("AMQP_URL", "amqp://u:p4ss@mq:5672/latchkey"),
];

const TWILIO: Pairs = &[
    ("LATCHKEY_SMS_ROUTES", "default=twilio"),
    ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"),
    ("TWILIO_AUTH_TOKEN", "4be0c61f97d25a8833e1f70a94c6d2b5"),
    ("TWILIO_FROM", "+15005550006"),
];

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The settings that an all-in-one process needs in production with real engines.
fn production(keys_dir: &Folder) -> Variables {
    let mut all = variables(ENGINES);
    all.extend(variables(TWILIO));
    all.extend(variables(&[
        ("LATCHKEY_SECRET", SECRET),
        ("LATCHKEY_COUNTRIES", "US,IR"),
        ("LATCHKEY_SENDS_GLOBAL_DAY", "20000"),
        ("LATCHKEY_PUBLIC_URL", "https://auth.example.test/"),
    ]));
    all.insert("LATCHKEY_JWT_KEYS_DIR".to_owned(), keys_dir.text());
    all
}

/// The day that begins after this many days, as a setting writes it.
fn days_ahead(days: i64) -> String {
    let day = Clock::system().now().plus_secs(days * 86_400).to_string();
    day.split('T').next().unwrap().to_owned()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_map(Role::AllInOne, &variables(pairs))
}

/// Returns the error text, which must name all of `names` and contain no secret.
fn refused(role: Role, given: &Variables, names: &[&str]) -> String {
    let Err(error) = Config::from_map(role, given) else { panic!("{names:?} should be refused") };
    let text = error.to_string();
    for name in names {
        let named = error.mistakes().iter().any(|m| m.name.split(',').next() == Some(name));
        assert!(named, "the error does not name {name}: {text}");
    }
    for (name, value) in given {
        let secret = table::find(name).is_some_and(|setting| setting.secret);
        assert!(
            !secret || !text.contains(value.as_str()),
            "the error contains the value of {name}: {text}"
        );
    }
    text
}

/// Each entry: a setting, a wrong value, and the other settings that the check depends on.
const WRONG: &[(&str, &str, Pairs)] = &[
    ("LATCHKEY_CONFIG", "/nonexistent/latchkey.toml", &[]),
    ("LATCHKEY_ENV", "staging", &[]),
    ("DATABASE_URL", "mysql://u:hunter2@h/d", &[]),
    ("DATABASE_URL", "just text", &[]),
    ("REDIS_URL", "http://u:hunter2@h", &[]),
    ("AMQP_URL", "mq.internal:5672", &[]),
    ("LATCHKEY_PLAINTEXT_ENGINES", "yes", &[]),
    ("LATCHKEY_DATA_DIR", "/dev/null", &[]),
    ("LATCHKEY_SECRET", "t00-sh0rt", &[]),
    ("LATCHKEY_SECRET", "31 bytes, while 32 are required", &[("LATCHKEY_ENV", "production")]),
    ("LATCHKEY_SECRET_PREVIOUS", "t00-sh0rt", &[("LATCHKEY_SECRET", SECRET)]),
    ("LATCHKEY_SECRET_PREVIOUS", SECRET, &[("LATCHKEY_SECRET", SECRET)]),
    ("LATCHKEY_SECRET_PREVIOUS", SECRET, &[]),
    ("LATCHKEY_SERVICE_KEYS", "lk1.no-bundle-at-all", &[]),
    ("LATCHKEY_LISTEN", "127.0.0.1:99999", &[]),
    ("LATCHKEY_LISTEN", "localhost:8080", &[]),
    ("LATCHKEY_LISTEN", "8080", &[]),
    ("LATCHKEY_OPS_LISTEN", "everywhere", &[]),
    ("LATCHKEY_OPS_LISTEN", "127.0.0.1:8080", &[]),
    ("LATCHKEY_ADMIN_LISTEN", "8082", &[]),
    ("LATCHKEY_ADMIN_LISTEN", "127.0.0.1:9090", &[]),
    ("LATCHKEY_PUBLIC_URL", "not a url", &[]),
    ("LATCHKEY_PUBLIC_URL", "auth.example.test", &[]),
    ("LATCHKEY_PUBLIC_URL", "ftp://auth.example.test", &[]),
    ("LATCHKEY_PUBLIC_URL", "https://my_auth.example.test", &[]),
    ("LATCHKEY_PUBLIC_URL", "https://auth.example.test/?a=b", &[]),
    ("LATCHKEY_PUBLIC_URL", "https://user:hunter2@auth.example.test", &[]),
    ("LATCHKEY_TRUSTED_PROXIES", "everybody", &[]),
    ("LATCHKEY_TRUSTED_PROXIES", "10.0.0.0/33", &[]),
    ("LATCHKEY_TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0", &[]),
    ("LATCHKEY_TRUSTED_PROXIES", "::/0", &[]),
    ("LATCHKEY_TRUSTED_PROXIES", "203.0.113.9/0", &[]),
    ("LATCHKEY_CLIENT_IP_HEADER", "x-forwarded-for,forwarded", &[]),
    ("LATCHKEY_CLIENT_IP_HEADER", "x-client-ip", &[]),
    ("LATCHKEY_INBOX_TOKEN", "t00-sh0rt", &[]),
    ("LATCHKEY_CORS_ORIGINS", "*", &[]),
    ("LATCHKEY_CORS_ORIGINS", "null", &[]),
    ("LATCHKEY_CORS_ORIGINS", "https://app.example.test/path", &[]),
    ("LATCHKEY_ISSUER", "two words", &[]),
    ("LATCHKEY_AUDIENCE", "two words", &[]),
    ("LATCHKEY_JWT_KEYS_DIR", "/nonexistent/keys", &[]),
    ("LATCHKEY_JWT_ACTIVE_KID", "../../etc/passwd", &[]),
    ("LATCHKEY_REFRESH_MAX_SECS", "3600", &[("LATCHKEY_REFRESH_IDLE_SECS", "3601")]),
    ("LATCHKEY_DPOP_NONCE", "maybe", &[]),
    ("LATCHKEY_VOICE", "off", &[]),
    ("LATCHKEY_NOTICES", "maybe", &[]),
    ("LATCHKEY_OTP_LENGTH", "six", &[]),
    ("LATCHKEY_OTP_LENGTH", "+6", &[]),
    ("LATCHKEY_OTP_LENGTH", "6.0", &[]),
    ("LATCHKEY_SENDS_GLOBAL_DAY", "x", &[]),
    ("LATCHKEY_SENDS_GLOBAL_DAY", "99999999999999999999999", &[]),
    ("LATCHKEY_PUMPING_GUARD", "on", &[]),
    ("LATCHKEY_COUNTRIES", "USA,XX", &[]),
    ("LATCHKEY_COUNTRIES", "US,,IR", &[]),
    ("LATCHKEY_DEFAULT_REGION", "ZZ", &[]),
    ("LATCHKEY_UNKNOWN_PHONE", "maybe", &[]),
    ("LATCHKEY_STRICT_BINDING", "yes", &[]),
    ("LATCHKEY_TEST_NUMBERS", "+14155550100=12@2099-01-01", &[]),
    ("LATCHKEY_TEST_NUMBERS", "+14155550100=123456", &[("LATCHKEY_OTP_LENGTH", "8")]),
    ("LATCHKEY_TEST_NUMBERS", "+14155550100=123456,+14155550100=654321", &[]),
    ("LATCHKEY_BREACHED_PASSWORDS_URL", "pwned.example.test", &[]),
    ("LATCHKEY_NOTICES", "never", &[]),
    ("LATCHKEY_APP_NAME", "a name that is far too long", &[]),
    ("LATCHKEY_APP_NAME", "Caf\u{e9}", &[]),
    ("LATCHKEY_APP_NAME", "me@home", &[]),
    ("LATCHKEY_TEXTS_DIR", "/nonexistent/texts", &[]),
    ("LATCHKEY_ANDROID_APP_HASH", "tooshort", &[]),
    ("LATCHKEY_WEBOTP_DOMAIN", "https://example.test", &[]),
    ("LATCHKEY_SMS_ROUTES", "default=pigeon", &[]),
    ("LATCHKEY_SMS_ROUTES", "98=console", &[]),
    ("LATCHKEY_SMS_ROUTES", "default=inbox;98=console;98=inbox", &[]),
    ("LATCHKEY_UNKNOWN_OUTCOME", "retry", &[]),
    ("TWILIO_ACCOUNT_SID", "AC123", &[]),
    ("TWILIO_AUTH_TOKEN", "two words", &[]),
    ("TWILIO_API_KEY", "AC00000000000000000000000000000000", &[]),
    ("TWILIO_API_SECRET", "two words", &[]),
    ("TWILIO_FROM", "+1500", &[]),
    ("TWILIO_MESSAGING_SERVICE_SID", "MG0", &[]),
    ("TWILIO_BASE_URL", "api.twilio.com", &[]),
    ("LATCHKEY_HTTP_PROVIDER_URL", "sms.example.test", &[]),
    ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-w3bhook-s3cret", &[]),
    ("LATCHKEY_HTTP_PROVIDER_SECRET", "whsec_c2hvcnQ=", &[]),
    ("LATCHKEY_HTTP_PROVIDER_SECRET", "whsec_not*base64*not*base64*", &[]),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", &[]),
    ("OTEL_TRACES_SAMPLER", "sometimes", &[]),
    ("OTEL_TRACES_SAMPLER_ARG", "1.01", &[]),
    ("OTEL_TRACES_SAMPLER_ARG", "-0.1", &[]),
    ("OTEL_TRACES_SAMPLER_ARG", "NaN", &[]),
    ("RUST_LOG", "gateway=loudly", &[]),
];

#[test]
fn every_wrong_value_is_refused_by_name_with_what_is_allowed_and_no_secret() {
    for &(name, value, beside) in WRONG {
        let mut given = variables(beside);
        given.insert(name.to_owned(), value.to_owned());
        let text = refused(Role::AllInOne, &given, &[name]);
        let setting = table::find(name).unwrap();
        assert!(text.contains(&setting.allowed.to_string()), "{name}: {text}");
        assert!(!text.contains("hunter2"), "{name}: {text}");
    }
}

#[test]
fn a_messaging_service_sends_and_a_number_beside_it_calls() {
    let service = "MG00000000000000000000000000000000";
    let account = |from: Option<&str>, with_service: bool| {
        let mut given = variables(TWILIO);
        given.remove("TWILIO_FROM");
        given.extend(from.map(|from| ("TWILIO_FROM".to_owned(), from.to_owned())));
        if with_service {
            given.insert("TWILIO_MESSAGING_SERVICE_SID".to_owned(), service.to_owned());
        }
        Config::from_map(Role::AllInOne, &given).unwrap().sms.twilio.unwrap()
    };
    assert_eq!(account(Some("+15005550006"), true).caller(), Some("+15005550006"));
    assert_eq!(account(Some("+15005550006"), false).caller(), Some("+15005550006"));
    assert_eq!(account(None, true).caller(), None);
    assert_eq!(account(Some("Latchkey"), true).caller(), None, "a name cannot call");
}

#[test]
fn the_wrong_values_above_cover_every_setting_that_is_not_a_number() {
    let tried: BTreeSet<_> = WRONG.iter().map(|(name, ..)| *name).collect();
    for setting in table::all() {
        let number = matches!(setting.allowed, Allowed::Number { .. });
        assert!(number || tried.contains(setting.name), "{} is not covered", setting.name);
    }
}

#[test]
fn both_ends_of_every_range_are_accepted_and_one_beyond_is_refused_with_the_range() {
    let mut numbers = 0;
    for setting in table::all() {
        let Allowed::Number { low, high, zero } = setting.allowed else { continue };
        numbers += 1;
        let beside = match setting.name {
            "LATCHKEY_REFRESH_IDLE_SECS" => ("LATCHKEY_REFRESH_MAX_SECS", "63072000"),
            _ => ("LATCHKEY_REFRESH_IDLE_SECS", "3600"),
        };
        for value in [low, high].into_iter().chain(zero.map(|_| 0)) {
            let config = load(&[beside, (setting.name, &value.to_string())]).unwrap();
            let shown = config.shown().into_iter().find(|s| s.variable == setting.name).unwrap();
            assert_eq!(shown.value, Some(value.to_string()), "{}", setting.name);
        }
        for value in [i128::from(low) - 1, i128::from(high) + 1] {
            if value == 0 && zero.is_some() {
                continue;
            }
            let given = variables(&[beside, (setting.name, &value.to_string())]);
            let text = refused(Role::AllInOne, &given, &[setting.name]);
            assert!(text.contains(&low.to_string()) && text.contains(&high.to_string()), "{text}");
        }
    }
    assert_eq!(
        numbers, 23,
        "ruling 26 names eleven ranges and nine limits; the voice fallback, the connections and the threads have one each"
    );
}

#[test]
fn every_word_of_a_setting_is_accepted() {
    for setting in table::all() {
        let Allowed::Words(words) = setting.allowed else { continue };
        // Production needs more settings than this word.
        for word in words.iter().filter(|word| **word != "production") {
            let config = load(&[(setting.name, word)]).unwrap();
            let shown = config.shown().into_iter().find(|s| s.variable == setting.name).unwrap();
            assert_eq!(shown.value.as_deref(), Some(*word), "{}", setting.name);
        }
    }
    assert!(load(&[("LATCHKEY_STRICT_BINDING", "1")]).unwrap().strict_binding);
    assert!(load(&[]).unwrap().sms.voice && !load(&[("LATCHKEY_VOICE", "0")]).unwrap().sms.voice);
    assert_eq!(
        load(&[("LATCHKEY_UNKNOWN_PHONE", "silent")]).unwrap().unknown_phone,
        UnknownPhone::Silent
    );
}

#[test]
fn without_settings_it_is_the_embedded_development_of_the_contract() {
    let folder = Folder::new();
    let config = load(&[("LATCHKEY_DATA_DIR", &folder.text())]).unwrap();
    assert_eq!(config.environment, Environment::Development);
    assert!(
        matches!(&config.engines, EngineSettings::Embedded { data_dir } if data_dir == folder.path())
    );
    assert!(matches!(config.secrets, Secrets::MadeInDataDir));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9090");
    assert_eq!((config.issuer.as_deref(), config.audience.as_str()), (None, "latchkey"));
    assert_eq!(config.jwt_keys_dir, Some(folder.path().join("keys")));
    let Tokens { access_ttl_secs, refresh_idle_secs, refresh_max_secs, refresh_grace_secs } =
        config.tokens;
    assert_eq!(
        (access_ttl_secs, refresh_idle_secs, refresh_max_secs, refresh_grace_secs),
        (600, 2_592_000, 15_552_000, 30)
    );
    let otp = &config.otp;
    assert_eq!((otp.length, otp.ttl_secs, otp.attempts), (6, 300, 5));
    assert_eq!((otp.max_failures, otp.failure_reset_secs), (100, 86_400));
    let limits: Vec<_> = config.shown_limits().iter().map(|limit| limit.value).collect();
    let expected = [30, 5, 10, 20, 0, 0, 0, 0, 0, 30, 30, 100].map(Some);
    assert_eq!(limits, [&expected[..], &[None]].concat());
    assert_eq!((config.countries, config.default_region), (None, None));
    assert_eq!(config.sms.routes.default, [ProviderName::Inbox]);
    assert!(config.sms.twilio.is_none() && config.sms.http.is_none());
    assert_eq!(config.texts.app_name, "Latchkey");
    assert_eq!((config.password_min, config.pumping_guard), (15, PumpingGuard::Record));
    assert!(config.notices && config.breached_passwords_url.is_none());
    assert!(config.cors_origins.is_empty() && config.trusted_proxies.is_empty());
    assert_eq!(config.client_ip_header, ClientIpHeader::XForwardedFor);
    assert_eq!(config.connections_per_ip, 100);
    assert!(!folder.path().join("secret").exists(), "validating settings creates nothing");
}

#[test]
fn the_data_folder_is_the_platforms_when_none_is_set() {
    let EngineSettings::Embedded { data_dir } = load(&[]).unwrap().engines else {
        panic!("without engines it runs embedded")
    };
    assert!(data_dir.is_absolute() && data_dir.ends_with("latchkey"), "{}", data_dir.display());
}

#[test]
fn empty_variables_count_as_unset_and_spaces_around_a_value_are_dropped() {
    let config = load(&[
        ("DATABASE_URL", ""),
        ("LATCHKEY_OTP_LENGTH", ""),
        ("LATCHKEY_SECRET", ""),
        ("LATCHKEY_CONFIG", ""),
        ("LATCHKEY_OTP_TTL_SECS", " 120 "),
    ]);
    let config = config.unwrap();
    assert_eq!((config.otp.length, config.otp.ttl_secs), (6, 120));
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_page() {
    let given = variables(&[
        ("LATCHKEY_OTP_TTL_SECS", "5"),
        ("LATCHKEY_LISTEN", "nowhere"),
        ("LATCHKEY_SECRET", "tooshort-9f8e7d"),
        ("LATCHKEY_OTP_LENGHT", "6"),
    ]);
    let names =
        ["LATCHKEY_OTP_LENGHT", "LATCHKEY_SECRET", "LATCHKEY_LISTEN", "LATCHKEY_OTP_TTL_SECS"];
    let text = refused(Role::AllInOne, &given, &names);
    let places: Vec<_> = names.map(|name| text.find(&format!("\n  {name}: "))).to_vec();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("\"5\" is refused; it must be a whole number from 60 to 600"), "{text}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_name() {
    for (wrong, meant) in [
        ("LATCHKEY_OTP_LENGHT", "LATCHKEY_OTP_LENGTH"),
        ("LATCHKEY_SENDS_PER_GLOBAL_DAY", "LATCHKEY_SENDS_GLOBAL_DAY"),
        ("LATCHKEY_COUNTRY", "LATCHKEY_COUNTRIES"),
    ] {
        let text = refused(Role::AllInOne, &variables(&[(wrong, "6")]), &[wrong]);
        assert!(text.contains(&format!("did you mean {meant}?")), "{text}");
    }
    let far = variables(&[("LATCHKEY_ENTIRELY_ELSE", "sesame-sesame")]);
    let text = refused(Role::AllInOne, &far, &["LATCHKEY_ENTIRELY_ELSE"]);
    assert!(!text.contains("sesame") && !text.contains("did you mean"), "{text}");
    assert!(load(&[("PATH", "/bin"), ("TWILIO_REGION", "ie1"), ("MYAPP_LATCHKEY_X", "1")]).is_ok());
}

#[test]
fn an_incomplete_set_of_engines_is_refused_and_the_missing_ones_are_named() {
    for missing in ["DATABASE_URL", "REDIS_URL", "AMQP_URL"] {
        let mut given = variables(ENGINES);
        given.remove(missing);
        given.insert("LATCHKEY_ENV".to_owned(), "development".to_owned());
        let text = refused(Role::AllInOne, &given, &[missing]);
        let others = ENGINES.iter().filter(|(name, _)| *name != missing);
        for (other, _) in others {
            assert!(!text.contains(&format!("{other}: ")), "{text}");
        }
    }
}

#[test]
fn a_separate_service_needs_real_engines_and_a_secret_or_its_bundle() {
    for role in [Role::Gateway, Role::OtpWorker, Role::SmsWorker] {
        let names = ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "LATCHKEY_SECRET"];
        refused(role, &Variables::new(), &names);
    }
    refused(Role::AllInOne, &variables(ENGINES), &["LATCHKEY_SECRET", "LATCHKEY_SMS_ROUTES"]);
}

#[test]
fn a_bundle_is_checked_by_the_service_that_uses_it() {
    let keys_dir = Folder::new();
    for (role, ops_port) in
        [(Role::Gateway, 9090), (Role::OtpWorker, 9091), (Role::SmsWorker, 9092)]
    {
        let service = role.service().unwrap();
        let bundle = derive_bundle(SECRET.as_bytes(), None, service).unwrap();
        let mut given = production(&keys_dir);
        given.remove("LATCHKEY_SECRET");
        given.insert("LATCHKEY_SERVICE_KEYS".to_owned(), bundle.to_string());
        let config = Config::from_map(role, &given).unwrap();
        assert!(matches!(config.secrets, Secrets::Bundle(_)));
        assert_eq!(config.ops_listen.port(), ops_port);
        config.keys().unwrap().check_for(service).unwrap();
        assert_eq!(role_of(&Given::by_map(&given)), role, "the role is found by its keys");

        refused(Role::AllInOne, &given, &["LATCHKEY_SECRET", "LATCHKEY_SERVICE_KEYS"]);
        let other = if role == Role::Gateway { Role::OtpWorker } else { Role::Gateway };
        refused(other, &given, &["LATCHKEY_SERVICE_KEYS"]);
        given.insert("LATCHKEY_SECRET".to_owned(), SECRET.to_owned());
        refused(role, &given, &["LATCHKEY_SERVICE_KEYS"]);
    }
    let embedded = variables(&[("LATCHKEY_SERVICE_KEYS", "lk1.e30")]);
    assert_eq!(role_of(&Given::by_map(&embedded)), Role::AllInOne);
    refused(Role::AllInOne, &embedded, &["LATCHKEY_SERVICE_KEYS"]);
}

#[test]
fn the_admin_api_is_off_by_default_and_on_a_port_of_its_own() {
    let admin = |address: &str| variables(&[("LATCHKEY_ADMIN_LISTEN", address)]);
    let config = Config::from_map(Role::AllInOne, &Variables::new()).unwrap();
    assert_eq!(config.admin_listen, None);
    let config = Config::from_map(Role::AllInOne, &admin("127.0.0.1:8082")).unwrap();
    assert_eq!(config.admin_listen.map(|address| address.port()), Some(8082));
    for taken in ["127.0.0.1:8080", "127.0.0.1:9090", "8082", "localhost"] {
        refused(Role::AllInOne, &admin(taken), &["LATCHKEY_ADMIN_LISTEN"]);
    }
}

#[test]
fn all_services_can_share_one_set_of_variables() {
    let keys_dir = Folder::new();
    let mut given = production(&keys_dir);
    for role in [Role::AllInOne, Role::Gateway, Role::OtpWorker, Role::SmsWorker] {
        Config::from_map(role, &given).unwrap();
    }
    // What only the gateway reads may be unset, or name a missing folder, for the workers.
    given.insert("LATCHKEY_JWT_KEYS_DIR".to_owned(), "/nonexistent/keys".to_owned());
    given.remove("LATCHKEY_COUNTRIES");
    for role in [Role::OtpWorker, Role::SmsWorker] {
        Config::from_map(role, &given).unwrap();
    }
    refused(Role::Gateway, &given, &["LATCHKEY_JWT_KEYS_DIR", "LATCHKEY_COUNTRIES"]);
    // What only the sender reads may be unset for the others.
    let mut given = production(&keys_dir);
    given.retain(|name, _| !name.starts_with("TWILIO") && name != "LATCHKEY_SMS_ROUTES");
    for role in [Role::Gateway, Role::OtpWorker] {
        assert!(Config::from_map(role, &given).unwrap().sms.routes.default.is_empty());
    }
    refused(Role::SmsWorker, &given, &["LATCHKEY_SMS_ROUTES"]);
}

#[test]
fn a_valid_production_starts_and_its_issuer_is_the_public_url() {
    let keys_dir = Folder::new();
    let config = Config::from_map(Role::AllInOne, &production(&keys_dir)).unwrap();
    assert_eq!(config.environment, Environment::Production);
    assert_eq!(config.issuer.as_deref(), Some("https://auth.example.test"));
    let EngineSettings::Services { database_url, .. } = &config.engines else {
        panic!("engines were given")
    };
    assert_eq!(database_url.expose_secret(), ENGINES[0].1);
    let twilio = config.sms.twilio.as_ref().unwrap();
    assert_eq!(twilio.base_url.as_str(), "https://api.twilio.com/");
    assert_eq!(config.countries.as_ref().map(BTreeSet::len), Some(2));
    assert_eq!(config.jwt_keys_dir.as_deref(), Some(keys_dir.path()));
}

#[test]
fn production_refuses_what_is_only_suitable_for_trying() {
    let keys_dir = Folder::new();
    let wrong: &[(&str, Option<&str>, &str)] = &[
        ("LATCHKEY_COUNTRIES", None, "LATCHKEY_COUNTRIES"),
        ("LATCHKEY_PUBLIC_URL", None, "LATCHKEY_ISSUER"),
        ("LATCHKEY_PUBLIC_URL", None, "LATCHKEY_PUBLIC_URL"),
        ("LATCHKEY_PUBLIC_URL", Some("http://auth.example.test"), "LATCHKEY_PUBLIC_URL"),
        ("TWILIO_BASE_URL", Some("http://127.0.0.1:9"), "TWILIO_BASE_URL"),
        ("LATCHKEY_HTTP_PROVIDER_URL", Some("http://sms.test"), "LATCHKEY_HTTP_PROVIDER_URL"),
        ("LATCHKEY_TEST_NUMBERS", Some("+14155550100=123456"), "LATCHKEY_TEST_NUMBERS"),
        ("LATCHKEY_SMS_ROUTES", Some("default=inbox"), "LATCHKEY_SMS_ROUTES"),
        ("LATCHKEY_SMS_ROUTES", Some("default=twilio;98=console"), "LATCHKEY_SMS_ROUTES"),
        ("LATCHKEY_SMS_ROUTES", None, "LATCHKEY_SMS_ROUTES"),
        ("LATCHKEY_SECRET", None, "LATCHKEY_SECRET"),
        ("LATCHKEY_SECRET", Some("00000000000000000000000000000000"), "LATCHKEY_SECRET"),
        ("LATCHKEY_SECRET", Some("0123456789abcdef0123456789abcdef"), "LATCHKEY_SECRET"),
        ("LATCHKEY_SECRET", Some("please-changeme-please-changeme-"), "LATCHKEY_SECRET"),
        ("LATCHKEY_SECRET", Some("latchkeylatchkeylatchkeylatchkey"), "LATCHKEY_SECRET"),
        ("LATCHKEY_SECRET", Some("qwertyuiopasdfghjklzxcvbnm123456"), "LATCHKEY_SECRET"),
        (
            "LATCHKEY_SECRET_PREVIOUS",
            Some("MySecretMySecretMySecretMySecret"),
            "LATCHKEY_SECRET_PREVIOUS",
        ),
        ("LATCHKEY_JWT_KEYS_DIR", None, "LATCHKEY_JWT_KEYS_DIR"),
        ("TWILIO_AUTH_TOKEN", None, "TWILIO_AUTH_TOKEN"),
        ("LATCHKEY_SENDS_GLOBAL_DAY", None, "LATCHKEY_SENDS_GLOBAL_DAY"),
        ("LATCHKEY_SENDS_GLOBAL_DAY", Some("0"), "LATCHKEY_SENDS_GLOBAL_DAY"),
        ("LATCHKEY_CORS_ORIGINS", Some("http://app.example.test"), "LATCHKEY_CORS_ORIGINS"),
        ("LATCHKEY_OTP_LENGTH", Some("5"), "LATCHKEY_OTP_LENGTH"),
        ("LATCHKEY_OTP_ATTEMPTS", Some("6"), "LATCHKEY_OTP_ATTEMPTS"),
        ("AMQP_URL", Some("amqp://guest:guest@127.0.0.1:5672"), "AMQP_URL"),
        ("DATABASE_URL", Some("postgres://postgres:postgres@db/d"), "DATABASE_URL"),
        ("REDIS_URL", Some("redis://redis:6379/"), "REDIS_URL"),
        ("REDIS_URL", Some("redis://:9f8e7d6c@redis.example.test/"), "REDIS_URL"),
    ];
    for (name, value, named) in wrong {
        let mut given = production(&keys_dir);
        match value {
            Some(value) => given.insert((*name).to_owned(), (*value).to_owned()),
            None => given.remove(*name),
        };
        refused(Role::AllInOne, &given, &[named]);
    }
    let mut embedded = production(&keys_dir);
    embedded.retain(|name, _| !name.ends_with("_URL") || name == "LATCHKEY_PUBLIC_URL");
    embedded.insert("LATCHKEY_ENV".to_owned(), "production".to_owned());
    let text = refused(Role::AllInOne, &embedded, &["DATABASE_URL", "REDIS_URL", "AMQP_URL"]);
    assert!(text.contains("production cannot run embedded"), "{text}");
}

/// Loads a valid production with these settings over the others.
fn in_production(role: Role, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let keys_dir = Folder::new();
    let mut given = production(&keys_dir);
    given.extend(variables(pairs));
    Config::from_map(role, &given)
}

#[test]
fn f02_production_bounds_its_costs_unless_it_says_unlimited() {
    let config = in_production(Role::Gateway, &[]).unwrap();
    let limits = &config.limits;
    assert_eq!((limits.sends_global_day, limits.sends_per_country_hour), (20_000, 1_000));
    assert_eq!(config.pumping_guard, PumpingGuard::Enforce);
    let shown = |variable: &str| {
        config.shown().into_iter().find(|s| s.variable == variable).unwrap().value.unwrap()
    };
    assert_eq!(shown("LATCHKEY_SENDS_PER_COUNTRY_HOUR"), "1000");
    assert_eq!(shown("LATCHKEY_PUMPING_GUARD"), "enforce");

    let written =
        [("LATCHKEY_SENDS_GLOBAL_DAY", "unlimited"), ("LATCHKEY_PUMPING_GUARD", "record")];
    let config = in_production(Role::AllInOne, &written).unwrap();
    assert_eq!((config.limits.sends_global_day, config.pumping_guard), (0, PumpingGuard::Record));
    // Only a process that admits code requests needs the figure.
    let keys_dir = Folder::new();
    let mut given = production(&keys_dir);
    given.remove("LATCHKEY_SENDS_GLOBAL_DAY");
    for role in [Role::OtpWorker, Role::SmsWorker] {
        Config::from_map(role, &given).unwrap();
    }
    given.insert("LATCHKEY_VOICE_FALLBACK_SECS".to_owned(), "30".to_owned());
    Config::from_map(Role::SmsWorker, &given).unwrap();
    refused(Role::OtpWorker, &given, &["LATCHKEY_SENDS_GLOBAL_DAY"]);
}

#[test]
fn f27_a_voice_fallback_needs_calls() {
    const FALLBACK: &str = "LATCHKEY_VOICE_FALLBACK_SECS";
    let given = |seconds| variables(&[("LATCHKEY_VOICE", "false"), (FALLBACK, seconds)]);
    let text = refused(Role::AllInOne, &given("30"), &[FALLBACK]);
    assert!(text.contains("LATCHKEY_VOICE"), "{text}");
    assert_eq!(Config::from_map(Role::AllInOne, &given("0")).unwrap().sms.voice_fallback_secs, 0);
}

#[test]
fn f16_production_refuses_codes_that_are_easily_guessed() {
    for (length, attempts) in [("6", "5"), ("7", "10"), ("10", "10"), ("6", "1")] {
        let given = [("LATCHKEY_OTP_LENGTH", length), ("LATCHKEY_OTP_ATTEMPTS", attempts)];
        in_production(Role::Gateway, &given).unwrap();
    }
    for (length, attempts) in [("4", "10"), ("5", "1"), ("6", "6"), ("6", "10")] {
        let given = [("LATCHKEY_OTP_LENGTH", length), ("LATCHKEY_OTP_ATTEMPTS", attempts)];
        let text = in_production(Role::Gateway, &given).unwrap_err().to_string();
        assert!(text.contains("in a million"), "{length}, {attempts}: {text}");
        load(&given).unwrap();
    }
}

#[test]
fn f16_every_limit_that_is_off_is_a_warning() {
    let warned = |config: &Config| -> Vec<&str> {
        config.warnings().iter().map(|warning| warning.variable).collect()
    };
    let always = [
        "LATCHKEY_SENDS_PER_COUNTRY_DAY",
        "LATCHKEY_SENDS_PER_PREFIX_HOUR",
        "LATCHKEY_SENDS_PER_PREFIX_DAY",
    ];
    assert_eq!(warned(&in_production(Role::Gateway, &[]).unwrap()), always);
    assert!(warned(&in_production(Role::SmsWorker, &[]).unwrap()).is_empty());
    let off = [
        ("LATCHKEY_SENDS_PER_IP_HOUR", "0"),
        ("LATCHKEY_CONNECTIONS_PER_IP", "0"),
        ("LATCHKEY_SENDS_GLOBAL_DAY", "unlimited"),
        ("LATCHKEY_PUMPING_GUARD", "off"),
        ("LATCHKEY_PLAINTEXT_ENGINES", "allow"),
    ];
    let config = in_production(Role::AllInOne, &off).unwrap();
    for (name, _) in off {
        assert!(warned(&config).contains(&name), "{name}: {:?}", config.warnings());
    }
}

#[test]
fn production_without_its_public_url_warns_that_no_proof_of_a_key_is_accepted() {
    const NAME: &str = "LATCHKEY_PUBLIC_URL";
    let keys_dir = Folder::new();
    let mut given = production(&keys_dir);
    given.remove(NAME);
    given.retain(|name, _| !name.starts_with("TWILIO") && name != "LATCHKEY_SMS_ROUTES");
    given.insert("LATCHKEY_ISSUER".to_owned(), "https://auth.example.test".to_owned());
    let warns = |config: &Config| config.warnings().iter().any(|warning| warning.variable == NAME);
    assert!(warns(&Config::from_map(Role::Gateway, &given).unwrap()));
    assert!(!warns(&Config::from_map(Role::OtpWorker, &given).unwrap()));
    assert!(!warns(&in_production(Role::Gateway, &[]).unwrap()));
    assert!(!warns(&load(&[]).unwrap()));
}

#[test]
fn f18_test_numbers_end_soon_in_production_and_belong_to_nobody() {
    const NAME: &str = "LATCHKEY_TEST_NUMBERS";
    let number = |phone: &str, days| format!("{phone}=123456@{}", days_ahead(days));
    let config = in_production(Role::Gateway, &[(NAME, &number("+14155550100", 90))]).unwrap();
    assert!(config.warnings().iter().all(|warning| warning.variable != NAME));
    let text = in_production(Role::Gateway, &[(NAME, &number("+14155550100", 92))]).unwrap_err();
    assert!(text.to_string().contains("within 90 days"), "{text}");
    load(&[(NAME, &number("+14155550100", 92))]).unwrap();

    let two = format!("+14155550100=123456,{}", number("+14155552671", 30));
    let config = load(&[(NAME, &two)]).unwrap();
    let warning = config.warnings().iter().find(|warning| warning.variable == NAME).unwrap();
    assert!(warning.text.starts_with("entry 2 "), "{warning:?}");
    assert!(!warning.text.contains("2671"), "{warning:?}");
}

#[test]
fn f25_a_secret_can_come_from_a_file() {
    let folder = Folder::new();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let secret = file("secret", &format!("{SECRET}\n"));
    let database = file("database", ENGINES[0].1);
    let mut given = production(&folder);
    given.remove("LATCHKEY_SECRET");
    given.remove("DATABASE_URL");
    given.insert("LATCHKEY_SECRET_FILE".to_owned(), secret.clone());
    given.insert("DATABASE_URL_FILE".to_owned(), database);
    let config = Config::from_map(Role::AllInOne, &given).unwrap();
    let Secrets::Master { current, .. } = &config.secrets else { panic!("the secret was given") };
    assert_eq!(current.expose_secret(), SECRET);
    let EngineSettings::Services { database_url, .. } = &config.engines else {
        panic!("engines were given")
    };
    assert_eq!(database_url.expose_secret(), ENGINES[0].1);
    let origin = |name| config.shown().into_iter().find(|s| s.name == name).unwrap().origin;
    assert_eq!(origin("secret"), Some(Origin::SecretFile(PathBuf::from(secret))));

    let mut both = given.clone();
    both.insert("LATCHKEY_SECRET".to_owned(), SECRET.to_owned());
    refused(Role::AllInOne, &both, &["LATCHKEY_SECRET_FILE"]);
    for wrong in ["/nonexistent/secret".to_owned(), file("empty", "\n"), folder.text()] {
        given.insert("LATCHKEY_SECRET_FILE".to_owned(), wrong);
        let text = refused(Role::AllInOne, &given, &["LATCHKEY_SECRET_FILE"]);
        assert_eq!(text.lines().count(), 2, "nothing else is missing: {text}");
    }
    given.insert("LATCHKEY_SECRET_FILE".to_owned(), file("short", "t00-sh0rt\n"));
    let text = refused(Role::AllInOne, &given, &["LATCHKEY_SECRET"]);
    assert!(text.contains("LATCHKEY_SECRET_FILE (") && !text.contains("t00-sh0rt"), "{text}");
    // Only a secret can be in a file of its own.
    refused(Role::AllInOne, &variables(&[("LATCHKEY_ENV_FILE", "/x")]), &["LATCHKEY_ENV_FILE"]);
}

/// Opening a pipe waits for its writer, so a start that opens one never ends: `read` runs in a thread of its own, and
/// the test fails instead.
#[test]
fn f25_what_is_no_small_file_is_refused_at_once() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name);
    let pipe = path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    std::fs::write(path("large"), "x".repeat(64 * 1024 + 1)).unwrap();
    std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    for wrong in [pipe, path("large"), path("binary"), folder.path().to_owned(), "/dev/zero".into()]
    {
        for variable in ["LATCHKEY_SECRET_FILE", table::FILE] {
            let given = variables(&[(variable, &wrong.display().to_string())]);
            let (say, said) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                say.send(Config::from_map(Role::AllInOne, &given).map(drop)).unwrap();
            });
            let outcome = said.recv_timeout(std::time::Duration::from_mins(1));
            let text = outcome.expect("an answer, not a wait").unwrap_err().to_string();
            assert!(text.contains("cannot be read") && text.contains(variable), "{text}");
        }
    }
    std::fs::write(path("largest"), "x".repeat(64 * 1024)).unwrap();
    load(&[("LATCHKEY_SECRET_FILE", &path("largest").display().to_string())]).unwrap();
}

#[test]
fn f25_a_file_of_a_secret_that_everybody_may_read_is_a_warning() {
    let folder = Folder::new();
    let keys_dir = Folder::new();
    let file = |path: PathBuf, content: &str, mode: u32| {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let warned = |mode: u32| -> Vec<&'static str> {
        let secret = file(folder.path().join("secret"), SECRET, mode);
        let toml = format!("secret_previous = \"{OTHER_SECRET}\"\notp_length = 6\n");
        let toml = file(folder.path().join("latchkey.toml"), &toml, mode);
        file(keys_dir.path().join("one.pem"), "a key", mode);
        file(keys_dir.path().join("note.txt"), "no key", 0o644);
        let mut given = production(&keys_dir);
        given.remove("LATCHKEY_SECRET");
        given.insert("LATCHKEY_SECRET_FILE".to_owned(), secret);
        given.insert(table::FILE.to_owned(), toml);
        let config = Config::from_map(Role::AllInOne, &given).unwrap();
        let open = config.warnings().iter().filter(|w| w.text.contains("everybody")).cloned();
        open.map(|warning| warning.variable).collect()
    };
    let all = ["LATCHKEY_SECRET", "LATCHKEY_SECRET_PREVIOUS", "LATCHKEY_JWT_KEYS_DIR"];
    assert_eq!(warned(0o644), all);
    assert_eq!(warned(0o604), all);
    assert!(warned(0o640).is_empty() && warned(0o600).is_empty());
}

#[test]
fn a_twilio_token_of_an_odd_form_is_a_warning_in_production() {
    const NAME: &str = "TWILIO_AUTH_TOKEN";
    let warned = |config: &Config| config.warnings().iter().any(|w| w.variable == NAME);
    for odd in ["x", "00000000000000000000000000000000", "4be0c61f97d25a8833e1f70a94c6d2b"] {
        for role in [Role::Gateway, Role::SmsWorker] {
            assert!(warned(&in_production(role, &[(NAME, odd)]).unwrap()), "{odd}");
        }
    }
    assert!(!warned(&in_production(Role::Gateway, &[]).unwrap()));
    let development = load(&[("TWILIO_ACCOUNT_SID", TWILIO[1].1), (NAME, "x")]).unwrap();
    assert!(!warned(&development));
}

#[test]
fn development_accepts_what_production_refuses() {
    let config = load(&[
        ("LATCHKEY_PUBLIC_URL", "http://127.0.0.1:8080"),
        // 32 bytes that look like a sample.
        ("LATCHKEY_SECRET", "changeme-changeme-changeme-chang"),
        ("LATCHKEY_TEST_NUMBERS", "+14155550100=123456"),
        ("LATCHKEY_SMS_ROUTES", "default=console"),
    ]);
    assert_eq!(config.unwrap().issuer.as_deref(), Some("http://127.0.0.1:8080"));
    let mut twilio = TWILIO.to_vec();
    twilio.push(("TWILIO_BASE_URL", "http://127.0.0.1:9"));
    assert_eq!(load(&twilio).unwrap().sms.twilio.unwrap().base_url.scheme(), "http");
}

#[test]
fn a_provider_needs_its_settings_only_if_a_route_names_it() {
    let half = [("TWILIO_ACCOUNT_SID", TWILIO[1].1), ("TWILIO_API_SECRET", "s3cr3t-of-a-key")];
    assert!(load(&half).unwrap().sms.twilio.is_none());
    let names = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"];
    refused(Role::AllInOne, &variables(&TWILIO[..1]), &names);
    for (lone, missing) in [
        (("TWILIO_API_SECRET", "s3cr3t-of-a-key"), "TWILIO_API_KEY"),
        (("TWILIO_API_KEY", "SK00000000000000000000000000000000"), "TWILIO_API_SECRET"),
    ] {
        let mut given = TWILIO.to_vec();
        given.push(lone);
        refused(Role::AllInOne, &variables(&given), &[missing]);
    }
    let http = [("LATCHKEY_SMS_ROUTES", "default=inbox;98=http")];
    let names = ["LATCHKEY_HTTP_PROVIDER_URL", "LATCHKEY_HTTP_PROVIDER_SECRET"];
    refused(Role::AllInOne, &variables(&http), &names);
    let config = load(&[
        http[0],
        ("LATCHKEY_HTTP_PROVIDER_URL", "https://sms.example.test/hook?token=t0ken"),
        ("LATCHKEY_HTTP_PROVIDER_SECRET", "whsec_7DdSR9bgcN3x2zQKBt1WwAe0cVvJ5hLm"),
    ]);
    let config = config.unwrap();
    assert!(config.sms.http.is_some());
    let text = format!("{:?}", config.shown());
    assert!(text.contains("hook?***") && !text.contains("t0ken"), "{text}");
}

#[test]
fn a_file_sets_what_the_environment_does_not() {
    let folder = Folder::new();
    let toml = "otp_length = 8\notp_ttl_secs = 100\nstrict_binding = true\n\
                countries = [\"US\", \"IR\"]\ntwilio_from = \"Acme\"\napp_name = \"\"\n";
    let (variable, path) = folder.settings(toml);
    let config = load(&[(&variable, &path), ("LATCHKEY_OTP_TTL_SECS", "200")]).unwrap();
    assert_eq!((config.otp.length, config.otp.ttl_secs, config.strict_binding), (8, 200, true));
    assert_eq!(config.countries.as_ref().map(BTreeSet::len), Some(2));
    assert_eq!(config.texts.app_name, "Latchkey");
    let origin = |name| config.shown().into_iter().find(|s| s.name == name).unwrap().origin;
    assert_eq!(origin("otp_length"), Some(Origin::File(PathBuf::from(&path))));
    assert_eq!(origin("otp_ttl_secs"), Some(Origin::Environment));
    assert_eq!(origin("otp_attempts"), None);
}

#[test]
fn a_mistake_in_a_file_names_the_key_in_the_file() {
    let folder = Folder::new();
    for (toml, expected) in [
        ("otp_lenght = 8", "otp_lenght (in "),
        ("otp_lenght = 8", "did you mean otp_length?"),
        ("config = \"other.toml\"", "config (in "),
        ("LATCHKEY_OTP_LENGTH = 8", "LATCHKEY_OTP_LENGTH (in "),
        ("otp_ttl_secs = 5", "LATCHKEY_OTP_TTL_SECS, otp_ttl_secs (in "),
        ("otp_ttl_secs = 5", "from 60 to 600"),
        ("otp_ttl_secs = 100.5", "LATCHKEY_OTP_TTL_SECS, otp_ttl_secs (in "),
        ("otp_ttl_secs = -1", "LATCHKEY_OTP_TTL_SECS, otp_ttl_secs (in "),
        ("countries = [1]", "LATCHKEY_COUNTRIES, countries (in "),
        ("[limits]\nx = 1", "limits (in "),
        ("otp_length = 6\nsecret = \"hunter2", "line 2"),
        ("secret = \"hunter2hunter2\"", "LATCHKEY_SECRET, secret (in "),
    ] {
        let (variable, path) = folder.settings(toml);
        let text = load(&[(&variable, &path)]).unwrap_err().to_string();
        assert!(text.contains(expected), "missing {expected}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn without_the_file_no_other_setting_is_reported_missing() {
    let mut given = variables(ENGINES);
    given.insert(table::FILE.to_owned(), "/nonexistent/latchkey.toml".to_owned());
    given.insert("LATCHKEY_OTP_LENGHT".to_owned(), "6".to_owned());
    let text = refused(Role::AllInOne, &given, &[table::FILE, "LATCHKEY_OTP_LENGHT"]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn shown_settings_mask_every_secret_and_include_derived_values() {
    let keys_dir = Folder::new();
    let mut given = production(&keys_dir);
    given.insert("LATCHKEY_SECRET_PREVIOUS".to_owned(), OTHER_SECRET.to_owned());
    given.insert(
        "LATCHKEY_TEST_NUMBERS".to_owned(),
        format!("+14155550100=123456@{}", days_ahead(30)),
    );
    let config = Config::from_map(Role::Gateway, &given).unwrap();
    let text = format!("{:?}{config:?}", config.shown());
    for (name, value) in &given {
        let secret = table::find(name).unwrap().secret;
        assert!(!secret || !text.contains(value.as_str()), "{name} is shown");
    }
    assert!(!text.contains("p4ss"), "{text}");
    let value = |name: &str| config.shown().into_iter().find(|s| s.name == name).unwrap().value;
    assert_eq!(value("secret").as_deref(), Some("***"));
    assert_eq!(value("service_keys"), None);
    assert_eq!(value("env").as_deref(), Some("production"));
    assert_eq!(value("issuer").as_deref(), Some("https://auth.example.test"));
    assert_eq!(value("ops_listen").as_deref(), Some("127.0.0.1:9090"));
    assert_eq!(config.shown().len(), table::all().count());
}

#[test]
fn what_production_would_refuse_is_known_in_development() {
    let given = [
        ("LATCHKEY_CORS_ORIGINS", "http://localhost:3000"),
        ("LATCHKEY_SECRET", "the-secret-of-a-sample-that-is-long-enough"),
    ];
    let config = load(&given).unwrap();
    let refused = config.refused_in_production();
    for name in ["DATABASE_URL", "LATCHKEY_CORS_ORIGINS", "LATCHKEY_SENDS_GLOBAL_DAY"] {
        assert!(refused.iter().any(|mistake| mistake.name.contains(name)), "{name}: {refused:?}");
    }
    assert!(!format!("{refused:?}").contains(given[1].1), "{refused:?}");
    // It is judged under production's rules, and stays what it is.
    assert_eq!(config.environment, Environment::Development);
    let keys_dir = Folder::new();
    let config = Config::from_map(Role::Gateway, &production(&keys_dir)).unwrap();
    assert_eq!(config.refused_in_production(), []);
}

#[test]
fn the_embedded_secret_survives_a_restart() {
    let folder = Folder::new();
    let keys = || {
        let config = load(&[("LATCHKEY_DATA_DIR", &folder.text())]).unwrap();
        config.keys().unwrap().index("any", "text")
    };
    assert_eq!(keys(), keys());
    let moved = std::fs::read_to_string(folder.path().join("secret")).unwrap();
    let given = load(&[("LATCHKEY_SECRET", moved.trim())]).unwrap();
    assert_eq!(
        given.keys().unwrap().index("any", "text"),
        keys(),
        "the text of the file is the secret"
    );
}

#[test]
fn every_limit_of_the_contract_is_shown() {
    let config =
        load(&[("LATCHKEY_SENDS_PER_PHONE_HOUR", "4711"), ("LATCHKEY_FAILURE_RESET_SECS", "0")]);
    let limits = config.unwrap().shown_limits();
    let names: Vec<_> = limits.iter().map(|shown| shown.limit).collect();
    assert_eq!(names, Limit::ALL);
    let find = |limit| limits.iter().find(|shown| shown.limit == limit).unwrap();
    let hour = find(Limit::PhoneHour);
    assert_eq!((hour.value, hour.window_secs), (Some(4711), Some(3_600)));
    assert_eq!(hour.variable, Some("LATCHKEY_SENDS_PER_PHONE_HOUR"));
    assert_eq!(find(Limit::Attempts).window_secs, None, "0 = never");
}

/// `.env` invites any setting, so compose must pass it on.
#[test]
fn every_setting_reaches_a_service_of_compose() {
    // What compose has no use for: a settings file, a folder of wordings and the embedded data folder need a volume, the
    // master secret enters no service, and a secret by file is another deployment's way.
    let left_out = [
        "LATCHKEY_CONFIG",
        "LATCHKEY_DATA_DIR",
        "LATCHKEY_SECRET",
        "LATCHKEY_SECRET_PREVIOUS",
        "LATCHKEY_TEXTS_DIR",
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker-compose.yml");
    let compose = std::fs::read_to_string(path).unwrap();
    let passes = |name: &str| {
        compose.lines().any(|line| {
            line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
        })
    };
    for name in table::all().map(|setting| setting.name) {
        assert_ne!(passes(name), left_out.contains(&name), "{name}");
    }
}

#[test]
fn the_configuration_page_is_generated_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == markdown(),
        "docs/configuration.md is out of date: `cargo run -- config --markdown > docs/configuration.md`"
    );
}
