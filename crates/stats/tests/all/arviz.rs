//! Chain diagnostics against ArviZ 0.23.4 (`tests/fixtures/stats/make_arviz.py`).

use ontogeny_stats::Chains;
use serde_json::Value;

const CASES: &str = include_str!("../../../../tests/fixtures/stats/arviz.json");

/// A number, or its name where JSON has none (`nan`, `inf`).
fn number(value: &Value) -> f64 {
    let text = value.as_str().map(str::parse);
    text.and_then(Result::ok).or(value.as_f64()).expect("the fixture holds numbers")
}

#[test]
fn diagnostics_agree_with_arviz() {
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() >= 20);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let draws: Vec<Vec<f64>> = serde_json::from_value(case["draws"].clone()).unwrap();
        let chains = Chains::new(&draws).unwrap();
        let found = [
            ("rank_rhat", chains.rank_rhat()),
            ("split_rhat", chains.split_rhat()),
            ("ess_bulk", chains.ess_bulk()),
            ("ess_tail", chains.ess_tail()),
            ("ess_mean", chains.ess_mean()),
            ("mcse_mean", chains.mcse_mean()),
        ];
        for (what, found) in found {
            let mut expected = number(&case[what]);
            if expected.is_nan() {
                // Documented differences: ArviZ refuses R̂ of one chain, and divides zero by zero
                // when all draws are equal.
                assert!(what.ends_with("rhat"), "{name}: {what}");
                if draws.len() == 1 {
                    assert!(found > 0.9 && found < 1.1, "{name}: {found}");
                    continue;
                }
                expected = f64::INFINITY;
            }
            // Sums of a few hundred terms: 1e-9 leaves room for the other order of summation,
            // also with the offset of 1e6.
            let close = found == expected || (found - expected).abs() <= 1e-9 * expected.abs();
            assert!(close, "{name}: {what} is {found}, ArviZ says {expected}");
        }
    }
}
