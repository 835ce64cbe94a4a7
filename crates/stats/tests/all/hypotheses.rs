//! Tests of hypotheses against SciPy 1.17.1 (`tests/fixtures/stats/make_hypotheses.py`).

use ontogeny_stats::hypothesis::{
    Basis, Effect, PermutationSettings, ProportionKind, RankCoefficient, ResamplingSettings, Sided, Test, bootstrap,
    difference_of_means, equivalence_rank_sum, equivalence_signed_rank, equivalence_t, equivalence_welch,
    jonckheere_trend, mean, page_trend, paired_skill, permutation_test, proportion, rank_correlation, rank_sum_test,
    sign_flip_test, sign_test, signed_rank_test, t_test, t_test_power, welch_test,
};
use ontogeny_stats::{ArrayError, student_cdf, student_quantile};
use serde_json::Value;

const SIDES: [Sided; 3] = [Sided::Either, Sided::Greater, Sided::Less];

fn all_fixtures() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/stats/hypotheses.json")).expect("the fixture is JSON")
}

fn fixture(part: &str) -> Vec<Value> {
    all_fixtures()[part].as_array().expect("the fixture has this part").clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("an array of numbers")
}

/// Relative agreement. Exact laws are sums of at most 2²⁵ equal shares; continued fractions and SciPy's own series are good
/// to about 1e-12.
fn agrees(found: f64, expected: f64, relative: f64, what: &str) {
    assert!(
        (found - expected).abs() <= relative * expected.abs().max(1e-300),
        "{what}: {found}, SciPy says {expected}"
    );
}

#[test]
fn student_distribution() {
    let all = all_fixtures();
    for row in all["student"]["cdf"].as_array().unwrap() {
        let row = numbers(row);
        agrees(student_cdf(row[0], row[1]), row[2], 1e-11, &format!("cdf {row:?}"));
    }
    for row in all["student"]["quantile"].as_array().unwrap() {
        let row = numbers(row);
        agrees(student_quantile(row[0], row[1]), row[2], 1e-10, &format!("quantile {row:?}"));
    }
}

#[test]
fn tests_of_one_sample() {
    for case in fixture("one_sample") {
        let values = numbers(&case["values"]);
        for (side, sided) in SIDES.into_iter().enumerate() {
            let what = format!("{sided:?} {values:?}");
            let t = t_test(&values, sided, 0.95).unwrap();
            agrees(t.test.p_value, numbers(&case["t"])[side], 1e-11, &what);
            agrees(t.test.statistic, case["t_statistic"].as_f64().unwrap(), 1e-11, &what);
            let ends = numbers(&case["t_interval"]);
            // The ends may be near 0: relative to their distance.
            let width = ends[1] - ends[0];
            assert!((t.mean.interval.lower - ends[0]).abs() < 1e-10 * width, "{what}");
            assert!((t.mean.interval.upper - ends[1]).abs() < 1e-10 * width, "{what}");
            let ranks = signed_rank_test(&values, sided, 0.95).unwrap();
            agrees(ranks.test.p_value, numbers(&case["signed_rank"])[side], 1e-11, &what);
            assert_eq!(ranks.test.basis, Basis::Exact);
            let signs = sign_test(&values, sided, 0.95).unwrap();
            agrees(signs.test.p_value, numbers(&case["sign"])[side], 1e-11, &what);
            if let Some(expected) = numbers(&case["flips"]).get(side) {
                let found = sign_flip_test(&values, mean, sided, &PermutationSettings::default()).unwrap();
                agrees(found.p_value, *expected, 1e-12, &what);
                assert_eq!(found.basis, Basis::Exact);
            }
        }
    }
}

#[test]
fn tests_of_two_samples() {
    for case in fixture("two_samples") {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        for (side, sided) in SIDES.into_iter().enumerate() {
            let what = format!("{sided:?} {a:?} {b:?}");
            let t = welch_test(&a, &b, sided, 0.95).unwrap();
            agrees(t.test.p_value, numbers(&case["welch"])[side], 1e-11, &what);
            agrees(t.test.statistic, case["welch_statistic"].as_f64().unwrap(), 1e-11, &what);
            agrees(t.degrees, case["welch_degrees"].as_f64().unwrap(), 1e-11, &what);
            let ends = numbers(&case["welch_interval"]);
            let width = ends[1] - ends[0];
            assert!((t.mean.interval.lower - ends[0]).abs() < 1e-10 * width, "{what}");
            assert!((t.mean.interval.upper - ends[1]).abs() < 1e-10 * width, "{what}");
            let ranks = rank_sum_test(&a, &b, sided, 0.95).unwrap();
            agrees(ranks.test.p_value, numbers(&case["rank_sum"])[side], 1e-11, &what);
            if let Some(expected) = numbers(&case["means"]).get(side) {
                let found = permutation_test(&a, &b, difference_of_means, sided, &PermutationSettings::default());
                agrees(found.unwrap().p_value, *expected, 1e-12, &what);
            }
        }
    }
}

#[test]
fn rank_correlations() {
    for case in fixture("pairs") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        for (side, sided) in SIDES.into_iter().enumerate() {
            for (coefficient, p, estimate) in [
                (RankCoefficient::Spearman, "spearman", "spearman_rho"),
                (RankCoefficient::Kendall, "kendall", "kendall_tau"),
            ] {
                let settings = PermutationSettings::default();
                let found = rank_correlation(&x, &y, coefficient, sided, 0.95, &settings).unwrap();
                let what = format!("{coefficient:?} {sided:?} {x:?} {y:?}");
                assert!((found.test.statistic - case[estimate].as_f64().unwrap()).abs() < 1e-14, "{what}");
                agrees(found.test.p_value, numbers(&case[p])[side], 1e-12, &what);
                assert_eq!(found.test.basis, Basis::Exact);
            }
        }
    }
}

#[test]
fn page_trends() {
    for case in fixture("page") {
        let blocks: Vec<Vec<f64>> = serde_json::from_value(case["blocks"].clone()).unwrap();
        let doses: Vec<f64> = (0..blocks[0].len()).map(|i| i as f64).collect();
        let found = page_trend(&doses, &blocks, Sided::Greater, 0.95).unwrap();
        assert_eq!(found.test.statistic, case["statistic"].as_f64().unwrap());
        agrees(found.test.p_value, case["p"].as_f64().unwrap(), 1e-11, &format!("{blocks:?}"));
    }
}

#[test]
fn intervals_of_proportions() {
    for case in fixture("proportions") {
        let row = numbers(&case);
        for (kind, at) in [(ProportionKind::Wilson, 2), (ProportionKind::ClopperPearson, 4)] {
            let found = proportion(row[0] as usize, row[1] as usize, kind, 0.9).unwrap().interval;
            assert!(
                (found.lower - row[at]).abs() < 1e-11 && (found.upper - row[at + 1]).abs() < 1e-11,
                "{kind:?} {row:?}"
            );
        }
    }
}

#[test]
fn power_of_the_t_test() {
    for case in fixture("t_power") {
        let row = numbers(&case);
        for (side, sided) in SIDES.into_iter().enumerate() {
            let found = t_test_power(row[0] as usize, row[1], sided, row[2]).unwrap().power;
            assert!((found - row[3 + side]).abs() < 1e-9, "{sided:?} {row:?}: {found}");
        }
    }
}

/// The table "What few seeds can show" of `docs/hypotheses.md`: data as clear as can be support a claim from n seeds on.
#[test]
fn smallest_numbers_of_seeds() {
    let rising = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<f64>>();
    let settings = PermutationSettings { max_exact: 10, n_resamples: 9, seed: 0 };
    let of = |test: &str, n: usize, level: f64| {
        let (a, sided) = (rising(n), Sided::Either);
        let found = match test {
            "signed ranks" => signed_rank_test(&a, sided, level).unwrap().shift,
            "sign" => sign_test(&a, sided, level).unwrap().median,
            "rank sum" => {
                rank_sum_test(&a.iter().map(|v| v + 50.0).collect::<Vec<_>>(), &a, sided, level).unwrap().shift
            }
            "jonckheere" => {
                let groups: Vec<Vec<f64>> =
                    (0..3).map(|d| a.iter().map(|v| 50.0 * f64::from(d) + v).collect()).collect();
                jonckheere_trend(&[0.0, 1.0, 2.0], &groups, sided, level, &settings).unwrap().slope
            }
            _ => {
                let kind = if test == "spearman" { RankCoefficient::Spearman } else { RankCoefficient::Kendall };
                rank_correlation(&a, &a, kind, sided, level, &settings).unwrap().coefficient
            }
        };
        found.interval.lower > 0.0
    };
    for (test, alone, of_ten) in [
        ("signed ranks", [5, 6], [8, 9]),
        ("sign", [5, 6], [8, 9]),
        ("rank sum", [3, 4], [5, 6]),
        ("spearman", [5, 5], [6, 6]),
        ("kendall", [5, 5], [6, 6]),
        ("jonckheere", [2, 2], [3, 3]),
    ] {
        for (least, alpha) in [(alone, 0.05), (of_ten, 0.05 / 10.0)] {
            for (n, sided) in least.into_iter().zip([Sided::Greater, Sided::Either]) {
                let level = sided.interval_level(alpha);
                assert!(of(test, n, level), "{test} {sided:?} {alpha}: {n} suffice");
                assert!(n == 2 || !of(test, n - 1, level), "{test} {sided:?} {alpha}: {} do not", n - 1);
            }
        }
    }
}

/// Whatever is given: an error, or a p-value in (0, 1] and an estimate and an interval that are numbers.
#[test]
fn hostile_samples_are_errors_or_results() {
    let samples: Vec<Vec<f64>> = vec![
        vec![],
        vec![0.0],
        vec![1.0, 1.0],
        vec![0.0; 6],
        vec![0.1; 7],
        vec![-0.0, 0.0, -0.0, 1.0],
        vec![1.0, 2.0, 2.0, 2.0, 3.0, 3.0],
        vec![f64::NAN, 1.0, 2.0],
        vec![1.0, f64::INFINITY],
        vec![f64::MAX, -f64::MAX, f64::MAX],
        vec![f64::MAX, f64::MAX / 2.0, f64::MAX / 4.0],
        vec![f64::MIN_POSITIVE, 5e-324, 0.0, -5e-324],
        vec![1e-200, 2e-200, 3e-200, 5e-200],
        vec![1e200, 2e200, 3e200, 5e200],
        vec![1.0, 1.0 + f64::EPSILON, 1.0, 1.0],
        vec![1e15, 1e15 + 1.0, 1e15 + 2.0, 1e15 - 1.0],
        (0..250).map(f64::from).collect(),
        (0..1200).map(f64::from).collect(),
    ];
    let settings = PermutationSettings { max_exact: 200, n_resamples: 50, seed: 0 };
    let (mut n_found, mut n_refused) = (0, 0);
    let mut check = |what: &str, found: Result<(Test, Option<Effect>), ArrayError>| {
        let Ok((test, effect)) = found else { return n_refused += 1 };
        n_found += 1;
        assert!(test.p_value > 0.0 && test.p_value <= 1.0, "{what}: {test:?}");
        assert!(!test.statistic.is_nan(), "{what}: {test:?}");
        if let Some(effect) = effect {
            assert!(!effect.estimate.is_nan() && effect.interval.lower <= effect.interval.upper, "{what}: {effect:?}");
        }
    };
    for a in &samples {
        for sided in SIDES {
            let what = format!("{sided:?} {:?}", &a[..a.len().min(8)]);
            check(&what, t_test(a, sided, 0.95).map(|f| (f.test, Some(f.mean))));
            check(&what, sign_test(a, sided, 0.95).map(|f| (f.test, Some(f.median))));
            check(&what, signed_rank_test(a, sided, 0.95).map(|f| (f.test, Some(f.shift))));
            check(&what, sign_flip_test(a, mean, sided, &settings).map(|t| (t, None)));
        }
        let what = format!("{:?}", &a[..a.len().min(8)]);
        check(&what, equivalence_t(a, 1.0, 0.05).map(|f| (f.test, Some(f.effect))));
        check(&what, equivalence_signed_rank(a, 1.0, 0.05).map(|f| (f.test, Some(f.effect))));
        if let Ok(found) = bootstrap(a, mean, &ResamplingSettings::default()) {
            assert!(found.effect.interval.lower <= found.effect.interval.upper, "{what}");
        }
        for b in &samples {
            for sided in SIDES {
                let what = format!("{sided:?} {:?} {:?}", &a[..a.len().min(8)], &b[..b.len().min(8)]);
                check(&what, welch_test(a, b, sided, 0.95).map(|f| (f.test, Some(f.mean))));
                if a.len() < 20 && b.len() < 20 {
                    check(&what, rank_sum_test(a, b, sided, 0.95).map(|f| (f.test, Some(f.shift))));
                    let groups = [a.clone(), b.clone(), a.clone()];
                    let trend = jonckheere_trend(&[0.0, 1.0, 2.0], &groups, sided, 0.95, &settings);
                    check(&what, trend.map(|f| (f.test, Some(f.slope))));
                }
                check(&what, permutation_test(a, b, difference_of_means, sided, &settings).map(|t| (t, None)));
                let doses: Vec<f64> = (0..a.len()).map(|i| i as f64).collect();
                let blocks = page_trend(&doses, &[a.clone(), b.clone()], sided, 0.95);
                check(&what, blocks.map(|f| (f.test, Some(f.slope))));
                for coefficient in [RankCoefficient::Spearman, RankCoefficient::Kendall] {
                    if a.len() < 20 {
                        let found = rank_correlation(a, b, coefficient, sided, 0.95, &settings);
                        check(&what, found.map(|f| (f.test, Some(f.coefficient))));
                    }
                }
            }
            let what = format!("{:?} {:?}", &a[..a.len().min(8)], &b[..b.len().min(8)]);
            check(&what, equivalence_welch(a, b, 1.0, 0.05).map(|f| (f.test, Some(f.effect))));
            if a.len() < 20 && b.len() < 20 {
                check(&what, equivalence_rank_sum(a, b, 1.0, 0.05).map(|f| (f.test, Some(f.effect))));
            }
            check(&what, paired_skill(a, b, 0.95).map(|f| (f.saved.test, Some(f.skill))));
        }
    }
    assert!(n_found > 1_000 && n_refused > 1_000, "{n_found} {n_refused}");
}
