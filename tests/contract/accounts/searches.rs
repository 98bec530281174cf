//! Searches of staff that stay fast: the audit by time, and names of which there are many.

use accounts::{AuditFilter, Find};
use domain::rng;
use domain::timestamp::Timestamp;
use serde_json::json;
use sql::args;

use super::contract;
use super::fixture::AccountsFixture;

contract!(
    the_audit_is_searched_by_time_though_its_entries_are_a_little_out_of_order,
    a_name_that_many_have_is_searched_within_bounds,
);

const MINUTE_MS: i64 = 60_000;

async fn the_audit_is_searched_by_time_though_its_entries_are_a_little_out_of_order(
    fixture: AccountsFixture,
) {
    let start = Timestamp::from_ms(1_800_000_000_000);
    let audit = &fixture.db.audit;
    assert_eq!(
        audit
            .search(AuditFilter { since: Some(start), ..Default::default() }, None, 9)
            .await
            .unwrap()
            .len(),
        0
    );
    // Clocks that are half an hour wrong, and acts of which some are found by an index.
    let at = |n: i64| {
        let wrong_by = match n % 5 {
            0 => 0,
            1 => 25,
            2 => -30,
            3 => 5,
            _ => 20,
        };
        start.plus_ms((n * 10 + wrong_by) * MINUTE_MS)
    };
    for n in 0..60 {
        let act = if n % 7 == 0 { "phone_locked" } else { "signed_in" };
        audit.add(at(n), "actor", act, &format!("subject-{}", n % 3), &json!({})).await.unwrap();
    }
    for (since, until) in [
        (None, None),
        (Some(0), None),
        (Some(333), None),
        (None, Some(280)),
        (Some(120), Some(125)),
        (Some(900), None),
        (None, Some(-90)),
    ] {
        let time = |minutes: Option<i64>| minutes.map(|it| start.plus_ms(it * MINUTE_MS));
        let (since, until) = (time(since), time(until));
        let is_between =
            |at: Timestamp| since.is_none_or(|it| at >= it) && until.is_none_or(|it| at < it);
        for (act, subject) in [
            (None, None),
            (Some("phone_locked"), None),
            (Some("signed_in"), None),
            (None, Some("subject-1")),
        ] {
            let filter = AuditFilter { since, until, act, subject, actor: None };
            let found = audit.search(filter, None, 100).await.unwrap();
            let expected: Vec<Timestamp> = (0..60)
                .rev()
                .filter(|n| act.is_none_or(|act| (act == "phone_locked") == (n % 7 == 0)))
                .filter(|n| subject.is_none_or(|_| n % 3 == 1))
                .map(at)
                .filter(|at| is_between(*at))
                .collect();
            let times: Vec<_> = found.iter().map(|entry| entry.at).collect();
            assert_eq!(times, expected, "{since:?} to {until:?}, {act:?}, {subject:?}");
        }
    }
}

async fn a_name_that_many_have_is_searched_within_bounds(fixture: AccountsFixture) {
    let (pool, now) = (&fixture.db.pool, fixture.now());
    for n in 0..2_200_i64 {
        let sql = "INSERT INTO users (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
             VALUES ($1, $2, $3, 'Zeta', 'en', 'IR', $4, $4, $4)";
        let (id, phone, name) =
            (rng::id_v7(1_000_000 + n), format!("+98935{n:07}"), format!("Ann{n:04}"));
        pool.run("make an account", sql, args![id, &phone, &name, now]).await.unwrap();
    }
    let find = async |name: &str| -> Vec<String> {
        let found = fixture.db.accounts.people(Find::Name(name), None, 3, now).await.unwrap();
        found.into_iter().map(|it| it.user.first_name).collect()
    };
    // The newest of the first 2,000 in the order of names.
    assert_eq!(find("a").await, ["Ann1999", "Ann1998", "Ann1997"]);
    assert_eq!(find("ANN21").await, ["Ann2199", "Ann2198", "Ann2197"]);
    assert_eq!(find("ann2150").await, ["Ann2150"]);
    assert_eq!(find("ann2150 z").await, ["Ann2150"]);
    assert_eq!(find("ann2150 y").await, [] as [&str; 0]);
    assert_eq!(find("b").await, [] as [&str; 0]);
}
