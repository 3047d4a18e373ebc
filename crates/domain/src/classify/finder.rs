//! Finds the first of many patterns that a text holds, in a time that hardly depends on how many there are.
//!
//! Each alternative of a pattern needs one of a few literal words to be there. One pass over the text finds the words of all
//! alternatives (Aho-Corasick), and only the alternatives whose word is there are tried, in order. An automaton over all
//! patterns at once would be one pass as well, but one whose states multiply with every gap that is open.

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::{
    Parser, ParserBuilder,
    hir::{Hir, HirKind},
};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Words of one alternative.
const WORDS_MAX: usize = 32;
/// A shorter word is in nearly every text.
const WORD_BYTES_MIN: usize = 2;

/// Patterns, ready to be looked for.
#[derive(Debug)]
pub(super) struct Finder {
    words: AhoCorasick,
    /// For each word, the alternatives that need it or another.
    needed_by: Vec<Vec<usize>>,
    alternatives: Vec<Alternative>,
    /// Alternatives that need no word, one bit each.
    always: Vec<u64>,
}

#[derive(Debug)]
struct Alternative {
    /// Which pattern it belongs to.
    pattern: usize,
    source: String,
    /// Compiled when it is first tried.
    regex: OnceLock<Option<Regex>>,
}

/// Patterns that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("pattern {pattern}: {error}")]
pub(super) struct FinderError {
    pattern: usize,
    error: String,
}

impl Finder {
    /// Of patterns over bytes, in lower case.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Self, FinderError> {
        let (mut alternatives, mut always, mut words) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (pattern, source) in patterns.enumerate() {
            let fail = |error: String| FinderError { pattern, error };
            for part in split(source) {
                let hir = parser().parse(part).map_err(|error| fail(error.to_string()))?;
                let index = alternatives.len();
                always.resize(index / 64 + 1, 0_u64);
                match words_of(&hir).filter(|words| is_telling(words)) {
                    Some(found) => {
                        found.into_iter().for_each(|word| words.entry(word).or_insert_with(Vec::new).push(index));
                    }
                    None => always[index / 64] |= 1 << (index % 64),
                }
                alternatives.push(Alternative { pattern, source: part.to_owned(), regex: OnceLock::new() });
            }
        }
        let (words, needed_by): (Vec<Vec<u8>>, Vec<Vec<usize>>) = words.into_iter().unzip();
        let words = AhoCorasick::new(words).map_err(|error| FinderError { pattern: 0, error: error.to_string() })?;
        Ok(Self { words, needed_by, alternatives, always })
    }

    /// The index of the first pattern that the text holds.
    pub(super) fn first(&self, text: &[u8]) -> Option<usize> {
        let mut candidates = self.always.clone();
        for found in self.words.find_overlapping_iter(text) {
            for index in self.needed_by.get(found.pattern().as_usize()).into_iter().flatten() {
                candidates[index / 64] |= 1 << (index % 64);
            }
        }
        let candidates =
            candidates.iter().enumerate().flat_map(|(place, bits)| ones(*bits).map(move |bit| place * 64 + bit));
        candidates.filter_map(|index| self.alternatives.get(index)).find(|one| one.is_in(text)).map(|one| one.pattern)
    }

    #[cfg(test)]
    pub(super) fn without_words(&self) -> Vec<&str> {
        let is_always = |index: usize| self.always[index / 64] >> (index % 64) & 1 == 1;
        self.alternatives
            .iter()
            .enumerate()
            .filter(|(index, _)| is_always(*index))
            .map(|(_, one)| one.source.as_str())
            .collect()
    }
}

impl Alternative {
    fn is_in(&self, text: &[u8]) -> bool {
        let compile = || RegexBuilder::new(&self.source).unicode(false).build().ok();
        self.regex.get_or_init(compile).as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// The places of the bits that are set, from the lowest.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then_some(bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}

fn parser() -> Parser {
    ParserBuilder::new().unicode(false).utf8(false).build()
}

/// The alternatives of a pattern, split at its outermost bars.
fn split(pattern: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut in_class, mut escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[start..]);
    parts
}

/// Words of which every match holds at least one: the most telling of those the expression offers.
fn words_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(group) => words_of(&group.sub),
        HirKind::Repetition(repeated) if repeated.min > 0 => words_of(&repeated.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(words_of).max_by_key(|words| shortest(words)),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(words_of(part)?);
            }
            (all.len() <= WORDS_MAX).then_some(all)
        }
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

fn shortest(words: &[Vec<u8>]) -> usize {
    words.iter().map(Vec::len).min().unwrap_or_default()
}

fn is_telling(words: &[Vec<u8>]) -> bool {
    words.iter().all(|word| word.len() >= WORD_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_pattern_in_order() {
        let finder = Finder::new(["a (full|empty) box|crate", r"b[ox]+", "full"].into_iter()).unwrap();
        let first = |text: &str| finder.first(text.as_bytes());
        assert_eq!(first("an a empty box"), Some(0));
        assert_eq!(first("crate"), Some(0));
        assert_eq!(first("full box"), Some(1));
        assert_eq!(first("full"), Some(2));
        assert_eq!(first("nothing"), None);
        assert!(Finder::new(["("].into_iter()).is_err());
    }

    #[test]
    fn counts_the_bits_that_are_set() {
        assert_eq!(ones(0).count(), 0);
        assert_eq!(ones(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!(ones(u64::MAX).count(), 64);
    }

    #[test]
    fn splits_at_the_outermost_bars() {
        assert_eq!(split(r"a|(b|c)|\||[|\]]|d"), ["a", "(b|c)", r"\|", r"[|\]]", "d"]);
    }

    #[test]
    fn words_are_in_every_match() {
        let words = |pattern: &str| {
            let found = words_of(&parser().parse(pattern).unwrap())?;
            Some(found.into_iter().map(|word| String::from_utf8(word).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(words("user.*(unknown|not found)"), Some(vec!["unknown".to_owned(), "not found".to_owned()]));
        assert_eq!(words("(mail )?box(es)?"), Some(vec!["box".to_owned()]));
        assert_eq!(words("(full|)"), None);
        assert_eq!(words("[ab]"), None);
    }
}
