//! Many requests at once: exactly the allowed number of codes is checked and exactly one login succeeds, whatever the
//! concurrency.
//!
//! A healthy system refuses nobody because of load, and the counts are exact. A busy machine may answer some requests
//! with 503, as promised where 2.5 s are not enough (P12). Such a round only shows that nobody got more attempts; it is
//! repeated with another phone. One round of three must be exact.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use futures::future::{join, join_all};
use tokio::sync::Barrier;

use super::{both, system};
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone, once, wrong};
use testkit::system::{Side, System};

both_sides!(
    p4_of_two_hundred_checks_at_once_five_are_compared,
    p3_of_fifty_logins_with_the_right_code_one_succeeds,
    p3_the_right_code_twice_at_once_succeeds_once_in_each_of_200_rounds,
);

/// A login that owns its code, so that many can be created before they are sent.
async fn attempt(api: &Api, phone: &str, otp: String) -> Answer {
    once(api.login(phone, &otp)).await
}

/// Runs up to three rounds until one has no 503. A round makes its counted calls [`once`], checks its own answers and returns their statuses.
pub(crate) async fn an_exact_round(
    system: &System,
    mut round: impl AsyncFnMut() -> BTreeMap<u16, usize>,
) {
    for _ in 0..3 {
        let statuses = round().await;
        if !statuses.contains_key(&503) {
            return;
        }
        println!("not an exact round: {statuses:?}\n{}", refusals(system));
    }
    panic!("every round had a 503");
}

/// Counts the answers by status.
pub(crate) fn counted(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    for answer in answers {
        *statuses.entry(answer.status).or_default() += 1;
    }
    statuses
}

/// The log lines that explain the refusals.
fn refusals(system: &System) -> String {
    let output = system.output();
    let lines = output
        .lines()
        .filter(|line| line.contains("request failed") || line.contains("request not served"));
    lines.take(20).collect::<Vec<_>>().join("\n")
}

async fn p4_of_two_hundred_checks_at_once_five_are_compared(side: Side) {
    let system = system(side, &[]).await;
    let apis = &both(&system);
    an_exact_round(&system, async || {
        let phone = &new_phone();
        let code = &apis[0].fresh_code(phone).await;
        let attempts =
            (1..=200).map(|n| attempt(&apis[usize::from(n % 2 == 0)], phone, wrong(code, n)));
        let statuses = counted(&join_all(attempts).await);
        let judged = statuses.get(&401).copied().unwrap_or_default();
        assert!(judged <= 5, "{statuses:?}");
        if !statuses.contains_key(&503) {
            assert_eq!(statuses, BTreeMap::from([(401, 5), (429, 195)]));
            apis[1].login(phone, code).await.problem(429, "otp_attempts_exhausted");
        }
        statuses
    })
    .await;
}

async fn p3_of_fifty_logins_with_the_right_code_one_succeeds(side: Side) {
    let system = system(side, &[("LATCHKEY_OTP_ATTEMPTS", "10")]).await;
    let apis = &both(&system);
    an_exact_round(&system, async || {
        let phone = &new_phone();
        let code = &apis[0].fresh_code(phone).await;
        let logins = (0..50).map(|n| attempt(&apis[n % 2], phone, code.clone()));
        let statuses = counted(&join_all(logins).await);
        let accepted = statuses.get(&200).copied().unwrap_or_default();
        assert!(accepted <= 1, "{statuses:?}");
        if !statuses.contains_key(&503) {
            // The others found the code used, or its ten attempts exhausted.
            let refused =
                [401, 429].iter().filter_map(|status| statuses.get(status)).sum::<usize>();
            assert_eq!((accepted, refused), (1, 49), "{statuses:?}");
        }
        statuses
    })
    .await;
}

async fn p3_the_right_code_twice_at_once_succeeds_once_in_each_of_200_rounds(side: Side) {
    let system = system(side, &[]).await;
    let apis = &both(&system);
    let inexact = &AtomicUsize::new(0);
    let rounds = (0..200).map(|_| async {
        let phone = &new_phone();
        let code = &apis[0].fresh_code(phone).await;
        let barrier = &Barrier::new(2);
        let [one, other] = [0, 1].map(|n| async move {
            barrier.wait().await;
            attempt(&apis[n], phone, code.clone()).await
        });
        let (one, other) = join(one, other).await;
        if [one.status, other.status].contains(&503) {
            inexact.fetch_add(1, Ordering::Relaxed);
            assert_ne!([one.status, other.status], [200, 200]);
            return;
        }
        let (accepted, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        accepted.expect(200);
        refused.problem(401, "otp_incorrect");
    });
    futures::stream::iter(rounds).buffer_unordered(8).collect::<()>().await;
    assert!(inexact.load(Ordering::Relaxed) < 134, "two of three rounds had a 503");
}
