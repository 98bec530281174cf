//! The limits in effect, under the names that refusals use: for `latchkey limits` and the console.

use super::Config;
use domain::vocabulary::Limit;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// What one session may change of its account in a minute (contract, ruling 44).
pub const WRITES_PER_SESSION_MINUTE: u64 = 30;
/// How much of it may be changes of the password.
pub const PASSWORD_WRITES_PER_SESSION_MINUTE: u64 = 5;

/// One limit in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLimit {
    /// The `limit` of a refusal (contract, ruling 9).
    pub limit: Limit,
    /// The maximum per window; for `cooldown`, the first wait in seconds. `None`: it is set at run time. 0: off.
    pub value: Option<u64>,
    /// `None`: there is no window.
    pub window_secs: Option<i64>,
    pub variable: Option<&'static str>,
    /// One sentence about what is counted.
    pub doc: &'static str,
}

impl Config {
    /// Returns the limits in effect, one for each name of the contract.
    pub fn shown_limits(&self) -> Vec<ShownLimit> {
        Limit::ALL.iter().map(|&limit| self.shown_limit(limit)).collect()
    }

    fn shown_limit(&self, limit: Limit) -> ShownLimit {
        let limits = &self.limits;
        let (value, window_secs, variable) = match limit {
            Limit::Cooldown => {
                (limits.resend_cooldown_secs.unsigned_abs(), None, "LATCHKEY_RESEND_COOLDOWN_SECS")
            }
            Limit::PhoneHour => {
                (limits.sends_per_phone_hour, Some(HOUR), "LATCHKEY_SENDS_PER_PHONE_HOUR")
            }
            Limit::PhoneDay => {
                (limits.sends_per_phone_day, Some(DAY), "LATCHKEY_SENDS_PER_PHONE_DAY")
            }
            Limit::IpHour => (limits.sends_per_ip_hour, Some(HOUR), "LATCHKEY_SENDS_PER_IP_HOUR"),
            Limit::CountryHour => {
                (limits.sends_per_country_hour, Some(HOUR), "LATCHKEY_SENDS_PER_COUNTRY_HOUR")
            }
            Limit::CountryDay => {
                (limits.sends_per_country_day, Some(DAY), "LATCHKEY_SENDS_PER_COUNTRY_DAY")
            }
            Limit::PrefixHour => {
                (limits.sends_per_prefix_hour, Some(HOUR), "LATCHKEY_SENDS_PER_PREFIX_HOUR")
            }
            Limit::PrefixDay => {
                (limits.sends_per_prefix_day, Some(DAY), "LATCHKEY_SENDS_PER_PREFIX_DAY")
            }
            Limit::GlobalDay => (limits.sends_global_day, Some(DAY), "LATCHKEY_SENDS_GLOBAL_DAY"),
            Limit::LoginsIp => {
                (limits.logins_per_ip_minute, Some(MINUTE), "LATCHKEY_LOGINS_PER_IP_MINUTE")
            }
            Limit::Attempts => {
                let reset = self.otp.failure_reset_secs;
                let window = (reset > 0).then_some(reset);
                (u64::from(self.otp.max_failures), window, "LATCHKEY_OTP_MAX_FAILURES")
            }
            Limit::Blocked => {
                let doc = "Blocks set at run time by `latchkey block`.";
                return ShownLimit { limit, value: None, window_secs: None, variable: None, doc };
            }
            Limit::Account => {
                return ShownLimit {
                    limit,
                    value: Some(WRITES_PER_SESSION_MINUTE),
                    window_secs: Some(MINUTE),
                    variable: None,
                    doc: "Changes that one session makes to its account; a sixth of them to its password.",
                };
            }
        };
        let setting = super::table::find(variable).expect("every limit's variable is a setting");
        ShownLimit {
            limit,
            value: Some(value),
            window_secs,
            variable: Some(variable),
            doc: setting.doc,
        }
    }
}
