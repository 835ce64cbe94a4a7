//! Heads of a published network: what it copies and composes is what its authors found in it. Skipped where the shared data are not there.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are of interest, and a skipped test says why")]

use std::path::Path;

use ontogeny_observe::{
    AttentionSettings, Checkpoint, CompositionSettings, Findings, HeadScoresSettings, IclScoreSettings, Settings,
    Subject,
};
use ontogeny_zoo::{
    Interface, Layout, Model, NameMap, NetworkConfig, Read, Task, TaskConfig, read_tensors, to_canonical,
};
use serde_json::{from_value, json};

/// The model of induction of Nanda et al. (2023), appendix E, with sequences as it was trained on.
fn published() -> Option<(Model, Task, Vec<f32>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/progress-measures/induction_head_infinite.safetensors");
    if !path.is_file() {
        println!("skipped: no `{}`", path.display());
        return None;
    }
    let task = json!({"kind": "repeated_tokens", "vocabulary": 127, "block": 16, "repeats": 3, "length": 85, "train_examples": 200});
    let task = from_value::<TaskConfig>(task).unwrap().prepare(0, Path::new(".")).unwrap();
    let network: NetworkConfig = from_value(json!({
        "kind": "transformer", "layers": 2, "d_model": 48, "heads": 4, "context": 85, "attention_only": true,
        "normalization": "none", "positions": "learned",
    }))
    .unwrap();
    let interface = Interface::Tokens { vocabulary: 128, length: 85, read: Read::NEXT_TOKEN };
    let model = Model::new(network, interface).unwrap();
    let file = read_tensors(&path).unwrap();
    let weights = to_canonical(&file, Layout::detect(&file).unwrap(), &NameMap::default()).unwrap();
    let weights = model.weights_from(&path, weights).unwrap();
    Some((model, task, weights))
}

fn measured(settings: &dyn Settings, (model, task, weights): &(Model, Task, Vec<f32>)) -> Findings {
    let mut instrument = settings.build(&Subject { model, task, seed: 0 }).unwrap();
    let found = instrument.measure(&Checkpoint::alone(weights)).unwrap();
    assert_eq!(found.value.dims, instrument.dims());
    found
}

#[test]
fn induction_heads_match_prefixes_copy_and_read_the_previous_token_head() {
    let Some(published) = published() else { return };
    let found = measured(&HeadScoresSettings { copies: 3, text: true }, &published).value;
    let scores = &found.dims[1].1;
    let score = |head: usize, name: &str| {
        found.values[head * scores.len() + scores.iter().position(|own| own == name).unwrap()]
    };
    for head in 0..8 {
        let own = ["previous", "text_previous", "induction", "prefix_matching", "copying", "ov_eigenvalues"];
        println!("{}: {:?}", found.dims[0].1[head], own.map(|name| (name, (1e3 * score(head, name)).round() / 1e3)));
    }
    // L1H1 to L1H3 match prefixes, at any period, and of all heads copy most; L1H0 does not match.
    for head in 5..8 {
        assert!(score(head, "prefix_matching") > 0.2 && score(head, "ov_eigenvalues") > 0.9);
        assert!((0..5).all(|other| score(head, "copying") > score(other, "copying")));
    }
    assert!((0..5).all(|head| score(head, "prefix_matching") < 0.1));

    // L0H2 looks at the token before from the tokens number 1 to 27 (.85 to .92), and at others later.
    let patterns = measured(&AttentionSettings { examples: Some(5), ..AttentionSettings::default() }, &published);
    let (_, pattern) = &patterns.arrays[0];
    let previous = |token: usize| {
        let at = |prompt: usize| pattern.values[((prompt * 8 + 2) * 85 + token) * 85 + token - 1];
        (0..5).map(at).sum::<f64>() / 5.0
    };
    let early: Vec<f64> = (1..28).map(previous).collect();
    println!("l0h2 to the token before, from tokens 1 to 27: {early:.2?}");
    let mean = early.iter().sum::<f64>() / 27.0;
    assert!((0.85..=0.92).contains(&mean), "{mean}");
    assert!((28..85).map(previous).sum::<f64>() / 57.0 < 0.2);

    let found = measured(&CompositionSettings::default(), &published).value;
    let pair = |name: &str, score: usize| {
        found.values[3 * found.dims[0].1.iter().position(|own| own == name).unwrap() + score]
    };
    for reader in ["l1h1", "l1h2", "l1h3"] {
        let keys: Vec<f64> = (0..4).map(|writer| pair(&format!("l0h{writer}-{reader}"), 1)).collect();
        println!("keys of {reader} from l0h0 to l0h3, less chance: {keys:.3?}");
        // It reads the previous-token head with its keys, more than any other and more than chance.
        assert!(keys[2] > 0.0 && (0..4).all(|writer| keys[2] >= keys[writer]), "{keys:?}");
    }

    let found = measured(&IclScoreSettings::default(), &published);
    println!("learning in context: {:.3?} ± {:.3?}", found.value.values, found.standard_errors);
    // Repeats come late: the loss falls along the sequence, by far more than its error.
    assert!(found.value.values[0] < -5.0 * found.standard_errors.unwrap()[0]);
}
