//! stories260K of llama2.c: its text, its losses, its tokens. Skipped where the shared data are not there.

use std::path::{Path, PathBuf};

use ontogeny_graph::{Gradient, Program, Workspace};
use ontogeny_zoo::{
    Interface, Layout, Llama2cTokenizer, Model, Nodes, Read, TOKEN_LOSS, read_llama2c, read_network, read_tensors,
};

fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file);
    path.is_file().then_some(path)
}

/// What its authors and an independent pass say the model writes when it always takes the likeliest token.
const BEGINNING: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, \
                         she saw a big, red ball.";

#[test]
fn the_stories_model_writes_its_text_with_the_losses_of_pytorch() {
    let (Some(weights), Some(pieces)) = (shared("stories260K/stories260K.bin"), shared("stories260K/tok512.bin"))
    else {
        println!("skipped: no ../shared/data/stories260K beside the repository");
        return;
    };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stories260K.safetensors");
    let fixture = read_tensors(fixture).unwrap();
    let tokens: Vec<i32> = fixture.get("tokens").unwrap().data.as_i64().unwrap().iter().map(|&id| id as i32).collect();
    let expected = fixture.get("losses").unwrap().data.as_f32().unwrap();

    let known = read_network(&weights).unwrap();
    assert_eq!(known.layout, Layout::Llama2c);
    let interface = Interface::Tokens { vocabulary: 512, length: tokens.len(), read: Read::NEXT_TOKEN };
    let model = Model::new(known.network, interface).unwrap();
    let flat = model.weights_from(&weights, read_llama2c(&weights).unwrap()).unwrap();
    assert_eq!(flat.len(), 260_032);

    let (g, Nodes { logits, .. }) = model.graph(1);
    let losses = g.find(TOKEN_LOSS).unwrap();
    let program = Program::compile(&g, &[("logits", logits), ("losses", losses)], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    // The text is written anew: places that have not been reached are read by nothing before them.
    let mut written = vec![1; tokens.len()];
    for at in 0..tokens.len() - 1 {
        workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&written);
        program.run(&mut workspace, &flat).unwrap();
        let logits = &workspace.output(&program, "logits")[at * 512..(at + 1) * 512];
        let best = (0..512).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        written[at + 1] = best as i32;
    }
    let tokenizer = Llama2cTokenizer::read(&pieces).unwrap();
    let text = tokenizer.decode(&written);
    assert!(text.starts_with(BEGINNING), "{text}");
    assert_eq!(written, tokens);
    assert_eq!(tokenizer.encode(&text), written[1..], "its text has its tokens");

    workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&written);
    program.run(&mut workspace, &flat).unwrap();
    let losses = workspace.output(&program, "losses");
    assert_eq!(losses.len(), expected.len());
    for (at, (found, expected)) in losses.iter().zip(expected).enumerate() {
        // Five blocks in single precision against double: see the bound in `families.rs`; losses are up to 5 nats.
        assert!((found - expected).abs() <= 1e-4, "token {at}: {found}, expected {expected}");
    }
    let mean = losses.iter().sum::<f32>() / losses.len() as f32;
    // 0.386 as recorded for a longer text.
    assert!((0.2..0.6).contains(&mean), "{mean}");
}
