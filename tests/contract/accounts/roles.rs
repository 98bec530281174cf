//! The roles of the former version, carried over: `admin` is an owner, and nothing else of an account changes.

use std::path::Path;

use accounts::StaffRole;
use domain::ids::{SessionId, UserId};
use sqlx::migrate::Migrator;

use super::fixture::{AccountsFixture, Phone, Raw};

/// The first migration that knows four roles.
const FOUR_ROLES: i64 = 19;

#[tokio::test]
async fn roles_of_the_former_version_are_carried_over() {
    carried_over(AccountsFixture::sqlite_bare().await).await;
}

#[tokio::test]
async fn roles_of_the_former_version_are_carried_over_on_the_engines() {
    carried_over(AccountsFixture::postgres_bare().await).await;
}

/// Applies the migrations of the former version.
async fn former(raw: &mut Raw) {
    let engine = if matches!(raw, Raw::Postgres(_)) { "postgres" } else { "sqlite" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("common/sql/migrations").join(engine);
    let all = Migrator::new(folder).await.unwrap();
    let former = all.iter().filter(|migration| migration.version < FOUR_ROLES);
    let former = Migrator::with_migrations(former.cloned().collect());
    match raw {
        Raw::Postgres(connection) => former.run_direct(None, connection, false).await.unwrap(),
        Raw::Sqlite(connection) => former.run_direct(None, connection, false).await.unwrap(),
    }
}

async fn carried_over(fixture: AccountsFixture) {
    let (mut raw, now) = (fixture.raw().await, fixture.now());
    former(&mut raw).await;
    let mut ids = Vec::new();
    for role in ["'admin'", "'support'", "NULL"] {
        let (id, session) = (UserId::new(&fixture.clock), SessionId::new(&fixture.clock));
        let (user, phone, at, later) = (raw.id(id), Phone::new(), now.ms(), now.ms() + 60_000);
        raw.run(&format!(
            "INSERT INTO users (id, phone_number, first_name, last_name, locale, country, role, created_at, updated_at, last_seen_at)
             VALUES ({user}, '{}', 'Ada', '', 'en', 'IR', {role}, {at}, {at}, {at})",
            phone.number.expose()
        ))
        .await
        .unwrap();
        raw.run(&format!(
            "INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at, expires_at, absolute_expires_at, sweep_at)
             VALUES ({}, {user}, 'sms', 1, {at}, '', '', {at}, {at}, {later}, {later}, {later})",
            raw.id(session)
        ))
        .await
        .unwrap();
        ids.push(id);
    }
    drop(raw);
    fixture.db.pool.migrate(accounts::FUNCTIONS).await.unwrap();
    let mut roles = Vec::new();
    for id in &ids {
        let user = fixture.db.accounts.get(*id).await.unwrap().unwrap();
        assert_eq!(user.first_name, "Ada");
        assert_eq!(fixture.db.sessions.of_user(*id, now).await.unwrap().len(), 1, "its session");
        roles.push(user.staff_role());
    }
    assert_eq!(roles, [Some(StaffRole::Owner), Some(StaffRole::Support), None]);
    // A command of the former version may still grant the former name, and no version another.
    let mut raw = fixture.raw().await;
    let id = raw.id(ids[1]);
    raw.run(&format!("UPDATE users SET role = 'admin' WHERE id = {id}")).await.unwrap();
    let user = fixture.db.accounts.get(ids[1]).await.unwrap().unwrap();
    assert_eq!(user.staff_role(), Some(StaffRole::Owner));
    assert!(raw.run(&format!("UPDATE users SET role = 'king' WHERE id = {id}")).await.is_err());
}
