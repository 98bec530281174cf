//! The operator's commands: what each writes to the audit, what it prints as JSON, and which settings it needs.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::Connection as _;

use testkit::both_sides;
use testkit::http::new_phone;
use testkit::process::{self, Binary};
use testkit::system::{Side, System};

both_sides!(
    commands_are_audited_and_print_json,
    an_account_created_by_staff_follows_the_rules_of_a_sign_up,
    a_blocked_address_is_stored_as_the_gateway_sees_it,
    f29_the_audit_names_who_ran_a_command,
);

fn home(system: &System) -> &Path {
    Path::new(&system.env["LATCHKEY_DATA_DIR"]).parent().unwrap()
}

fn printed(system: &System, args: &[&str]) -> Value {
    let text = system.run(args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// The operator's audit lines in order: act, subject, detail.
async fn audit(system: &System) -> Vec<(String, String, String)> {
    audit_of(system, "operator").await
}

async fn audit_of(system: &System, actor: &str) -> Vec<(String, String, String)> {
    const SQL: &str = "SELECT act, subject, detail FROM audit WHERE actor = $1 ORDER BY id";
    match &system.engines {
        Some(engines) => {
            let mut open = sqlx::PgConnection::connect(&engines.database_url).await.unwrap();
            sqlx::query_as(SQL).bind(actor).fetch_all(&mut open).await.unwrap()
        }
        None => {
            let file = home(system).join("data/latchkey.sqlite");
            let mut open = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display()))
                .await
                .unwrap();
            sqlx::query_as(SQL).bind(actor).fetch_all(&mut open).await.unwrap()
        }
    }
}

async fn f29_the_audit_names_who_ran_a_command(side: Side) {
    let system = System::start(side, &[]).await;
    let listed = |shell: &[(&str, &str)], args: &[&str]| {
        let mut env = system.env.clone();
        env.extend(shell.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        process::run(Binary::Latchkey, args, home(&system), &env);
    };
    let list = ["staff", "list"];
    listed(&[("USER", "ada")], &list);
    listed(&[("USER", "root"), ("SUDO_USER", "grace")], &list);
    listed(&[("USER", ""), ("LOGNAME", "alan")], &list);
    listed(&[("USER", "")], &list);
    listed(&[("USER", "ada")], &["staff", "list", "--as", "Mary Shaw"]);
    listed(
        &[("USER", "ada")],
        &["--as", "barbara", "staff", "grant", &granted(&system), "support"],
    );
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    for actor in ["ada", "grace", "alan", &format!("uid {uid}"), "Mary Shaw"] {
        let acts: Vec<_> = audit_of(&system, actor).await.into_iter().map(|line| line.0).collect();
        assert_eq!(acts, ["staff_read"], "{actor}");
    }
    assert_eq!(audit_of(&system, "barbara").await.len(), 1);
    let mut refused = std::process::Command::new(Binary::Latchkey.path());
    refused.args(["staff", "list", "--as", &uuid::Uuid::nil().to_string()]).env_clear();
    let refused = refused.envs(&system.env).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--as"));
}

/// An account to grant a role to.
fn granted(system: &System) -> String {
    let made = printed(system, &["users", "create", &new_phone(), "--json"]);
    made["id"].as_str().unwrap().to_owned()
}

async fn commands_are_audited_and_print_json(side: Side) {
    let system = System::start(side, &[]).await;
    let before = audit(&system).await.len();
    let made = printed(&system, &["users", "create", &new_phone(), "--json"]);
    let id = made["id"].as_str().unwrap();
    for args in [&["users", "find", made["phone_number"].as_str().unwrap()], &["users", "show", id]]
    {
        assert_eq!(printed(&system, &[args, &["--json"][..]].concat())["id"], id);
    }
    assert_eq!(printed(&system, &["users", "sessions", id, "--json"]), json!([]));
    let export = printed(&system, &["users", "export", id, "--json"]);
    assert_eq!(export["user"]["id"], id);
    assert_eq!(export["user"]["phone_number"], made["phone_number"]);
    assert_eq!((&export["sessions"], &export["texts"]), (&json!([]), &json!([])));
    let acts = export["events"].as_array().unwrap().iter().map(|it| it["act"].clone());
    assert_eq!(
        acts.collect::<Vec<_>>(),
        ["user_exported", "sessions_read", "user_read", "user_read", "user_created"]
    );
    assert_eq!(printed(&system, &["users", "export", "--json"])[0]["id"], id);
    assert_eq!(printed(&system, &["staff", "list", "--json"]), json!([]));
    assert!(printed(&system, &["migrate", "--json"])["version"].is_string());
    let kid = printed(&system, &["keys", "generate", "--kid", "next", "--json"])["kid"].clone();
    assert_eq!(kid, "next");
    let old = printed(&system, &["keys", "list", "--json"]);
    let old = old.as_array().unwrap().iter().find(|key| key["active"] == true).unwrap();
    let old = old["kid"].as_str().unwrap();
    printed(&system, &["keys", "activate", "next", "--json"]);
    printed(&system, &["keys", "retire", old, "--yes", "--json"]);
    let health = process::run(
        Binary::Latchkey,
        &["health", "--json"],
        home(&system),
        system.processes[0].server.env(),
    );
    assert_eq!(serde_json::from_str::<Value>(&health).unwrap(), json!({ "ready": true }));
    let mut nobody = std::process::Command::new(Binary::Latchkey.path());
    nobody.args(["health", "--json"]).env_clear().envs(&system.env);
    let nobody = nobody.env("LATCHKEY_OPS_LISTEN", "127.0.0.1:1").output().unwrap();
    assert!(!nobody.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&nobody.stdout).unwrap()["ready"], false);

    let lines = audit(&system).await.split_off(before);
    let told: Vec<_> =
        lines.iter().map(|(act, subject, _)| (act.as_str(), subject.as_str())).collect();
    assert_eq!(
        told,
        [
            ("user_created", id),
            ("user_read", id),
            ("user_read", id),
            ("sessions_read", id),
            ("user_exported", id),
            ("users_exported", "all"),
            ("staff_read", "all"),
            ("migrated", "schema"),
            ("key_generated", "next"),
            ("key_activated", "next"),
            ("key_retired", old),
        ]
    );
}

async fn an_account_created_by_staff_follows_the_rules_of_a_sign_up(side: Side) {
    let system = System::start(side, &[]).await;
    let create = |more: &[&str]| {
        let phone = new_phone();
        let mut command = std::process::Command::new(Binary::Latchkey.path());
        command.args(["users", "create", &phone]).args(more).env_clear().envs(&system.env);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let long = "x".repeat(101);
    for (more, field) in [
        (["--first-name", &long], "first_name"),
        (["--last-name", "\u{202e}gnp.exe"], "last_name"),
        (["--locale", "en_US"], "locale"),
    ] {
        let (made, complaint) = create(&more);
        assert!(!made && complaint.contains(field), "{complaint}");
    }
    assert!(create(&["--first-name", "Ada", "--locale", "en-GB"]).0);
    assert!(create(&[]).0, "names are optional");
}

async fn a_blocked_address_is_stored_as_the_gateway_sees_it(side: Side) {
    let system = System::start(side, &[]).await;
    let why = ["--reason", "test", "--owner", "ops", "--json"];
    let add = [&["block", "add", "ip", "::ffff:203.0.113.9"][..], &why].concat();
    assert_eq!(printed(&system, &add)["value"], "203.0.113.9/32");
    let remove = ["block", "remove", "ip", "::ffff:203.0.113.9", "--yes", "--json"];
    assert_eq!(printed(&system, &remove)["removed"], "203.0.113.9/32");
    assert_eq!(printed(&system, &["block", "list", "--json"]), json!([]));
}

mod on_the_engines {
    use super::*;
    use testkit::engines::Engines;
    use testkit::system::Apart;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commands_run_with_the_settings_of_a_service_and_dead_letters_are_audited() {
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        let system = System::apart(Engines::shared().fresh().await, counts, &[]).await;
        let bundle = system.run(&["keys", "derive", "gateway"]);
        let mut env = system.env.clone();
        env.remove("LATCHKEY_SECRET");
        env.insert("LATCHKEY_SERVICE_KEYS".into(), bundle.trim().to_owned());
        let run = |args: &[&str]| process::run(Binary::Latchkey, args, home(&system), &env);
        run(&["dead", "list", "--json"]);
        run(&["routes", "check", "--json"]);
        run(&["dead", "replay", "otp-worker", "--all", "--yes"]);
        run(&["dead", "drop", "sms-worker", "--all", "--yes"]);
        let lines = audit(&system).await;
        let detail = json!({ "message": null, "count": 0 }).to_string();
        let dead = |act: &str, queue: &str| (act.to_owned(), queue.to_owned(), detail.clone());
        assert_eq!(
            lines[lines.len() - 3..],
            [
                ("keys_derived".to_owned(), "gateway".to_owned(), "{}".to_owned()),
                dead("dead_letters_replayed", "otp-worker"),
                dead("dead_letters_dropped", "sms-worker"),
            ]
        );
    }
}
