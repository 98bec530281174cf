//! What the pumping guard observed: its history and the states of its nets.

use domain::timestamp::Timestamp;
use domain::vocabulary::PumpingGuard;
use guard::{Change, Finding, Kind, MINUTE_MS, State, Tally, minute_of};

use super::contract;
use super::fixture::{AccountsFixture, DAY};

contract!(
    counts_of_many_gateways_add_up_in_one_row,
    the_history_is_read_in_pages_in_the_order_of_its_minutes,
    the_history_is_kept_for_ninety_days,
    the_last_state_of_a_net_is_kept,
);

fn tally(minute: i64, prefix: &str, sends: i64, verified: i64, refused: i64) -> Tally {
    Tally {
        minute,
        operator_prefix: prefix.to_owned(),
        country: "IR".to_owned(),
        sends,
        verified,
        refused,
    }
}

const ALL: (Timestamp, Timestamp) = (Timestamp::from_ms(0), Timestamp::from_ms(i64::MAX / 2));

async fn counts_of_many_gateways_add_up_in_one_row(fixture: AccountsFixture) {
    let (other, minute) = (fixture.another().await, minute_of(fixture.now().ms()));
    // More rows than one statement takes, from both ends at once.
    let there: Vec<Tally> =
        (0..700).map(|n| tally(minute, &format!("98{n:04}"), 3, 1, 0)).collect();
    let back: Vec<Tally> = there
        .iter()
        .rev()
        .map(|t| Tally { sends: -1, verified: 1, refused: 4, ..t.clone() })
        .collect();
    let (one, two) =
        tokio::join!(fixture.db.guard_history.add(&there), other.guard_history.add(&back));
    one.unwrap();
    two.unwrap();
    fixture.db.guard_history.add(&[]).await.unwrap();
    let rows = fixture.db.guard_history.page(ALL.0, ALL.1, None, 10_000).await.unwrap();
    let sums: Vec<Tally> =
        there.iter().map(|t| tally(minute, &t.operator_prefix, 2, 2, 4)).collect();
    assert_eq!(rows, sums);
}

async fn the_history_is_read_in_pages_in_the_order_of_its_minutes(fixture: AccountsFixture) {
    let minute = minute_of(fixture.now().ms());
    let rows: Vec<Tally> = (0..5)
        .flat_map(|m| ["989121", "989122"].map(|prefix| tally(minute + m, prefix, m + 1, 0, 0)))
        .collect();
    let mut mixed = rows.clone();
    mixed.rotate_left(3);
    fixture.db.guard_history.add(&mixed).await.unwrap();
    let (mut read, mut after): (Vec<Tally>, Option<Tally>) = (Vec::new(), None);
    loop {
        let page = fixture.db.guard_history.page(ALL.0, ALL.1, after.as_ref(), 3).await.unwrap();
        let last = page.len() < 3;
        read.extend(page);
        after = read.last().cloned();
        if last {
            break;
        }
    }
    assert_eq!(read, rows);
    let at = |minute: i64| Timestamp::from_ms(minute * MINUTE_MS);
    let middle =
        fixture.db.guard_history.page(at(minute + 1), at(minute + 3), None, 100).await.unwrap();
    assert_eq!(middle, rows[2..6], "from the first minute to before the last");
}

async fn the_history_is_kept_for_ninety_days(fixture: AccountsFixture) {
    let now = fixture.now();
    let ago = |secs: i64| tally(minute_of(now.ms() - secs * 1000), "989123", 1, 0, 0);
    let rows = [ago(100 * DAY), ago(100 * DAY - 7200), ago(91 * DAY), ago(89 * DAY), ago(0)];
    fixture.db.guard_history.add(&rows).await.unwrap();
    let mut sweeps = 0;
    while fixture.db.guard_history.sweep(now).await.unwrap() {
        sweeps += 1;
    }
    assert_eq!(sweeps, 3, "an hour at a time");
    assert_eq!(fixture.db.guard_history.page(ALL.0, ALL.1, None, 10).await.unwrap(), rows[3..]);
}

async fn the_last_state_of_a_net_is_kept(fixture: AccountsFixture) {
    let now = fixture.now();
    let found = |kind, state, at: Timestamp| Finding {
        change: Change {
            kind,
            state,
            sends: 70,
            verified: 1,
            level: 2,
            until: (state == State::Blocked).then_some(at.plus_secs(900)),
        },
        country: "IR".to_owned(),
        operator_prefix: "989123".to_owned(),
        at,
    };
    let blocked = found(Kind::Prefix, State::Blocked, now.plus_secs(10));
    for found in [
        &found(Kind::Prefix, State::Open, now),
        &blocked,
        &found(Kind::Prefix, State::Probing, now.plus_secs(5)),
    ] {
        fixture.db.guard_history.net_changed(found, PumpingGuard::Enforce).await.unwrap();
    }
    fixture
        .db
        .guard_history
        .net_changed(&found(Kind::Country, State::Probing, now), PumpingGuard::Record)
        .await
        .unwrap();
    let nets = fixture.db.guard_history.nets().await.unwrap();
    let seen: Vec<_> = nets
        .iter()
        .map(|n| (n.kind.as_str(), n.name.as_str(), n.state.as_str(), n.mode.as_str(), n.until))
        .collect();
    assert_eq!(
        seen,
        [
            ("prefix", "989123", "blocked", "enforce", Some(now.plus_secs(910))),
            ("country", "IR", "probing", "record", None)
        ],
        "an older state that arrives later changes nothing"
    );
    assert_eq!(
        (nets[0].sends, nets[0].verified, nets[0].level, nets[0].changed_at),
        (70, 1, 2, now.plus_secs(10))
    );
}
