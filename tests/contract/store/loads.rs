//! What processes say of their load: the same on memory and on Redis.

use std::time::Duration;

use domain::clock::Clock;
use secrecy::SecretString;
use store::{Load, Store, WorkerLoad};
use testkit::engines::Engines;
use testkit::eventually;
use uuid::Uuid;

#[tokio::test]
async fn p12_the_last_word_of_each_part_holds_for_three_seconds() {
    let clock = Clock::manual();
    Box::pin(last_word(&Store::memory(clock.clone()), &clock)).await;
}

mod on_the_engines {
    use super::*;

    #[tokio::test]
    async fn p12_the_last_word_of_each_part_holds_for_three_seconds() {
        let clock = Clock::manual();
        let url = SecretString::from(Engines::shared().redis().await);
        let store = Store::connect_redis(&url, clock.clone()).await.expect("Redis answers");
        Box::pin(last_word(&store, &clock)).await;
    }
}

async fn last_word(store: &Store, clock: &Clock) {
    let (gateway, worker) = (store.loads(), store.for_delivery().loads());
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let load = |taken| WorkerLoad { taken, waited_ms: 12.5 };
    // All in one process: each of its parts has a word.
    let told = [
        (one, Load::OtpWorker(load(1.0))),
        (one, Load::SmsWorker(load(2.0))),
        (other, Load::SmsWorker(load(3.0))),
        (other, Load::Gateway { requested: 4.0 }),
    ];
    // Repeated, as a word that was told is over when a slow machine has read it.
    eventually("what was told last", Duration::from_mins(1), async || {
        worker.tell(one, Load::SmsWorker(WorkerLoad::default())).await.unwrap();
        for (process, load) in told {
            worker.tell(process, load).await.unwrap();
        }
        let read = gateway.read().await.unwrap();
        let is_told = read.len() == told.len() && told.iter().all(|(_, load)| read.contains(load));
        is_told.then_some(())
    })
    .await;
    clock.advance(Duration::from_secs(3));
    assert_eq!(gateway.read().await.unwrap(), []);
}
