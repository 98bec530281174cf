//! P3, P4, P5 over random sequences of operations on a code, compared with a small model.

use std::time::Duration;

use proptest::prelude::*;
use store::{Admission, Admitted, CheckOutcome, Closing, Scope};

use super::codes::{ATTEMPTS, CodesFixture, PLACE, Requested, TTL_MS};

#[derive(Clone, Copy, Debug)]
enum Act {
    CodeRequest,
    CheckRight,
    CheckWrong,
    /// Seconds.
    Wait(u64),
    /// The check was correct and the login committed.
    Use,
    /// The process restarts.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::CodeRequest),
        2 => Just(Act::CheckRight),
        5 => Just(Act::CheckWrong),
        2 => (1_u64..200).prop_map(Act::Wait),
        1 => Just(Act::Use),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..40)
}

/// The known state of the live code: when it ends and how many attempts were made.
#[derive(Clone, Copy)]
struct Live {
    until: i64,
    tries: u32,
    /// A check was correct: the code may have been used.
    right: bool,
}

/// Plays the acts on the store and on the model; they must agree at every step.
async fn agrees(fixture: &mut CodesFixture, acts: &[Act]) -> Result<(), TestCaseError> {
    let (mut live, mut now, mut last): (Option<Live>, i64, Option<Requested>) = (None, 0, None);
    for act in acts {
        live = live.filter(|code| code.until > now);
        match act {
            Act::Wait(secs) => {
                fixture.clock.advance(Duration::from_secs(*secs));
                now += i64::try_from(*secs).unwrap() * 1000;
            }
            Act::Restart => {
                if !fixture.restart().await {
                    (live, last) = (None, None);
                }
            }
            Act::CodeRequest => {
                let admit = fixture.admit();
                match (fixture.store.codes().admit(&admit).await.unwrap(), live) {
                    (Admission::Exhausted { .. }, Some(code))
                        if code.tries >= ATTEMPTS && !code.right => {}
                    (Admission::Admitted(Admitted { code_id, expires_at, .. }), code)
                        if code.is_none_or(|c| c.right || c.tries < ATTEMPTS) =>
                    {
                        let asked =
                            Requested { request: admit.request_id, code: code_id, expires_at };
                        fixture.issue(&asked, "123456").await;
                        let code = code.filter(|code| !code.right);
                        if let (Some(_), Some(last)) = (live, &last) {
                            let joined = last.code == asked.code;
                            prop_assert_eq!(
                                joined,
                                code.is_some(),
                                "a possibly used code is not joined"
                            );
                        }
                        if let (Some(_), Some(last)) = (code, &last) {
                            prop_assert_eq!(last.code, asked.code, "a resend joins the live code");
                            prop_assert_eq!(last.expires_at, asked.expires_at);
                        }
                        live = Some(code.unwrap_or(Live {
                            until: now + TTL_MS,
                            tries: 0,
                            right: false,
                        }));
                        last = Some(asked);
                    }
                    (other, code) => {
                        prop_assert!(false, "{other:?} with {:?} attempts", code.map(|c| c.tries));
                    }
                }
            }
            Act::CheckRight | Act::CheckWrong => {
                let digits = if matches!(act, Act::CheckRight) { "123456" } else { "000000" };
                let judged = fixture.attempt(digits).await;
                let Some(code) = &mut live else {
                    prop_assert!(
                        !matches!(judged, CheckOutcome::Matched { .. }),
                        "nothing is right without a code"
                    );
                    continue;
                };
                if code.tries >= ATTEMPTS {
                    prop_assert!(
                        matches!(judged, CheckOutcome::Exhausted { .. }),
                        "{judged:?} after five"
                    );
                    continue;
                }
                code.tries += 1;
                let right = matches!(judged, CheckOutcome::Matched { .. });
                code.right |= right;
                prop_assert_eq!(
                    right,
                    matches!(act, Act::CheckRight),
                    "attempt {} of five",
                    code.tries
                );
            }
            Act::Use => {
                if let (Some(_), Some(asked)) = (live, &last) {
                    fixture
                        .store
                        .codes()
                        .close(&fixture.phone, Scope::Login, asked.code, Closing::Used(None), PLACE)
                        .await
                        .unwrap();
                    live = None;
                }
            }
        }
    }
    Ok(())
}

fn check(cases: u32, make: impl Fn(&tokio::runtime::Runtime) -> CodesFixture) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&acts(), |acts| {
        let mut fixture = make(&runtime);
        runtime.block_on(agrees(&mut fixture, &acts))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn p3_p4_p5_hold_over_random_lives_embedded() {
    check(400, |_| CodesFixture::memory());
}

#[test]
fn p3_p4_p5_hold_over_random_lives_on_the_engines() {
    check(40, |runtime| runtime.block_on(CodesFixture::redis()));
}
