//! What the limits have counted for a phone or an address, for staff: read, and nothing counted.

use crate::Codes;
use crate::types::{AddressLimit, LoginAddresses};
use domain::engine_error::EngineError;
use domain::keys::PhoneKey;
use domain::limits::Limits;
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use guard::{Destination, Outlook};

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// Whose limits are read. Limits that are off are left out.
#[derive(Clone, Copy, Debug)]
pub struct LimitQuestion<'a> {
    pub phone: Option<(&'a PhoneKey, Destination<'a>)>,
    pub limits: &'a Limits,
    /// The ranges in which code requests of the address count.
    pub addresses: &'a [AddressLimit],
    /// The ranges in which its logins count.
    pub logins: &'a LoginAddresses,
}

/// What one limit has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCount {
    pub limit: Limit,
    /// Which of the address's ranges, narrowest first.
    pub range: Option<usize>,
    pub count: u64,
    pub most: u64,
    /// When the next one passes; `None`: now.
    pub frees_at: Option<Timestamp>,
}

/// What the limits have counted, by the store's own time. A code request meets them in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    pub now: Timestamp,
    pub counts: Vec<LimitCount>,
    /// Until when logins from each wider range wait because attempts failed there at too many phones.
    pub failures: Vec<Option<Timestamp>>,
    /// Of a phone: what the pumping guard would answer, if it was asked.
    pub guard: Option<Outlook>,
    /// Of a phone: it verified lately and has a budget left by which it passes the limits of prefix and country and the
    /// guard, where such phones pass.
    pub is_proven: bool,
}

/// A count that slides, or one in a window that begins with its first send.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub limit: Limit,
    pub range: Option<usize>,
    pub most: u64,
    pub span_ms: i64,
}

impl LimitQuestion<'_> {
    /// The sliding counts that are on: of the phone, of its address, of the address's logins.
    pub(super) fn sliding(&self) -> Vec<Asked> {
        let limits = self.limits;
        let phone = [
            (Limit::PhoneHour, limits.sends_per_phone_hour, HOUR_MS),
            (Limit::PhoneDay, limits.sends_per_phone_day, DAY_MS),
        ];
        let of_phone = phone.into_iter().filter(|_| self.phone.is_some());
        let of_phone =
            of_phone.map(|(limit, most, span_ms)| Asked { limit, range: None, most, span_ms });
        let ranges = |limit, ranges: &[AddressLimit], span_ms| -> Vec<Asked> {
            let asked = |(at, one): (usize, &AddressLimit)| Asked {
                limit,
                range: Some(at),
                most: one.most,
                span_ms,
            };
            ranges.iter().enumerate().map(asked).collect()
        };
        let of_address = ranges(Limit::IpHour, self.addresses, HOUR_MS);
        let of_logins = ranges(Limit::LoginsIp, &self.logins.logins, MINUTE_MS);
        of_phone.chain(of_address).chain(of_logins).filter(|asked| asked.most > 0).collect()
    }

    /// The windows that are on.
    pub(super) fn windows(&self) -> Vec<Asked> {
        let limits = self.limits;
        let of_phone = [
            (Limit::PrefixHour, limits.sends_per_prefix_hour, HOUR_MS),
            (Limit::PrefixDay, limits.sends_per_prefix_day, DAY_MS),
            (Limit::CountryHour, limits.sends_per_country_hour, HOUR_MS),
            (Limit::CountryDay, limits.sends_per_country_day, DAY_MS),
        ];
        let of_phone = of_phone.into_iter().filter(|_| self.phone.is_some());
        of_phone
            .chain([(Limit::GlobalDay, limits.sends_global_day, DAY_MS)])
            .map(|(limit, most, span_ms)| Asked { limit, range: None, most, span_ms })
            .filter(|asked| asked.most > 0)
            .collect()
    }
}

impl Asked {
    pub(super) fn counted(self, count: u64, frees_at: Option<Timestamp>) -> LimitCount {
        LimitCount { limit: self.limit, range: self.range, count, most: self.most, frees_at }
    }
}

/// In the order in which a code request meets them; what judges logins comes last.
pub(super) fn in_order(mut counts: Vec<LimitCount>) -> Vec<LimitCount> {
    let is_of_logins = |count: &LimitCount| count.limit == Limit::LoginsIp;
    counts.sort_by_key(is_of_logins);
    counts
}

impl Codes {
    /// What the limits have counted for a phone, an address or both. Counts nothing, and changes nothing.
    pub async fn limit_state(
        &self,
        question: &LimitQuestion<'_>,
    ) -> Result<LimitState, EngineError> {
        let rule = &self.0.guard.rule;
        on_engine!(self.0, |engine| engine.limit_state(question, rule))
    }
}
