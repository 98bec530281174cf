//! Ids are types of their own, so that a session's cannot be given where a user's is asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::clock::Clock;
use crate::rng;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new UUIDv7 (RFC 9562): sorts by time of making.
            pub fn new(clock: &Clock) -> Self {
                Self(v7(clock))
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// One accepted ask for a code. Known to its asker only.
    RequestId
);
id!(
    /// One issued code, shared by all live asks of a phone and purpose. The fence of a login (P3).
    CodeId
);
id!(
    /// One account: `sub`, `user_id` and `user.id` alike.
    UserId
);
id!(
    /// One sign-in on one device: `sid`.
    SessionId
);
id!(
    /// One text that is to be sent.
    MessageId
);
id!(
    /// One try to hand a text to a provider: the last part of its callback's path.
    AttemptId
);
id!(
    /// One event on the bus.
    EventId
);

fn v7(clock: &Clock) -> Uuid {
    let ms = u64::try_from(clock.now_ms()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(ms, &rng::bytes()).into_uuid()
}

impl RequestId {
    /// The id under which the call runs that follows this request's text. Always the same one, so that a redelivered
    /// event makes no second call; known to nobody outside.
    #[must_use]
    pub fn of_its_call(self) -> Self {
        // One of the random bits of a UUIDv7: the version, the time and with it the order stay.
        Self(Uuid::from_u128(self.0.as_u128() ^ 1))
    }

    /// When the ask was made, in milliseconds since the epoch, as the id itself tells.
    pub fn made_at_ms(self) -> i64 {
        let (secs, nanos) = self.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
        i64::try_from(secs).unwrap_or(i64::MAX / 1000) * 1000 + i64::from(nanos / 1_000_000)
    }
}

impl MessageId {
    /// The id of a request's own text. The same request always gives the same id, so that a redelivered event makes
    /// no second text (P2).
    pub fn of_request(request: RequestId) -> Self {
        Self(request.0)
    }
}
