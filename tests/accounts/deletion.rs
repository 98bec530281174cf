//! A deleted account leaves no trace: a search through everything in every store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use deadpool_redis::redis::{self, AsyncCommands as _};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;

use testkit::both_sides;
use testkit::engines::EngineSet;
use testkit::http::{Api, new_phone};
use testkit::system::{Side, System};
use testkit::{eventually, in_time, postgres};

both_sides!(
    a_deleted_account_leaves_no_trace_in_any_store,
    an_account_deleted_by_staff_leaves_no_trace_in_any_store,
    a_deleted_accounts_tokens_are_refused_and_its_number_starts_over,
);

/// Names that never occur by chance.
const FIRST: &str = "Quinzebald";
const LAST: &str = "Ovrifluxson";
const PASSWORD: &str = "vq7 blue kite 9 over the lake";

/// What must not be found, in every form that a store could hold.
fn needles(phones: &[&str], id: &str) -> Vec<(String, Vec<u8>)> {
    let mut needles = Vec::new();
    for text in [FIRST, LAST, id, &id.replace('-', "")] {
        needles.push((text.to_owned(), text.as_bytes().to_vec()));
        for code in [STANDARD.encode(text), URL_SAFE_NO_PAD.encode(text)] {
            // The last character depends on the bytes that follow.
            let code = code.trim_end_matches('=');
            needles.push((format!("base64 of {text}"), code.as_bytes()[..code.len() - 1].to_vec()));
        }
    }
    for phone in phones {
        // Every other notation contains the national number; base64 shows only a number that stands alone.
        needles.push(((*phone).to_owned(), phone.as_bytes()[3..].to_vec()));
        needles.push((format!("base64 of {phone}"), STANDARD.encode(phone).into_bytes()));
    }
    let bytes = id.parse::<uuid::Uuid>().unwrap().into_bytes().to_vec();
    needles.push(("the id's bytes".to_owned(), bytes));
    needles
}

fn found(stores: &BTreeMap<String, Vec<u8>>, needles: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut hits = Vec::new();
    for (store, bytes) in stores {
        for (name, needle) in needles {
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                let around = &bytes[at.saturating_sub(120)..(at + 60).min(bytes.len())];
                hits.push(format!("{name} in {store}: {}", String::from_utf8_lossy(around)));
            }
        }
    }
    hits
}

/// The whole content of every store.
async fn stores(system: &System) -> BTreeMap<String, Vec<u8>> {
    match &system.engines {
        Some(engines) => BTreeMap::from([
            ("PostgreSQL".to_owned(), postgres::dump(&engines.database_url).into_bytes()),
            ("Redis".to_owned(), redis_dump(&engines.redis_url).await),
            ("RabbitMQ".to_owned(), queues(engines).await),
        ]),
        None => {
            let folder = &system.env["LATCHKEY_DATA_DIR"];
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let database = files.filter(|path| is_database(path));
            database.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
        }
    }
}

fn is_database(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("latchkey.sqlite")
}

/// All that a Redis holds, in the order of its keys.
pub(crate) async fn redis_dump(url: &str) -> Vec<u8> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = crate::redis_connection(&client).await.unwrap();
    let mut keys: Vec<String> = connection.keys("*").await.unwrap();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        all.extend(key.as_bytes());
        all.push(b'\n');
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
        let read = match kind.as_str() {
            "string" => redis::cmd("GET").arg(&key).query_async(&mut connection).await,
            "hash" => redis::cmd("HGETALL").arg(&key).query_async(&mut connection).await,
            "set" => redis::cmd("SMEMBERS").arg(&key).query_async(&mut connection).await,
            "zset" => {
                redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await
            }
            "list" => {
                redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await
            }
            // Deleted since it was listed.
            "none" => continue,
            other => panic!("this search cannot read {key}, a {other}"),
        };
        let value: redis::Value = read.unwrap();
        flatten(&value, &mut all);
    }
    all
}

/// Appends the raw bytes, one value after another.
fn flatten(value: &redis::Value, all: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(bytes) => all.extend(bytes),
        redis::Value::SimpleString(text) => all.extend(text.as_bytes()),
        redis::Value::Array(values) | redis::Value::Set(values) => {
            for value in values {
                flatten(value, all);
            }
        }
        redis::Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, all);
            flatten(value, all);
        }),
        other => all.extend(format!("{other:?}").as_bytes()),
    }
    all.push(b'\n');
}

/// The messages in all queues, dead-letter queues included: all must be empty.
async fn queues(engines: &EngineSet) -> Vec<u8> {
    let connection =
        lapin::Connection::connect(&engines.amqp_url, lapin::ConnectionProperties::default())
            .await
            .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut all = Vec::new();
    for service in ["otp-worker", "sms-worker"] {
        let suffixes = ["", ".retry.1000", ".retry.5000", ".retry.30000", ".dead"];
        for name in suffixes.map(|suffix| format!("{service}{suffix}")) {
            while let Some(message) = channel
                .basic_get(name.as_str().into(), lapin::options::BasicGetOptions::default())
                .await
                .unwrap()
            {
                all.extend(format!("{name}: {:?}\n", message.delivery.properties).as_bytes());
                all.extend(&message.delivery.data);
                all.push(b'\n');
            }
        }
    }
    all
}

/// Whether the outbox is empty: the broker has every event.
async fn all_published(system: &System) -> bool {
    const WAITING: &str = "SELECT COUNT(*) FROM outbox_entries";
    let count: i64 = match &system.engines {
        Some(engines) => {
            let mut connection = postgres::connect(&engines.database_url).await.unwrap();
            sqlx::query_scalar(WAITING).fetch_one(&mut connection).await.unwrap()
        }
        None => {
            let url =
                format!("sqlite://{}/latchkey.sqlite?mode=ro", system.env["LATCHKEY_DATA_DIR"]);
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let count = sqlx::query_scalar(WAITING).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            count
        }
    };
    count == 0
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// Creates an account and makes it do everything an account can do; returns its id, an access token and its numbers:
/// old, new, and requested.
async fn a_full_life(system: &System, api: &Api) -> (String, String, [String; 3]) {
    let (old, new, wanted) = (new_phone(), new_phone(), new_phone());
    let asked = api.signup(&old, FIRST, LAST).await.expect(202).text("request_id");
    let code = api.code(&old, 1).await;
    let body = json!({ "phone_number": old, "otp": code, "request_id": asked });
    let key = [("idempotency-key", "my-login")];
    let pair = api.post_with("/v1/login", body, &key).await.expect(200).body;
    assert_eq!(pair["user"]["last_name"], LAST);
    let (id, access) = (text(&pair["user"], "id"), text(&pair, "access"));
    api.sign_in(&old).await;
    let password = json!({ "password": PASSWORD });
    api.signed_in(Method::PUT, "/v1/me/password", &access, Some(password)).await.expect(204);
    for (phone, proven) in [(&new, true), (&wanted, false)] {
        let body = json!({ "phone_number": phone });
        api.signed_in(Method::POST, "/v1/me/phone", &access, Some(body)).await.expect(202);
        let code = api.code(phone, 1).await;
        if proven {
            let body = json!({ "otp": code });
            let path = "/v1/me/phone/confirm";
            api.signed_in(Method::POST, path, &access, Some(body)).await.expect(200);
        }
    }
    let locale = json!({ "first_name": format!("{FIRST}ia"), "locale": "fa" });
    api.signed_in(Method::PATCH, "/v1/me", &access, Some(locale)).await.expect(200);
    let stolen = api.sign_in(&new).await;
    let mut refresh = text(&stolen, "refresh");
    for _ in 0..2 {
        refresh = api.refresh(&refresh).await.expect(200).text("refresh");
    }
    api.refresh(&text(&stolen, "refresh")).await.problem(401, "refresh_reused");
    api.otp(&new).await.expect(202);
    system.run(&["staff", "grant", &id, "support"]);
    system.run(&["staff", "revoke", &id, "--yes"]);
    let number = json!({ "phone_number": new, "password": "not the right password" });
    api.post("/v1/token", number).await.expect(401);
    (id, access, [old, new, wanted])
}

async fn a_deleted_account_leaves_no_trace_in_any_store(side: Side) {
    let system = System::start(side, &[]).await;
    leaves_no_trace(&system, async |_, access| {
        system.api().signed_in(Method::DELETE, "/v1/me", access, None).await.expect(204);
    })
    .await;
}

async fn an_account_deleted_by_staff_leaves_no_trace_in_any_store(side: Side) {
    let system = System::start(side, &[]).await;
    leaves_no_trace(&system, async |id, _| {
        let told = system.run(&["users", "delete", id, "--yes", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        // Embedded, the codes are in the memory of the running process.
        let forgotten = (side == Side::Engines).then_some(true);
        assert_eq!(told, json!({ "user_id": id, "deleted": true, "codes_forgotten": forgotten }));
    })
    .await;
}

/// Deletes an account after a full life, given its id and an access token, and searches every store.
async fn leaves_no_trace(system: &System, delete: impl AsyncFn(&str, &str)) {
    let api = system.api();
    let (bystander, (id, access, phones)) =
        (api.sign_in(&new_phone()).await, a_full_life(system, &api).await);
    let emptied = async || all_published(system).await.then_some(());
    // The numbers that the account had. The number that it requested and never proved belongs to someone else.
    let needles = needles(&[&phones[0], &phones[1]], &id);
    eventually("the events before the deletion", testkit::PATIENCE, emptied).await;
    let before = found(&stores(system).await, &needles);
    assert!(before.len() >= 4, "the search finds existing data: {before:#?}");

    delete(&id, &access).await;
    eventually("the events of the deletion", testkit::PATIENCE, emptied).await;
    // Embedded, the file's log is emptied afterwards, or by the next sweep if a reader (this test) blocked it.
    let mut left = Vec::new();
    let gone = in_time(Duration::from_secs(75), async || {
        left = found(&stores(system).await, &needles);
        left.is_empty().then_some(())
    });
    let gone = gone.await;
    assert!(gone.is_some(), "{left:#?}");
    api.me(bystander["access"].as_str().unwrap()).await.expect(200);
    let bystander = bystander["user"]["id"].as_str().unwrap();
    assert!(system.run(&["users", "show", bystander]).contains(bystander));
}

async fn a_deleted_accounts_tokens_are_refused_and_its_number_starts_over(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let (one, two) = (api.sign_in(&phone).await, api.sign_in(&phone).await);
    api.signed_in(Method::DELETE, "/v1/me", &text(&one, "access"), None).await.expect(204);
    for pair in [&one, &two] {
        api.me(&text(pair, "access")).await.problem(401, "session_revoked");
        api.refresh(&text(pair, "refresh")).await.problem(401, "session_revoked");
        api.verify(&text(pair, "access")).await.problem(401, "session_revoked");
    }
    let anew = api.sign_in(&phone).await;
    assert_ne!(anew["user"]["id"], one["user"]["id"]);
    assert_eq!(anew["user"]["first_name"], "");
}
