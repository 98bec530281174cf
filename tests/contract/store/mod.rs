//! The code store: codes, requests and limits, and the pumping guard in it.

mod codes;
mod codes_model;
mod guard;
mod raw_redis;

use domain::limits::Limits;

/// No limits at all.
fn no_limits() -> Limits {
    Limits {
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
    }
}
