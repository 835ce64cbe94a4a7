//! Curves that others published, given to the real command. The detector's settings were frozen on simulated series before
//! it saw any of these; the expected places come from the curves themselves, not from the detector.

#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::path::{Path, PathBuf};

use crate::common::Workplace;
use ontogeny_stats::{SegmentCount, SegmentShape, Series, partition};
use serde_json::Value;

/// The folder of shared data, or a printed reason.
fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no `{}`", path.display());
    None
}

#[derive(Debug, Clone)]
struct Found {
    step: f64,
    lower: f64,
    upper: f64,
    start: f64,
    end: f64,
    size: f64,
}

/// The transitions of each series that `ontogeny stages` finds.
fn stages(file: &Path, args: &[&str]) -> Vec<(String, Vec<Found>)> {
    let here = Workplace::new();
    let file = file.to_str().expect("a path in UTF-8");
    let outcome = here.call(&[&["stages", file, "--json"], args].concat());
    outcome.expect(0, &[]);
    let all: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let found = |t: &Value| {
        let number = |key: &str| t[key].as_f64().expect("a number");
        Found {
            step: number("step"),
            lower: number("lower"),
            upper: number("upper"),
            start: number("start"),
            end: number("end"),
            size: number("size"),
        }
    };
    let series = all["series"].as_object().expect("an object").iter();
    series
        .map(|(name, s)| (name.clone(), s["transitions"].as_array().expect("a list").iter().map(found).collect()))
        .collect()
}

fn largest(found: &[Found]) -> Option<&Found> {
    found.iter().max_by(|a, b| a.size.abs().total_cmp(&b.size.abs()))
}

#[test]
fn each_digit_of_an_addition_is_learned_where_its_loss_is_halved() {
    let Some(file) = data("progress-measures/loss_curves.npz") else { return };
    let found = stages(&file, &["--series", "5_digit_addition_infinite_per_token*"]);
    let halfway = [6.0, 430.0, 1546.0, 1523.0, 998.0, 1621.0];
    assert_eq!(found.len(), halfway.len());
    let mut learned: Vec<(f64, Found)> = Vec::new();
    for (token, halfway) in halfway.into_iter().enumerate() {
        let name = format!("5_digit_addition_infinite_per_token[{token}]");
        let (_, transitions) = found.iter().find(|(found, _)| *found == name).expect(&name);
        let largest = largest(transitions).unwrap_or_else(|| panic!("{name} has none"));
        println!(
            "{name}: {:.0} [{:.0}, {:.0}], 10-90 % {:.0} to {:.0}",
            largest.step, largest.lower, largest.upper, largest.start, largest.end
        );
        assert!(largest.start <= halfway && halfway <= largest.end, "{name}: {largest:?}, half-way at {halfway}");
        learned.push((halfway, largest.clone()));
    }
    learned.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (i, (_, a)) in learned.iter().enumerate() {
        for (_, b) in &learned[i + 1..] {
            let are_disjoint = a.upper < b.lower || b.upper < a.lower;
            assert!(!are_disjoint || a.step < b.step, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn the_test_loss_of_a_grokking_run_falls_once_and_late() {
    let Some(file) = data("progress-measures/loss_curves.npz") else { return };
    let found = stages(&file, &["--series", "wd_10_1*__test_losses", "--every", "10"]);
    let falls: Vec<&Found> = found[0].1.iter().filter(|t| t.start >= 55e3 && t.end <= 105e3).collect();
    println!("{falls:?}");
    assert_eq!(falls.len(), 1, "{found:?}");
    assert!((62e3..=102e3).contains(&falls[0].step) && falls[0].size < 0.0, "{falls:?}");
}

#[test]
fn the_smaller_the_share_of_training_data_the_later_a_network_groks() {
    let Some(file) = data("progress-measures/loss_curves.npz") else { return };
    let found = stages(&file, &["--series", "mod_addition_frac_train_sweep__run*"]);
    // Runs 2i and 2i + 1 are the training and test losses of the i-th share, from 95 % down to 25 %.
    let step = |i: usize| {
        let name = format!("mod_addition_frac_train_sweep__run{}", 2 * i + 1);
        let (_, transitions) = found.iter().find(|(found, _)| *found == name).expect(&name);
        let falls = transitions.iter().filter(|t| t.size < 0.0);
        falls.min_by(|a, b| a.size.total_cmp(&b.size)).unwrap_or_else(|| panic!("{name} never falls")).step
    };
    let steps: Vec<f64> = (0..10).map(step).collect();
    println!("{steps:?}");
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
}

#[test]
fn the_nile_changes_between_1898_and_1899() {
    let Some(file) = data("changepoint-nile/nile.csv") else { return };
    let text = fs_err::read_to_string(file).expect("a file that can be read");
    let rows = text.lines().skip(1).map(|line| line.split_once(',').expect("two columns"));
    let (years, volumes): (Vec<f64>, Vec<f64>) =
        rows.map(|(year, volume)| (year.parse::<f64>().unwrap(), volume.trim().parse::<f64>().unwrap())).unzip();
    let series = Series::new(years.clone(), volumes).expect("a series");
    let cut = partition(&series, SegmentShape::Constant, SegmentCount::Exactly(2), 2).expect("long enough");
    assert_eq!(cut.change_points.iter().map(|&i| years[i]).collect::<Vec<_>>(), [1899.0]);
}

#[test]
fn so_say_change_points_of_the_command() {
    let Some(file) = data("changepoint-nile/nile.csv") else { return };
    let text = fs_err::read_to_string(file).expect("a file that can be read");
    let here = Workplace::new();
    here.write("nile.csv", text.replacen(text.lines().next().expect("a header"), "step,flow", 1));
    for shape in ["l1", "l2", "rank", "normal"] {
        let outcome = here.call(&["stages", "nile.csv", "--change-points", shape, "--json"]);
        outcome.expect(0, &[]);
        let found: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let [only] = found["series"][0]["changes"].as_array().expect("a list").as_slice() else { panic!("{found}") };
        println!("{shape}: {only}");
        let number = |key: &str| only[key].as_f64().expect("a number");
        assert_eq!(number("step"), 1899.0, "{shape}");
        assert!(number("lower") < 1899.0 && number("upper") - number("lower") < 15.0, "{shape}: {only}");
    }
}
