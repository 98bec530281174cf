//! The CPU time of every process between two samples.

use std::collections::BTreeMap;

use bench::ring::Ring;
use testkit::server::Server;

/// A sample: the CPU time of processes and their descendants at one moment, in seconds.
pub struct Look(Vec<(&'static str, f64)>);

/// The CPU seconds that each process spent between two samples, in the order of the samples.
#[derive(Clone, Debug)]
pub struct Spent(pub Vec<(&'static str, f64)>);

impl Look {
    pub fn at(ring: &Ring<'_>) -> Self {
        Self::of(&ring.parts())
    }

    pub fn of(servers: &[(&'static str, &Server)]) -> Self {
        Self(servers.iter().map(|(name, server)| (*name, server.cpu_secs())).collect())
    }

    pub fn until(&self, later: &Self) -> Spent {
        Spent(self.0.iter().zip(&later.0).map(|((name, a), (_, b))| (*name, b - a)).collect())
    }
}

impl Spent {
    pub fn all(&self) -> f64 {
        self.0.iter().map(|(_, secs)| secs).sum()
    }

    pub fn of(&self, names: &[&str]) -> f64 {
        self.0.iter().filter(|(name, _)| names.contains(name)).map(|(_, secs)| secs).sum()
    }

    /// The sum by process, in the order of the first.
    pub fn sum(all: &[&Self]) -> Self {
        let mut sums = BTreeMap::new();
        for (name, secs) in all.iter().flat_map(|spent| &spent.0) {
            *sums.entry(*name).or_insert(0.0) += secs;
        }
        let order = all.first().map(|spent| spent.0.as_slice()).unwrap_or_default();
        Self(order.iter().map(|(name, _)| (*name, sums[name])).collect())
    }
}

/// Returns the factor that scales a sum over `count` to 1,000.
#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
pub fn per_thousand(count: usize) -> f64 {
    1_000.0 / count as f64
}
