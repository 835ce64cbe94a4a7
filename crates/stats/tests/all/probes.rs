//! Linear models, canonical correlations and the adjusted Rand index against scikit-learn 1.x and numpy
//! (`tests/fixtures/stats/make_probes.py`).

use ontogeny_stats::{Matrix, adjusted_rand_index, canonical_correlations, logistic, ridge};
use serde_json::Value;

const FIXTURE: &str = include_str!("../../../../tests/fixtures/stats/probes.json");

fn matrix(rows: &Value) -> Matrix {
    let rows = rows.as_array().expect("rows");
    let n_columns = rows[0].as_array().expect("a row").len();
    Matrix::new(rows.len(), n_columns, rows.iter().flat_map(numbers).collect()).expect("rows of one width")
}

fn numbers(row: &Value) -> Vec<f64> {
    row.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn labels(row: &Value) -> Vec<u32> {
    numbers(row).into_iter().map(|v| v as u32).collect()
}

fn assert_close(found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{found:?}, {expected:?}");
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one group of all outputs")]
fn models_are_those_of_scikit_learn() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let (x, labels) = (matrix(&fixture["x"]), labels(&fixture["labels"]));
    let fit = ridge(&x, &Matrix::one_hot(&labels, 3), &[0..3]).unwrap();
    let of_penalty = |entry: &&Value| (entry["penalty"].as_f64().unwrap() / fit.penalties[0] - 1.0).abs() < 1e-9;
    let expected = fixture["ridge"].as_array().unwrap().iter().find(of_penalty).expect("a penalty of the grid");
    assert_close(fit.weights.values(), matrix(&expected["weights"]).values(), 1e-10);
    assert_close(&fit.intercept, &numbers(&expected["intercept"]), 1e-10);
    for expected in fixture["logistic"].as_array().unwrap() {
        let penalty = expected["penalty"].as_f64().unwrap();
        let fit = logistic(&x, &labels, 3, penalty, 1e-10, None).unwrap();
        // Both end at gradients of 1e-10; the curvature is at least the penalty.
        assert_close(fit.weights.values(), matrix(&expected["weights"]).values(), 1e-9 / penalty.max(1e-3));
        let mean = fit.intercept.iter().sum::<f64>() / 3.0;
        let centred: Vec<f64> = fit.intercept.iter().map(|b| b - mean).collect();
        assert_close(&centred, &numbers(&expected["intercept"]), 1e-9 / penalty.max(1e-3));
    }
}

#[test]
fn correlations_and_groupings_are_those_of_numpy_and_scikit_learn() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let found = canonical_correlations(&matrix(&fixture["x"]), &matrix(&fixture["y"])).unwrap();
    assert_close(&found.correlations, &numbers(&fixture["canonical"]), 1e-12);
    let groups: Vec<Vec<u32>> = fixture["groups"].as_array().unwrap().iter().map(labels).collect();
    let found = [
        adjusted_rand_index(&groups[0], &groups[1]).unwrap(),
        adjusted_rand_index(&labels(&fixture["labels"]), &groups[0]).unwrap(),
    ];
    assert_close(&found, &numbers(&fixture["adjusted_rand"]), 1e-14);
}
