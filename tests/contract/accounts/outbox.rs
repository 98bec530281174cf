//! The way of events to the broker.

use std::collections::BTreeSet;

use accounts::{Deleter, OutboxEntry, OutboxEvent, Prepared, Settled};
use domain::ids::{EventId, UserId};
use domain::timestamp::Timestamp;
use futures::future::join_all;

use super::contract;
use super::fixture::{AccountsFixture, Db, GONE, Phone, Raw};

contract!(
    p1_each_event_is_published_once_by_one_of_several_at_a_time,
    p1_a_sign_in_is_one_entry_and_leaves_no_row,
    p1_events_of_an_account_keep_their_order,
    p1_an_abandoned_turn_is_over_after_ten_seconds,
    p1_an_ended_turn_is_anothers_at_once,
    p1_a_turn_by_a_clock_that_is_ahead_stops_nobody,
    p1_of_an_entry_only_what_the_broker_has_not_is_published_again,
    p11_an_entry_that_cannot_be_read_harms_only_itself,
    a_deletion_takes_back_a_text_that_is_being_published,
    p1_events_of_the_former_version_are_published_by_its_rules,
);

async fn take(db: &Db, behind: i64, now: Timestamp) -> Vec<OutboxEntry> {
    db.outbox.take(db.publisher, behind, 100, now).await.unwrap()
}

async fn settle(db: &Db, settled: Settled<'_>) {
    assert!(db.outbox.settle(db.publisher, settled).await.unwrap());
}

/// The broker took none: nothing is deleted, and the turn ends.
const NOTHING: Settled<'static> = Settled { done: &[], rest: &[], more: false };

fn kinds(entries: &[OutboxEntry]) -> Vec<&str> {
    let events = entries.iter().flat_map(|entry| entry.events.as_ref().unwrap());
    events.map(|event| event.kind.as_str()).collect()
}

/// How many entries are in the table.
async fn rows(fixture: &AccountsFixture) -> i64 {
    fixture.raw().await.number("SELECT COUNT(*) FROM outbox_entries").await
}

async fn p1_each_event_is_published_once_by_one_of_several_at_a_time(fixture: AccountsFixture) {
    for _ in 0..20 {
        fixture.signed_in(&Phone::new()).await;
    }
    let (second, third) = (fixture.another().await, fixture.another().await);
    let drain = async |db: &Db| {
        let mut published = Vec::new();
        // Whoever has no turn looks again, until none waits.
        while rows(&fixture).await > 0 {
            let entries = db.outbox.take(db.publisher, 0, 7, fixture.now()).await.unwrap();
            assert!(entries.len() <= 7 && entries.is_sorted_by_key(|entry| entry.id));
            let done: Vec<_> = entries.iter().map(|entry| entry.id).collect();
            published.extend(entries);
            settle(db, Settled { done: &done, ..NOTHING }).await;
        }
        published
    };
    let published =
        join_all([&fixture.db, &second, &third].map(|db| Box::pin(drain(db)))).await.concat();
    let entries: BTreeSet<_> = published.iter().map(|entry| entry.id).collect();
    assert_eq!((published.len(), entries.len()), (20, 20), "each once");
    let events: BTreeSet<EventId> =
        published.iter().flat_map(|entry| entry.events.iter().flatten()).map(|e| e.id).collect();
    assert_eq!(events.len(), 60, "three of each sign-up");
}

async fn p1_a_sign_in_is_one_entry_and_leaves_no_row(fixture: AccountsFixture) {
    let phone = Phone::new();
    let before = fixture.raw().await.number("SELECT COUNT(*) FROM outbox").await;
    fixture.signed_in(&phone).await;
    fixture.signed_in(&phone).await;
    let entries = take(&fixture.db, 0, fixture.now()).await;
    let [first, second] = &entries[..] else { panic!("{entries:?}") };
    let created = ["user.created.v1", "session.started.v1", "otp.verified.v1"];
    assert_eq!(kinds(std::slice::from_ref(first)), created);
    assert_eq!(kinds(std::slice::from_ref(second)), created[1..]);
    let done = [first.id, second.id];
    settle(&fixture.db, Settled { done: &done, ..NOTHING }).await;
    assert_eq!(rows(&fixture).await, 0);
    assert_eq!(fixture.raw().await.number("SELECT COUNT(*) FROM outbox").await, before);
}

async fn p1_events_of_an_account_keep_their_order(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, session) = fixture.signed_in(&phone).await;
    for _ in 1..50 {
        fixture.signed_in(&phone).await;
    }
    fixture.events().await;
    // Within one millisecond, which the ids of events would not tell apart.
    let (_, last) = fixture.signed_in(&phone).await;
    fixture.db.sessions.end(user.id, last.id, "logout", fixture.now()).await.unwrap();
    let events = fixture.events().await;
    let kinds: Vec<_> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    let ended = "session.ended.v1";
    assert_eq!(kinds, [ended, "session.started.v1", "otp.verified.v1", ended]);
    let made_room = &events[0].1["data"];
    assert_eq!(made_room["user_id"], user.id.to_string());
    assert_ne!(made_room["session_id"], last.id.to_string());
    assert_eq!(made_room["session_id"].as_str().unwrap().len(), session.id.to_string().len());
    assert_eq!(events[3].1["data"]["session_id"], last.id.to_string());
}

async fn p1_an_abandoned_turn_is_over_after_ten_seconds(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    let (other, now) = (fixture.another().await, fixture.now());
    let first = take(&fixture.db, 0, now).await;
    assert_eq!(first.len(), 1);
    assert!(take(&other, 0, now.plus_ms(9_999)).await.is_empty());
    assert_eq!(take(&other, 0, now.plus_secs(10)).await, first, "published again");
    // The first comes back late: it is not its turn, and what it deletes the broker has.
    assert!(take(&fixture.db, 0, now.plus_secs(10)).await.is_empty());
    let done = [first[0].id];
    settle(&fixture.db, Settled { done: &done, ..NOTHING }).await;
    settle(&other, NOTHING).await;
    assert!(take(&other, 0, now.plus_secs(10)).await.is_empty());
}

async fn p1_a_turn_by_a_clock_that_is_ahead_stops_nobody(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    let (other, now) = (fixture.another().await, fixture.now());
    assert_eq!(take(&fixture.db, 0, now.plus_secs(3600)).await.len(), 1);
    assert_eq!(take(&other, 0, now).await.len(), 1);
}

async fn p1_an_ended_turn_is_anothers_at_once(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    fixture.signed_in(&Phone::new()).await;
    let (other, now) = (fixture.another().await, fixture.now());
    let entries = take(&fixture.db, 0, now).await;
    let first = [entries[0].id];
    settle(&fixture.db, Settled { done: &first, more: true, ..NOTHING }).await;
    assert!(take(&other, 0, now).await.is_empty(), "it goes on");
    settle(&fixture.db, NOTHING).await;
    assert_eq!(take(&other, 0, now).await, entries[1..]);
    settle(&other, NOTHING).await;
    // A turn ends also where the holder finds nothing more.
    assert_eq!(take(&fixture.db, 0, now).await.len(), 1);
    assert!(take(&fixture.db, entries[1].id, now).await.is_empty());
    assert_eq!(take(&other, 0, now).await.len(), 1);
}

async fn p1_of_an_entry_only_what_the_broker_has_not_is_published_again(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    let entries = take(&fixture.db, 0, now).await;
    let events: &[OutboxEvent] = entries[0].events.as_ref().unwrap();
    let rest = [(entries[0].id, events[1..2].to_vec())];
    settle(&fixture.db, Settled { rest: &rest, ..NOTHING }).await;
    let again = take(&fixture.db, 0, now).await;
    assert_eq!(again[0].events.as_deref(), Some(&events[1..2]), "to the byte");
    assert_eq!(again[1..], entries[1..]);
}

async fn p11_an_entry_that_cannot_be_read_harms_only_itself(fixture: AccountsFixture) {
    let bad = "INSERT INTO outbox_entries (events, created_at) VALUES ('[{\"a\":1}]', 0)";
    fixture.raw().await.run(bad).await.unwrap();
    fixture.signed_in(&Phone::new()).await;
    let entries = take(&fixture.db, 0, fixture.now()).await;
    assert_eq!(entries[0].events, None);
    assert_eq!(kinds(&entries[1..]).len(), 3);
}

/// A text to this account's number, written as an act of it writes one.
async fn with_a_text(fixture: &AccountsFixture) -> UserId {
    let (user, _) = fixture.signed_in(&Phone::new()).await;
    let event = Prepared {
        id: EventId::new(&fixture.clock),
        kind: "sms.requested.v2",
        addressed: true,
        body: "{}".to_owned(),
    };
    let notice = accounts::notice::OwnerNotice { event, phone: Phone::new().key };
    let (phone, now) = (Phone::new(), fixture.now());
    fixture.db.accounts.tell_of_lock(user.id, &phone.key, &notice, now).await.unwrap();
    user.id
}

async fn a_deletion_takes_back_a_text_that_is_being_published(fixture: AccountsFixture) {
    let user = with_a_text(&fixture).await;
    let entries = take(&fixture.db, 0, fixture.now()).await;
    assert_eq!(kinds(&entries).last(), Some(&"sms.requested.v2"));
    assert!(fixture.delete(Deleter::Staff("cli"), user).await);
    // The broker did not take it: it is not published again.
    settle(&fixture.db, Settled { done: &[entries[0].id], ..NOTHING }).await;
    let left = take(&fixture.db, 0, fixture.now()).await;
    assert_eq!(kinds(&left), ["session.ended.v1", "user.deleted.v1"]);
    settle(&fixture.db, NOTHING).await;

    let user = with_a_text(&fixture).await;
    let entries = take(&fixture.db, 0, fixture.now()).await;
    let text = entries.last().unwrap().clone();
    assert_eq!(kinds(std::slice::from_ref(&text)), ["sms.requested.v2"]);
    let (accounts, staff, now) = (&fixture.db.accounts, Deleter::Staff("cli"), fixture.now());
    assert!(accounts.delete(staff, user, &GONE.replace('5', "6"), &[], None, now).await.unwrap());
    // It took it, or a part: what is gone does not come back.
    let rest = [(text.id, text.events.unwrap())];
    settle(&fixture.db, Settled { rest: &rest, ..NOTHING }).await;
    let left = take(&fixture.db, text.id, fixture.now()).await;
    assert_eq!(kinds(&left), ["session.ended.v1", "user.deleted.v1"]);
    let with_users = "SELECT COUNT(*) FROM outbox_entries WHERE user_id IS NOT NULL";
    assert_eq!(fixture.raw().await.number(with_users).await, 0);
}

async fn p1_events_of_the_former_version_are_published_by_its_rules(fixture: AccountsFixture) {
    let mut raw = fixture.raw().await;
    let mut ids = [(); 3].map(|()| EventId::new(&fixture.clock));
    ids.sort();
    for (n, id) in ids.iter().enumerate() {
        let id = raw.id(*id);
        let sql = format!(
            "INSERT INTO outbox (id, kind, addressed, body, created_at)
             VALUES ({id}, 'kind.{n}', {}, 'body {n}', 0)",
            n == 0
        );
        raw.run(&sql).await.unwrap();
    }
    fixture.signed_in(&Phone::new()).await;
    let (db, other, now) = (&fixture.db, fixture.another().await, fixture.now());
    let claimed = db.outbox.former_take(2, now).await.unwrap();
    assert_eq!(claimed.iter().map(|e| e.body.as_str()).collect::<Vec<_>>(), ["body 0", "body 1"]);
    assert!(claimed[0].addressed && !claimed[1].addressed);
    // An entry is not its business.
    let others = other.outbox.former_take(10, now).await.unwrap();
    assert_eq!(others.iter().map(|e| e.id).collect::<Vec<_>>(), ids[2..]);
    other.outbox.former_done(&ids[2..], now).await.unwrap();
    db.outbox.former_release(&ids[..1]).await.unwrap();
    let released = other.outbox.former_take(10, now).await.unwrap();
    assert_eq!(released.iter().map(|e| e.id).collect::<Vec<_>>(), ids[..1]);
    assert!(other.outbox.former_take(10, now.plus_ms(29_999)).await.unwrap().is_empty());
    let abandoned = other.outbox.former_take(10, now.plus_secs(30)).await.unwrap();
    assert_eq!(abandoned.iter().map(|e| e.id).collect::<Vec<_>>(), ids[..2]);
    other.outbox.former_done(&ids[..2], now).await.unwrap();
    assert_eq!(raw.number("SELECT COUNT(*) FROM outbox WHERE published_at IS NULL").await, 0);
    assert_eq!(raw.number("SELECT COUNT(*) FROM outbox WHERE body <> ''").await, 0);
    assert_eq!(rows(&fixture).await, 1);
}

/// The table grows from nothing, and autovacuum comes a minute later: until then the planner knows nothing of it.
#[tokio::test]
async fn no_statement_of_the_outbox_reads_a_young_table_as_a_whole_on_the_engines() {
    let fixture = AccountsFixture::postgres().await;
    let (db, now) = (&fixture.db, fixture.now());
    let of = async |raw: &mut Raw, column| {
        let sql =
            format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'outbox_entries'");
        raw.number(&sql).await
    };
    let mut raw = fixture.raw().await;
    // The making of its indexes counts, and is told when its backend has ended.
    let before = testkit::eventually("the statistics", testkit::PATIENCE, async || {
        Some(of(&mut raw, "seq_scan").await).filter(|scans| *scans > 0)
    })
    .await;
    // Prepared and planned while it is empty.
    for _ in 0..10 {
        fixture.signed_in(&Phone::new()).await;
        assert_eq!(db.published(100, now).await.len(), 3);
    }
    let user = with_a_text(&fixture).await;
    let many = "INSERT INTO outbox_entries (events, created_at) SELECT '[]', 0 FROM generate_series(1, 5000)";
    fixture.raw().await.run(many).await.unwrap();
    assert!(fixture.delete(Deleter::Staff("cli"), user).await);
    assert_eq!(db.published(200, now).await.len(), 5);
    // A backend tells what it did when it ends.
    db.pool.close().await;
    testkit::eventually("the statistics", testkit::PATIENCE, async || {
        (of(&mut raw, "n_tup_del").await == 5014).then_some(())
    })
    .await;
    assert_eq!(of(&mut raw, "seq_scan").await, before);
}
