//! What each process says of its load, so that gateways accept as many code requests as workers can text (contract, ruling
//! 79).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Loads;
use domain::engine_error::EngineError;

/// How long a report holds, in milliseconds: a few times as long as until the next one. A process that ended or hangs says
/// nothing any more.
pub(crate) const TOLD_FOR_MS: i64 = 3_000;
/// How long the reports are kept after the last one of all, in milliseconds.
pub(crate) const KEPT_MS: i64 = 60_000;

/// The load of one process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub enum Load {
    /// How many code requests arrive here, a second, whatever becomes of them.
    Gateway {
        requested: f64,
    },
    OtpWorker(WorkerLoad),
    SmsWorker(WorkerLoad),
}

impl Load {
    pub(crate) const fn part(self) -> &'static str {
        match self {
            Self::Gateway { .. } => "gateway",
            Self::OtpWorker(_) => "otp-worker",
            Self::SmsWorker(_) => "sms-worker",
        }
    }
}

/// The load of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerLoad {
    /// How many messages that come of code requests it takes, a second.
    pub taken: f64,
    /// How long those waited that it took last, in milliseconds.
    pub waited_ms: f64,
}

operations! { Loads {
    /// Says the load of this process; it replaces what the process said before of this part, and holds for three seconds.
    fn tell(process: Uuid, load: Load) -> () => tell_load;

    /// What all processes said in the last three seconds, in no order.
    fn read() -> Vec<Load> => loads;
} }
