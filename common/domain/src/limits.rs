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
