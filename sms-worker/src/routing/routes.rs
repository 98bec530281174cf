//! Which providers carry a text, and in which order.

use std::sync::Arc;

use anyhow::Context as _;
use config;
use config::ProviderName;
use domain::clock::Clock;

use crate::providers::Provider;
use crate::routing::breaker::Breaker;
use crate::routing::concurrency::Limiter;

/// A provider with its breaker and limiter.
pub struct RoutedProvider {
    pub provider: Provider,
    pub breaker: Breaker,
    pub limiter: Limiter,
}

impl RoutedProvider {
    pub fn new(provider: Provider, clock: &Clock) -> Self {
        Self {
            breaker: Breaker::new(provider.name(), clock.clone()),
            limiter: Limiter::new(clock.clone()),
            provider,
        }
    }

    pub const fn name(&self) -> &'static str {
        self.provider.name()
    }
}

/// The providers of the configured routes. A later provider in a route is used when the earlier ones are unavailable.
pub struct Routes {
    lines: Vec<Arc<RoutedProvider>>,
    named: config::Routes,
}

impl Routes {
    /// # Errors
    /// Fails if a route names a provider that is missing from `lines`.
    pub fn new(lines: Vec<RoutedProvider>, named: config::Routes) -> anyhow::Result<Self> {
        let routes = Self { lines: lines.into_iter().map(Arc::new).collect(), named };
        for name in ProviderName::ALL.into_iter().filter(|name| routes.named.names(*name)) {
            routes
                .line(name.as_str())
                .with_context(|| format!("the provider {name} is not configured"))?;
        }
        Ok(routes)
    }

    /// Returns the providers for a number in E.164. [`config::Routes::of`] decides, as in `latchkey routes check`.
    pub fn to(&self, e164: &str) -> impl Iterator<Item = &Arc<RoutedProvider>> + Clone {
        let names = self.named.of(e164.trim_start_matches('+'));
        names.iter().filter_map(|name| self.line(name.as_str()))
    }

    /// Finds a provider by name.
    pub fn line(&self, name: &str) -> Option<&Arc<RoutedProvider>> {
        self.lines.iter().find(|line| line.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::console::Console;
    use crate::providers::inbox::Inbox;

    #[test]
    fn configured_routes_are_used_in_their_order() -> anyhow::Result<()> {
        let clock = Clock::system();
        let lines = || {
            let keep: crate::ports::Keep = Arc::new(|_| Box::pin(async { Ok(()) }));
            vec![
                RoutedProvider::new(Provider::Console(Console), &clock),
                RoutedProvider::new(Provider::Inbox(Inbox::new(keep)), &clock),
            ]
        };
        let (console, inbox) = (ProviderName::Console, ProviderName::Inbox);
        let named = config::Routes {
            default: vec![inbox, console],
            by_prefix: vec![("98912".to_owned(), vec![inbox]), ("98".to_owned(), vec![console])],
        };
        let routes = Routes::new(lines(), named)?;
        let names = |e164: &str| routes.to(e164).map(|line| line.name()).collect::<Vec<_>>();
        assert_eq!(names("+14155550100"), ["inbox", "console"]);
        assert_eq!(names("+989350000000"), ["console"]);
        assert_eq!(names("+989120000000"), ["inbox"]);
        let by_prefix = vec![("1".to_owned(), vec![ProviderName::Twilio])];
        let named = config::Routes { default: vec![inbox], by_prefix };
        let unknown = Routes::new(lines(), named).err().context("no error")?;
        assert!(unknown.to_string().contains("twilio"), "{unknown}");
        Ok(())
    }
}
