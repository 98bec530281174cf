//! Imports from CSV and from a Django dump, whose passwords keep working, and the export.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use testkit::both_sides;
use testkit::http::{new_phone, once};
use testkit::process::Binary;
use testkit::system::{Side, System};

both_sides!(
    a_django_dump_is_imported_and_its_passwords_keep_working,
    imported_passwords_stay_valid_while_a_parallel_sign_in_rehashes_them,
    bad_rows_are_left_out_and_reported_by_line,
    a_file_that_cannot_be_read_completely_creates_no_account,
    an_export_can_be_imported,
);

/// `vq7 blue kite 9` as Django 3.2 stores it; computed with Python's hashlib.
const KEPT: &str = "pbkdf2_sha256$260000$Zr4kSaltSalt$/w0y118jq5ZlvQGkz1yTkgHUAqAH75fYOo6Ru1KD5aY=";

/// Runs `latchkey users …`; returns whether it succeeded, its output and its error output.
fn users(system: &System, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(Binary::Latchkey.path())
        .arg("users")
        .args(args)
        .env_clear()
        .envs(&system.env)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn file(system: &System, name: &str, text: &str) -> String {
    let folder = system.env["LATCHKEY_DATA_DIR"].clone();
    fs::create_dir_all(&folder).unwrap();
    let path = format!("{folder}/{name}");
    fs::write(&path, text).unwrap();
    path
}

fn password_login(phone: &str, password: &str) -> Value {
    json!({ "phone_number": phone, "password": password })
}

async fn a_django_dump_is_imported_and_its_passwords_keep_working(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let [with, without, blocked, other] = [(); 4].map(|()| new_phone());
    let user = |pk: u32, phone: &str, password: &str, active: bool| {
        json!({ "model": "accounts.user", "pk": pk, "fields": {
            "password": password, "last_login": null, "is_superuser": false, "username": format!("user{pk}"),
            "first_name": "Grace", "last_name": "Hopper", "email": "", "is_staff": false, "is_active": active,
            "date_joined": "2021-05-01T12:00:00Z", "phone_number": phone, "groups": [], "user_permissions": [],
        }})
    };
    let dump = json!([
        { "model": "auth.group", "pk": 1, "fields": { "name": "editors", "permissions": [] } },
        user(1, &with, KEPT, true),
        user(2, &without, "!unusable0123456789", true),
        user(3, &blocked, KEPT, false),
        user(4, &other, "bcrypt_sha256$$2b$12$abcdefghijklmnopqrstuv", true),
    ]);
    let path = file(&system, "dump.json", &serde_json::to_string_pretty(&dump).unwrap());
    let (_, dry, _) = users(&system, &["import", &path, "--dry-run", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&dry).unwrap()["imported"], 4);
    let (done, told, complaint) = users(&system, &["import", &path, "--json"]);
    assert!(done, "{complaint}");
    assert!(!told.contains(&with[1..]) && !complaint.contains(&with[1..]), "no number is shown");
    let told: Value = serde_json::from_str(&told).unwrap();
    let expected =
        json!({ "imported": 4, "existing": 0, "without_password": 1, "bad": [], "dry_run": false });
    assert_eq!(told, expected);
    let (_, again, _) = users(&system, &["import", &path, "--format", "django-json", "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["imported"], &again["existing"]), (&json!(0), &json!(4)), "safe to repeat");

    let wrong = password_login(&with, "vq7 blue kite 8");
    api.post("/v1/token", wrong).await.problem(401, "invalid_credentials");
    // The second login is compared with our own hash of the same password.
    for _ in 0..2 {
        let pair =
            api.post("/v1/token", password_login(&with, "vq7 blue kite 9")).await.expect(200);
        let me = api.me(&pair.text("access")).await.expect(200);
        assert_eq!(
            (me.text("first_name"), me.text("last_name")),
            ("Grace".into(), "Hopper".into())
        );
        assert_eq!(me.text("created_at"), "2021-05-01T12:00:00.000Z");
    }
    assert_eq!(
        hash_of(&system, &with).await.as_deref().map(|kept| &kept[..10]),
        Some("$argon2id$")
    );
    for phone in [&without, &other] {
        let tried = api.post("/v1/token", password_login(phone, "!unusable0123456789")).await;
        tried.problem(401, "invalid_credentials");
        assert_eq!(api.sign_in(phone).await["user"]["first_name"], "Grace", "a code signs in");
    }
    let of_blocked = api.post("/v1/token", password_login(&blocked, "vq7 blue kite 9")).await;
    of_blocked.problem(403, "account_blocked");
}

async fn imported_passwords_stay_valid_while_a_parallel_sign_in_rehashes_them(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let path = file(&system, "one.csv", &format!("phone_number,password\n{phone},{KEPT}\n"));
    let (done, _, complaint) = users(&system, &["import", &path]);
    assert!(done, "{complaint}");
    // One more than are compared at once: it is compared with the old hash while the first one's new hash replaces it.
    let cores = std::thread::available_parallelism().unwrap().get().max(2);
    let logins = (0..=cores).map(|_| {
        let (api, login) = (api.clone(), password_login(&phone, "vq7 blue kite 9"));
        async move { api.post("/v1/token", login).await }
    });
    for answer in futures::future::join_all(logins).await {
        answer.expect(200);
    }
    let kept = hash_of(&system, &phone).await.unwrap();
    assert!(kept.starts_with("$argon2id$"));

    // As the current password in a change: it is compared after the sign-ins before it.
    let phone = new_phone();
    let path = file(&system, "two.csv", &format!("phone_number,password\n{phone},{KEPT}\n"));
    assert!(users(&system, &["import", &path]).0);
    let access = api.sign_in(&phone).await["access"].as_str().unwrap().to_owned();
    let logins =
        (0..cores).map(|_| api.post("/v1/token", password_login(&phone, "vq7 blue kite 9")));
    let body = json!({ "password": "another kite, nine lakes away", "current_password": "vq7 blue kite 9" });
    let change = async || {
        let body = Some(body.clone());
        api.signed_in(reqwest::Method::PUT, "/v1/me/password", &access, body).await
    };
    // A sign-in may find the new password and be refused. The change is not refused.
    let (_, changed) = tokio::join!(futures::future::join_all(logins), once(change()));
    if changed.status != 503 {
        changed.expect(204);
        return;
    }
    // A busy machine may refuse it, and then it may have been made all the same.
    let new = password_login(&phone, "another kite, nine lakes away");
    if api.post("/v1/token", new).await.status != 200 {
        change().await.expect(204);
    }
}

async fn hash_of(system: &System, phone: &str) -> Option<String> {
    const SQL: &str = "SELECT password_hash FROM users WHERE phone_number = $1";
    use sqlx::Connection as _;
    match &system.engines {
        Some(engines) => {
            let mut connection = testkit::postgres::connect(&engines.database_url).await.unwrap();
            sqlx::query_scalar(SQL).bind(phone).fetch_one(&mut connection).await.unwrap()
        }
        None => {
            let url =
                format!("sqlite://{}/latchkey.sqlite?mode=ro", system.env["LATCHKEY_DATA_DIR"]);
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(SQL).bind(phone).fetch_one(&mut connection).await.unwrap()
        }
    }
}

async fn bad_rows_are_left_out_and_reported_by_line(side: Side) {
    let system = System::start(side, &[]).await;
    let (good, last) = (new_phone(), new_phone());
    let table = format!(
        "phone_number,first_name,last_name,locale,created_at,password,active\n\
         {good},Ada,Lovelace,en,2020-01-01T00:00:00Z,,true\n\
         12345,No,Number,,,,\n\
         +12025550143,\u{202e}Bidi,,,,,\n\
         {good},Twice,,,,,\n\
         +12025550144,A,B,english_US,,,\n\
         +12025550145,A,B,en,yesterday,,\n\
         +12025550146,A,B,en\n\
         +12025550147,A,B,en,,,maybe\n\
         {last},\"Two\nlines\",,,,,\n\
         {last},Last,,,,,\n"
    );
    let path = file(&system, "users.csv", &table);
    let (done, told, complaint) = users(&system, &["import", &path, "--json"]);
    assert!(!done, "the exit status shows that rows were left out");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["imported"], &told["existing"]), (&json!(2), &json!(1)), "{told}");
    let lines: Vec<_> = told["bad"].as_array().unwrap().iter().map(|bad| &bad["line"]).collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 9, 10], "{told}");
    for line in [3, 4, 6, 7, 8, 9, 10] {
        assert!(complaint.contains(&format!("line {line}: left out: ")), "{complaint}");
    }
    assert_eq!(system.api().sign_in(&good).await["user"]["first_name"], "Ada");
    assert_eq!(system.api().sign_in(&last).await["user"]["first_name"], "Last");
}

async fn a_file_that_cannot_be_read_completely_creates_no_account(side: Side) {
    let system = System::start(side, &[]).await;
    let phone = new_phone();
    let cut = format!(r#"[{{"model":"a.user","pk":1,"fields":{{"phone_number":"{phone}"}}}},"#);
    for (name, text) in
        [("cut.json", cut), ("odd.csv", format!("phone_number,shoe_size\n{phone},44\n"))]
    {
        let path = file(&system, name, &text);
        let (done, told, complaint) = users(&system, &["import", &path]);
        assert!(!done && told.is_empty(), "{told}");
        assert!(complaint.contains("nothing was imported"), "{complaint}");
    }
    assert!(!users(&system, &["find", &phone]).0, "no account was created");
}

async fn an_export_can_be_imported(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    api.signup(&phone, "=1+1", "Hopper, \"Grace\"").await.expect(202);
    let code = api.code(&phone, 1).await;
    let id = api.login(&phone, &code).await.expect(200).body["user"]["id"].clone();
    let (done, table, complaint) = users(&system, &["export"]);
    assert!(done, "{complaint}");
    assert!(
        table.contains(&format!(
            "\"{}\",\"{phone}\",\"'=1+1\",\"Hopper, \"\"Grace\"\"\",",
            id.as_str().unwrap()
        )),
        "{table}"
    );

    let elsewhere = System::start(side, &[]).await;
    let path = file(&elsewhere, "users.csv", &table);
    let (done, _, complaint) = users(&elsewhere, &["import", &path]);
    assert!(done, "{complaint}");
    let user = &elsewhere.api().sign_in(&phone).await["user"];
    assert_eq!(user["last_name"], "Hopper, \"Grace\"");
}
