//! Seeds that must be green, and breaches that must turn them red.

use sim_tests::{Bug, Invariant, Scenario, Seen, explain, simulate};

fn green(seeds: impl Iterator<Item = u64>) -> Seen {
    let mut seen = Seen::default();
    let mut count = 0;
    for seed in seeds {
        let scenario = Scenario::drawn(seed);
        match simulate(&scenario) {
            Ok(one) => seen += one,
            Err(_) => panic!("{}", explain(&scenario)),
        }
        count += 1;
    }
    println!("{count} seeds: {seen:?}");
    seen
}

#[test]
fn one_seed() {
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let bug = std::env::var("SIM_BUG").unwrap_or_default();
    let bug = Bug::ALL.into_iter().find(|known| format!("{known:?}") == bug).unwrap_or(Bug::None);
    let scenario = Scenario::planted(seed.unwrap_or(1), bug);
    println!("{}", explain(&scenario));
    assert!(simulate(&scenario).is_ok());
}

#[test]
fn survey() {
    let mut red = std::collections::BTreeMap::<String, Vec<(u64, String)>>::new();
    let n: u64 = std::env::var("SIM_N").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    for seed in 0..n {
        if let Err(error) = simulate(&Scenario::drawn(seed)) {
            let s = Scenario::drawn(seed);
            red.entry(format!("{:?}", error.invariant)).or_default().push((
                u64::from(s.n_acts),
                format!("{seed} acts={} {}", s.n_acts, error.detail.chars().take(700).collect::<String>()),
            ));
        }
    }
    for (k, mut v) in red {
        v.sort();
        println!("== {k}: {}", v.len());
        for (_, d) in v.iter().take(3) {
            println!("   {d}");
        }
    }
}

#[test]
fn survey_bugs() {
    for bug in Bug::ALL {
        let mut red = 0;
        let mut first = String::new();
        for seed in 0..200 {
            if let Err(error) = simulate(&Scenario::planted(seed, bug)) {
                red += 1;
                if first.is_empty() {
                    first =
                        format!("{seed} {:?} {}", error.invariant, error.detail.chars().take(200).collect::<String>());
                }
            }
        }
        println!("{bug:?}: {red}/200 {first}");
    }
    let _ = (green as fn(std::ops::Range<u64>) -> Seen, Invariant::NoLoss);
}
