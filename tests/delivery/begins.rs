//! A ledger that commits the begin of attempts, but whose confirmation is lost.

use std::time::Duration;

use domain::ids::{MessageId, RequestId};
use fake_twilio::Fake;
use futures::future::join_all;
use ledger::{AttemptState, Ledger};
use secrecy::SecretString;
use sql::Pool;

use super::{borrowed, settings, status};
use testkit::engines::{EngineSet, Engines};
use testkit::eventually;
use testkit::http::new_phone;
use testkit::process::Binary;
use testkit::proxy::{Fault, Proxy};
use testkit::system::{Apart, System};

const TEXTS: usize = 40;
/// The first round is usually enough.
const ROUNDS: usize = 8;
/// P1: a final status within this time of the end of the last fault.
const SETTLES: Duration = Duration::from_mins(1);

mod on_the_engines {
    use super::*;

    /// These attempts made no call, and the worker that knows this does not wait as if they had.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_lost_confirmation_of_a_begun_attempt_costs_no_text_and_no_wait() {
        let engines = Engines::shared().fresh().await;
        let fake = Fake::start().await.unwrap();
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 0 };
        let settings = settings(&fake, &fake.url());
        let mut system = System::apart(engines.clone(), counts, &borrowed(&settings)).await;
        let EngineSet { database_url, .. } = &engines;
        let (mut database, through) = Proxy::before_url(database_url).await;
        system.add(Binary::SmsWorker, &[("DATABASE_URL", &*through)]).await;
        let db = Pool::postgres(&SecretString::from(database_url.clone())).await.unwrap();
        let (api, ledger) = (system.api(), Ledger::new(&db));
        let mut lost = 0;
        for _ in 0..ROUNDS {
            // In the middle of a burst: an idle connection is checked before use and carries nothing.
            let calls = fake.calls().len();
            let code_requests = join_all((0..TEXTS).map(async |_| {
                let phone = new_phone();
                let request = api.otp(&phone).await.expect(202).text("request_id");
                (phone, request)
            }));
            let (requests, ()) = tokio::join!(code_requests, async {
                let called = async || (fake.calls().len() > calls).then_some(());
                eventually("a first call", SETTLES, called).await;
                database.set(Fault::SwallowAnswers).await;
            });
            // Swallowed answers never arrive.
            database.set(Fault::None).await;
            for (phone, request) in &requests {
                let sent = async || (status(&api, request).await == "sent").then_some(());
                eventually("`sent`", SETTLES, sent).await;
                assert_eq!(fake.calls_to(phone).len(), 1, "one call");
                let id = MessageId::of_request(request.parse::<RequestId>().unwrap());
                let mut attempts = ledger.attempts(id).await.unwrap();
                assert_eq!(attempts.pop().unwrap().state, Some(AttemptState::Accepted));
                for attempt in attempts {
                    lost += 1;
                    assert_eq!(attempt.state, Some(AttemptState::Unavailable), "it made no call");
                }
            }
            if lost > 0 {
                return;
            }
        }
        panic!("no answer was lost in {ROUNDS} rounds");
    }
}
