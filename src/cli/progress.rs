//! The progress of long work. It is shown on a terminal's standard error and nowhere else, so the output of a command
//! stays what it is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const EVERY: Duration = Duration::from_millis(200);

/// Shown until it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of work with a known end.
    pub fn of(what: &'static str, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64);
        Self::shown(bar, what, "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left")
    }

    /// Of work whose end is not known: what is done, and for how long.
    pub fn counting(what: &'static str) -> Self {
        Self::shown(ProgressBar::new_spinner(), what, "{spinner} {msg}: {human_pos}, {elapsed}")
    }

    /// Of a single step.
    pub fn waiting(what: &'static str) -> Self {
        Self::shown(ProgressBar::new_spinner(), what, "{spinner} {msg}, {elapsed}")
    }

    fn shown(bar: ProgressBar, what: &'static str, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(EVERY);
        Self(bar)
    }

    /// This much more is done.
    pub fn add(&self, count: usize) {
        self.0.inc(count as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
