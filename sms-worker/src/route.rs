//! Which providers carry a text, in which order.

use std::sync::Arc;

use anyhow::Context as _;
use common::clock::Clock;

use crate::breaker::Breaker;
use crate::concurrency::Limiter;
use crate::provider::Provider;

/// A provider with what guards it.
pub struct Line {
    pub provider: Provider,
    pub breaker: Breaker,
    pub limiter: Limiter,
}

impl Line {
    pub fn new(provider: Provider, clock: &Clock) -> Self {
        Self {
            provider,
            breaker: Breaker::new(clock.clone()),
            limiter: Limiter::new(clock.clone()),
        }
    }

    pub const fn name(&self) -> &'static str {
        self.provider.name()
    }
}

/// Lines by the start of the number; the longest start wins, and a line later in a list is used when those before it
/// are not to be had.
pub struct Routes {
    lines: Vec<Arc<Line>>,
    default: Vec<Arc<Line>>,
    by_prefix: Vec<(String, Vec<Arc<Line>>)>,
}

impl Routes {
    /// Routes that name the lines' providers. Prefixes are digits without `+`.
    ///
    /// # Errors
    /// When a route names a provider that has no line.
    pub fn new(
        lines: Vec<Line>,
        default: &[&str],
        by_prefix: &[(String, Vec<&str>)],
    ) -> anyhow::Result<Self> {
        let lines: Vec<Arc<Line>> = lines.into_iter().map(Arc::new).collect();
        let find = |names: &[&str]| {
            names
                .iter()
                .map(|name| {
                    let line = lines.iter().find(|line| line.name() == *name);
                    line.cloned().with_context(|| format!("the provider {name} is not configured"))
                })
                .collect::<anyhow::Result<Vec<_>>>()
        };
        let default = find(default)?;
        let mut by_prefix = by_prefix
            .iter()
            .map(|(prefix, names)| Ok((prefix.clone(), find(names)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        by_prefix.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Self { lines, default, by_prefix })
    }

    /// The lines for a number in E.164.
    pub fn to(&self, e164: &str) -> &[Arc<Line>] {
        let digits = e164.trim_start_matches('+');
        let special = self.by_prefix.iter().find(|(prefix, _)| digits.starts_with(prefix.as_str()));
        special.map_or(&self.default, |(_, lines)| lines)
    }

    /// The line of a provider.
    pub fn line(&self, name: &str) -> Option<&Arc<Line>> {
        self.lines.iter().find(|line| line.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::console::Console;
    use crate::provider::inbox::Inbox;

    #[test]
    fn the_longest_prefix_wins_and_the_order_is_kept() -> anyhow::Result<()> {
        let clock = Clock::system();
        let lines = || {
            let keep: crate::ports::Keep = Arc::new(|_| Box::pin(async { Ok(()) }));
            vec![
                Line::new(Provider::Console(Console), &clock),
                Line::new(Provider::Inbox(Inbox::new(keep)), &clock),
            ]
        };
        let routes = Routes::new(
            lines(),
            &["inbox", "console"],
            &[("98".to_owned(), vec!["console"]), ("98912".to_owned(), vec!["inbox"])],
        )?;
        let names = |e164: &str| routes.to(e164).iter().map(|l| l.name()).collect::<Vec<_>>();
        assert_eq!(names("+14155550100"), ["inbox", "console"]);
        assert_eq!(names("+989350000000"), ["console"]);
        assert_eq!(names("+989120000000"), ["inbox"]);
        let unknown = Routes::new(lines(), &["twilio"], &[]).err().context("it names no line")?;
        assert!(unknown.to_string().contains("twilio"), "{unknown}");
        Ok(())
    }
}
