//! The words of the contract that HTTP, events and stores share.

use serde::{Deserialize, Serialize};

use crate::string_enum;

/// Declares words that are part of JSON too.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        string_enum! {
            $(#[$meta])*
            #[derive(Serialize, Deserialize)]
            pub enum $name { $(#[serde(rename = $word)] $variant = $word),+ }
        }
    };
}

words!(
    /// The purpose of a code.
    Purpose { Login = "login", PhoneChange = "phone_change" }
);
words!(
    /// How a code reaches the phone.
    Channel { Sms = "sms", Voice = "voice" }
);
words!(
    /// The status of a code request, as the requester sees it.
    Status {
        Accepted = "accepted",
        Issued = "issued",
        Sending = "sending",
        Sent = "sent",
        Delivered = "delivered",
        Undelivered = "undelivered",
        Failed = "failed",
        Verified = "verified",
        Expired = "expired",
        Superseded = "superseded",
    }
);
words!(
    /// Why a message did not arrive (contract, ruling 13).
    Reason {
        NumberUnreachable = "number_unreachable",
        NumberNotMobile = "number_not_mobile",
        CarrierBlocked = "carrier_blocked",
        RecipientOptedOut = "recipient_opted_out",
        ProviderUnavailable = "provider_unavailable",
        Expired = "expired",
        Unknown = "unknown",
    }
);
words!(
    /// The names of the limits (contract, ruling 9).
    Limit {
        Cooldown = "cooldown",
        PhoneHour = "phone_hour",
        PhoneDay = "phone_day",
        IpHour = "ip_hour",
        CountryHour = "country_hour",
        CountryDay = "country_day",
        PrefixHour = "prefix_hour",
        PrefixDay = "prefix_day",
        GlobalDay = "global_day",
        LoginsIp = "logins_ip",
        Account = "account",
        Attempts = "guesses",
        Blocked = "blocked",
    }
);

string_enum! {
    /// What the pumping guard does with what it finds.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum PumpingGuard { Off = "off", Record = "record", Enforce = "enforce" }
}

impl Status {
    /// Returns the rank. A status is only replaced by one of a higher rank (contract, ruling 2).
    pub const fn rank(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Issued => 1,
            Self::Sending => 2,
            Self::Sent => 3,
            Self::Delivered | Self::Undelivered | Self::Failed => 4,
            Self::Verified | Self::Expired | Self::Superseded => 5,
        }
    }

    /// Returns the rank and the precedence of final states within it. A message reported both lost and delivered counts
    /// as delivered, so that the same reports in any order give the same result.
    pub const fn order(self) -> (u8, u8) {
        let within = match self {
            Self::Delivered => 2,
            Self::Undelivered => 1,
            _ => 0,
        };
        (self.rank(), within)
    }

    /// Returns whether an event stream ends at this status.
    pub const fn is_end(self) -> bool {
        self.rank() >= 4
    }
}
