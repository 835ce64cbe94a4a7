//! `ontogeny bench`: what it prints and what it exports, not how fast anything is.

use crate::common::Workplace;
use safetensors::SafeTensors;
use serde_json::Value;

fn json(here: &Workplace, args: &[&str]) -> Value {
    let outcome = here.call(args);
    outcome.expect(0, &[]);
    serde_json::from_str(&outcome.stdout).expect("one JSON object")
}

#[test]
fn the_json_has_the_machine_and_a_workload() {
    let here = Workplace::new();
    let found = json(&here, &["bench", "--only", "W1", "--seconds", "0.05", "--json"]);
    let machine = &found["machine"];
    assert!(machine["cpu"].as_str().is_some_and(|name| !name.is_empty()), "{machine}");
    assert!(["baseline", "avx2", "avx512"].contains(&machine["isa"].as_str().unwrap()), "{machine}");
    assert!(machine["cores"].as_u64().unwrap() >= 1);
    let positive = |of: &Value, key: &str| of[key].as_f64().is_some_and(|x| x.is_finite() && x > 0.0);
    assert!(positive(machine, "gemm_peak_gflops") && positive(machine, "copy_gb_per_s"), "{machine}");
    let [row] = found["workloads"].as_array().unwrap().as_slice() else { panic!("one workload in {found}") };
    assert_eq!(row["workload"], "W1");
    assert_eq!((row["threads"].as_u64(), row["chains"].as_u64()), (Some(1), Some(1)));
    for key in ["ms_per_chain_step", "gflops", "peak_share"] {
        assert!(positive(row, key), "{key} in {row}");
    }
    let quartiles: Vec<f64> = row["ms_quartiles"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let (fastest, median) = (row["ms_fastest"].as_f64().unwrap(), row["ms_per_chain_step"].as_f64().unwrap());
    assert!(fastest <= quartiles[0] && quartiles[0] <= median && median <= quartiles[1], "{row}");
    // The figures belong together: operations, time and rate.
    let rate = row["flops"].as_f64().unwrap() / median / 1e6;
    assert!((row["gflops"].as_f64().unwrap() / rate - 1.0).abs() < 1e-12, "{row}");
    let share = row["gflops"].as_f64().unwrap() / machine["gemm_peak_gflops"].as_f64().unwrap();
    assert!((row["peak_share"].as_f64().unwrap() / share - 1.0).abs() < 1e-12, "{row}");
    if cfg!(target_os = "linux") {
        assert!(row["peak_rss_mb"].as_f64().unwrap() > row["workspace_mb"].as_f64().unwrap(), "{row}");
    }
}

#[test]
fn chains_are_dealt_out_to_threads() {
    let here = Workplace::new();
    let found =
        json(&here, &["bench", "--only", "w1,W1x64", "--seconds", "0.05", "--threads", "2", "--chains", "3", "--json"]);
    let rows = found["workloads"].as_array().unwrap();
    let shape = |row: &Value| (row["workload"].clone(), row["threads"].as_u64(), row["chains"].as_u64());
    assert_eq!(shape(&rows[0]), ("W1".into(), Some(2), Some(3)));
    assert_eq!(shape(&rows[1]), ("W1x64".into(), Some(2), Some(64)));
    assert!(rows.iter().all(|row| row["speedup"].as_f64().is_some_and(|factor| factor > 0.0)), "{found}");
}

#[test]
fn the_plan_has_a_time_for_every_step() {
    let here = Workplace::new();
    let outcome = here.call(&["bench", "--plan", "W1", "--seconds", "0.05"]);
    outcome.expect(0, &[]);
    assert!(outcome.stdout.starts_with("W1: toy autoencoder"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains(" ms ") && outcome.stdout.contains("Mflop"), "{}", outcome.stdout);
}

#[test]
fn what_is_exported_is_one_piece_of_mathematics() {
    let here = Workplace::new();
    here.call(&["bench", "--export", "data", "--only", "W1"]).expect(0, &["wrote"]);
    let bytes = fs_err::read(here.path("data/W1.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let settings = metadata.metadata().clone().unwrap();
    assert_eq!((settings["update"].as_str(), settings["n_beta"].as_str()), ("sgld", "100"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f64> {
        let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
        data.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
    };
    let (w, b, x) = (floats("weights.W"), floats("weights.b"), floats("inputs.x"));
    assert_eq!((w.len(), b.len(), x.len()), (12, 6, 512 * 6));
    // y = relu(W'Wx + b) against x, written out.
    let loss = |w: &[f64], b: &[f64]| {
        let mut sum = 0.0;
        for x in x.chunks_exact(6) {
            let hidden = [0, 1].map(|h| (0..6).map(|i| w[6 * h + i] * x[i]).sum::<f64>());
            sum +=
                (0..6).map(|i| ((w[i] * hidden[0] + w[6 + i] * hidden[1] + b[i]).max(0.0) - x[i]).powi(2)).sum::<f64>();
        }
        sum / x.len() as f64
    };
    assert!((floats("loss")[0] - loss(&w, &b)).abs() < 1e-6);
    let (gradient_w, gradient_b) = (floats("gradient.W"), floats("gradient.b"));
    let step = 1e-5;
    for i in 0..18 {
        let moved = |sign: f64| {
            let (mut w, mut b) = (w.clone(), b.clone());
            let at = if i < 12 { &mut w[i] } else { &mut b[i - 12] };
            *at += sign * step;
            loss(&w, &b)
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        let found = if i < 12 { gradient_w[i] } else { gradient_b[i - 12] };
        // The data are fixed, and no example has a kink of relu within the step; what is left is rounding in f32.
        assert!((found - slope).abs() < 2e-6, "coordinate {i}: {found} and {slope}");
    }
}

#[test]
fn mistakes_are_named() {
    let here = Workplace::new();
    for (args, message) in [
        (["--only", "W9"], "no workload is called `W9`; there are W1, W1x64, W2"),
        (["--seconds", "0"], "`0` is no number above 0 and at most 3600"),
        (["--seconds", "NaN"], "`NaN` is no number above 0"),
        (["--threads", "0"], "1..=1024"),
        (["--plan", "all"], "no workload is called `all`"),
    ] {
        here.call(&[&["bench"], args.as_slice()].concat()).expect(2, &[message]);
    }
}
