//! Builds a [`Config`] from the given values: parses each value and checks the rules between them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use domain::clock::Clock;
use domain::limits::Limits;
use domain::vocabulary::PumpingGuard;
use ipnet::IpNet;
use url::Url;

use super::case::{Case, refuse_plain_http};
use super::delivery::{sms, texts};
use super::engines::{ENGINES, engines, environment, secrets};
use super::error::ConfigError;
use super::fiction::is_fiction;
use super::reader::Reader;
use super::small_file;
use super::source::Given;
use super::{
    ClientIpHeader, Config, EngineSettings, Environment, Otp, Role, Secrets, TestNumber, Tokens,
    TracesSampler, UnknownPhone, parse, shown, test_numbers,
};

pub(super) fn build(role: Role, given: Given) -> Result<Config, ConfigError> {
    // Without the file, nearly every setting would be reported as missing.
    if given.file_failed {
        return Err(ConfigError::new(given.mistakes));
    }
    let in_production = role.has_gateway().then(|| given.clone().in_production());
    let config = judge(role, given)?;
    let is_production = config.environment == Environment::Production;
    let refused_in_production = match in_production.filter(|_| !is_production) {
        Some(given) => judge(role, given).err().map(ConfigError::into_mistakes).unwrap_or_default(),
        None => Vec::new(),
    };
    Ok(Config { refused_in_production, ..config })
}

/// Judges the values by the rules of the environment that they name.
fn judge(role: Role, given: Given) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(given);
    let r = &mut reader;

    let embedded = !ENGINES.iter().any(|name| r.is_given(name));
    let case = Case { role, environment: environment(r, embedded), embedded };

    let engines = engines(r, case);
    let secrets = secrets(r, case);
    let (listen, ops_listen) = addresses(r, case);
    let public_url = public_url(r, case);
    let issuer = issuer(r, case, public_url.as_ref());
    let jwt_keys_dir = jwt_keys_dir(r, case, &engines);
    let otp = otp(r, case);
    let sms = sms(r, case);

    let config = Config {
        role,
        environment: case.environment,
        listen,
        ops_listen,
        admin_listen: admin_listen(r, case, [listen, ops_listen]),
        trusted_proxies: trusted_proxies(r),
        client_ip_header: client_ip_header(r),
        threads: threads(r, role),
        connections_per_ip: limit(r, case, "LATCHKEY_CONNECTIONS_PER_IP", None),
        audience: r.read("LATCHKEY_AUDIENCE", parse::visible).unwrap_or_default(),
        jwt_active_kid: r.read("LATCHKEY_JWT_ACTIVE_KID", parse::key_id),
        tokens: tokens(r),
        limits: limits(r, case, sms.voice_fallback_secs > 0),
        countries: countries(r, case),
        default_region: r.read("LATCHKEY_DEFAULT_REGION", parse::country),
        unknown_phone: r.word("LATCHKEY_UNKNOWN_PHONE").unwrap_or(UnknownPhone::SignUp),
        strict_binding: flag(r, "LATCHKEY_STRICT_BINDING"),
        dpop_nonce: flag(r, "LATCHKEY_DPOP_NONCE"),
        test_numbers: test_numbers(r, case, otp.length),
        otp,
        texts: texts(r, case),
        notices: notices(r),
        password_min: r.number("LATCHKEY_PASSWORD_MIN"),
        breached_passwords_url: breached_passwords_url(r, case),
        inbox_token: r.secret("LATCHKEY_INBOX_TOKEN", parse::inbox_token),
        cors_origins: cors_origins(r, case),
        pumping_guard: pumping_guard(r, case),
        otlp_endpoint: r.read("OTEL_EXPORTER_OTLP_ENDPOINT", parse::base_url),
        traces_sampler: r.word("OTEL_TRACES_SAMPLER").unwrap_or(TracesSampler::ParentBasedShare),
        traces_share: traces_share(r, case),
        log: r.read("RUST_LOG", parse::filters),
        engines,
        secrets,
        public_url,
        issuer,
        jwt_keys_dir,
        sms,
        shown: Vec::new(),
        warnings: Vec::new(),
        refused_in_production: Vec::new(),
    };

    let mistakes = reader.mistakes();
    if !mistakes.is_empty() {
        return Err(ConfigError::new(mistakes));
    }
    let shown = shown::shown(&reader, &worked_out(&config));
    Ok(Config { shown, warnings: reader.warnings(), ..config })
}

/// One thread takes a sixth less processor time than two on two cores (`bench/README.md`): none wakes another. Workers are
/// scaled by their number; the all-in-one has nothing beside it that could use the other cores.
fn threads(r: &mut Reader, role: Role) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let preset = match role {
        Role::OtpWorker | Role::SmsWorker => 1,
        Role::Gateway if cores < 4 => 1,
        Role::Gateway | Role::AllInOne => cores,
    };
    r.number_or("LATCHKEY_THREADS", preset.min(1_024) as u64)
}

fn client_ip_header(r: &mut Reader) -> ClientIpHeader {
    r.word("LATCHKEY_CLIENT_IP_HEADER").unwrap_or(ClientIpHeader::XForwardedFor)
}

/// Reads only the master secret, for the command that derives bundles from it: the machine that runs it needs no other
/// setting.
pub(super) fn build_secrets(given: Given) -> Result<Secrets, ConfigError> {
    let mut reader = Reader::new(given);
    let r = &mut reader;
    let case = Case { role: Role::AllInOne, environment: environment(r, false), embedded: false };
    let secrets = secrets(r, case);
    let mistakes: Vec<_> = reader.mistakes();
    if mistakes.is_empty() { Ok(secrets) } else { Err(ConfigError::new(mistakes)) }
}

/// The values of unset settings that are derived from other settings.
fn worked_out(config: &Config) -> Vec<(&'static str, Option<String>)> {
    let path = |path: &Path| path.display().to_string();
    let data_dir = match &config.engines {
        EngineSettings::Embedded { data_dir } => Some(path(data_dir)),
        EngineSettings::Services { .. } => None,
    };
    let routes = config.sms.routes.default.first().map(|provider| format!("default={provider}"));
    vec![
        ("LATCHKEY_ENV", Some(config.environment.as_str().to_owned())),
        ("LATCHKEY_DATA_DIR", data_dir),
        ("LATCHKEY_THREADS", Some(config.threads.to_string())),
        ("LATCHKEY_OPS_LISTEN", Some(config.ops_listen.to_string())),
        ("LATCHKEY_ISSUER", config.issuer.clone()),
        ("LATCHKEY_JWT_KEYS_DIR", config.jwt_keys_dir.as_deref().map(path)),
        (COUNTRY_HOUR, Some(config.limits.sends_per_country_hour.to_string())),
        (GLOBAL_DAY, Some(config.limits.sends_global_day.to_string())),
        ("LATCHKEY_PUMPING_GUARD", Some(config.pumping_guard.as_str().to_owned())),
        ("LATCHKEY_SMS_ROUTES", routes),
        ("OTEL_TRACES_SAMPLER_ARG", Some(config.traces_share.to_string())),
    ]
}

fn addresses(r: &mut Reader, case: Case) -> (SocketAddr, SocketAddr) {
    let ops_port = match case.role {
        Role::AllInOne | Role::Gateway => 9090,
        Role::OtpWorker => 9091,
        Role::SmsWorker => 9092,
    };
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = r.read("LATCHKEY_LISTEN", parse::address);
    let ops_listen = r.read("LATCHKEY_OPS_LISTEN", parse::address);
    let listen = listen.unwrap_or_else(|| local(8080));
    let ops_listen = ops_listen.unwrap_or_else(|| local(ops_port));
    // Metrics and health are never served on the public port. Two ports assigned by the system (0) never collide.
    if case.role.has_gateway() && listen == ops_listen && listen.port() != 0 {
        r.refuse("LATCHKEY_OPS_LISTEN", &format!("{ops_listen} is the address of LATCHKEY_LISTEN"));
    }
    (listen, ops_listen)
}

/// The admin API is served by no port that serves anything else.
fn admin_listen(r: &mut Reader, case: Case, others: [SocketAddr; 2]) -> Option<SocketAddr> {
    let admin = r.read("LATCHKEY_ADMIN_LISTEN", parse::address)?;
    if case.role.has_gateway() && admin.port() != 0 && others.contains(&admin) {
        let detail = format!("{admin} is the address of LATCHKEY_LISTEN or LATCHKEY_OPS_LISTEN");
        r.refuse("LATCHKEY_ADMIN_LISTEN", &detail);
    }
    Some(admin)
}

/// Behind a network of width 0 every client could name its own address (contract, ruling 34).
fn trusted_proxies(r: &mut Reader) -> Vec<IpNet> {
    const NAME: &str = "LATCHKEY_TRUSTED_PROXIES";
    let nets = r.read(NAME, parse::networks).unwrap_or_default();
    for (position, net) in (1..).zip(&nets) {
        if net.prefix_len() == 0 {
            r.refuse(NAME, &format!("entry {position} is {net}, which trusts every client"));
        }
    }
    nets
}

fn public_url(r: &mut Reader, case: Case) -> Option<Url> {
    const NAME: &str = "LATCHKEY_PUBLIC_URL";
    let url = r.read(NAME, parse::public_url);
    match &url {
        Some(url) => refuse_plain_http(r, case, NAME, url),
        None if case.production() && case.role.has_gateway() => {
            r.warn(
                NAME,
                "it is not set, so no session can be bound to a key: every DPoP proof is refused",
            );
        }
        None => {}
    }
    url
}

fn countries(r: &mut Reader, case: Case) -> Option<BTreeSet<String>> {
    const NAME: &str = "LATCHKEY_COUNTRIES";
    if case.production() && case.role.has_gateway() {
        r.require(NAME, "production must not send messages to every country by default");
    }
    r.read(NAME, parse::countries)
}

fn issuer(r: &mut Reader, case: Case, public_url: Option<&Url>) -> Option<String> {
    let issuer = r.read("LATCHKEY_ISSUER", parse::visible);
    if case.production() && case.role.has_gateway() && !r.is_given("LATCHKEY_PUBLIC_URL") {
        let why =
            "production tokens need a permanent issuer, and LATCHKEY_PUBLIC_URL is not set either";
        r.require("LATCHKEY_ISSUER", why);
    }
    issuer.or_else(|| public_url.map(|url| url.as_str().trim_end_matches('/').to_owned()))
}

fn jwt_keys_dir(r: &mut Reader, case: Case, engines: &EngineSettings) -> Option<PathBuf> {
    const NAME: &str = "LATCHKEY_JWT_KEYS_DIR";
    if !case.role.has_gateway() {
        // A worker may be given the gateway's folder without having it.
        return r.text(NAME).map(PathBuf::from);
    }
    if let Some(folder) = r.read(NAME, parse::existing_folder) {
        warn_of_open_keys(r, NAME, &folder);
        return Some(folder);
    }
    match engines {
        EngineSettings::Embedded { data_dir } => Some(data_dir.join("keys")),
        EngineSettings::Services { .. } => {
            r.require(NAME, "the gateway generates signing keys only when embedded");
            None
        }
    }
}

/// Whoever reads a signing key signs in as anybody. A folder that cannot be listed is the gateway's error, not ours.
fn warn_of_open_keys(r: &mut Reader, name: &str, folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut open: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .filter(|path| std::fs::metadata(path).is_ok_and(|meta| small_file::is_open_to_all(&meta)))
        .collect();
    open.sort();
    for path in open {
        let path = path.display();
        r.warn(name, format!("everybody on this machine may read {path}: set its mode to 0600"));
    }
}

fn tokens(r: &mut Reader) -> Tokens {
    const MAX: &str = "LATCHKEY_REFRESH_MAX_SECS";
    let tokens = Tokens {
        access_ttl_secs: r.number("LATCHKEY_ACCESS_TTL_SECS"),
        refresh_idle_secs: r.number("LATCHKEY_REFRESH_IDLE_SECS"),
        refresh_max_secs: r.number(MAX),
        refresh_grace_secs: r.number("LATCHKEY_REFRESH_GRACE_SECS"),
    };
    let judged = !r.is_wrong(MAX) && !r.is_wrong("LATCHKEY_REFRESH_IDLE_SECS");
    if judged && tokens.refresh_max_secs < tokens.refresh_idle_secs {
        let (max, idle) = (tokens.refresh_max_secs, tokens.refresh_idle_secs);
        r.refuse(MAX, &format!("{max} is below LATCHKEY_REFRESH_IDLE_SECS, which is {idle}"));
    }
    tokens
}

/// The worst odds of guessing one code that production accepts: 5 in a million, those of 5 attempts at 6 digits
/// (contract, ruling 49). Together with a range that begins at one attempt it keeps codes of 6 digits or more, the 20
/// bits of OWASP ASVS 5.0, 6.5.4, which counts 6 digits as enough.
const ODDS_PER_MILLION: u64 = 5;

fn otp(r: &mut Reader, case: Case) -> Otp {
    const LENGTH: &str = "LATCHKEY_OTP_LENGTH";
    const ATTEMPTS: &str = "LATCHKEY_OTP_ATTEMPTS";
    let otp = Otp {
        length: r.number(LENGTH),
        ttl_secs: r.number("LATCHKEY_OTP_TTL_SECS"),
        attempts: r.number(ATTEMPTS),
        max_failures: r.number("LATCHKEY_OTP_MAX_FAILURES"),
        failure_reset_secs: r.number("LATCHKEY_FAILURE_RESET_SECS"),
    };
    let codes = 10_u64.pow(u32::from(otp.length));
    let weak = u64::from(otp.attempts) * 1_000_000 > ODDS_PER_MILLION * codes;
    // sms-worker neither makes nor checks a code.
    if case.production() && case.role != Role::SmsWorker && weak {
        let (length, attempts) = (otp.length, otp.attempts);
        let why = format!(
            "{attempts} attempts at a code of {length} digits are better odds than {ODDS_PER_MILLION} in a million, \
             which production refuses: use at least 6 digits, and at most 5 attempts at those"
        );
        r.refuse(if otp.length < 6 { LENGTH } else { ATTEMPTS }, &why);
    }
    otp
}

const COUNTRY_HOUR: &str = "LATCHKEY_SENDS_PER_COUNTRY_HOUR";
const GLOBAL_DAY: &str = "LATCHKEY_SENDS_GLOBAL_DAY";

/// Reads the limits. In production those on money are on unless they are turned off in writing (contract, ruling 36).
fn limits(r: &mut Reader, case: Case, voice_fallback: bool) -> Limits {
    let admits = case.role.has_gateway() || case.role == Role::OtpWorker && voice_fallback;
    if case.production() && admits {
        r.require(GLOBAL_DAY, "production needs a bound on what messages may cost in a day");
        if r.is_given(GLOBAL_DAY) && r.text(GLOBAL_DAY).is_some_and(|text| text.parse() == Ok(0)) {
            r.refuse(GLOBAL_DAY, "0 would send without a bound; write `unlimited` to mean that");
        }
    }
    let country_hour = if case.production() { 1_000 } else { 0 };
    let mut limit = |name, preset| -> u64 { limit(r, case, name, preset) };
    let resend_cooldown_secs = limit("LATCHKEY_RESEND_COOLDOWN_SECS", None);
    Limits {
        resend_cooldown_secs: i64::try_from(resend_cooldown_secs).unwrap_or(i64::MAX),
        sends_per_phone_hour: limit("LATCHKEY_SENDS_PER_PHONE_HOUR", None),
        sends_per_phone_day: limit("LATCHKEY_SENDS_PER_PHONE_DAY", None),
        sends_per_ip_hour: limit("LATCHKEY_SENDS_PER_IP_HOUR", None),
        sends_per_country_hour: limit(COUNTRY_HOUR, Some(country_hour)),
        sends_per_country_day: limit("LATCHKEY_SENDS_PER_COUNTRY_DAY", None),
        sends_per_prefix_hour: limit("LATCHKEY_SENDS_PER_PREFIX_HOUR", None),
        sends_per_prefix_day: limit("LATCHKEY_SENDS_PER_PREFIX_DAY", None),
        sends_global_day: limit(GLOBAL_DAY, Some(0)),
        logins_per_ip_minute: limit("LATCHKEY_LOGINS_PER_IP_MINUTE", None),
    }
}

/// Reads a limit; one that is off is a line at start of the process that it would bound (contract, ruling 49).
fn limit<T>(r: &mut Reader, case: Case, name: &'static str, preset: Option<u64>) -> T
where
    T: TryFrom<u64, Error: Debug> + Default + PartialEq,
{
    let value: T = match preset {
        Some(preset) => r.number_or(name, preset),
        None => r.number(name),
    };
    if value == T::default() && case.role.has_gateway() {
        r.warn(name, "this limit is off");
    }
    value
}

fn pumping_guard(r: &mut Reader, case: Case) -> PumpingGuard {
    const NAME: &str = "LATCHKEY_PUMPING_GUARD";
    let preset = if case.production() { PumpingGuard::Enforce } else { PumpingGuard::Record };
    let mode = r.word(NAME).unwrap_or(preset);
    if mode == PumpingGuard::Off && case.role.has_gateway() {
        r.warn(NAME, "the pumping guard is off");
    }
    mode
}

/// Whoever tries it out sees every trace. In production each request costs a dozen spans, and strangers choose how many
/// requests there are.
fn traces_share(r: &mut Reader, case: Case) -> f64 {
    let preset = if case.production() { 0.1 } else { 1.0 };
    r.read("OTEL_TRACES_SAMPLER_ARG", parse::share).unwrap_or(preset)
}

fn cors_origins(r: &mut Reader, case: Case) -> Vec<String> {
    const NAME: &str = "LATCHKEY_CORS_ORIGINS";
    let origins = r.read(NAME, parse::origins).unwrap_or_default();
    if case.production() && origins.iter().any(|origin| origin.starts_with("http://")) {
        r.refuse(NAME, "an origin by plain http is not allowed in production");
    }
    origins
}

fn breached_passwords_url(r: &mut Reader, case: Case) -> Option<Url> {
    const NAME: &str = "LATCHKEY_BREACHED_PASSWORDS_URL";
    let url = r.read(NAME, parse::base_url)?;
    refuse_plain_http(r, case, NAME, &url);
    Some(url)
}

fn notices(r: &mut Reader) -> bool {
    let parse = |text: &str| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(String::new()),
    };
    r.read("LATCHKEY_NOTICES", parse).unwrap_or(true)
}

pub(super) fn flag(r: &mut Reader, name: &'static str) -> bool {
    let parse = |text: &str| match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(String::new()),
    };
    r.read(name, parse).unwrap_or_default()
}

/// How far ahead a test number may end in production (contract, ruling 48).
const TEST_NUMBER_SECS: i64 = 90 * 24 * 3_600;

fn test_numbers(r: &mut Reader, case: Case, code_length: u8) -> Vec<TestNumber> {
    const NAME: &str = "LATCHKEY_TEST_NUMBERS";
    // The codes cannot be checked against an invalid length.
    if r.is_wrong("LATCHKEY_OTP_LENGTH") {
        return Vec::new();
    }
    let numbers = r.read(NAME, |text| test_numbers::parse(text, code_length)).unwrap_or_default();
    let latest = Clock::system().now().plus_secs(TEST_NUMBER_SECS);
    for (position, number) in (1..).zip(&numbers) {
        if case.production() && number.until.is_none_or(|until| until > latest) {
            let why = "has no end date within 90 days, which production requires";
            let example = latest.to_string();
            let day = example.split('T').next().unwrap_or_default();
            r.refuse(
                NAME,
                &format!("entry {position} {why}: write it as `@{day}` or an earlier day"),
            );
        }
        if !is_fiction(number.phone_number.expose()) {
            let why = "is not in a range that is kept for fiction, so it may be somebody's number";
            r.warn(NAME, format!("entry {position} {why}"));
        }
    }
    numbers
}
