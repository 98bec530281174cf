//! Spans of a process, and their export by OTLP (contract, ruling 73).
//!
//! Owns what a span may say and how it leaves the process. Must never know a phone, a code, a token or a text: the
//! attributes are those of [`conventions`], and nothing of a log line becomes part of a span (P10).
//!
//! Without [`export`] nothing is recorded: no span is made, no memory is taken, and futures run as they are. With it, the
//! spans of sampled traces alone cost something. The trace context itself travels either way
//! ([`TraceContext`](domain::trace_context::TraceContext)).

mod conventions;
mod exporter;
mod sampling;
mod span;

pub use self::conventions::{calling, engine, processing, publishing, serving};
pub use self::exporter::{FLUSH_WITHIN, Settings, export, finish, is_on};
pub use self::sampling::Sampling;
pub use self::span::{Span, carried, current, link, next_step, note, of_event};
