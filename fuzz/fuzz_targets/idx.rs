//! Files of examples: images, labels, CIFAR batches, text and ids are read, or refused with a message that names file or key.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ontogeny_zoo::TaskConfig;
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    // The counterpart that fits what the bytes claim, so that more than the header is reached.
    let extent = |at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let n = extent(4).min(1 << 12);
    let labels: Vec<u8> = (0..n).map(|i| (i % 2) as u8).collect();
    write("fuzzed", bytes);
    write("labels", &[&[0, 0, 8, 1][..], &n.to_be_bytes(), &labels].concat());
    write("images", &[&[0, 0, 8, 3][..], &n.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 1], &labels].concat());
    prepare(
        json!({ "kind": "images", "source": "idx", "images": "fuzzed", "labels": "labels", "train_fraction": 0.5 }),
    );
    prepare(
        json!({ "kind": "images", "source": "idx", "images": "images", "labels": "fuzzed", "train_fraction": 0.5 }),
    );
    prepare(json!({ "kind": "images", "source": "cifar", "batches": ["fuzzed"], "train_examples": 1 }));
    prepare(json!({ "kind": "text", "source": "file", "file": "fuzzed", "context": 2, "windows": "adjacent" }));
    prepare(json!({ "kind": "tokens", "data": "fuzzed", "length": 3 }));
    prepare(json!({ "kind": "tokens", "data": "fuzzed" }));
});

fn prepare(settings: Value) {
    let config: TaskConfig = serde_json::from_value(settings).expect("the settings are right");
    match config.prepare(0, folder()) {
        Ok(task) => {
            for split in &task.splits {
                assert_eq!(split.indices.len(), split.data.len());
                assert!(split.data.columns().iter().all(|column| column.width > 0));
            }
        }
        Err(error) => {
            let message = error.to_string();
            let names = message.contains(&*folder().to_string_lossy()) || message.starts_with("task.");
            assert!(names, "neither file nor key: {message}");
        }
    }
}

fn write(name: &str, bytes: &[u8]) {
    fs::write(folder().join(name), bytes).expect("the scratch file is written");
}

fn folder() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("ontogeny-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the scratch folder is made");
        folder
    })
}
