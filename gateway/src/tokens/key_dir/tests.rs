use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::tokens::key_ring::TokenKeys;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes a key of a given age, as an operator's own tool would.
fn put(dir: &Path, kid: &str, age_secs: u64) {
    let pem = signing_key::generate(Algorithm::Es256).unwrap().1;
    let path = dir.join(format!("{kid}.pem"));
    fs::write(&path, pem.as_bytes()).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    file.set_modified(epoch - Duration::from_secs(age_secs)).unwrap();
}

fn active(dir: &Path, configured: Option<&str>) -> anyhow::Result<String> {
    Ok(TokenKeys::load(dir, configured)?.table().active().kid().to_owned())
}

#[test]
fn the_newest_key_signs_or_the_last_by_name_among_equals() {
    let dir = folder();
    put(dir.path(), "b-old", 100);
    put(dir.path(), "a-new", 10);
    assert_eq!(active(dir.path(), None).unwrap(), "a-new");
    put(dir.path(), "c-new", 10);
    assert_eq!(active(dir.path(), None).unwrap(), "c-new");
}

#[test]
fn the_configured_kid_wins_over_the_active_file_and_that_over_age() {
    let dir = folder();
    for (kid, age) in [("k-1", 30), ("k-2", 20), ("k-3", 10)] {
        put(dir.path(), kid, age);
    }
    activate(dir.path(), "k-2").unwrap();
    assert_eq!(active(dir.path(), None).unwrap(), "k-2");
    assert_eq!(active(dir.path(), Some("k-1")).unwrap(), "k-1");
    let error = format!("{:#}", active(dir.path(), Some("k-9")).unwrap_err());
    assert!(error.contains("k-9"), "{error}");
}

#[test]
fn f29_a_configured_kid_without_a_key_is_an_error_that_names_the_variable() {
    let dir = folder();
    put(dir.path(), "k-1", 10);
    let error = format!("{:#}", active(dir.path(), Some("k-9")).unwrap_err());
    assert!(error.contains("LATCHKEY_JWT_ACTIVE_KID") && error.contains("k-9.pem"), "{error}");
}

#[test]
fn a_folder_without_keys_names_the_command_that_makes_one() {
    let dir = folder();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = format!("{:#}", TokenKeys::load(&path, None).unwrap_err());
        assert!(error.contains("latchkey keys generate"), "{error}");
    }
}

#[test]
fn at_startup_a_file_that_is_not_a_key_is_an_error_that_names_it() {
    let dir = folder();
    put(dir.path(), "good", 10);
    fs::write(dir.path().join("README"), "not looked at").unwrap();
    fs::write(dir.path().join(".draft.pem"), "not looked at").unwrap();
    fs::create_dir(dir.path().join("folder.pem")).unwrap();
    assert_eq!(active(dir.path(), None).unwrap(), "good");
    fs::write(dir.path().join("bad.pem"), "hello").unwrap();
    let error = format!("{:#}", TokenKeys::load(dir.path(), None).unwrap_err());
    assert!(error.contains("bad.pem"), "{error}");
}

#[test]
fn p10_the_first_key_is_made_once_and_only_its_owner_reads_it() {
    let dir = folder();
    let keys = dir.path().join("keys");
    let first = TokenKeys::load_or_make(&keys, None).unwrap().table().active().kid().to_owned();
    let again = TokenKeys::load_or_make(&keys, None).unwrap();
    assert_eq!(again.table().active().kid(), first);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys.join(format!("{first}.pem"))), 0o600);
    assert_eq!(mode(&keys), 0o700);
    let names: Vec<_> =
        fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "no draft is left: {names:?}");
}

#[test]
fn a_rotation_has_no_gap() {
    let dir = folder();
    let old = generate(dir.path(), Algorithm::Es256, None).unwrap();
    let gateway = TokenKeys::load(dir.path(), None).unwrap();

    let new = generate(dir.path(), Algorithm::EdDsa, Some("2026-spring")).unwrap();
    gateway.look();
    assert_eq!(gateway.table().active().kid(), old, "no verifier knows the new key yet");
    assert!(gateway.table().get(&new).is_some(), "but it is in the JWKS");

    activate(dir.path(), &new).unwrap();
    gateway.look();
    assert_eq!(gateway.table().active().kid(), new);
    assert!(gateway.table().get(&old).is_some(), "the old key's tokens stay valid");
    assert!(retire(dir.path(), &new, None).is_err(), "the signing key stays");
    assert!(retire(dir.path(), &old, Some(&old)).is_err(), "so does the configured one");

    retire(dir.path(), &old, None).unwrap();
    gateway.look();
    assert!(gateway.table().get(&old).is_none());
    assert!(dir.path().join(RETIRED).join(format!("{old}.pem")).exists());
    assert!(generate(dir.path(), Algorithm::Es256, Some(&old)).is_err(), "a name is never reused");
    assert!(generate(dir.path(), Algorithm::Es256, Some("../x")).is_err());
    assert!(activate(dir.path(), "nobody").is_err());
    let rows = list(dir.path(), None).unwrap();
    assert_eq!(rows, [KeyRow { kid: new, algorithm: Some("EdDSA"), active: true, fault: None }]);
}

#[test]
fn while_running_an_invalid_change_leaves_the_keys_unchanged() {
    let dir = folder();
    put(dir.path(), "k-1", 20);
    put(dir.path(), "k-2", 10);
    let gateway = TokenKeys::load(dir.path(), None).unwrap();

    fs::write(dir.path().join("k-3.pem"), "half a key").unwrap();
    fs::write(dir.path().join("k-1.pem"), "overwritten").unwrap();
    gateway.look();
    let table = gateway.table();
    assert!(table.get("k-1").is_some() && table.get("k-2").is_some() && table.get("k-3").is_none());
    assert_eq!(table.active().kid(), "k-2", "a broken file is not the newest key");
    let rows = list(dir.path(), None).unwrap();
    assert_eq!(rows.iter().filter(|row| row.fault.is_some()).count(), 2, "{rows:?}");

    fs::write(dir.path().join(ACTIVE), "k-9\n").unwrap();
    gateway.look();
    assert_eq!(gateway.table().active().kid(), table.active().kid(), "an unknown active kid");

    for kid in ["k-1", "k-2", "k-3"] {
        fs::remove_file(dir.path().join(format!("{kid}.pem"))).unwrap();
    }
    gateway.look();
    assert!(gateway.table().get("k-2").is_some(), "an emptied folder ends no sign-in");
}

#[tokio::test(start_paused = true)]
async fn a_running_gateway_follows_its_folder_within_ten_seconds() {
    let dir = folder();
    put(dir.path(), "k-1", 20);
    let gateway = Arc::new(TokenKeys::load(dir.path(), None).unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let watch = tokio::spawn({
        let (gateway, stop) = (gateway.clone(), stop.clone());
        async move { gateway.watch(stop).await }
    });
    put(dir.path(), "k-2", 10);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(gateway.table().active().kid(), "k-2");
    stop.cancel();
    watch.await.unwrap();
}
