//! Optimal partitions against ruptures 1.1.10 (`tests/fixtures/stats/make_ruptures.py`), and the
//! Nile, whose change is known.

use ontogeny_stats::{SegmentCount, SegmentShape, Series, TransitionSettings, partition, transitions};
use serde_json::Value;

const CASES: &str = include_str!("../../../../tests/fixtures/stats/ruptures.json");

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("the fixture holds numbers")
}

/// The series of this name, and its cases.
fn entry(name: &str) -> (Series, Vec<Value>) {
    let entries: Vec<Value> = serde_json::from_str(CASES).expect("the fixture is JSON");
    let entry = entries.iter().find(|e| e["name"] == name).expect("the fixture holds the series");
    let series = Series::new(numbers(&entry["steps"]), numbers(&entry["values"])).expect("steps increase");
    (series, entry["cases"].as_array().expect("cases are a list").clone())
}

#[test]
fn partitions_agree_with_ruptures() {
    for name in ["Nile", "levels", "noise", "lines"] {
        let (series, cases) = entry(name);
        assert_eq!(cases.len(), 15);
        for case in cases {
            let shape = if case["shape"] == "line" { SegmentShape::Line } else { SegmentShape::Constant };
            let count = case["segments"].as_u64().map_or_else(
                || SegmentCount::Penalty(case["penalty"].as_f64().unwrap()),
                |k| SegmentCount::Exactly(k as usize),
            );
            let min_points = case["min_points"].as_u64().unwrap() as usize;
            let found = partition(&series, shape, count, min_points).unwrap();
            let mut ends: Vec<f64> = found.change_points.iter().map(|&i| i as f64).collect();
            ends.push(series.steps().len() as f64);
            assert_eq!(ends, numbers(&case["ends"]), "{name}: {case}");
        }
    }
}

#[test]
fn the_nile_falls_after_1898() {
    // Cobb (1978): the annual flow drops between the 28th and the 29th year of the series.
    let (nile, _) = entry("Nile");
    let cut = partition(&nile, SegmentShape::Constant, SegmentCount::Exactly(2), 1).unwrap();
    assert_eq!(cut.change_points, [28]);
    // In ln(step + 1) the fall of two standard deviations stands among the late third of the points;
    // the detector sees it there, whatever its significance.
    let settings = TransitionSettings { alpha: 1.0, ..TransitionSettings::default() };
    let found = transitions(&nile, &settings).unwrap();
    println!("{found:?}");
    assert!(found.iter().any(|t| t.size < 0.0 && t.lower < 29.0 && t.upper > 28.0), "{found:?}");
}
