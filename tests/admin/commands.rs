//! `latchkey admin-keys`: a key is shown once, and ends when the command says so.

use serde_json::Value;
use testkit::folder::free_port;
use testkit::http::Api;
use testkit::process::Binary;
use testkit::system::{Side, System};

testkit::both_sides!(a_key_is_made_shown_once_used_listed_and_revoked);

fn printed(system: &System, args: &[&str]) -> Value {
    serde_json::from_str(&system.run(args)).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// What a command that must fail complains of.
fn refused(system: &System, args: &[&str]) -> String {
    let mut command = std::process::Command::new(Binary::Latchkey.path());
    let output = command.args(args).env_clear().envs(&system.env).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn a_key_is_made_shown_once_used_listed_and_revoked(side: Side) {
    let address = format!("127.0.0.1:{}", free_port());
    let system = System::start(side, &[("LATCHKEY_ADMIN_LISTEN", &address)]).await;
    let create = ["admin-keys", "create", "helpdesk", "--role", "support", "--expires", "90d"];
    let key = system.run(&create).trim().to_owned();
    assert!(key.starts_with("lk_admin_") && key.len() == 98, "{key}");
    let list = system.run(&["admin-keys", "list"]);
    assert!(
        list.contains("helpdesk") && list.contains("support") && list.contains("never"),
        "{list}"
    );
    assert!(!list.contains(&key[26..]), "a key is shown once");
    let api = Api::new(&format!("http://{address}"));
    let headers = [("authorization", format!("Bearer {key}"))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let get = async || {
        api.try_call(reqwest::Method::GET, "/admin/v1/users", None, &headers).await.unwrap()
    };
    get().await.expect(200);
    let listed = printed(&system, &["admin-keys", "list", "--json"]);
    let shown = &listed[0];
    assert_eq!((&shown["name"], &shown["state"]), (&"helpdesk".into(), &"live".into()));
    assert_eq!(key[9..25], *shown["id"].as_str().unwrap());
    assert!(shown["last_used_at"].is_string() && shown["expires_at"].is_string(), "{shown}");
    assert!(!listed.to_string().contains(&key[26..]));
    for (args, complaint) in [
        (vec!["admin-keys", "create", "helpdesk", "--role", "viewer"], "helpdesk"),
        (vec!["admin-keys", "create", "Help desk", "--role", "viewer"], "NAME"),
        (vec!["admin-keys", "create", "x", "--role", "king"], "--role"),
        (
            vec![
                "admin-keys",
                "create",
                "x",
                "--role",
                "viewer",
                "--expires",
                "2020-01-01T00:00:00Z",
            ],
            "--expires",
        ),
        (vec!["admin-keys", "revoke", "nobody", "--yes"], "nobody"),
        (vec!["admin-keys", "revoke", "helpdesk"], "--yes"),
        (vec!["users", "find", "+12125550123", "--as", "admin-key:helpdesk"], "--as"),
    ] {
        let said = refused(&system, &args);
        assert!(said.contains(complaint), "{args:?}: {said}");
    }
    system.run(&["admin-keys", "revoke", "helpdesk", "--yes"]);
    get().await.problem(401, "token_not_valid");
    let again = refused(&system, &["admin-keys", "revoke", "helpdesk", "--yes"]);
    assert!(again.contains("revoked already"), "{again}");
    let made = printed(&system, &["admin-keys", "create", "next", "--role", "owner", "--json"]);
    assert!(made["key"].as_str().unwrap().starts_with("lk_admin_") && made["expires_at"].is_null());
    system.run(&["admin-keys", "revoke", made["id"].as_str().unwrap(), "--yes", "--json"]);
}
