//! How many requests may be in hand at once: as many as are answered soon (contract, ruling 76).
//!
//! A process that takes more than it can do answers everybody late, and what it did for the late ones was for nothing. So
//! the limit follows the time that answers take. While the median of a [`Kind`] is above [`SOON`], it falls to as many as
//! are answered within [`SOON`] at the present rate (Little's law: in hand = rate × time). While all medians are under half
//! of that, it grows. Each kind is judged by itself: sign-ins wait for other engines than code requests do, and one can be
//! late while the other is not. Netflix' concurrency-limits does it alike. The crates of this kind know one class of
//! requests, and make those over the limit wait instead of refusing them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::code_request_rate::Strain;
use crate::http::rare_line::RareLine;

/// Answers that take longer at the median mean that too much is in hand. Far above what an answer takes on engines that
/// are well, and a fifth of the time after which it is late: the slowest of a hundred takes several times the median.
const SOON: Duration = Duration::from_millis(400);

/// A burst of half as many is never refused, and an engine that is slow without being overloaded needs as many. They are
/// answered in time by engines that manage 110 a second.
const LEAST: f64 = 256.0;
/// Before anything was measured: a burst that is answered in time is not refused.
const FIRST: f64 = 1024.0;
const MOST: f64 = 4096.0;

/// So many sign-ins and refreshes in hand that are late wait for each other. Fewer wait for an engine that is slow.
const STRAINED: f64 = 64.0;

/// It falls at most to a quarter at a time, as a short pause looks like a low rate; and by a tenth at least.
const FALLS_TO: (f64, f64) = (0.25, 0.9);
/// It grows by a sixteenth of itself at a time.
const GROW: f64 = 1.0 / 16.0;

/// Medians are taken of the answers of this time, if a kind has this many.
const WINDOW: Duration = Duration::from_millis(200);
const WINDOW_ANSWERS: u32 = 8;
/// If none has, they are taken after this time.
const LONG_WINDOW: Duration = Duration::from_secs(1);

/// Which requests go first when not all can be taken. Each also has a few places that no other can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// What somebody waits for who has done all that was needed: a sign-in, a refresh.
    High,
    Normal,
    /// What begins something: a code request brings more work, and can be made a little later.
    Low,
}

impl Priority {
    /// The label of metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The share of the limit that may be in use before a request of this priority is refused.
    const fn share(self) -> f64 {
        match self {
            Self::High => 1.0,
            Self::Normal => 0.8,
            Self::Low => 0.6,
        }
    }
}

/// What is measured by itself: each does the same work whenever it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CodeRequest,
    SignIn,
    Refresh,
}

const KINDS: usize = 3;

/// The share of the limit that each lower priority has to itself: those who flood one do not shut out the others.
const OWN: f64 = 1.0 / 16.0;

/// The limit of one process. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConcurrencyLimit(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: f64,
    in_hand: [u32; 3],
    window: Window,
    /// When the limit last fell: what began before says nothing about the new one.
    fell_at: Instant,
    /// Since somebody last looked.
    strain: Strain,
    warning: RareLine,
}

/// What was measured since the limit was last looked at.
#[derive(Debug)]
struct Window {
    began: Instant,
    /// The most that were in hand.
    peak: u32,
    of: [Times; KINDS],
    /// All that left, whatever came of it.
    left: u32,
}

/// How many answers of a kind took at most half of [`SOON`], at most that, and longer.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    quick: u32,
    fair: u32,
    slow: u32,
}

/// A request in hand, counted until the last clone is dropped or it is [`put aside`](Self::put_aside).
#[derive(Clone, Debug)]
pub(crate) struct InHand(Arc<Held>);

#[derive(Debug)]
struct Held {
    limit: ConcurrencyLimit,
    priority: Priority,
    begun: Instant,
    place: Mutex<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    is_aside: bool,
    /// It waited for its client: its time says nothing about us.
    has_waited: bool,
}

/// Why a request is refused: too many are in hand.
#[derive(Debug)]
pub(crate) struct Shed;

impl ConcurrencyLimit {
    /// Takes a request in hand.
    ///
    /// # Errors
    /// If so many are in hand that requests of this priority are refused.
    pub(crate) fn enter(&self, priority: Priority) -> Result<InHand, Shed> {
        self.lock().enter(priority)?;
        Ok(InHand(Arc::new(Held {
            limit: self.clone(),
            priority,
            begun: Instant::now(),
            place: Mutex::default(),
        })))
    }

    /// The most that may be in hand now, and how many are.
    pub(crate) fn figures(&self) -> (f64, u32) {
        let state = self.lock();
        (state.limit, state.all())
    }

    /// Whether sign-ins and refreshes took long since the last call, and so many that fewer would have been sooner.
    pub(crate) fn take_strain(&self) -> Strain {
        let mut state = self.lock();
        let crowd = if f64::from(state.all()) >= LEAST { Strain::Some } else { Strain::None };
        std::mem::replace(&mut state.strain, Strain::None).max(crowd)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            limit: FIRST,
            in_hand: [0; 3],
            window: Window::new(now, 0),
            fell_at: now,
            strain: Strain::None,
            warning: RareLine::default(),
        }
    }
}

impl State {
    fn all(&self) -> u32 {
        self.in_hand.iter().sum()
    }

    fn enter(&mut self, priority: Priority) -> Result<(), Shed> {
        let (all, own) = (self.all(), self.in_hand[priority as usize]);
        // What somebody else began, in a surge a moment ago, refuses nobody who has come to the end.
        let counted = if priority == Priority::High { own } else { all };
        let has_room = f64::from(counted) < self.limit * priority.share();
        if !has_room && f64::from(own) >= self.limit * OWN {
            self.refused(priority);
            return Err(Shed);
        }
        self.in_hand[priority as usize] += 1;
        self.window.peak = self.window.peak.max(all + 1);
        Ok(())
    }

    fn leave(&mut self, priority: Priority) {
        self.in_hand[priority as usize] -= 1;
        self.window.left += 1;
    }

    fn refused(&mut self, priority: Priority) {
        count_shed(priority);
        if priority == Priority::High {
            self.strain = Strain::Much;
        }
        // A refusal means that the limit is in use, whatever share of it this priority has.
        self.window.peak = self.window.peak.max(to_count(self.limit));
        if self.warning.is_due() {
            tracing::warn!(
                in_hand = self.all(),
                limit = self.limit.round(),
                "more requests than can be answered in time: some are refused with 503"
            );
        }
    }

    /// Counts an answer, and moves the limit when enough have been counted.
    fn answered(&mut self, kind: Kind, begun: Instant, now: Instant) {
        if begun < self.fell_at {
            return;
        }
        self.window.of[kind as usize].count(now - begun);
        if !self.window.is_full(now) {
            return;
        }
        let is_busy = f64::from(self.in_hand[Priority::High as usize]) >= STRAINED;
        if is_busy && self.window.is_slow_of(&[Kind::SignIn, Kind::Refresh], now) {
            self.strain = self.strain.max(Strain::Some);
        }
        let may_grow = self.limit < FIRST || f64::from(self.window.peak) >= self.limit / 2.0;
        if self.window.is_slow(now) {
            let answered_soon = self.window.rate(now) * SOON.as_secs_f64();
            let (most, least) = (self.limit * FALLS_TO.1, self.limit * FALLS_TO.0);
            self.limit = answered_soon.clamp(least, most).max(LEAST);
            self.fell_at = now;
        } else if may_grow && self.window.is_quick() {
            self.limit = (self.limit * (1.0 + GROW)).min(MOST);
        }
        self.window = Window::new(now, self.all());
    }
}

impl Window {
    fn new(now: Instant, in_hand: u32) -> Self {
        Self { began: now, peak: in_hand, of: Default::default(), left: 0 }
    }

    /// How many left, a second.
    fn rate(&self, now: Instant) -> f64 {
        f64::from(self.left) / (now - self.began).as_secs_f64()
    }

    fn is_full(&self, now: Instant) -> bool {
        let length = now - self.began;
        let is_enough = || self.of.iter().any(|times| times.all() >= WINDOW_ANSWERS);
        length >= LONG_WINDOW || (length >= WINDOW && is_enough())
    }

    /// Whether the median of a kind is above [`SOON`].
    fn is_slow(&self, now: Instant) -> bool {
        self.is_slow_of(&[Kind::CodeRequest, Kind::SignIn, Kind::Refresh], now)
    }

    fn is_slow_of(&self, kinds: &[Kind], now: Instant) -> bool {
        let least = if now - self.began >= LONG_WINDOW { 1 } else { WINDOW_ANSWERS };
        let is_slow = |times: &Times| times.all() >= least && times.slow * 2 > times.all();
        kinds.iter().any(|kind| is_slow(&self.of[*kind as usize]))
    }

    /// Whether the medians of all kinds are under half of it.
    fn is_quick(&self) -> bool {
        self.of.iter().all(|times| times.quick * 2 >= times.all())
    }
}

impl Times {
    fn count(&mut self, took: Duration) {
        let counter = if took <= SOON / 2 {
            &mut self.quick
        } else if took <= SOON {
            &mut self.fair
        } else {
            &mut self.slow
        };
        *counter += 1;
    }

    fn all(self) -> u32 {
        self.quick + self.fair + self.slow
    }
}

impl InHand {
    /// Counts the answer's time: it did what its kind is for, or was too late for that.
    pub(crate) fn answered(&self, kind: Kind) {
        if !self.place().has_waited {
            self.0.limit.lock().answered(kind, self.0.begun, Instant::now());
        }
    }

    /// Whether it took too long, so far.
    pub(crate) fn is_late(&self) -> bool {
        self.0.begun.elapsed() > SOON
    }

    /// It waits for its client, and is not in hand meanwhile: slow clients take no one's place.
    pub(crate) fn put_aside(&self) {
        let mut place = self.place();
        place.has_waited = true;
        if !std::mem::replace(&mut place.is_aside, true) {
            self.0.limit.lock().leave(self.0.priority);
        }
    }

    /// Takes it in hand again, if it was put aside.
    ///
    /// # Errors
    /// If too many are in hand by now.
    pub(crate) fn take_up(&self) -> Result<(), Shed> {
        let mut place = self.place();
        if place.is_aside {
            self.0.limit.lock().enter(self.0.priority)?;
            place.is_aside = false;
        }
        Ok(())
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !place.is_aside {
            self.limit.lock().leave(self.priority);
        }
    }
}

pub(crate) fn count_shed(priority: Priority) {
    metrics::counter!("latchkey_requests_shed_total", "priority" => priority.as_str()).increment(1);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most MOST, and above 0"
)]
fn to_count(limit: f64) -> u32 {
    limit.ceil() as u32
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::time::advance;

    use super::*;

    /// When an answer is of no use any more.
    const LATE: Duration = crate::http::request_timeout::ANSWER_WITHIN;

    /// As many as are taken, of this priority.
    fn fill(limit: &ConcurrencyLimit, priority: Priority) -> Vec<InHand> {
        std::iter::from_fn(|| limit.enter(priority).ok()).collect()
    }

    fn assert_is(limit: &ConcurrencyLimit, wanted: f64, within: f64) {
        let (found, _) = limit.figures();
        assert!((found / wanted - 1.0).abs() <= within, "{found} and not {wanted}");
    }

    /// Engines that finish so many in a hundredth of a second, the longest waiting first, beside more requests than can be
    /// taken. Returns the time that the last answer took.
    async fn flooded(limit: &ConcurrencyLimit, in_a_tick: usize, length: Duration) -> Duration {
        let (end, mut queue) = (Instant::now() + length, VecDeque::new());
        let mut took = Duration::ZERO;
        while Instant::now() < end {
            queue.extend(fill(limit, Priority::High));
            advance(Duration::from_millis(10)).await;
            for one in queue.drain(..in_a_tick.min(queue.len())) {
                one.answered(Kind::SignIn);
                took = one.0.begun.elapsed();
            }
        }
        took
    }

    #[tokio::test(start_paused = true)]
    async fn it_settles_where_answers_come_soon() {
        for in_a_tick in [8, 20, 40] {
            let limit = ConcurrencyLimit::default();
            assert_is(&limit, FIRST, 0.0);
            let took = flooded(&limit, in_a_tick, Duration::from_secs(20)).await;
            assert!(took >= SOON / 3 && took <= SOON * 3 / 2, "{in_a_tick}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_costs_few_their_answer() {
        let limit = ConcurrencyLimit::default();
        flooded(&limit, 8, LATE * 2).await;
        let took = flooded(&limit, 8, Duration::from_secs(2)).await;
        assert!(took <= SOON * 3 / 2, "five seconds later all is well: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_has_a_least_and_a_most_and_recovers() {
        let limit = ConcurrencyLimit::default();
        for _ in 0..50 {
            let held = fill(&limit, Priority::High);
            advance(LATE).await;
            for one in &held {
                one.answered(Kind::SignIn);
            }
        }
        assert_is(&limit, LEAST, 0.0);
        flooded(&limit, 400, Duration::from_secs(30)).await;
        assert_is(&limit, MOST, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn late_sign_ins_lower_it_beside_many_quick_code_requests() {
        let limit = ConcurrencyLimit::default();
        let mut late = VecDeque::new();
        for _ in 0..500 {
            late.extend(limit.enter(Priority::High));
            let quick: Vec<_> = (0..5).filter_map(|_| limit.enter(Priority::Low).ok()).collect();
            advance(Duration::from_millis(10)).await;
            for one in &quick {
                one.answered(Kind::CodeRequest);
            }
            if late.len() > 200 {
                late.pop_front().unwrap().answered(Kind::SignIn);
            }
        }
        assert!(limit.figures().0 < FIRST / 2.0, "{:?}", limit.figures());
        // 200 sign-ins wait: a code request has only the places of its own kind.
        let own = limit.figures().0 * OWN;
        assert_eq!(fill(&limit, Priority::Low).len(), to_count(own) as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waited_for_its_client_does_not_move_it() {
        let limit = ConcurrencyLimit::default();
        let held = fill(&limit, Priority::High);
        held.iter().for_each(InHand::put_aside);
        advance(SOON * 2).await;
        for one in &held {
            one.answered(Kind::SignIn);
        }
        assert_is(&limit, FIRST, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_recovers_without_being_full() {
        let limit = ConcurrencyLimit::default();
        flooded(&limit, 1, Duration::from_secs(10)).await;
        assert_is(&limit, LEAST, 0.1);
        for _ in 0..2_000 {
            let one = limit.enter(Priority::Low).unwrap();
            advance(Duration::from_millis(10)).await;
            one.answered(Kind::CodeRequest);
        }
        assert_is(&limit, FIRST, 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_fell_does_not_lower_it_again() {
        let limit = ConcurrencyLimit::default();
        let held = fill(&limit, Priority::High);
        advance(LONG_WINDOW).await;
        held[0].answered(Kind::SignIn);
        let fallen = limit.figures().0;
        assert!(fallen < FIRST);
        for one in &held {
            one.answered(Kind::SignIn);
            advance(WINDOW).await;
        }
        assert_is(&limit, fallen, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn sign_ins_go_before_code_requests_and_each_has_places_of_its_own() {
        let limit = ConcurrencyLimit::default();
        let (low, normal) = (fill(&limit, Priority::Low), fill(&limit, Priority::Normal));
        let high = fill(&limit, Priority::High);
        assert_eq!([low.len(), normal.len(), high.len()], [615, 205, 1024]);
        drop((low, normal, high));
        let high = fill(&limit, Priority::High);
        assert_eq!(high.len(), 1024);
        for priority in [Priority::Normal, Priority::Low] {
            assert_eq!(fill(&limit, priority).len(), 64, "its own sixteenth");
        }
        drop(high);
        assert_eq!(limit.figures().1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_its_client_takes_no_place() {
        let limit = ConcurrencyLimit::default();
        let waiting = fill(&limit, Priority::High);
        waiting.iter().for_each(InHand::put_aside);
        waiting.iter().for_each(InHand::put_aside);
        assert_eq!(limit.figures().1, 0);
        let others = fill(&limit, Priority::High);
        assert_eq!(others.len(), waiting.len());
        waiting[0].take_up().unwrap_err();
        drop(others);
        waiting[0].take_up().unwrap();
        waiting[0].take_up().unwrap();
        assert_eq!(limit.figures().1, 1);
        drop(waiting);
        assert_eq!(limit.figures().1, 0);
    }
}
