//! A client's journeys over HTTP: embedded, on the engines, and with two instances of every service.

pub(crate) mod credentials;
mod inbox;
mod leak;
pub(crate) mod leak_search;
mod lost_answers;
mod one_code;
pub(crate) mod probes;
mod whole;
mod wrong_settings;

use testkit::engines::Engines;
use testkit::http::Api;
use testkit::system::{Apart, Side, System};

/// Two instances of every service.
pub(crate) const TWICE: Apart = Apart { gateways: 2, otp_workers: 2, sms_workers: 2 };

/// Where a journey runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One process, embedded or on the engines.
    One(Side),
    /// Separate services on the engines, two of each.
    Twice,
}

impl Place {
    /// Starts a system there; returns it with a client for each gateway.
    pub async fn open(self, more: &[(&str, &str)]) -> (System, Vec<Api>) {
        match self {
            Self::One(side) => {
                let system = System::start(side, more).await;
                let apis = vec![system.api()];
                (system, apis)
            }
            Self::Twice => {
                let system = System::apart(Engines::shared().fresh().await, TWICE, more).await;
                let apis = vec![system.api_of(0), system.api_of(1)];
                (system, apis)
            }
        }
    }
}

/// Makes three tests of one body, an `async fn(Place)`.
#[macro_export]
macro_rules! everywhere {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use $crate::journeys::Place;
            use testkit::system::Side;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                testkit::stalls::steady(async || super::$name(Place::One(Side::Embedded)).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_the_engines() {
                testkit::stalls::steady(async || super::$name(Place::One(Side::Engines)).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn twice_on_the_engines() {
                testkit::stalls::steady(async || super::$name(Place::Twice).await).await;
            }
        }
    )+};
}

/// The claims of a token, without verification.
pub(crate) fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let middle = token.split('.').nth(1).expect("a token has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle).expect("base64url");
    serde_json::from_slice(&bytes).expect("claims are JSON")
}
