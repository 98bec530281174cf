//! A rolling start: gateways of the former version go on calling the functions of the migrations, on the same rows.
//! SQLite has a single process, and so a single version.

use accounts::{AttemptKind, Counted, Deleter, Denied, FUNCTIONS, UsedCode};
use domain::ids::{EventId, SessionId, UserId};
use sqlx::PgConnection;

use super::fixture::{AccountsFixture, GONE, LIMITS, Phone, Raw, signed_in};

/// A database that only the migrations of the former version have made, and a connection of such a gateway.
async fn former() -> (AccountsFixture, PgConnection) {
    let fixture = AccountsFixture::postgres_bare().await;
    fixture.db.pool.migrate(&[]).await.unwrap();
    let Raw::Postgres(gateway) = fixture.raw().await else { unreachable!("a PostgreSQL") };
    (fixture, gateway)
}

/// A sign-in as the former version makes it: its verdict.
async fn former_sign_in(
    gateway: &mut PgConnection,
    fixture: &AccountsFixture,
    phone: &Phone,
    code: UsedCode,
) -> String {
    let (now, later) = (fixture.now().ms(), code.expires_at.ms());
    let (user, session) = (UserId::new(&fixture.clock), SessionId::new(&fixture.clock));
    let events = [(); 4].map(|()| format!("'{}', '{{}}'", EventId::new(&fixture.clock))).join(", ");
    let (number, key, code) = (phone.number.expose(), &phone.key, code.id);
    let sql = format!(
        "SELECT verdict FROM latchkey_sign_in('{number}', '{key}', NULL, {now}, 100, 86400000, 5, '{code}', {later},
             '{user}', '', '', 'fa', 'IR', '{session}', 'sms', 'Phone/1', '192.0.2.0', {later}, {later}, 50,
             NULL, NULL, {later}, {events}, '{{}}', NULL)"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(gateway).await.unwrap()
}

/// A failure as the former version counts it: the phone's count.
async fn former_failure(
    gateway: &mut PgConnection,
    fixture: &AccountsFixture,
    phone: &Phone,
) -> i64 {
    let (number, key, now) = (phone.number.expose(), &phone.key, fixture.now().ms());
    let sql = format!(
        "SELECT failed FROM latchkey_guess_failed(
             '{number}', '{key}', 'code', NULL, {now}, 100, 86400000, NULL, NULL)"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(gateway).await.unwrap()
}

#[tokio::test]
async fn gateways_of_two_versions_share_accounts_codes_and_counts_on_the_engines() {
    let (fixture, mut gateway) = former().await;
    let pool = &fixture.db.pool;
    pool.has_schema(&[]).await.unwrap();
    let error = pool.has_schema(FUNCTIONS).await.unwrap_err();
    assert!(error.is_away() && format!("{error:#}").contains("latchkey_"), "{error:#}");
    let phone = Phone::new();
    let before = fixture.code();
    assert_eq!(former_sign_in(&mut gateway, &fixture, &phone, before).await, "signed_in");

    pool.migrate(FUNCTIONS).await.unwrap();
    pool.has_schema(FUNCTIONS).await.unwrap();
    assert_eq!(fixture.login(&phone, before).await, Err(Denied::CodeUsed));
    let (by_former, by_new) = (fixture.code(), fixture.code());
    assert_eq!(former_sign_in(&mut gateway, &fixture, &phone, by_former).await, "signed_in");
    let (user, _) = fixture.signed_in(&phone).await;
    assert_eq!(fixture.login(&phone, by_former).await, Err(Denied::CodeUsed));
    signed_in(fixture.login(&phone, by_new).await);
    assert_eq!(former_sign_in(&mut gateway, &fixture, &phone, by_new).await, "code_used");
    let sessions = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
    assert_eq!(sessions.len(), 4, "one account");

    assert_eq!(former_failure(&mut gateway, &fixture, &phone).await, 1);
    let counted = Counted { failures: 2, code_failures: 0, by_device: false, locked: false };
    assert_eq!(fixture.attempt(phone.stranger(), None).await, Ok(counted));
    assert_eq!(former_failure(&mut gateway, &fixture, &phone).await, 3);
    for _ in 3..10 {
        fixture.attempt(phone.stranger(), None).await.unwrap();
    }
    assert_eq!(former_sign_in(&mut gateway, &fixture, &phone, fixture.code()).await, "wait");
    let now = fixture.now();
    let kind = AttemptKind::Code;
    let throttle = fixture.db.attempts.throttle(phone.stranger(), kind, LIMITS, now).await.unwrap();
    assert!(throttle.is_some());
}

#[tokio::test]
async fn a_function_is_replaced_when_its_text_is_another_and_else_stays_on_the_engines() {
    let (fixture, mut raw) = former().await;
    let pool = &fixture.db.pool;
    pool.migrate(FUNCTIONS).await.unwrap();
    let mut version = async || -> String {
        let sql = "SELECT string_agg(xmin::text, ',' ORDER BY proname) FROM pg_proc
                   WHERE proname LIKE 'latchkey%\\_3'";
        sqlx::query_scalar(sql).fetch_one(&mut raw).await.unwrap()
    };
    let first = version().await;
    pool.migrate(FUNCTIONS).await.unwrap();
    assert_eq!(version().await, first);
    let other = "CREATE OR REPLACE FUNCTION latchkey_throttle_3(
            doc jsonb, OUT verdict text, OUT until_ms bigint, OUT failed bigint, OUT by_device boolean, OUT opened text)
        LANGUAGE plpgsql AS $$ BEGIN RAISE 'another build'; END $$";
    fixture.raw().await.run(other).await.unwrap();
    pool.migrate(FUNCTIONS).await.unwrap();
    assert_ne!(version().await, first);
    fixture.signed_in(&Phone::new()).await;
}

/// The former gateway owns the tables, and takes the steps of a deletion itself.
#[tokio::test]
async fn f25_gateways_of_two_versions_delete_accounts_on_the_engines() {
    let (fixture, mut gateway) = former().await;
    fixture.db.pool.migrate(FUNCTIONS).await.unwrap();
    let (by_former, _) = fixture.signed_in(&Phone::new()).await;
    let (by_new, _) = fixture.signed_in(&Phone::new()).await;
    let id = by_former.id;
    let sql = format!(
        "BEGIN; DELETE FROM users WHERE id = '{id}';
         INSERT INTO audit_renames (name, pseudonym) VALUES ('{id}', 'former');
         UPDATE audit SET actor = CASE WHEN actor = '{id}' THEN 'former' ELSE actor END,
             subject = CASE WHEN subject = '{id}' THEN 'former' ELSE subject END
             WHERE actor = '{id}' OR subject = '{id}';
         DELETE FROM audit_renames WHERE name = '{id}'; COMMIT"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut gateway).await.unwrap();
    let (accounts, now) = (&fixture.db.accounts, fixture.now());
    assert!(accounts.delete(Deleter::Staff("cli"), by_new.id, GONE, &[], None, now).await.unwrap());
    for (user, pseudonym) in [(id, "former"), (by_new.id, GONE)] {
        let of =
            async |name: &str| fixture.db.audit.page(Some(name), None, 10).await.unwrap().len();
        assert_eq!(of(&user.to_string()).await, 0);
        assert!(of(pseudonym).await > 0);
    }
}
