//! A wrong setting stops the start, and the error names the variable. Settings are checked before any engine is
//! contacted: none runs here.

use std::collections::BTreeMap;
use std::process::Command;

use testkit::folder::Folder;
use testkit::in_time;
use testkit::process::{self, Binary, Process};

const SECRET: &str = "c2l4dHktZm91ciBieXRlcyBvZiBub3RoaW5nIGluIHBhcnRpY3VsYXIsIGZvciB0ZXN0cw==";

/// One wrong setting with the settings around it, and the variable that the error must name.
type Case = (&'static [(&'static str, &'static str)], &'static str);

const EMBEDDED: &[Case] = &[
    (&[("LATCHKEY_OTP_LENGTH", "3")], "LATCHKEY_OTP_LENGTH"),
    (&[("LATCHKEY_OTP_LENGTH", "six")], "LATCHKEY_OTP_LENGTH"),
    (&[("LATCHKEY_OTP_TTL_SECS", "59")], "LATCHKEY_OTP_TTL_SECS"),
    (&[("LATCHKEY_OTP_ATTEMPTS", "11")], "LATCHKEY_OTP_ATTEMPTS"),
    (&[("LATCHKEY_OTP_MAX_FAILURES", "101")], "LATCHKEY_OTP_MAX_FAILURES"),
    (&[("LATCHKEY_ACCESS_TTL_SECS", "3601")], "LATCHKEY_ACCESS_TTL_SECS"),
    (&[("LATCHKEY_REFRESH_MAX_SECS", "86400")], "LATCHKEY_REFRESH_MAX_SECS"),
    (&[("LATCHKEY_RESEND_COOLDOWN_SECS", "-1")], "LATCHKEY_RESEND_COOLDOWN_SECS"),
    (&[("LATCHKEY_SENDS_GLOBAL_DAY", "many")], "LATCHKEY_SENDS_GLOBAL_DAY"),
    (&[("LATCHKEY_LISTEN", "127.0.0.1:99999")], "LATCHKEY_LISTEN"),
    (&[("LATCHKEY_TRUSTED_PROXIES", "everybody")], "LATCHKEY_TRUSTED_PROXIES"),
    (&[("LATCHKEY_TRUSTED_PROXIES", "0.0.0.0/0")], "LATCHKEY_TRUSTED_PROXIES"),
    (&[("LATCHKEY_CLIENT_IP_HEADER", "x-client-ip")], "LATCHKEY_CLIENT_IP_HEADER"),
    (&[("LATCHKEY_PUBLIC_URL", "not a url")], "LATCHKEY_PUBLIC_URL"),
    (&[("LATCHKEY_COUNTRIES", "IR,XX")], "LATCHKEY_COUNTRIES"),
    (&[("LATCHKEY_UNKNOWN_PHONE", "maybe")], "LATCHKEY_UNKNOWN_PHONE"),
    (&[("LATCHKEY_TEST_NUMBERS", "+15550100001=12")], "LATCHKEY_TEST_NUMBERS"),
    (&[("LATCHKEY_SMS_ROUTES", "default=pigeon")], "LATCHKEY_SMS_ROUTES"),
    (&[("LATCHKEY_SMS_ROUTES", "default=twilio")], "TWILIO_ACCOUNT_SID"),
    (&[("LATCHKEY_SMS_ROUTES", "default=http")], "LATCHKEY_HTTP_PROVIDER_URL"),
    (&[("LATCHKEY_CORS_ORIGINS", "*")], "LATCHKEY_CORS_ORIGINS"),
    (&[("LATCHKEY_PASSWORD_MIN", "7")], "LATCHKEY_PASSWORD_MIN"),
    (&[("LATCHKEY_PUMPING_GUARD", "on")], "LATCHKEY_PUMPING_GUARD"),
    (&[("LATCHKEY_SECRET", "too-short-9f8e7d")], "LATCHKEY_SECRET"),
    (&[("LATCHKEY_OTP_LENGHT", "6")], "LATCHKEY_OTP_LENGHT"),
    (&[("LATCHKEY_ENV", "staging")], "LATCHKEY_ENV"),
    (&[("REDIS_URL", "redis://127.0.0.1:1/0")], "DATABASE_URL"),
    (&[("LATCHKEY_ENV", "production")], "DATABASE_URL"),
];

const ENGINES: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
    ("REDIS_URL", "redis://127.0.0.1:1/0"),
    ("AMQP_URL", "amqp://127.0.0.1:1/%2F"),
];

/// Each service by itself, with the addresses of the engines, in production.
const APART: &[(Binary, Case)] = &[
    (Binary::Gateway, (&[], "LATCHKEY_SECRET")),
    (Binary::Gateway, (&[("LATCHKEY_SECRET", SECRET)], "LATCHKEY_COUNTRIES")),
    (Binary::Gateway, (&[("LATCHKEY_SECRET", SECRET)], "LATCHKEY_SENDS_GLOBAL_DAY")),
    (Binary::Gateway, (&[("LATCHKEY_SECRET_FILE", "/nonexistent/secret")], "LATCHKEY_SECRET_FILE")),
    (Binary::Gateway, (&[("LATCHKEY_OTP_LENGTH", "5")], "LATCHKEY_OTP_LENGTH")),
    (Binary::Gateway, (&[("AMQP_URL", "amqp://guest:guest@rabbitmq")], "AMQP_URL")),
    (
        Binary::Gateway,
        (
            &[("LATCHKEY_SECRET", SECRET), ("LATCHKEY_PUBLIC_URL", "http://example.com")],
            "LATCHKEY_PUBLIC_URL",
        ),
    ),
    (
        Binary::Gateway,
        (
            &[("LATCHKEY_SECRET", SECRET), ("LATCHKEY_TEST_NUMBERS", "+15550100001=123456")],
            "LATCHKEY_TEST_NUMBERS",
        ),
    ),
    (Binary::Gateway, (&[("AMQP_URL", "http://127.0.0.1:1")], "AMQP_URL")),
    (Binary::OtpWorker, (&[], "LATCHKEY_SECRET")),
    (Binary::OtpWorker, (&[("REDIS_URL", "not a url")], "REDIS_URL")),
    (Binary::OtpWorker, (&[("LATCHKEY_OTP_LENGTH", "11")], "LATCHKEY_OTP_LENGTH")),
    (Binary::SmsWorker, (&[("DATABASE_URL", "mysql://127.0.0.1:1/none")], "DATABASE_URL")),
    (
        Binary::SmsWorker,
        (
            &[("LATCHKEY_SECRET", SECRET), ("LATCHKEY_SMS_ROUTES", "default=inbox")],
            "LATCHKEY_SMS_ROUTES",
        ),
    ),
];

/// Starts the process and returns its error output; fails if it keeps running or exits with success.
async fn refusal(binary: Binary, settings: &BTreeMap<String, String>) -> String {
    let home = Folder::new("wrong");
    let mut all =
        BTreeMap::from([("LATCHKEY_DATA_DIR".to_owned(), home.join("data").display().to_string())]);
    all.extend(settings.clone());
    let mut process = Process::start(binary, home.path(), &all);
    let ended = in_time(testkit::PATIENCE, async || process.server.ended()).await;
    let output = process.server.output();
    let Some(status) = ended else { panic!("{binary:?} {settings:?} kept running:\n{output}") };
    assert_eq!(status.code(), Some(1), "{binary:?} {settings:?}:\n{output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

fn settings(of: &[&[(&str, &str)]]) -> BTreeMap<String, String> {
    let pairs = of.iter().flat_map(|pairs| pairs.iter());
    pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_wrong_setting_stops_the_start_and_is_named() {
    for (wrong, named) in EMBEDDED {
        let output = refusal(Binary::Latchkey, &settings(&[wrong])).await;
        assert!(output.contains(named), "{wrong:?} does not name {named}:\n{output}");
        for (name, value) in *wrong {
            assert!(!name.contains("SECRET") || !output.contains(value), "a secret is printed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_separate_service_refuses_to_start_without_what_it_needs() {
    for (binary, (wrong, named)) in APART {
        let output = refusal(*binary, &settings(&[ENGINES, wrong])).await;
        assert!(output.contains(named), "{binary:?} {wrong:?} does not name {named}:\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_taken_port_ends_the_start_and_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["LATCHKEY_LISTEN", "LATCHKEY_OPS_LISTEN", "LATCHKEY_ADMIN_LISTEN"] {
        let output = refusal(Binary::Latchkey, &settings(&[&[(name, &address)]])).await;
        assert!(output.contains(name) && output.contains(&address), "{output}");
    }
}

#[test]
fn each_service_has_a_program_of_its_own_which_is_the_same_as_its_role() {
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(process::program(program));
        let output = command.args(arguments).env_clear().output().unwrap();
        let [printed, complaint] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), printed, complaint)
    };
    for name in ["gateway", "otp-worker", "sms-worker"] {
        let (status, version, _) = run(name, &["--version"]);
        assert_eq!((status, version.starts_with(name)), (Some(0), true), "{version}");
        let (status, help, _) = run(name, &["--help"]);
        assert_eq!((status, help.contains("health")), (Some(0), true), "{help}");
        for [program, argument] in [[name, "serve"], [name, "--port"], ["latchkey", "serve"]] {
            let (status, _, complaint) = run(program, &[argument]);
            assert_eq!((status, complaint.contains(argument)), (Some(2), true), "{complaint}");
        }
        for (program, arguments) in [(name, vec![]), ("latchkey", vec![name])] {
            let (status, _, complaint) = run(program, &arguments);
            assert_eq!(
                (status, complaint.contains("DATABASE_URL")),
                (Some(1), true),
                "{complaint}"
            );
        }
    }
}
