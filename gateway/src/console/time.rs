//! Times as people read them.

use domain::timestamp::Timestamp;

/// A point in time: exact, and from now.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    iso: String,
    from_now: String,
}

impl Moment {
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        Self { iso: at.to_string(), from_now: from_now(at, now) }
    }

    pub fn maybe(at: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        at.map(|at| Self::of(at, now))
    }

    /// As an element of a page: digits and words of ours.
    pub fn html(&self) -> String {
        let Self { iso, from_now } = self;
        format!("<time datetime=\"{iso}\" title=\"{iso}\">{from_now}</time>")
    }

    /// The exact time, in UTC.
    pub fn plain(&self) -> String {
        let iso = &self.iso;
        let plain = iso.replace('T', " ");
        format!("<time datetime=\"{iso}\">{}</time>", plain.trim_end_matches('Z'))
    }

    /// The exact time in UTC, and from now.
    pub fn exact(&self) -> String {
        format!("{} <span class=\"muted\">{}</span>", self.plain(), self.from_now)
    }

    /// The time of the day in UTC: for steps that follow one another within minutes.
    pub fn clock(&self) -> String {
        let iso = &self.iso;
        let clock = iso.split('T').nth(1).unwrap_or(iso).trim_end_matches('Z');
        format!("<time datetime=\"{iso}\" title=\"{iso}\">{clock}</time>")
    }
}

fn from_now(at: Timestamp, now: Timestamp) -> String {
    let ms = at.ms().saturating_sub(now.ms());
    let length = span(ms.saturating_abs());
    match ms {
        0.. if length == "0 s" => "now".to_owned(),
        0.. => format!("in {length}"),
        _ => format!("{length} ago"),
    }
}

/// A length of time in its largest unit.
pub(crate) fn span(ms: i64) -> String {
    let secs = ms / 1000;
    match secs {
        ..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// A short length of time, for what happens within seconds.
pub(crate) fn short_span(ms: i64) -> String {
    match ms {
        ..=9_999 => format!("{ms} ms"),
        _ => span(ms),
    }
}

/// A bound of a length of time.
pub(crate) fn at_most(ms: i64) -> String {
    match ms {
        ..=999 => format!("{ms} ms"),
        _ => span(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_its_largest_unit() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        for (secs, told) in [
            (0, "now"),
            (-5, "5 s ago"),
            (59, "in 59 s"),
            (-120, "2 min ago"),
            (-7_200, "2 h ago"),
            (172_800, "in 2 d"),
        ] {
            assert_eq!(from_now(now.plus_secs(secs), now), told);
        }
        assert!(Moment::of(now, now).html().contains("2027-01-15T08:00:00.000Z"));
    }
}
