//! W3C Trace Context, level 1: the `traceparent` header, and the same value in events.

use crate::rng;

/// One step of a trace: the trace id, the span id and the sampled flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// Version, trace id, parent id, flags and three dashes.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Parses a `traceparent`. Returns `None` for an invalid one: the caller then starts a new trace. Fields that a
    /// version after 00 may add are ignored.
    pub fn from_header(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let version = u8::from_be_bytes(lower_hex(bytes.get(..2)?)?);
        let ends = match version {
            0xff => false,
            0 => bytes.len() == LENGTH,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        if !ends || [2, 35, 52].iter().any(|&at| bytes.get(at) != Some(&b'-')) {
            return None;
        }
        let context = Self {
            trace: lower_hex(&bytes[3..35])?,
            span: lower_hex(&bytes[36..52])?,
            flags: u8::from_be_bytes(lower_hex(&bytes[53..55])?),
        };
        (context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    /// Starts a new, sampled trace.
    pub fn new_root() -> Self {
        Self { trace: rng::id_bytes(), span: rng::id_bytes(), flags: SAMPLED }
    }

    /// Returns the next step of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: rng::id_bytes(), flags: self.flags & SAMPLED, ..*self }
    }

    /// Whether the spans of this trace are recorded and exported.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }

    /// Returns the same step with this sampled flag.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self { flags: if sampled { SAMPLED } else { 0 }, ..self }
    }

    /// The ids of the trace and of this step.
    pub const fn ids(&self) -> ([u8; 16], [u8; 8]) {
        (self.trace, self.span)
    }

    /// Whether both are steps of one trace.
    pub fn is_of_trace(&self, other: &Self) -> bool {
        self.trace == other.trace
    }

    /// The header value, in version 00.
    pub fn to_header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id(), hex::encode(self.span), self.flags & SAMPLED)
    }

    /// The trace id in lower-case hex, as in log lines.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

/// Exactly `N` bytes of lower-case hex: the standard allows no other.
fn lower_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.iter().any(u8::is_ascii_uppercase);
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_back() {
        let context = TraceContext::from_header(EXAMPLE).unwrap();
        assert_eq!(context.to_header(), EXAMPLE);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let later = EXAMPLE.replacen("00-", "cc-", 1) + "-what-the-future-adds";
        assert_eq!(TraceContext::from_header(&later), Some(context));
    }

    #[test]
    fn an_invalid_traceparent_gives_no_context() {
        for bad in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-more"),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00-", "ff-", 1),
            &(EXAMPLE.replacen("00-", "cc-", 1) + "x"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            &EXAMPLE.replace('-', "_"),
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::from_header(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_child_is_another_step_of_the_same_trace() {
        let root = TraceContext::new_root();
        let child = root.child();
        assert_eq!(child.trace_id(), root.trace_id());
        assert_ne!(child.to_header(), root.to_header());
        assert_eq!(TraceContext::from_header(&child.to_header()), Some(child));
        assert_ne!(TraceContext::new_root().trace_id(), root.trace_id());

        let unrecorded = EXAMPLE.strip_suffix("01").unwrap().to_owned() + "00";
        let child = TraceContext::from_header(&unrecorded).unwrap().child();
        assert!(child.to_header().ends_with("-00"), "the caller chose");
        assert!(!child.is_sampled() && child.with_sampled(true).is_sampled());
        assert!(child.with_sampled(true).is_of_trace(&child) && !child.is_of_trace(&root));
        assert_eq!(child.with_sampled(false), child);
    }
}
