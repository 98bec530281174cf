//! The names on the broker, what each queue takes, and the retry delays, shared by RabbitMQ and the memory bus.

use domain::string_enum;

/// The only exchange: durable, of type topic; the routing key is the event's type.
pub const EXCHANGE: &str = "latchkey";

/// The exchange through which a dead letter goes back to its own queue: durable, of type direct; the routing key is the
/// queue's name. It leads to no other queue, so that a gateway may write to it (contract, ruling 66).
pub const REPLAY_EXCHANGE: &str = "latchkey.replay";

/// How often the broker may redeliver a message before it dead-letters it by itself. Far above any real count: our own
/// failure count decides, and the broker cannot tell a failure from a restart. It is set explicitly because RabbitMQ
/// 4.0 defaults to 20, which a paused consumer would use up on good messages.
pub const DELIVERY_LIMIT: i64 = 1_000_000;

/// `reject-publish` has no effect without a length. At 4 KiB a message this is 4 GiB of disk.
pub const MAX_LENGTH: i64 = 1_000_000;

string_enum! {
    /// One of our queues.
    pub enum Queue { OtpWorker = "otp-worker", SmsWorker = "sms-worker" }
}

impl Queue {
    /// The event families that the queue takes. The version is a wildcard: an event that is newer than this program
    /// must reach the queue and be dead-lettered as `unknown_version`, not be returned to its publisher as unroutable.
    pub const fn bindings(self) -> &'static [&'static str] {
        match self {
            Self::OtpWorker => {
                &["otp.requested.*", "user.signed_up.*", "otp.texted.*", "sms.status.*"]
            }
            Self::SmsWorker => &["sms.requested.*", "sms.receipt.*"],
        }
    }

    /// The queue in which its messages wait for a retry.
    pub fn waiting(self, delay: Delay) -> String {
        format!("{}.retry.{}", self.as_str(), delay.ms())
    }

    /// Its dead-letter queue.
    pub fn dead(self) -> String {
        format!("{}.dead", self.as_str())
    }

    /// The queues that take an event of this type.
    pub fn taking(kind: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |queue| queue.bindings().iter().any(|b| binds(b, kind)))
    }

    /// Whether this is a type of an event that the queue takes, in some version: nothing else may be in it.
    pub(crate) fn knows(self, kind: &str) -> bool {
        let version = kind.rsplit_once(".v").map_or("", |(_, version)| version);
        (1..=3).contains(&version.len())
            && version.bytes().all(|byte| byte.is_ascii_digit())
            && self.bindings().iter().any(|pattern| binds(pattern, kind))
    }
}

/// A topic pattern, with `*` for exactly one word.
fn binds(pattern: &str, kind: &str) -> bool {
    let mut words = kind.split('.');
    pattern.split('.').all(|p| words.next().is_some_and(|w| p == "*" || p == w))
        && words.next().is_none()
}

/// How long a message waits for its retry. Each delay has its own queue: in a shared one, long waits block short ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    Second,
    /// As long as a receipt is waited for: a text whose outcome is unknown waits in the broker meanwhile.
    ThreeSeconds,
    FiveSeconds,
    HalfMinute,
}

impl Delay {
    pub const ALL: [Self; 4] =
        [Self::Second, Self::ThreeSeconds, Self::FiveSeconds, Self::HalfMinute];

    /// The delay in place of one whose queue is not there; `None`: its queue has to be. The broker's definitions of the
    /// former release give no right to declare the newest one, and a service must start beside them (ruling 54).
    pub const fn in_its_place(self) -> Option<Self> {
        match self {
            Self::ThreeSeconds => Some(Self::FiveSeconds),
            Self::Second | Self::FiveSeconds | Self::HalfMinute => None,
        }
    }

    /// Picks the delay for a wait: the shortest one that covers it and is at most a quarter longer; otherwise the
    /// longest shorter one, after which the caller checks again. A message must not wait long after its provider is
    /// back.
    pub fn about(wait: std::time::Duration) -> Self {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let fits = |delay: &Self| delay.ms() >= wait_ms && delay.ms() * 4 <= wait_ms * 5;
        let shorter = |delay: &Self| delay.ms() < wait_ms;
        let found = Self::ALL.into_iter().find(fits);
        found.or_else(|| Self::ALL.into_iter().rfind(shorter)).unwrap_or(Self::Second)
    }

    pub const fn ms(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::ThreeSeconds => 3_000,
            Self::FiveSeconds => 5_000,
            Self::HalfMinute => 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_family_has_the_same_queue_and_other_events_have_none() {
        let of = |kind| Queue::taking(kind).collect::<Vec<_>>();
        assert_eq!(of("otp.requested.v1"), [Queue::OtpWorker]);
        assert_eq!(of("otp.requested.v9"), [Queue::OtpWorker]);
        assert_eq!(of("sms.requested.v1"), [Queue::SmsWorker]);
        assert_eq!(of("user.created.v1"), []);
        assert_eq!(of("otp.requested"), []);
        assert_eq!(of("otp.requested.v1.more"), []);
    }

    #[test]
    fn p10_a_type_that_says_anything_else_is_not_known() {
        assert!(
            Queue::OtpWorker.knows("otp.requested.v2") && Queue::SmsWorker.knows("sms.receipt.v17")
        );
        for other in [
            "otp.requested.14155550100",
            "otp.requested.v14155550100",
            "otp.requested.v",
            "sms.receipt.v1",
            "",
            ".v1",
        ] {
            assert!(!Queue::OtpWorker.knows(other), "{other}");
        }
    }

    #[test]
    fn no_delay_exceeds_its_wait_by_more_than_a_quarter_and_a_second() {
        let about = |ms| Delay::about(std::time::Duration::from_millis(ms));
        for wait_ms in (0..60_000).step_by(50) {
            let delay_ms = about(wait_ms).ms().unsigned_abs();
            assert!(delay_ms <= (wait_ms * 5 / 4).max(1_000), "{wait_ms}: {delay_ms}");
            assert!(delay_ms * 5 >= wait_ms.min(30_000), "{wait_ms}: too many hops, {delay_ms}");
        }
        let shown = [900, 1_001, 2_399, 2_400, 3_000, 3_999, 4_000, 5_000, 23_999, 24_000, 30_000];
        let [s, t, f, h] = Delay::ALL;
        assert_eq!(shown.map(about), [s, s, s, t, t, t, f, f, f, h, h]);
    }
}
