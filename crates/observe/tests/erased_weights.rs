//! Weights with an erasure folded into them, against the erasure of activations.

use std::path::Path;

use ontogeny_observe::{Checkpoint, EraseConfig, ErasureSettings, Evaluator, LinearProbeSettings, Settings, Subject};
use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
use serde_json::{Value, from_value, json};

#[test]
fn folded_weights_do_what_the_map_of_the_activations_does() {
    let task: TaskConfig = from_value(json!({ "kind": "images", "train_fraction": 0.6 })).unwrap();
    let task = task.prepare(3, Path::new(".")).unwrap();
    let network: NetworkConfig =
        from_value(json!({"kind": "mlp", "sizes": [64, 20, 15, 10], "activation": "relu"})).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    let subject = Subject { model: &model, task: &task, seed: 1 };
    let weights = model.initial_weights(1);
    let train = &task.split("train").unwrap().data;
    let mut evaluator = Evaluator::new(&model).unwrap();
    let whole = evaluator.evaluate(&weights, train).unwrap().loss;
    let n = train.len();
    let measured = |settings: &dyn Settings, weights: &[f32]| {
        settings.build(&subject).unwrap().measure(&Checkpoint::alone(weights)).unwrap()
    };
    let probe: LinearProbeSettings =
        from_value(json!({ "places": ["layers.0.hook_pre"], "split": "train", "samples": n })).unwrap();
    let accuracy = |weights: &[f32]| measured(&probe, weights).value.values[0];
    for place in ["layers.0.hook_pre", "layers.0.hook_post", "layers.1.hook_post"] {
        // With all examples both fit the same map, and both losses are those of the split.
        let erasure: ErasureSettings =
            from_value(json!({ "places": [place], "split": "train", "samples": n })).unwrap();
        let increase = measured(&erasure, &weights).value.values[3];
        let config: EraseConfig = from_value(json!({ "place": place, "samples": n })).unwrap();
        let erased = config.erase(&subject, &weights).unwrap();
        let found = evaluator.evaluate(&erased, train).unwrap().loss - whole;
        assert!((found - increase).abs() < 1e-5 && increase.abs() > 1e-4, "{place}: {found} {increase}");
        // As many random features are another map.
        let random = EraseConfig { random: Some(4), ..config }.erase(&subject, &weights).unwrap();
        let of_random = evaluator.evaluate(&random, train).unwrap().loss - whole;
        assert!((of_random - increase).abs() > 1e-5, "{place}: {of_random} {increase}");
        if place == "layers.0.hook_pre" {
            // A probe of the network itself reads no digits there, and does where random features were erased: a tenth, to four errors.
            let chance = 0.1 + 4.0 * (0.1_f64 * 0.9 / n as f64).sqrt();
            let [before, after, random] = [&weights, &erased, &random].map(|weights| accuracy(weights));
            assert!(after < chance && before > 0.5 && random > 0.3, "{before} {after} {random}");
        }
    }
    for (settings, said) in [
        (json!({ "place": "layers.2.hook_pre" }), "layers.2.hook_pre"),
        (json!({ "place": "blocks.0.hook_resid_post" }), "a perceptron with biases"),
        (json!({ "place": "layers.0.hook_pre", "target": "board" }), "expected a single class"),
        (json!({ "place": "layers.0.hook_pre", "target": "token" }), "a network that reads tokens"),
    ] {
        let config: EraseConfig = from_value::<EraseConfig>(Value::clone(&settings)).unwrap();
        let error = config.erase(&subject, &weights).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
