//! Descriptions and checkpoints of known networks: the first byte says which file of a folder the others are.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ontogeny_zoo::{
    Interface, Llama2cTokenizer, Model, NetworkConfig, Read, checkpoint_files, read_checkpoint, read_llama2c, read_network,
};

const SHARD: &[u8] = include_bytes!("../seeds/safetensors/state_dict.safetensors");

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let folder = folder();
    let says_where = |message: String, name: &str| {
        assert!(message.contains(name), "no file name: {message}");
        assert!(message.len() < 4096 + 8 * bytes.len(), "a message of {} bytes", message.len());
    };
    match kind % 5 {
        0 | 1 => {
            let name = if kind % 5 == 0 { "config.json" } else { "config.toml" };
            let path = folder.join(name);
            fs::write(&path, rest).expect("the file is written");
            match read_network(&path) {
                Err(error) => says_where(error.to_string(), name),
                Ok(known) => {
                    let NetworkConfig::Transformer(config) = &known.network else { panic!("a transformer") };
                    // Deep graphs take time, not memory.
                    if config.layers <= 20 {
                        let interface = Interface::Tokens { vocabulary: 5, length: 4, read: Read::NEXT_TOKEN };
                        let _ = Model::new(known.network.clone(), interface).map(|model| model.space().len());
                    }
                }
            }
        }
        2 => {
            fs::write(folder.join("model.safetensors.index.json"), rest).expect("the file is written");
            match checkpoint_files(folder).and_then(|files| read_checkpoint(&files.expect("an index").main)) {
                Err(error) => says_where(error.to_string(), "model"),
                Ok(file) => {
                    assert!(file.tensors.windows(2).all(|pair| pair[0].name < pair[1].name), "names are sorted and unique");
                }
            }
        }
        3 => {
            let path = folder.join("model.bin");
            fs::write(&path, rest).expect("the file is written");
            match (read_network(&path), read_llama2c(&path)) {
                (Err(error), Err(other)) => {
                    assert_eq!(error.to_string(), other.to_string());
                    says_where(error.to_string(), "model.bin");
                }
                (Ok(known), Ok(weights)) => {
                    let interface = Interface::Tokens { vocabulary: 1, length: 2, read: Read::NEXT_TOKEN };
                    let model = Model::new(known.network, interface).expect("its header was checked");
                    let flat = model.weights_from(&path, weights).expect("its own weights");
                    assert_eq!(flat.len(), model.space().len());
                }
                (known, weights) => panic!("network {}, weights {}", known.is_ok(), weights.is_ok()),
            }
        }
        _ => {
            let path = folder.join("tokenizer.bin");
            fs::write(&path, rest).expect("the file is written");
            match Llama2cTokenizer::read(&path) {
                Err(error) => says_where(error.to_string(), "tokenizer.bin"),
                Ok(tokenizer) => {
                    let ids = tokenizer.encode("a text, and é");
                    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
                    tokenizer.decode(&ids);
                }
            }
        }
    }
});

/// A folder in memory with one shard in it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = place.join(format!("ontogeny-fuzz-families-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder is made");
        fs::write(folder.join("model-1.safetensors"), SHARD).expect("the shard is written");
        folder
    })
}
