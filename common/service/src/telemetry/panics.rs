//! Logs a panic as one line, without its formatted message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

/// Replaces the default panic report, which prints the whole message: `expect` on a result includes the error, and an
/// error may hold anything (P10). A literal message is logged; a formatted one is not. The source location leads to the
/// cause, and `RUST_BACKTRACE=1` shows the call path.
pub(super) fn log_them() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map_or_else(String::new, ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(
            panic.place = location,
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
