//! Attacks on the public port and their outcome: against two gateways on the engines, and one embedded process.

pub(crate) mod at_once;
mod connections;
mod counting;
mod enumeration;
mod failures;
mod guessing;
mod http;
mod hundred;
mod locked_out;
mod money;
mod phones;
mod pumping;
mod streams;

use deadpool_redis::redis;

use testkit::engines::Engines;
use testkit::http::Api;
use testkit::system::{Apart, Side, System};

/// On the engines two gateways and one worker of each kind; embedded one process for all.
async fn system(side: Side, more: &[(&str, &str)]) -> System {
    match side {
        Side::Embedded => System::start(side, more).await,
        Side::Engines => {
            let counts = Apart { gateways: 2, otp_workers: 1, sms_workers: 1 };
            System::apart(Engines::shared().fresh().await, counts, more).await
        }
    }
}

/// A client for each gateway; embedded, the same one twice.
fn both(system: &System) -> [Api; 2] {
    let second = usize::from(system.engines.is_some());
    [system.api(), system.api_of(second)]
}

async fn redis(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a Redis address");
    crate::redis_connection(&client).await.expect("the test's Redis answers")
}
