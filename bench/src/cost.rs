//! The CPU time of every process between two samples.

use std::fmt::Write as _;

use bench::ring::Ring;

/// A sample: the CPU time of all processes of a ring at one moment.
pub struct Look(Vec<(&'static str, f64)>);

/// The CPU seconds that each process spent between two samples, by name.
pub struct Spent(Vec<(&'static str, f64)>);

impl Look {
    pub fn at(ring: &Ring<'_>) -> Self {
        Self(ring.parts().into_iter().map(|(name, server)| (name, server.cpu_secs())).collect())
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

    pub fn add(&mut self, other: &Self) {
        for ((_, sum), (_, more)) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// Formats a table of CPU seconds per 1,000, next to what each process spends when idle.
    pub fn per_thousand(&self, count: usize, idle_a_second: Option<(&Self, f64)>) -> String {
        let factor = per_thousand(count);
        let mut table = String::from("| process | CPU-s per 1,000 | idle share |\n|---|---|---|\n");
        let idle = |at: usize| {
            idle_a_second.map_or(String::from("–"), |(idle, secs)| {
                format!("{:.3}", idle.0[at].1 * secs * factor)
            })
        };
        for (at, (name, secs)) in self.0.iter().enumerate() {
            writeln!(table, "| {name} | {:.3} | {} |", secs * factor, idle(at))
                .expect("writing to a string cannot fail");
        }
        let idle = idle_a_second.map_or(String::from("–"), |(idle, secs)| {
            format!("{:.3}", idle.all() * secs * factor)
        });
        write!(table, "| **total** | **{:.3}** | {idle} |", self.all() * factor)
            .expect("writing to a string cannot fail");
        table
    }

    /// Converts the totals to rates per second.
    pub fn a_second(mut self, secs: f64) -> Self {
        for (_, spent) in &mut self.0 {
            *spent /= secs;
        }
        self
    }
}

/// Returns the factor that scales a sum over `count` to 1,000.
#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
pub fn per_thousand(count: usize) -> f64 {
    1_000.0 / count as f64
}
