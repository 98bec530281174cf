//! Counts beside the codes: logins per address, writes of the signed-in, different bodies under one key, one-time keys, starts of a message.

use super::{AllFailures, MINUTE, Memory, State};
use crate::counts::STARTS_KEPT_MS;
use crate::types::{AddressLimit, FailureRange, LoginAddresses, SuspiciousFailures};
use crate::{
    DISTINCT_KEPT_SECS, FAILURE_FORGET_MS, FAILURE_WAIT_CAP_MS, FAILURE_WAIT_MS, FAILURE_WINDOW_MS,
    SUSPICIOUS_PHONES, secs_up,
};
use domain::keys::PhoneKey;
use uuid::Uuid;

impl Memory {
    pub fn count_login(&self, addresses: &LoginAddresses) -> Option<u64> {
        self.lock().count_login(addresses, self.clock.now_ms()).map(secs_up)
    }

    pub fn count_write(&self, writer: Uuid, kind: &str, most: u64) -> Option<u64> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let writes = state.writes.entry((writer, kind.to_owned())).or_default();
        let wait = writes.wait(MINUTE, most, now);
        if wait.is_none() {
            writes.add(MINUTE, (), now);
        }
        wait.map(secs_up)
    }

    pub fn note_failure(
        &self,
        ranges: &[FailureRange],
        phone: &PhoneKey,
    ) -> Option<SuspiciousFailures> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        for range in ranges {
            let failed = state.failures.entry(range.key.clone()).or_default();
            failed.phones.retain(|_, at| *at > now - FAILURE_WINDOW_MS);
            failed.phones.insert(phone.clone(), now);
            failed.networks.retain(|_, at| *at > now - FAILURE_WINDOW_MS);
            failed.networks.insert(ranges[0].key.clone(), now);
            let is_full = failed.phones.len() as u64 > range.most
                && failed.networks.len() as u64 >= range.networks;
            if is_full && failed.until <= now {
                // The next wait takes as many phones again.
                failed.phones.clear();
                failed.networks.clear();
                if failed.until + FAILURE_FORGET_MS <= now {
                    failed.level = 0;
                }
                let wait = FAILURE_WAIT_MS << failed.level.min(30);
                failed.until = now + wait.min(FAILURE_WAIT_CAP_MS);
                failed.level += 1;
            }
        }
        let all = &mut state.failed;
        if all.start + FAILURE_WINDOW_MS <= now {
            *all = AllFailures { start: now, ..AllFailures::default() };
        }
        if all.told {
            return None;
        }
        all.failures += 1;
        all.phones.insert(phone.clone());
        all.told = all.phones.len() as u64 >= SUSPICIOUS_PHONES;
        let phones = all.phones.len() as u64;
        all.told.then_some(SuspiciousFailures { failures: all.failures, phones })
    }

    pub fn count_distinct(&self, key: &str, member: &str, most: u32) -> bool {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let (until, members) = state.distinct.entry(key.to_owned()).or_default();
        if *until <= now {
            members.clear();
        }
        if members.contains(member) {
            return true;
        }
        if members.len() >= most as usize {
            return false;
        }
        *until = now.saturating_add_unsigned(DISTINCT_KEPT_SECS * 1000);
        members.insert(member.to_owned());
        true
    }

    pub fn first_time(&self, key: &str, kept_secs: u64) -> bool {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let until = state.once.entry(key.to_owned()).or_insert(now);
        let first = *until <= now;
        if first {
            *until = now.saturating_add_unsigned(kept_secs * 1000);
        }
        first
    }

    pub fn count_start(&self, message: &str) -> u32 {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let (last, starts) = state.starts.entry(message.to_owned()).or_default();
        *starts = if *last + STARTS_KEPT_MS > now { *starts + 1 } else { 1 };
        *last = now;
        *starts
    }

    pub fn starts(&self, message: &str) -> u32 {
        let now = self.clock.now_ms();
        let state = self.lock();
        let kept = state.starts.get(message).filter(|(last, _)| *last + STARTS_KEPT_MS > now);
        kept.map_or(0, |(_, starts)| *starts)
    }

    pub fn forget_starts(&self, message: &str) {
        self.lock().starts.remove(message);
    }
}

impl State {
    pub(super) fn count_login(&mut self, addresses: &LoginAddresses, now: i64) -> Option<i64> {
        let wait = |AddressLimit { key, most }: &AddressLimit| {
            self.logins.get(key)?.wait(MINUTE, *most, now)
        };
        let of_failures = addresses.failures.iter().filter_map(|range| {
            Some(self.failures.get(&range.key)?.until - now).filter(|wait| *wait > 0)
        });
        let wait = addresses.logins.iter().filter_map(wait).chain(of_failures).max();
        if wait.is_none() {
            for address in &addresses.logins {
                self.logins.entry(address.key.clone()).or_default().add(MINUTE, (), now);
            }
        }
        wait
    }
}
