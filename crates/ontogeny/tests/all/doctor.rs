//! `ontogeny doctor`: the answers it knows, and what it says of itself.

use crate::common::Workplace;
use serde_json::Value;

#[test]
fn it_says_what_it_is_and_where_the_check_is() {
    let here = Workplace::new();
    let plain = here.call(&["doctor"]);
    plain.expect(0, &[]);
    for part in [env!("CARGO_PKG_VERSION"), "cores", "instruction set", "features", "doctor --posterior"] {
        assert!(plain.stdout.contains(part), "{part} in {}", plain.stdout);
    }
    let json: Value = serde_json::from_str(&here.call(&["doctor", "--json"]).stdout).unwrap();
    assert!(json["cores"].as_u64().unwrap() >= 1 && json["features"].is_array(), "{json}");
    here.call(&["doctor", "--seed", "1"]).expect(2, &["--posterior"]);
}

#[test]
fn measured_is_held_against_exact() {
    let here = Workplace::new();
    let outcome = here.call(&["doctor", "--posterior", "--json", "--seed", "1"]);
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    outcome.expect(0, &[]);
    assert_eq!((&found["seed"], &found["is_sound"]), (&1.into(), &true.into()));
    let cases = found["cases"].as_array().unwrap();
    let samplers: Vec<&str> = cases.iter().map(|case| case["sampler"].as_str().unwrap()).collect();
    for sampler in ["sgld", "rmsprop_sgld", "sghmc", "sgnht", "baoab", "mala", "hmc", "nuts"] {
        assert!(samplers.contains(&sampler), "{sampler} in {samplers:?}");
    }
    for case in cases {
        let [measured, mcse, exact, error, z] =
            ["measured", "mcse", "exact", "exact_error", "z"].map(|key| case[key].as_f64().unwrap());
        assert!(z.abs() <= 4.0 && case["is_sound"] == true, "{case}");
        assert!((z - (measured - exact) / mcse.hypot(error)).abs() < 1e-9, "{case}");
    }
}
