//! What a client goes through, over HTTP: embedded, on the engines, and over two gateways with every service twice.

mod leak;
mod leak_search;
mod lost_answers;
mod one_code;
mod probes;
mod whole;
mod wrong_settings;

use testkit::engines::Engines;
use testkit::http::Api;
use testkit::system::{Apart, Side, System};

/// Every service twice.
pub(crate) const TWICE: Apart = Apart { gateways: 2, otp_workers: 2, sms_workers: 2 };

/// Where a journey goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One process, on this side.
    One(Side),
    /// The services apart on the engines, each twice.
    Twice,
}

impl Place {
    /// A running system there, and a client of each of its gateways.
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

/// Three tests of one body, `async fn(Place)`.
#[macro_export]
macro_rules! everywhere {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use $crate::journeys::Place;
            use testkit::system::Side;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                super::$name(Place::One(Side::Embedded)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_the_engines() {
                super::$name(Place::One(Side::Engines)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn twice_on_the_engines() {
                super::$name(Place::Twice).await;
            }
        }
    )+};
}

/// The claims of a token, unchecked: that is the verifier's matter.
pub(crate) fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let middle = token.split('.').nth(1).expect("a token has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle).expect("base64url");
    serde_json::from_slice(&bytes).expect("claims are JSON")
}
