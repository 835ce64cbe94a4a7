//! Developments that others published, given to the real command: stages of in-context learning, emergence of skills in
//! Pythia. Settings were frozen on simulated series (docs/detector.md says what was changed after the first look).

#![expect(clippy::print_stdout, reason = "a skipped test says why, and the others what they found")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use crate::common::Workplace;
use flate2::read::GzDecoder;
use ontogeny_stats::{Smoother, plane_curve};
use serde_json::Value;

/// The rows of a gzipped CSV of the shared data, each by column; `None` with a printed reason where it is not there.
fn rows(name: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let Ok(bytes) = fs_err::read(&path) else {
        println!("skipped: no `{}`", path.display());
        return None;
    };
    let mut text = String::new();
    GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("gzip of UTF-8");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let row = |line: &str| names.iter().zip(line.split(',')).map(|(n, v)| ((*n).to_owned(), v.to_owned())).collect();
    Some(lines.map(row).collect())
}

/// What `ontogeny stages` finds in a table.
fn stages(table: &str) -> Value {
    let here = Workplace::new();
    here.write("table.csv", table);
    let outcome = here.call(&["stages", "table.csv", "--json"]);
    outcome.expect(0, &[]);
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Learning coefficient and loss of the published linear-regression transformer of this seed, as a table.
fn linear_regression(seed: &str) -> Option<String> {
    let llcs = rows("timaeus-icl/lr_llcs.csv.gz")?;
    let losses = rows("timaeus-icl/lr_evals_over_time.csv.gz")?;
    let of_seed = |row: &&BTreeMap<String, String>| row["model_seed"] == seed;
    let loss: BTreeMap<u64, &str> = losses
        .iter()
        .filter(of_seed)
        .map(|row| (row["step"].parse().expect("a step"), &*row["pretrain/mse"]))
        .collect();
    let llc: BTreeMap<u64, &str> =
        llcs.iter().filter(of_seed).map(|row| (row["step"].parse().expect("a step"), &*row["llc/mean/mean"])).collect();
    let mut table = "step,llc.full,loss.train\n".to_owned();
    for (step, llc) in &llc {
        writeln!(table, "{step},{llc},{}", loss.get(step).unwrap_or(&"")).expect("a string takes all");
    }
    Some(table)
}

#[test]
fn stages_of_the_published_linear_regression_transformer() {
    let Some(table) = linear_regression("1") else { return };
    let found = stages(&table);
    let boundaries: Vec<[f64; 3]> = found["stages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|b| [number(&b["step"]), number(&b["lower"]), number(&b["upper"])])
        .collect();
    println!("boundaries {boundaries:.0?}");
    assert!(boundaries.len() <= 8, "{boundaries:?}");
    // The signs that the authors found: the learning coefficient rises in the first two stages and falls in the third.
    let changes: Vec<(f64, f64)> = found["intervals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|stage| {
            let changes = stage["changes"].as_array().expect("a list");
            let llc = changes.iter().find(|c| c["observable"] == "llc.full").expect("its change");
            (number(&llc["change"]), number(&llc["standard_error"]))
        })
        .collect();
    println!("changes {changes:.1?}");
    // The authors' boundaries: 40,000, on a top that is flat from 14,000 on, and 320,000. Between their first two stages, at
    // 1,000 or 1,500, the coefficient rises ever faster and does not rest: that is no boundary by our definition.
    let peak = boundaries.iter().position(|b| b[1] <= 40e3 && 40e3 <= b[2]).expect("the end of the rise");
    let trough = boundaries.iter().position(|b| (b[0] / 320e3 - 1.0).abs() < 0.15).expect("the end of the fall");
    assert!(changes[..=peak].iter().all(|(change, error)| *change > 2.0 * error), "{changes:?}");
    assert!(changes[peak + 1..=trough].iter().all(|(change, error)| *change < -2.0 * error), "{changes:?}");
}

#[test]
fn skills_of_pythia_emerge_where_their_accuracy_is_half_way() {
    let Some(all) = rows("pythia-evals/pythia_v1_evals_by_step.csv.gz") else { return };
    let tasks = ["arc_challenge", "arc_easy", "lambada_openai", "logiqa", "piqa", "sciq", "winogrande", "wsc"];
    // By series and step: accuracy and its standard error.
    let mut series: BTreeMap<String, BTreeMap<u64, (String, String)>> = BTreeMap::new();
    for row in all {
        if row["shot"] == "zero-shot" && row["metric"] == "acc" && tasks.contains(&&*row["task"]) {
            let name = format!("{}:{}", row["model"], row["task"]);
            let step = row["step"].parse().expect("a step");
            series.entry(name).or_default().insert(step, (row["value"].clone(), row["stderr"].clone()));
        }
    }
    let steps: Vec<u64> = series.values().next().expect("some series").keys().copied().collect();
    let mut table = "step".to_owned();
    for name in series.keys() {
        write!(table, ",{name},{name}_se").expect("a string takes all");
    }
    for step in &steps {
        write!(table, "\n{step}").expect("a string takes all");
        for values in series.values() {
            let (value, error) = &values[step];
            write!(table, ",{value},{error}").expect("a string takes all");
        }
    }
    let found = stages(&table);
    let mut n_with: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, values) in &series {
        let task = tasks.iter().find(|task| name.ends_with(**task)).expect("one of them");
        let transitions = found["series"][name]["transitions"].as_array().expect("a list");
        let counts = n_with.entry(task).or_default();
        counts.0 += usize::from(!transitions.is_empty());
        counts.1 += 1;
        // LAMBADA goes from nothing to its end in one rise, so the first step at which it is half-way is in the rise.
        if *task == "lambada_openai" && !transitions.is_empty() {
            let value = |step: &u64| values[step].0.parse::<f64>().expect("a number");
            let half = 0.5 * value(steps.last().expect("steps"));
            let above = steps.iter().position(|step| value(step) >= half).expect("it gets there");
            let (before, after) = (steps[above - 1] as f64, steps[above] as f64);
            let (start, end) = (number(&transitions[0]["start"]), number(&transitions[0]["end"]));
            assert!(start < after && before < end, "{name}: {start} to {end}, half-way between {before} and {after}");
        }
    }
    println!("curves with a significant transition, of how many: {n_with:?}");
    // Accuracies at chance have none: of logical questions, at most the false discoveries that were accepted.
    assert!(n_with["lambada_openai"].0 >= 8 && n_with["logiqa"].0 <= 1, "{n_with:?}");
}

/// The array of an NPZ file with one two-dimensional array of 32-bit or 64-bit floats in C order, by columns.
fn columns(name: &str, n_columns: usize) -> Option<Vec<Vec<f64>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let Ok(file) = fs_err::File::open(&path) else {
        println!("skipped: no `{}`", path.display());
        return None;
    };
    let mut archive = zip::ZipArchive::new(file).expect("a zip archive");
    let mut bytes = Vec::new();
    archive.by_index(0).expect("one array").read_to_end(&mut bytes).expect("whole");
    let start = 1 + bytes.iter().position(|b| *b == b'\n').expect("the end of the header");
    let is_short = String::from_utf8_lossy(&bytes[..start]).contains("<f4");
    let values: Vec<f64> = if is_short {
        bytes[start..].chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four")))).collect()
    } else {
        bytes[start..].chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight"))).collect()
    };
    Some((0..n_columns).map(|c| values.iter().skip(c).step_by(n_columns).copied().collect()).collect())
}

#[test]
fn circles_of_the_published_trajectory_are_those_of_three_neighbouring_points() {
    let Some(components) = columns("timaeus-icl/lm_ed_pca_samples_2layer.npz", 20) else { return };
    // Every tenth of the 5,001 samples, smoothed over ten of those: the curve is then resolved by its points.
    let x: Vec<f64> = (0..components[0].len()).step_by(10).map(|i| i as f64 / 10.0).collect();
    let smoother = Smoother::gaussian(&x, 10.0, 10.0).expect("even points");
    let smooth = |component: &[f64]| {
        smoother.apply(&component.iter().step_by(10).copied().collect::<Vec<f64>>()).expect("as many values")
    };
    let (first, second) = (smooth(&components[0]), smooth(&components[1]));
    let curve = plane_curve(&x, &first, &second).expect("a curve");
    // The usual formula: central differences over a distance of k points (recipe of essential dynamics).
    let curvature = |i: usize, k: usize| {
        let derivatives = |c: &[f64]| (0.5 * (c[i + k] - c[i - k]), c[i + k] - 2.0 * c[i] + c[i - k]);
        let ((u, du), (v, dv)) = (derivatives(&first), derivatives(&second));
        (u * dv - v * du) / u.hypot(v).powi(3)
    };
    // Their error is a h² to leading order, so that of k = 1 is a third of the difference from k = 2; what comes after it is
    // smaller where the two are near each other. Ours has an error of h⁴.
    let (mut n_resolved, mut n_agree) = (0, 0);
    for (i, point) in curve.iter().enumerate().take(curve.len() - 2).skip(2) {
        let (near, far) = (curvature(i, 1), curvature(i, 2));
        if (near - far).abs() < 0.05 * near.abs() {
            n_resolved += 1;
            n_agree += usize::from((point.curvature - near).abs() <= 0.5 * (near - far).abs() + 1e-9 * near.abs());
            let centre = point.centre.expect("it bends");
            let distance = (centre[0] - first[i]).hypot(centre[1] - second[i]);
            assert!(
                (distance / point.radius - 1.0).abs() < 1e-9
                    && (point.radius * point.curvature.abs() - 1.0).abs() < 1e-9
            );
        }
    }
    println!("{n_agree} of {n_resolved} points of {}", curve.len());
    assert!(n_resolved > curve.len() / 2 && n_agree * 100 >= 95 * n_resolved, "{n_agree} of {n_resolved}");
}
