//! The ledger on a young table: the server plans by statistics, and these are missing or wrong until it has analysed
//! what it holds.

use std::collections::BTreeMap;

use domain::clock::Clock;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::vocabulary::{Channel, Reason, Status};
use futures::future::try_join_all;
use ledger::*;
use sql::Pool;
use testkit::engines::Engines;
use testkit::{PATIENCE, eventually, postgres};

const TEXTS: usize = 5_000;
/// Calls in hand at once.
const AT_ONCE: usize = 50;
/// The most rows of one table that one text may read by an index, in all its statements and foreign keys together. A
/// plan that reads an index as a whole is as bad as a scan, and reads hundreds.
const ROWS_A_TEXT: i64 = 30;

/// By table: how often the server has scanned it, and how many rows it has read by an index, so far.
type Reads = BTreeMap<String, (i64, i64)>;

async fn reads(url: &str) -> Reads {
    let mut own = postgres::connect(url).await.unwrap();
    // A server process reports what it has read when it ends.
    eventually("the end of the other connections", PATIENCE, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let others: i64 = sqlx::query_scalar(sql).fetch_one(&mut own).await.unwrap();
        (others == 0).then_some(())
    })
    .await;
    let sql = "SELECT relname::text, seq_scan, idx_tup_fetch FROM pg_stat_user_tables
        WHERE relname IN ('sms_ledger', 'sms_attempts', 'sms_history', 'sms_receipts')";
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(sql).fetch_all(&mut own).await.unwrap();
    rows.into_iter().map(|(table, scans, rows)| (table, (scans, rows))).collect()
}

/// Everything that happens to a text, many at once: a first call whose outcome stays unknown for every third, its
/// redelivery, the end, the receipts, one of which comes too early, and the looks at its state.
async fn sends(ledger: &Ledger, clock: &Clock, texts: usize) {
    let phone: E164 = "+989123456789".parse().unwrap();
    for round in 0..texts / AT_ONCE {
        try_join_all((0..AT_ONCE).map(|n| one(ledger, clock, &phone, round * AT_ONCE + n)))
            .await
            .unwrap();
        let due = ledger.due_follow_ups(clock.now().plus_secs(121), 60_000, 20).await.unwrap();
        for follow_up in due {
            ledger.followed_up(&follow_up, None, None).await.unwrap();
        }
    }
}

async fn one(ledger: &Ledger, clock: &Clock, phone: &E164, n: usize) -> anyhow::Result<()> {
    let message = NewMessage {
        message_id: MessageId::new(clock),
        request_id: Some(RequestId::new(clock)),
        phone_number: phone,
        of_deleted: false,
        country: "IR",
        channel: Channel::Sms,
        not_after: clock.now().plus_secs(300),
    };
    let begin = async |provider: &str| {
        let attempt = AttemptId::new(clock);
        let risk = Risk { most: 2, doubtful: &[], unsettled_since: clock.now() };
        let begun = ledger.begin(&message, attempt, provider, risk, clock.now()).await?;
        anyhow::Ok((attempt, begun))
    };
    let (mut attempt, begun) = begin("twilio").await?;
    assert!(matches!(begun, Begin::Start { number: 1, .. }), "{begun:?}");
    if n.is_multiple_of(3) {
        ledger.finish(attempt, &Finish::of(AttemptState::Unknown), clock.now()).await?;
        let (second, begun) = begin("http").await?;
        assert!(matches!(begun, Begin::Start { number: 2, risked: 1 }), "{begun:?}");
        attempt = second;
    }
    if n.is_multiple_of(10) {
        // Its answer is late: the receipt comes first.
        ledger.apply_receipt(&receipt(attempt, Status::Sent), clock.now()).await?;
    }
    let finish = Finish {
        provider_message_id: Some("SM1".to_owned()),
        segments: Some(1),
        status: Some((Status::Sent, None)),
        follow_up_at: Some(clock.now().plus_secs(120)),
        ..Finish::of(AttemptState::Accepted)
    };
    ledger.finish(attempt, &finish, clock.now()).await?;
    ledger.apply_receipt(&receipt(attempt, Status::Delivered), clock.now()).await?;
    assert_eq!(ledger.attempt_state(attempt).await?, Some(AttemptState::Accepted));
    assert!(ledger.attempt_counts(message.message_id).await?.risked >= 1);
    let state = ledger.message_state(message.message_id).await?;
    assert_eq!(state.map(|state| state.status), Some(Status::Delivered));
    let ended = ledger.end(&message, Status::Failed, Some(Reason::Expired), clock.now()).await?;
    assert!(!ended.changed);
    // Of an attempt that the ledger does not know yet.
    ledger.apply_receipt(&receipt(AttemptId::new(clock), Status::Sent), clock.now()).await?;
    Ok(())
}

fn receipt(attempt_id: AttemptId, status: Status) -> Receipt {
    Receipt {
        attempt_id,
        status,
        reason: None,
        provider_message_id: Some("SM1".to_owned()),
        provider_code: None,
        price: None,
        follow_up_at: None,
    }
}

/// Sends on a new database, and compares what was read before and after. `first` texts are there when the server
/// analyses its tables, which it never does later.
async fn p1_no_text_costs_a_scan(first: Option<usize>) {
    let url = Engines::one_by_one().database().await;
    let open = async || Pool::postgres(&url.clone().into()).await.unwrap();
    let (db, clock) = (open().await, Clock::manual());
    db.migrate(&[]).await.unwrap();
    let mut own = postgres::connect(&url).await.unwrap();
    for table in ["sms_ledger", "sms_attempts", "sms_history", "sms_receipts"] {
        let sql = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut own).await.unwrap();
    }
    if let Some(texts) = first {
        sends(&Ledger::new(&db), &clock, texts).await;
        sqlx::query("VACUUM ANALYZE").execute(&mut own).await.unwrap();
    }
    drop(own);
    db.close().await;
    let before = reads(&url).await;
    let db = open().await;
    sends(&Ledger::new(&db), &clock, TEXTS).await;
    db.close().await;
    let after = reads(&url).await;
    assert_eq!(after.len(), 4);
    for (table, (scans, rows)) in after {
        let (scans, rows) = (scans - before[&table].0, rows - before[&table].1);
        println!("{table}: {scans} scans, {rows} rows by an index, for {TEXTS} texts");
        assert_eq!(scans, 0, "{table}");
        assert!(rows < ROWS_A_TEXT * i64::try_from(TEXTS).unwrap(), "{table}: {rows} rows");
    }
}

mod on_the_engines {
    use super::*;
    use testkit::stalls::steady;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_no_text_costs_a_scan_of_tables_that_were_never_analysed() {
        steady(async || p1_no_text_costs_a_scan(None).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_no_text_costs_a_scan_of_tables_that_were_nearly_empty_when_they_were_analysed() {
        steady(async || p1_no_text_costs_a_scan(Some(AT_ONCE)).await).await;
    }
}
