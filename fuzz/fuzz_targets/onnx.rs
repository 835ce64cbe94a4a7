//! The reader of ONNX networks, and their graphs on tasks of several kinds.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ontogeny_zoo::{Interface, Model, NetworkConfig, OnnxConfig, Read, VectorLoss, describe_onnx};

/// A folder of its own: external data may be anything in it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("ontogeny-fuzz-{}-onnx", std::process::id()));
        fs::create_dir_all(&folder).expect("the scratch folder is made");
        folder
    })
}

fuzz_target!(|bytes: &[u8]| {
    let path = folder().join("net.onnx");
    fs::write(&path, bytes).expect("the scratch file is written");
    let mut network = OnnxConfig::new("net.onnx", Vec::new());
    let read = network.read(folder());
    assert_eq!(read.is_ok(), describe_onnx(&path).is_ok(), "`inspect` and import must say the same");
    if let Err(error) = read {
        let message = error.to_string();
        assert!(message.contains("net.onnx"), "no file name: {message}");
        assert!(message.len() < 8192 + 8 * bytes.len(), "a message of {} bytes", message.len());
        return;
    }
    let vectors =
        |inputs, image| Interface::Vectors { inputs, outputs: 3, loss: VectorLoss::CrossEntropy, image };
    let last = Read::LastPosition { classes: 3 };
    for interface in [
        vectors(2, None),
        vectors(6, None),
        vectors(128, Some([2, 8, 8])),
        Interface::Tokens { vocabulary: 16, length: 16, read: Read::NEXT_TOKEN },
        Interface::Tokens { vocabulary: 11, length: 6, read: last },
    ] {
        let Ok(model) = Model::new(NetworkConfig::Onnx(network.clone()), interface) else { continue };
        let (graph, nodes) = model.graph(2);
        if graph.check().is_ok() {
            assert!(graph.shape(nodes.loss).is_empty());
        }
        assert_eq!(model.initial_weights(0).len(), model.space().len());
    }
});
