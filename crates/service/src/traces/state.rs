//! What other systems say of a trace: W3C Trace Context, level 1, 3.3, <https://www.w3.org/TR/trace-context/#tracestate-header>.
//! Nothing of it is ours; it is carried on beside the `traceparent`, or left out.

use super::TraceContext;
use std::fmt;

/// More members, and it is no `tracestate` (3.3.1.1).
const MEMBERS_MAX: usize = 32;
/// So much is carried on; a larger one loses members (3.3.1.5).
const BYTES_MAX: usize = 512;
/// Larger members go first where something has to go.
const LARGE: usize = 128;
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 256;
/// So much is looked at: as many of the longest members as there may be.
const READ_MAX: usize = MEMBERS_MAX * (KEY_MAX + VALUE_MAX + 2);

/// A well-formed `tracestate` of at most 512 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceState(String);

impl TraceState {
    /// Reads the values of all its headers, as if they were one. `None` where there is none, or one is malformed.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut members, mut bytes): (Vec<&str>, usize) = (Vec::new(), 0);
        for value in values {
            bytes += value.len();
            if bytes > READ_MAX {
                return None;
            }
            // An empty member says nothing, and is allowed.
            for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|one| !one.is_empty())
            {
                if members.len() >= MEMBERS_MAX || !is_member(member) {
                    return None;
                }
                members.push(member);
            }
        }
        // A key is there once, and the newest entry stands first.
        let is_first = |at: usize| members[..at].iter().all(|earlier| key(earlier) != key(members[at]));
        let members: Vec<&str> = (0..members.len()).filter(|at| is_first(*at)).map(|at| members[at]).collect();
        let kept = bounded(members).join(",");
        (!kept.is_empty()).then_some(Self(kept))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Strangers wrote it.
        f.debug_struct("TraceState").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// Where in which trace a record stands, and what others say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The place.
    pub context: TraceContext,
    /// What others say.
    pub state: Option<TraceState>,
}

impl Carried {
    /// Reads the two headers of a record. A state without a well-formed `traceparent` says nothing (3.3).
    pub fn read(traceparent: Option<&[u8]>, tracestate: Option<&[u8]>) -> Option<Self> {
        let context = TraceContext::parse(std::str::from_utf8(traceparent?).ok()?)?;
        let state = tracestate.and_then(|value| TraceState::parse(std::str::from_utf8(value).ok()));
        Some(Self { context, state })
    }
}

fn key(member: &str) -> &str {
    member.split_once('=').map_or(member, |(key, _)| key)
}

/// `key=value` (3.3.1.3). Keys as level 2 writes them, which are those of level 1 and some more.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_of_key = |byte: u8| is_small(byte) || b"_-*/@".contains(&byte);
    let is_of_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    key.len() <= KEY_MAX
        && key.bytes().next().is_some_and(is_small)
        && key.bytes().all(is_of_key)
        && (1..=VALUE_MAX).contains(&value.len())
        && value.bytes().all(is_of_value)
}

/// Leaves members out until the rest fits: the large ones first, then those that stand last.
fn bounded(mut members: Vec<&str>) -> Vec<&str> {
    let bytes = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while bytes(&members) > BYTES_MAX {
        let last_large = members.iter().rposition(|member| member.len() > LARGE);
        members.remove(last_large.unwrap_or(members.len() - 1));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        TraceState::parse(values.iter().copied()).map(|state| state.as_str().to_owned())
    }

    #[test]
    fn what_is_well_formed_is_kept_in_its_order() {
        for (given, kept) in [
            (&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"][..], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            (&["a=1 , \tb=2\t,,c=3,"], "a=1,b=2,c=3"),
            (&["a=1,b=2", "", "c=3"], "a=1,b=2,c=3"),
            (&["0tenant@vendor=x y:z;!~"], "0tenant@vendor=x y:z;!~"),
            (&["a_-*/9=1"], "a_-*/9=1"),
            // The first of a key counts.
            (&["a=1,b=2,a=3"], "a=1,b=2"),
        ] {
            assert_eq!(read(given).as_deref(), Some(kept), "{given:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_none_at_all() {
        let long = |n: usize| "x".repeat(n);
        let (key, value) = (format!("{}=1", long(257)), format!("a={}", long(257)));
        for wrong in ["a", "=1", "a=", "A=1", "_a=1", "a b=1", "a=b=c", "a=\u{e9}", "a=\u{7f}", "a=1,b", &key, &value] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&["a=1", "b"]), None);
        assert_eq!((read(&[]), read(&[""]), read(&[" , ,"])), (None, None, None));
        let members = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(read(&[&members(32)]).is_some());
        assert_eq!(read(&[&members(33)]), None);
        assert_eq!(read(&[&format!("a=1{}", " ".repeat(READ_MAX))]), None, "nobody reads on and on");
    }

    #[test]
    fn a_large_one_loses_its_large_members_and_then_the_last() {
        let member = |name: &str, bytes: usize| format!("{name}={}", "x".repeat(bytes - name.len() - 1));
        let (large, small) = (member("l", 129), |n: usize| member(&format!("s{n}"), 100));
        let given = format!("{large},{},{},{},{}", small(1), small(2), small(3), small(4));
        assert_eq!(read(&[&given]), Some(format!("{},{},{},{}", small(1), small(2), small(3), small(4))));
        let given = (0..8).map(small).collect::<Vec<_>>().join(",");
        assert_eq!(read(&[&given]), Some((0..5).map(small).collect::<Vec<_>>().join(",")));
        let exact = format!("{},{}", member("a", 256), member("b", 255));
        assert_eq!((exact.len(), read(&[&exact])), (512, Some(exact.clone())));
    }

    #[test]
    fn a_state_goes_with_its_parent_alone() {
        let parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let state = |carried: Option<Carried>| carried.map(|carried| carried.state.map(|state| state.0));
        assert_eq!(state(Carried::read(Some(parent), Some(b"a=1"))), Some(Some("a=1".to_owned())));
        assert_eq!(state(Carried::read(Some(parent), Some(b"a"))), Some(None));
        assert_eq!(state(Carried::read(Some(parent), Some(b"\xff"))), Some(None));
        assert_eq!(state(Carried::read(Some(parent), None)), Some(None));
        assert_eq!(state(Carried::read(Some(b"00"), Some(b"a=1"))), None);
        assert_eq!(state(Carried::read(None, Some(b"a=1"))), None);
    }
}
