//! Sends and verifications of the last minutes.

use std::collections::BTreeMap;

/// Counts by minute, with the sums of the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    minutes: BTreeMap<i64, (u64, u64)>,
    sends: u64,
    verified: u64,
}

impl Window {
    /// Drops the counts older than `minutes` before `now`.
    pub fn slide(&mut self, now: i64, minutes: i64) {
        while let Some(entry) =
            self.minutes.first_entry().filter(|entry| *entry.key() <= now - minutes)
        {
            let (sends, verified) = entry.remove();
            self.sends -= sends;
            self.verified -= verified;
        }
    }

    pub fn add_send(&mut self, minute: i64) {
        self.minutes.entry(minute).or_default().0 += 1;
        self.sends += 1;
    }

    /// Takes a field as `guard.lua` keeps it: `s<minute>` or `v<minute>`.
    pub fn read(&mut self, field: &str, count: u64) {
        let minute = |letter| field.strip_prefix(letter)?.parse::<i64>().ok();
        if let Some(minute) = minute('s') {
            self.minutes.entry(minute).or_default().0 += count;
            self.sends += count;
        } else if let Some(minute) = minute('v') {
            self.minutes.entry(minute).or_default().1 += count;
            self.verified += count;
        }
    }

    /// Withdraws a send if its minute is still in the window.
    pub fn take_send(&mut self, minute: i64) {
        if let Some((sends, _)) = self.minutes.get_mut(&minute).filter(|(sends, _)| *sends > 0) {
            *sends -= 1;
            self.sends -= 1;
        }
    }

    pub fn add_verified(&mut self, minute: i64) {
        self.minutes.entry(minute).or_default().1 += 1;
        self.verified += 1;
    }

    pub fn sends(&self) -> u64 {
        self.sends
    }

    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// The sends of the last `minutes` up to `now`.
    pub fn young(&self, now: i64, minutes: i64) -> u64 {
        // Looks up each minute, as Redis does: a minute in the future (the clock was set back) is not young.
        (0..minutes)
            .filter_map(|back| self.minutes.get(&(now - back)))
            .map(|(sends, _)| sends)
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.minutes.is_empty()
    }
}
