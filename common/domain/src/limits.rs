//! The figures of admission (contract, section 7).

use serde::Serialize;

/// The admission limits; 0 turns a limit off.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    pub resend_cooldown_secs: i64,
    pub sends_per_phone_hour: u64,
    pub sends_per_phone_day: u64,
    pub sends_per_ip_hour: u64,
    pub sends_per_country_hour: u64,
    pub sends_per_country_day: u64,
    pub sends_per_prefix_hour: u64,
    pub sends_per_prefix_day: u64,
    pub sends_global_day: u64,
    pub logins_per_ip_minute: u64,
}

impl Limits {
    /// Every limit is off.
    pub const NONE: Self = Self {
        resend_cooldown_secs: 0,
        sends_per_phone_hour: 0,
        sends_per_phone_day: 0,
        sends_per_ip_hour: 0,
        sends_per_country_hour: 0,
        sends_per_country_day: 0,
        sends_per_prefix_hour: 0,
        sends_per_prefix_day: 0,
        sends_global_day: 0,
        logins_per_ip_minute: 0,
    };

    /// What applies to a test number beside the limit of the address: it sends no text, but a known number must not fill
    /// the store (contract, ruling 48).
    pub const OF_A_TEST_NUMBER: Self = Self { sends_per_phone_hour: 100, ..Self::NONE };
}

/// How long a device token is good, in milliseconds: a year (contract, ruling 33).
pub const DEVICE_TOKEN_LIFE_MS: i64 = 365 * 24 * 60 * 60 * 1000;

/// The most known devices of a phone whose attempts at one code are counted apart from everybody else's (contract,
/// ruling 39): whoever holds more of them has no more attempts.
pub const DEVICES_AT_A_CODE: u32 = 3;
