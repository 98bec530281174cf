//! The pods of sms-worker and their queue: work flows through them like a liquid, in steps of a tenth of a second, first in,
//! first out.

use std::collections::VecDeque;

/// A step in seconds.
pub const STEP_SECS: f64 = 0.1;

/// What one pod can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worker {
    /// Texts a second once it is warm.
    pub rate: f64,
    /// What its provider takes for a call, in seconds.
    pub call_secs: f64,
    /// Calls at once at the start: a provider's limit is looked for from there (contract, section 8).
    pub first_calls: f64,
    /// Messages in hand at most: those that it handles, and those that it has taken before their turn.
    pub prefetch: f64,
}

impl Worker {
    /// Texts a second, so long after it became ready. Each accepted call raises the limit of calls by its own share, so
    /// it grows by one in the time of a call.
    fn rate_after(&self, ready_secs: f64) -> f64 {
        let calls = self.first_calls + ready_secs / self.call_secs;
        (calls / self.call_secs).min(self.rate)
    }
}

/// The pods and the jobs that wait.
pub struct Workers {
    worker: Worker,
    start_secs: f64,
    /// When each pod is ready, oldest first.
    pods: Vec<f64>,
    /// Jobs that wait: when they came, and how many.
    waiting: VecDeque<(f64, f64)>,
    /// Jobs that wait elsewhere, for an open circuit.
    put_off: VecDeque<(f64, f64)>,
    /// Texts a second in the last step.
    done_rate: f64,
    /// All jobs that were done, and those of them that were late.
    pub done: f64,
    pub late: f64,
}

impl Workers {
    /// Starts with pods that are warm; a further one needs `start_secs` until it is ready.
    pub fn new(worker: Worker, pods: u32, start_secs: f64) -> Self {
        let long_ago = -3_600.0;
        Self {
            worker,
            start_secs,
            pods: vec![long_ago; usize::try_from(pods).unwrap_or(usize::MAX)],
            waiting: VecDeque::new(),
            put_off: VecDeque::new(),
            done_rate: 0.0,
            done: 0.0,
            late: 0.0,
        }
    }

    /// From now on there are so many; those that start last leave first.
    pub fn scale(&mut self, now_secs: f64, pods: u32) {
        let pods = usize::try_from(pods).unwrap_or(usize::MAX);
        self.pods.resize(pods, now_secs + self.start_secs);
    }

    pub fn ready(&self, now_secs: f64) -> u32 {
        let ready = self.pods.iter().filter(|at| **at <= now_secs).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    /// One step: jobs come and are done. With an open circuit those that wait go back to the broker.
    pub fn step(&mut self, now_secs: f64, came: f64, is_open: bool, late_secs: f64) {
        if came > 0.0 {
            self.waiting.push_back((now_secs, came));
        }
        if is_open {
            self.put_off.append(&mut self.waiting);
            self.done_rate = 0.0;
            return;
        }
        if !self.put_off.is_empty() {
            // They are older than whatever came since.
            self.put_off.append(&mut self.waiting);
            std::mem::swap(&mut self.put_off, &mut self.waiting);
        }
        let able: f64 = self
            .pods
            .iter()
            .filter(|at| **at <= now_secs)
            .map(|at| self.worker.rate_after(now_secs - at))
            .sum();
        let (mut left, all) = (able * STEP_SECS, able * STEP_SECS);
        while let Some((came_at, amount)) = self.waiting.front_mut() {
            let taken = amount.min(left);
            *amount -= taken;
            left -= taken;
            self.done += taken;
            if taken > 0.0 && now_secs - *came_at + self.worker.call_secs > late_secs {
                self.late += taken;
            }
            if *amount > 0.0 {
                break;
            }
            self.waiting.pop_front();
        }
        self.done_rate = (all - left) / STEP_SECS;
    }

    /// The age of the oldest job that waits for a free worker: what waits for a circuit is not in it.
    pub fn oldest_secs(&self, now_secs: f64) -> f64 {
        self.waiting.front().map_or(0.0, |(came, _)| now_secs - came)
    }

    /// Jobs that no pod has taken, and those that the pods have in hand: as many as are done in the time of a call, and
    /// what they took before its turn. With an open circuit none counts as in hand.
    pub fn length_and_in_hand(&self, now_secs: f64) -> (f64, f64) {
        let waiting: f64 = self.waiting.iter().map(|(_, amount)| amount).sum();
        let called = self.done_rate * self.worker.call_secs;
        let room = f64::from(self.ready(now_secs)) * self.worker.prefetch - called;
        let taken = waiting.min(room.max(0.0));
        (waiting - taken, called + taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Worker =
        Worker { rate: 128.0, call_secs: 0.5, first_calls: 16.0, prefetch: 128.0 };

    #[test]
    fn a_new_pod_does_a_quarter_at_first_and_all_after_half_a_minute() {
        assert!((WORKER.rate_after(0.0) - 32.0).abs() < 1e-9);
        assert!((WORKER.rate_after(12.0) - 80.0).abs() < 1e-9);
        assert!((WORKER.rate_after(30.0) - 128.0).abs() < 1e-9);
    }

    #[test]
    fn jobs_are_done_in_order_and_what_cannot_be_done_grows_old() {
        let mut workers = Workers::new(WORKER, 1, 20.0);
        for step in 0..100 {
            workers.step(f64::from(step) * STEP_SECS, 25.6, false, 10.0);
        }
        // Ten seconds of twice the load: half is done, and the oldest came five seconds ago.
        assert!((workers.done - 1_280.0).abs() < 1.0, "{}", workers.done);
        assert!((workers.oldest_secs(9.9) - 4.9).abs() < 0.2, "{}", workers.oldest_secs(9.9));
        let (length, in_hand) = workers.length_and_in_hand(9.9);
        assert!((in_hand - 128.0).abs() < 1e-9, "{in_hand}");
        assert!((length + in_hand - 1_280.0 - 64.0).abs() < 1.0, "{length}");
    }
}
