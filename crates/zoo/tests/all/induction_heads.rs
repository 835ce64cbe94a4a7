//! The published induction model (Nanda et al. 2023): where its heads look, read off the named activation `hook_pattern`.
//!
//! Its weights carry no licence and are no part of this project: where they are not beside it, there is nothing to test.

use std::path::Path;

use ontogeny_graph::{Gradient, Program, Purpose, Stream, Workspace};
use ontogeny_zoo::{Interface, Layout, Model, NameMap, NetworkConfig, Read, read_tensors, to_canonical};
use serde_json::json;

const LENGTH: usize = 85;
const HEADS: usize = 4;
const BATCH: usize = 200;

/// Tokens after which a sequence repeats itself: what the model was trained on.
const PERIOD: usize = 28;

#[test]
fn heads_look_where_they_were_found_to_look() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/progress-measures/induction_head_infinite.safetensors");
    if !path.is_file() {
        println!("skipped: no ../shared/data/progress-measures beside the repository");
        return;
    }
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "transformer", "layers": 2, "d_model": 48, "heads": HEADS, "context": LENGTH, "attention_only": true,
        "normalization": "none", "positions": "learned",
    }))
    .unwrap();
    let interface = Interface::Tokens { vocabulary: 128, length: LENGTH, read: Read::NEXT_TOKEN };
    let model = Model::new(network, interface).unwrap();
    let file = read_tensors(&path).unwrap();
    let weights = to_canonical(&file, Layout::detect(&file).unwrap(), &NameMap::default()).unwrap();
    let weights = model.weights_from(&path, weights).unwrap();

    let (g, _) = model.graph(BATCH);
    let hooks = [0, 1].map(|layer| format!("blocks.{layer}.attn.hook_pattern"));
    let outputs: Vec<_> = hooks.iter().map(|hook| (hook.as_str(), g.find(hook).unwrap())).collect();
    let program = Program::compile(&g, &outputs, Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    let tokens = workspace.ids_mut(&program, "tokens").unwrap();
    for (number, sequence) in tokens.chunks_exact_mut(LENGTH).enumerate() {
        let stream = Stream::new(5, Purpose::Data, number as u64);
        for at in 0..LENGTH {
            sequence[at] =
                if at < PERIOD { (stream.uniform(0, at as u32) * 127.0) as i32 } else { sequence[at - PERIOD] };
        }
    }
    program.run(&mut workspace, &weights).unwrap();
    // Mean over sequences of the attention from one position to another, and its standard error.
    let mean_and_error = |layer: usize, head: usize, from: usize, to: usize| {
        let pattern = workspace.output(&program, &hooks[layer]);
        let at = |sequence: usize| ((sequence * HEADS + head) * LENGTH + from) * LENGTH + to;
        let values: Vec<f64> = (0..BATCH).map(|sequence| f64::from(pattern[at(sequence)])).collect();
        let n = BATCH as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    };
    let mean = |layer, head, from, to| mean_and_error(layer, head, from, to).0;
    // Head 2 of the first block looks at the token before: .85 to .92, but for three standard errors (of 20 positions). Its
    // first positions look elsewhere (5 gives .37), and so do those behind the first copy.
    for from in 8..PERIOD {
        let (found, error) = mean_and_error(0, 2, from, from - 1);
        assert!((0.85 - 3.0 * error..=0.92 + 3.0 * error).contains(&found), "position {from}: {found} ± {error}");
    }
    assert!(mean(0, 2, 5, 4) < 0.5 && mean(0, 2, PERIOD, PERIOD - 1) < 0.1);
    // Heads 1 to 3 of the second block look behind the earlier copies of a token (prefix matching): .36 of their attention.
    let prefix_matching = |head: usize| {
        let of = |from: usize| {
            (1..=from / PERIOD).map(|copies| mean(1, head, from, from - copies * PERIOD + 1)).sum::<f64>()
        };
        (PERIOD..LENGTH).map(of).sum::<f64>() / (LENGTH - PERIOD) as f64
    };
    for head in 1..HEADS {
        let found = prefix_matching(head);
        assert!((0.34..0.40).contains(&found), "head {head}: {found}");
    }
    assert!(prefix_matching(0) < 0.08, "{}", prefix_matching(0));
}
