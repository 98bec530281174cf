//! Which traces are recorded: decided once, where a trace enters, and carried from there by its sampled flag.

use domain::rng;
use domain::trace_context::TraceContext;

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Whether the caller's flag counts, as far as the caller may choose it.
    pub parent_based: bool,
    /// The share of the other traces, from 0 to 1.
    pub share: f64,
}

impl Sampling {
    /// Decides for a trace that enters here. `trusts` says whether whoever sent `parent` may make us record: anybody may
    /// ask us not to, but only our own proxy may ask us to, because recording costs us, and the collector, work. The share
    /// is drawn at random and not from the trace's id, which the caller chooses.
    pub(crate) fn samples(self, parent: Option<&TraceContext>, trusts: bool) -> bool {
        match parent.map(TraceContext::is_sampled) {
            Some(false) if self.parent_based => false,
            Some(true) if self.parent_based && trusts => true,
            _ => self.draw(rng::id_u64()),
        }
    }

    fn draw(self, random: u64) -> bool {
        // 53 bits, which a float holds exactly: 1 takes all, 0 takes none.
        const STEPS: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let point = (random >> 11) as f64 / STEPS;
        point < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> TraceContext {
        TraceContext::new_root().with_sampled(sampled)
    }

    #[test]
    fn a_stranger_may_lower_and_never_raise() {
        let (none, all) = (0.0, 1.0);
        for (parent_based, share, flag, trusts, wanted) in [
            (true, none, Some(true), false, false),
            (true, none, Some(true), true, true),
            (true, all, Some(false), false, false),
            (true, all, Some(false), true, false),
            (true, all, Some(true), false, true),
            (true, all, None, false, true),
            (true, none, None, true, false),
            (false, all, Some(false), true, true),
            (false, none, Some(true), true, false),
        ] {
            let sampling = Sampling { parent_based, share };
            let parent = flag.map(parent);
            let got = sampling.samples(parent.as_ref(), trusts);
            assert_eq!(got, wanted, "{sampling:?} {flag:?} {trusts}");
        }
    }

    #[test]
    fn the_share_is_of_the_random_numbers() {
        let tenth = Sampling { parent_based: true, share: 0.1 };
        assert!(tenth.draw(0) && tenth.draw(u64::MAX / 11));
        assert!(!tenth.draw(u64::MAX / 9) && !tenth.draw(u64::MAX));
        let (all, none) = (Sampling { share: 1.0, ..tenth }, Sampling { share: 0.0, ..tenth });
        assert!(all.draw(u64::MAX) && !none.draw(0));
    }
}
