//! Minimum, median, maximum.

use serde_json::{Value, json};

/// The middle value; of an even number the upper one. 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// `{min, median, max, runs}`.
pub(crate) fn spread(values: Vec<f64>) -> Value {
    let bound = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).map(round);
    json!({
        "min": bound(f64::min), "max": bound(f64::max), "runs": values.len(), "median": round(median(values)),
    })
}

/// Three digits after the point are enough for anyone.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A figure beside its floor or ceiling.
pub(crate) fn floor(what: &str, value: f64, floor: f64, higher_is_better: bool) -> Value {
    let ok = if higher_is_better { value >= floor } else { value <= floor };
    json!({ "what": what, "value": round(value), "floor": floor, "ok": ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 3.0);
    }

    #[test]
    fn floors_go_both_ways() {
        assert_eq!(floor("a", 2.0, 1.0, true)["ok"], true);
        assert_eq!(floor("a", 2.0, 1.0, false)["ok"], false);
    }
}
