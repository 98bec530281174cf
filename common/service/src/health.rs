//! The readiness of each part of a process.

use bus::consumer::STOPPING;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, PoisonError, RwLock};

/// The parts of a process by name, each ready or not. Clones share one state. A new one has no parts and is not ready:
/// a process that is not yet connected to anything must get no traffic.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, Option<String>>>>);

const STARTING: &str = "starting";

impl Health {
    /// Sets a part ready, or not ready with a reason. The reason goes to the log only: the ops port shows just that a
    /// part is not ready, since an engine's error may hold its address.
    pub fn set<E: Display>(&self, part: &'static str, state: Result<(), E>) {
        let trouble = state.err().map(|reason| reason.to_string());
        // No code here can panic half-way: a poisoned lock still guards a valid map.
        let mut parts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if parts.get(part) == Some(&trouble) {
            return;
        }
        let known = parts.insert(part, trouble.clone()).flatten();
        drop(parts);
        let troubled = known.is_some_and(|known| known != STARTING);
        match trouble.as_deref() {
            None if troubled => tracing::info!(part, "ready again"),
            None => tracing::debug!(part, "ready"),
            Some(STARTING | STOPPING) => tracing::debug!(part, reason = trouble, "not ready"),
            // One line when the part fails, not one for each new wording of the same problem.
            Some(reason) if !troubled => tracing::warn!(part, reason, "not ready"),
            Some(_) => {}
        }
    }

    /// Calls [`Health::set`] with the error of a probe, if any.
    pub fn report<E: Display>(&self, part: &'static str, trouble: Option<E>) {
        self.set(part, trouble.map_or(Ok(()), Err));
    }

    /// Returns a function through which one part reports its own state.
    pub fn reporter(&self, part: &'static str) -> Box<dyn Fn(Result<(), String>) + Send + Sync> {
        self.starting(part);
        let health = self.clone();
        Box::new(move |state| health.set(part, state))
    }

    pub fn ready(&self, part: &'static str) {
        self.set(part, Ok::<_, &str>(()));
    }

    /// Not ready yet: no reason to alert an operator.
    pub fn starting(&self, part: &'static str) {
        self.not_ready(part, STARTING);
    }

    pub fn not_ready(&self, part: &'static str, reason: impl Display) {
        self.set(part, Err(reason));
    }

    /// Whether there is at least one part and all are ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.parts();
        !parts.is_empty() && parts.values().all(Option::is_none)
    }

    /// Each part and, if it is not ready, the reason.
    pub fn parts(&self) -> BTreeMap<&'static str, Option<String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_part_is() {
        let health = Health::default();
        assert!(!health.is_ready(), "nothing is connected yet");
        let other = health.clone();
        other.ready("database");
        assert!(health.is_ready());
        other.not_ready("redis", "away");
        assert!(!health.is_ready());
        health.report("redis", None::<String>);
        assert!(other.is_ready());
        health.report("redis", Some("slow"));
        assert_eq!(other.parts()["redis"].as_deref(), Some("slow"));
        let report = health.reporter("redis");
        report(Ok(()));
        assert!(other.is_ready());
    }
}
