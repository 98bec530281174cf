//! Each kind of ID is its own type, so that a session ID cannot be passed as a user ID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Clock;
use crate::rng;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Generates a UUIDv7 (RFC 9562), which sorts by creation time.
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
    /// An accepted code request. Only the requester knows it.
    RequestId
);
id!(
    /// An issued code, shared by all live code requests of a phone and purpose. The fence of a login (P3).
    CodeId
);
id!(
    /// An account: `sub`, `user_id` and `user.id`.
    UserId
);
id!(
    /// A sign-in on a device: `sid`.
    SessionId
);
id!(
    /// A message to send.
    MessageId
);
id!(
    /// An attempt to send a message through a provider: the last part of its callback's path.
    AttemptId
);
id!(
    /// An event on the bus.
    EventId
);

fn v7(clock: &Clock) -> Uuid {
    rng::id_v7(clock.now_ms())
}

impl RequestId {
    /// Returns the ID of the call that follows this request's message. It is deterministic, so that a redelivered event
    /// makes no second call. It is never published.
    #[must_use]
    pub fn of_its_call(self) -> Self {
        // Flips one random bit of the UUIDv7: the version, the time and thus the order are unchanged.
        Self(Uuid::from_u128(self.0.as_u128() ^ 1))
    }

    /// Returns the time of the request in milliseconds since the epoch, from the ID itself.
    pub fn made_at_ms(self) -> i64 {
        let (secs, nanos) = self.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
        i64::try_from(secs).unwrap_or(i64::MAX / 1000) * 1000 + i64::from(nanos / 1_000_000)
    }
}

impl MessageId {
    /// Returns the ID of a request's message. It is deterministic, so that a redelivered event makes no second message
    /// (P2).
    pub fn of_request(request: RequestId) -> Self {
        Self(request.0)
    }
}
