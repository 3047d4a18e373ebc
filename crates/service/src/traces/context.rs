//! Where in which trace: W3C Trace Context, level 1, <https://www.w3.org/TR/trace-context/>.

use std::fmt;

/// A longer `traceparent` is none: later versions may append fields, and what is passed on is bounded.
const BYTES_MAX: usize = 256;

/// A trace, never all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// A span of a trace, never all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A span's place in its trace. Written as a `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TraceId {
    /// Derived: the same parts give the same trace.
    pub fn derive(parts: &[&[u8]]) -> Self {
        Self(derived("trace", parts))
    }

    /// Its last 56 bits: what a sampling ratio is compared with.
    pub(super) fn low_56(self) -> u64 {
        self.0[9..].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl SpanId {
    /// Derived: the same parts give the same span.
    pub fn derive(parts: &[&[u8]]) -> Self {
        Self(derived("span", parts))
    }
}

impl TraceContext {
    /// Reads a `traceparent`, if it is well-formed (3.2).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = unhex::<1>(version)?;
        // Version 00 ends here; a later one may go on.
        if version == 0xff || (version == 0 && parts.next().is_some()) || text.len() > BYTES_MAX {
            return None;
        }
        let (trace, span, [flags]) = (unhex::<16>(trace)?, unhex::<8>(span)?, unhex::<1>(flags)?);
        let is_null = trace == [0; 16] || span == [0; 8];
        (!is_null).then_some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled: flags & 1 == 1 })
    }

    /// A span below this one. Its id is derived from the trace and `parts`, never drawn: whoever does the same work again
    /// makes the same span.
    #[must_use]
    pub fn child(&self, parts: &[&[u8]]) -> Self {
        let of_trace: Vec<&[u8]> = std::iter::once(&self.trace.0[..]).chain(parts.iter().copied()).collect();
        Self { span: SpanId::derive(&of_trace), ..*self }
    }

    /// The span's id as bytes.
    pub(super) const fn span_bytes(&self) -> [u8; 8] {
        self.span.0
    }

    /// The span of a stage that works on the record at a position: in every run, on every instance.
    #[must_use]
    pub fn of_stage(&self, stage: &str, partition: u32, number: u64) -> Self {
        self.child(&[&self.span.0, stage.as_bytes(), &partition.to_be_bytes(), &number.to_be_bytes()])
    }
}

/// Parts with their lengths, so that no two lists of parts look alike.
fn derived<const N: usize>(what: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for part in std::iter::once(what.as_bytes()).chain(parts.iter().copied()) {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = [0; N];
    id.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

/// Lower-case hexadecimal digits of exactly so many bytes.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_well_formed_is_read_and_written_alike() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.trace.low_56(), 0x0048_eb21_1c80_319c);
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert_eq!(TraceContext::parse(later).map(|context| context.is_sampled), Some(false));
        // Other flags are not ours to pass on in a span of our own.
        assert_eq!(TraceContext::parse(&GOOD.replace("-01", "-03")), Some(context));
    }

    #[test]
    fn everything_else_is_none() {
        let long = format!("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-{}", "x".repeat(256));
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
            &long,
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stage_makes_the_same_span_again_and_every_other_another() {
        let context = TraceContext::parse(GOOD).unwrap();
        let span = context.of_stage("normalizer", 3, 1_729);
        assert_eq!(span, context.of_stage("normalizer", 3, 1_729));
        assert_eq!((span.trace, span.is_sampled), (context.trace, true));
        let mut others = vec![
            context.of_stage("suppressor", 3, 1_729),
            context.of_stage("normalizer", 2, 1_729),
            context.of_stage("normalizer", 3, 1_730),
            span.of_stage("normalizer", 3, 1_729),
            context.child(&[b"ab", b"c"]),
            context.child(&[b"a", b"bc"]),
            span,
        ];
        others.sort_by_key(|context| context.span.0);
        others.dedup();
        assert_eq!(others.len(), 7);
    }
}
