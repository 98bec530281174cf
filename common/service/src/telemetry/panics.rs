//! A panic is one line of the log, without what it was given to print.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

/// Replaces the default report of panics, which prints the whole message: `expect` on a result puts the error into it,
/// and an error may hold anything (P10). A message that is a literal of the source is told; a formatted one is not.
/// The place in the source leads to the rest, and `RUST_BACKTRACE=1` to how it was reached.
pub(super) fn log_them() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(
            panic.place = place,
            panic.thread = std::thread::current().name(),
            panic.backtrace = backtrace,
            "panicked: {}",
            message(info)
        );
    }));
}

fn message<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)")
}
