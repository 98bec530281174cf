//! P10 over 200 sign-ins of all kinds, with the most verbose logging everywhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::leak_search::{Kind, Secrets};
use super::{TWICE, probes};
use testkit::collector::{Collector, Manner};
use testkit::engines::Engines;
use testkit::eventually;
use testkit::http::{Api, new_phone, wrong};
use testkit::system::{Side, System};

const SIGN_INS: usize = 200;
const AT_ONCE: usize = 4;
const NAMES: [&str; 2] = ["Zaphodina", "Beeblebroxa"];
const PASSWORD: &str = "leak horse battery staple 4242";
const LOUD: &[(&str, &str)] = &[("RUST_LOG", "trace"), ("LATCHKEY_OTP_LENGTH", "10")];

type Finding = Arc<Mutex<Secrets>>;

/// The loud settings, and every trace exported.
fn traced(collector: &Collector) -> Vec<(&str, &str)> {
    let exported = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str());
    LOUD.iter().copied().chain([exported]).collect()
}

async fn note(found: &Finding, kind: Kind, secret: &str) {
    found.lock().await.add(kind, secret);
}

async fn note_tokens(found: &Finding, answer: &Value) {
    for name in ["access", "refresh", "device_token"] {
        if let Some(token) = answer[name].as_str() {
            note(found, Kind::Token, token).await;
        }
    }
}

/// One user's journey, with every kind of call and mistake.
async fn one(api: Api, number: usize, found: Finding) {
    let (phone, other) = (new_phone(), new_phone());
    note(&found, Kind::Phone, &phone).await;
    let key = format!("key-of-{number}");
    let body = json!({ "phone_number": phone, "first_name": NAMES[0], "last_name": NAMES[1], "locale": "fa" });
    let asked = api.post_with("/v1/signup", body, &[("idempotency-key", &key)]).await.expect(202);
    let code = api.code(&phone, 1).await;
    let not_it = wrong(&code, 7);
    note(&found, Kind::Code, &code).await;
    note(&found, Kind::Code, &not_it).await;
    api.login(&phone, &not_it).await.problem(401, "otp_incorrect");
    let body =
        json!({ "phone_number": phone, "otp": code, "request_id": asked.text("request_id") });
    let login =
        api.post_with("/v1/login", body, &[("idempotency-key", &key)]).await.expect(200).body;
    note_tokens(&found, &login).await;
    api.login(&phone, &code).await.problem(401, "otp_incorrect");
    let new = api.refresh(login["refresh"].as_str().unwrap()).await.expect(200).body;
    note_tokens(&found, &new).await;
    let (access, refresh) = (new["access"].as_str().unwrap(), new["refresh"].as_str().unwrap());
    api.me(access).await.expect(200);
    match number % 4 {
        0 => {
            note(&found, Kind::Password, PASSWORD).await;
            let body = Some(json!({ "password": PASSWORD }));
            api.signed_in(Method::PUT, "/v1/me/password", access, body).await.expect(204);
            let token = async |password: &str| {
                let body = json!({ "phone_number": phone, "password": password });
                api.post("/v1/token", body).await
            };
            note_tokens(&found, &token(PASSWORD).await.expect(200).body).await;
            token(&format!("{PASSWORD}!")).await.problem(401, "invalid_credentials");
        }
        1 => {
            note(&found, Kind::Phone, &other).await;
            let body = Some(json!({ "phone_number": other }));
            api.signed_in(Method::POST, "/v1/me/phone", access, body).await.expect(202);
            let code = api.code(&other, 1).await;
            note(&found, Kind::Code, &code).await;
            let confirm = async |otp: &str| {
                let body = Some(json!({ "otp": otp }));
                api.signed_in(Method::POST, "/v1/me/phone/confirm", access, body).await
            };
            confirm(&wrong(&code, 3)).await.problem(401, "otp_incorrect");
            confirm(&code).await.expect(200);
        }
        2 => {
            api.blacklist(refresh).await.expect(200);
            api.refresh(refresh).await.problem(401, "session_revoked");
            // A faulty client puts secrets where they do not belong.
            api.get(&format!("/v1/otp/{phone}")).await.expect(404);
            api.get(&format!("/v1/me?token={access}&otp={code}")).await.expect(401);
            api.otp(&format!("{phone}'")).await.problem(400, "invalid_phone_number");
            api.login(&phone, &format!("{code}1")).await.problem(400, "invalid_request");
            api.post("/v1/login", json!({ "phone_number": phone, "otp": code, "otpp": code }))
                .await
                .problem(400, "invalid_request");
            api.verify(&format!("{access}x")).await.problem(401, "token_not_valid");
        }
        _ => {
            api.post("/v1/otp", json!({ "phone_number": phone, "channel": "voice" }))
                .await
                .expect(202);
            let code = api.code(&phone, 2).await;
            note(&found, Kind::Code, &code).await;
            note_tokens(&found, &api.login(&phone, &code).await.expect(200).body).await;
        }
    }
}

async fn use_everything(apis: &[Api]) -> Secrets {
    let found = Finding::default();
    for name in NAMES {
        note(&found, Kind::Name, name).await;
    }
    futures::stream::iter(0..SIGN_INS)
        .map(|number| one(apis[number % apis.len()].clone(), number, found.clone()))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    Arc::into_inner(found).expect("all users are done").into_inner()
}

async fn metrics_of(system: &System) -> String {
    let mut all = String::new();
    for process in &system.processes {
        let answer = Api::new(&process.ops_url).get("/metrics").await.expect(200);
        all.push_str(answer.body.as_str().expect("metrics are text"));
    }
    all
}

fn assert_clean(place: &str, secrets: &Secrets, bytes: &[u8], at_least: usize) {
    assert!(bytes.len() >= at_least, "{place}: only {} bytes to search", bytes.len());
    let found = secrets.found_in(bytes);
    assert!(found.is_empty(), "{} leaks in {place}, e.g. {:#?}", found.len(), &found[..1]);
    println!("{place}: {} bytes clean of {} spellings", bytes.len(), secrets.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_embedded_200_sign_ins_leave_no_secret_in_output_metrics_or_files() {
    let collector = Collector::start(Manner::Takes).await;
    let system = System::start(Side::Embedded, &traced(&collector)).await;
    let secrets = use_everything(&[system.api()]).await;
    let metrics = metrics_of(&system).await;
    assert_clean("the metrics", &secrets, metrics.as_bytes(), 1_000);
    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(&system.env["LATCHKEY_DATA_DIR"])).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.extend(fs::read(path).unwrap());
        }
    }
    // The accounts are there with their phones and names, and no other secret.
    let kept = secrets.only(&[Kind::Code, Kind::Token, Kind::Password]);
    assert_clean("the data folder", &kept, &files, 100_000);
    let phones = secrets.only(&[Kind::Phone]).found_in(&files);
    assert!(phones.len() >= SIGN_INS, "the search misses the phones in the accounts");
    assert_clean("the output", &secrets, system.stop().await.as_bytes(), 10_000);
    assert_clean("the spans", &secrets, &collector.bytes(), 100_000);
}

mod on_the_engines {
    use lapin::BasicProperties;
    use lapin::options::BasicPublishOptions;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p10_200_sign_ins_leave_no_secret_in_output_metrics_queues_redis_or_tables() {
        let engines = Engines::shared().fresh().await;
        let collector = Collector::start(Manner::Takes).await;
        let mut system = System::apart(engines.clone(), TWICE, &traced(&collector)).await;
        system.may_leave_dead_letters = true;
        let spy = probes::Spy::on(&engines.amqp_url).await;
        let redis_url = engines.redis_url.clone();
        let all_done = CancellationToken::new();
        // Snapshots of Redis while codes are live; later they are gone.
        let stop = all_done.clone();
        let watch = tokio::spawn(async move {
            let mut snapshots = Vec::new();
            while !stop.is_cancelled() {
                snapshots.extend(probes::redis_bytes(&redis_url).await);
                // Only the gap between two snapshots: there are as many as the sign-ins leave time for.
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            snapshots
        });
        let secrets = use_everything(&[system.api_of(0), system.api_of(1)]).await;
        all_done.cancel();

        // A real code request with an unknown event type: it is dead-lettered as it would be in production.
        let kind = b"otp.requested.v2";
        let seen = spy.seen();
        let body =
            seen.iter().find(|bytes| bytes.starts_with(kind)).expect("a code request passed");
        let start = body.windows(2).rposition(|two| two == b" {").expect("its body") + 1;
        let start = body.windows(14).position(|part| part == b"{\"specversion\"").unwrap_or(start);
        let newer = String::from_utf8_lossy(&body[start..]).replacen(".v2\"", ".v9\"", 1);
        let channel = spy.connection().create_channel().await.unwrap();
        channel
            .basic_publish(
                "latchkey".into(),
                "otp.requested.v9".into(),
                BasicPublishOptions::default(),
                newer.as_bytes(),
                BasicProperties::default().with_delivery_mode(2),
            )
            .await
            .unwrap();
        eventually("the dead letter", testkit::PATIENCE, async || {
            system.run(&["dead", "list", "--json"]).contains("unknown_version").then_some(())
        })
        .await;
        let dead = probes::queue_bytes(spy.connection(), "otp-worker.dead").await.concat();
        assert_clean("the dead letters", &secrets, &dead, 300);
        assert!(probes::queue_bytes(spy.connection(), "sms-worker.dead").await.is_empty());

        let seen = spy.seen();
        assert!(seen.len() >= SIGN_INS * 4, "only {} messages", seen.len());
        assert_clean("the queues", &secrets, &seen.join(&b'\n'), 200_000);
        let mut redis = watch.await.unwrap();
        redis.extend(probes::redis_bytes(&engines.redis_url).await);
        assert_clean("Redis", &secrets, &redis, 100_000);
        let rows = probes::database_bytes(&engines.database_url).await;
        assert_clean("the tables", &secrets, &rows, 100_000);
        let dump = testkit::postgres::dump(&engines.database_url);
        let phones = secrets.only(&[Kind::Phone]).found_in(dump.as_bytes());
        assert!(phones.len() >= SIGN_INS, "the search misses the phones in a dump");
        assert_clean("the metrics", &secrets, metrics_of(&system).await.as_bytes(), 5_000);
        assert_clean("the output", &secrets, system.stop().await.as_bytes(), 10_000);
        assert_clean("the spans", &secrets, &collector.bytes(), 100_000);
    }
}
