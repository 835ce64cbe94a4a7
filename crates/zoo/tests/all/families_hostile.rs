//! Damaged and malicious folders and configurations of networks: refused by name, nothing read outside of the folder.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::{Path, PathBuf};

use ontogeny_zoo::{
    Interface, Layout, Model, NameMap, Read, ReadError, checkpoint_files, family_weights, read_checkpoint,
    read_llama2c, read_network,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(name)
}

/// A copy of a fixture that can be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// What reading the checkpoint in a folder ends in.
fn error_of(folder: &Path) -> String {
    let read = checkpoint_files(folder).and_then(|files| read_checkpoint(&files.unwrap().main));
    let error = read.map(|file| file.tensors.len()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&*folder.to_string_lossy()), "{message}");
    message
}

#[test]
fn an_index_that_lies_is_refused_by_name() {
    const INDEX: &str = "model.safetensors.index.json";
    const FIRST: &str = "model-00001-of-00004.safetensors";
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.safetensors");
    fs_err::copy(fixture("gpt-neo").join(FIRST), &secret).unwrap();
    // The name that one tensor is given, and what is said.
    for (name, says) in [
        ("model-00009-of-00004.safetensors", "which is not there; fetch it again"),
        ("../secret.safetensors", "which is not in the folder of the index"),
        (&*secret.to_string_lossy(), "which is not in the folder of the index"),
        ("..", "which is not in the folder of the index"),
        ("sub/model.safetensors", "which is not in the folder of the index"),
        ("sub\\model.safetensors", "which is not in the folder of the index"),
        ("", "which is not in the folder of the index"),
        ("link.safetensors", "outside of the folder of the index"),
        (
            "model-00004-of-00004.safetensors",
            "it says `transformer.h.0.attn.attention.k_proj.weight` is in `model-00004",
        ),
    ] {
        let folder = copy("gpt-neo");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&secret, folder.path().join("link.safetensors")).unwrap();
        let path = folder.path().join(INDEX);
        let mut index: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        index["weight_map"]["transformer.h.0.attn.attention.k_proj.weight"] = name.into();
        fs_err::write(&path, index.to_string()).unwrap();
        let message = error_of(folder.path());
        assert!(message.contains(says), "{name}: {message}");
    }
    for (what, change) in [
        (
            "which the index does not name",
            (|map: &mut serde_json::Map<String, Value>| drop(map.remove("transformer.wte.weight"))) as fn(&mut _),
        ),
        ("which does not hold it", |map| drop(map.insert("more".to_owned(), FIRST.into()))),
        ("it names no tensor", serde_json::Map::clear),
    ] {
        let folder = copy("gpt-neo");
        let path = folder.path().join(INDEX);
        let mut index: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        change(index["weight_map"].as_object_mut().unwrap());
        fs_err::write(&path, index.to_string()).unwrap();
        let message = error_of(folder.path());
        assert!(message.contains(what), "{what}: {message}");
    }
    for text in ["", "{", "[]", "{\"weight_map\": 5}", "{\"weight_map\": {\"a\": 5}}"] {
        let folder = copy("gpt-neo");
        fs_err::write(folder.path().join(INDEX), text).unwrap();
        assert!(error_of(folder.path()).contains("no index of tensors"), "{text}");
    }
}

#[test]
fn a_shard_that_is_cut_is_named() {
    let folder = copy("gpt-neo");
    let path = folder.path().join("model-00003-of-00004.safetensors");
    let bytes = fs_err::read(&path).unwrap();
    for n in [0, 7, 20, bytes.len() / 2, bytes.len() - 1] {
        fs_err::write(&path, &bytes[..n]).unwrap();
        let message = error_of(folder.path());
        assert!(message.contains("model-00003-of-00004.safetensors"), "{n}: {message}");
    }
}

/// A shard may be a link into the cache of the hub, whose snapshots are made of links.
#[cfg(unix)]
#[test]
fn the_snapshots_of_a_hub_cache_are_read() {
    let cache = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (cache.path().join("blobs"), cache.path().join("snapshots/abc"));
    fs_err::create_dir_all(&blobs).unwrap();
    fs_err::create_dir_all(&snapshot).unwrap();
    for (number, entry) in fs_err::read_dir(fixture("gpt-neo")).unwrap().enumerate() {
        let path = entry.unwrap().path();
        let blob = format!("{number:08x}");
        fs_err::copy(&path, blobs.join(&blob)).unwrap();
        let link = snapshot.join(path.file_name().unwrap());
        std::os::unix::fs::symlink(Path::new("../../blobs").join(blob), link).unwrap();
    }
    let read =
        |folder: &Path| read_checkpoint(&checkpoint_files(folder).unwrap().unwrap().main).unwrap().content_hash();
    assert_eq!(read(&snapshot), read(&fixture("gpt-neo")));
}

/// The message about a fixture's configuration with these keys changed; `null` removes one.
fn refused(name: &str, changes: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(fixture(name).join("config.json")).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs_err::write(&path, config.to_string()).unwrap();
    let interface = Interface::Tokens { vocabulary: 9, length: 9, read: Read::NEXT_TOKEN };
    match read_network(folder.path()) {
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("config.json"), "{message}");
            message
        }
        Ok(known) => Model::new(known.network, interface).map(|model| model.space().len()).unwrap_err().to_string(),
    }
}

#[test]
fn keys_that_cannot_be_honoured_are_named() {
    let rope = |kind: &str| json!({ "rope_parameters": { "rope_type": kind, "rope_theta": 1e4, "factor": 2.0 } });
    for (name, changes, says) in [
        ("gpt2", json!({ "model_type": "gptj" }), "`model_type` is \"gptj\"; expected one of gpt2, gpt_neo, gpt_neox"),
        ("gpt2", json!({ "model_type": null }), "`model_type` is missing"),
        ("gpt2", json!({ "n_embd": null }), "`n_embd` is missing; expected a whole number"),
        ("gpt2", json!({ "n_layer": -2 }), "`n_layer` is -2; expected a whole number, 1 to"),
        ("gpt2", json!({ "n_head": 2.5 }), "`n_head` is 2.5"),
        ("gpt2", json!({ "n_head": 5 }), "network.heads is 5; expected a divisor of d_model = 12"),
        (
            "gpt2",
            json!({ "activation_function": "quick_gelu" }),
            "`activation_function` is \"quick_gelu\"; expected one of",
        ),
        ("gpt2", json!({ "add_cross_attention": true }), "`add_cross_attention` is true; expected false"),
        ("gpt2", json!({ "pruned_heads": { "0": [1] } }), "`pruned_heads`"),
        ("gpt2", json!({ "scale_attn_weights": "yes" }), "`scale_attn_weights` is \"yes\"; expected true or false"),
        (
            "gpt2",
            json!({ "quantization_config": { "bits": 4 } }),
            "`quantization_config` = {\"bits\":4} is not known here",
        ),
        (
            "gpt2",
            json!({ "a_new_key": 1 }),
            "`a_new_key` = 1 is not known here, and may change what the network computes",
        ),
        (
            "gpt-neo",
            json!({ "attention_types": [[["global"], 2]] }),
            "`attention_types` is [[[\"global\"],2]]; expected 3 blocks",
        ),
        ("gpt-neo", json!({ "attention_types": [[["sparse"], 3]] }), "`attention_types`"),
        ("gpt-neo", json!({ "attention_types": [[[], 18_446_744_073_709_551_615_u64]] }), "`attention_types`"),
        ("gpt-neo", json!({ "attention_layers": ["global", "global", "global"] }), "`attention_layers`"),
        (
            "gpt-neox",
            json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.3 } }),
            "network.rotary_dim is 1",
        ),
        ("gpt-neox", json!({ "rope_parameters": { "partial_rotary_factor": 1.5 } }), "`rotary_pct` is 1.5"),
        ("llama", rope("dynamic"), "`rope_parameters.rope_type` is \"dynamic\"; expected default, linear or llama3"),
        ("llama", rope("yarn"), "`rope_parameters.rope_type` is \"yarn\""),
        ("llama", rope("llama3"), "`rope_parameters.low_freq_factor` is missing"),
        ("llama", json!({ "rope_scaling": { "type": "longrope" } }), "`rope_scaling.rope_type` is \"longrope\""),
        (
            "llama",
            json!({ "rope_parameters": { "beta_fast": 3 } }),
            "`rope_parameters.beta_fast` = 3 is not known here",
        ),
        ("llama", json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "partial_rotary_factor` is 0.5"),
        ("llama", json!({ "mlp_bias": true }), "`mlp_bias` is true; expected false, or nothing"),
        ("llama", json!({ "num_key_value_heads": 2 }), "network.key_value_heads is 2; expected a divisor of heads = 3"),
        ("llama", json!({ "head_dim": 5 }), "network.d_head is 5; expected an even width"),
        ("mistral", json!({ "attention_bias": true }), "`attention_bias` is true; expected nothing: only llama"),
        ("mistral", json!({ "sliding_window": 0 }), "`sliding_window` is 0"),
        ("qwen2", json!({ "layer_types": ["full_attention"] }), "`layer_types`"),
        ("qwen2", json!({ "use_sliding_window": false }), "no window, because use_sliding_window is false"),
    ] {
        let message = refused(name, &changes);
        assert!(message.contains(says), "{name} {changes}: {message}");
    }
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let most = 1 << 24;
    for (name, changes, says) in [
        (
            "gpt2",
            json!({ "vocab_size": 1_u64 << 40 }),
            "`vocab_size` is 1099511627776; expected a whole number, 1 to 16777216",
        ),
        ("gpt2", json!({ "n_embd": u64::MAX }), "`n_embd` is 18446744073709551615"),
        ("gpt2", json!({ "n_embd": most, "n_head": 1 << 10, "n_inner": 4 }), "weights in all; expected at most 2^40"),
        ("gpt2", json!({ "n_layer": most }), "network.layers is 16777216; expected at most 1000"),
        ("gpt-neo", json!({ "intermediate_size": most, "hidden_size": most }), "at most 2^40 weights"),
        (
            "llama",
            json!({ "head_dim": most, "num_attention_heads": 1 << 16, "num_key_value_heads": 1 }),
            "at most 2^40 weights",
        ),
        ("llama", json!({ "num_attention_heads": most }), "network.heads is 16777216; expected at most 65536"),
    ] {
        let message = refused(name, &changes);
        assert!(message.contains(says), "{name} {changes}: {message}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_of_a_configuration_is_a_network_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let good = fs_err::read(fixture("qwen2").join("config.json")).unwrap();
    let interface = Interface::Tokens { vocabulary: 9, length: 9, read: Read::NEXT_TOKEN };
    let try_it = |bytes: &[u8]| {
        fs_err::write(&path, bytes).unwrap();
        if let Ok(known) = read_network(&path) {
            let _ = Model::new(known.network, interface);
        }
    };
    (0..good.len()).step_by(3).for_each(|n| try_it(&good[..n]));
    for at in 0..good.len() {
        let mut bytes = good.clone();
        for change in [b'9', b'-', b'"', 0xff] {
            bytes[at] = change;
            try_it(&bytes);
        }
    }
}

#[test]
fn weights_of_another_network_are_listed_under_their_own_names() {
    let known = read_network(&fixture("gpt2")).unwrap();
    let interface = Interface::Tokens { vocabulary: 9, length: 9, read: Read::NEXT_TOKEN };
    let model = Model::new(known.network, interface).unwrap();
    let error = |folder: &str, layout| {
        let file = read_checkpoint(&checkpoint_files(&fixture(folder)).unwrap().unwrap().main).unwrap();
        family_weights(&file, layout, &NameMap::default(), &model).unwrap_err().to_string()
    };
    let message = error("gpt2-crfm", Layout::Gpt2);
    assert!(message.contains("`h.0.mlp.c_fc.weight` has shape [12, 20], expected [12, 48]"), "{message}");
    // Its configuration says that the unembedding is another matrix; this network's says that it is the embedding.
    let untied = refused_tie();
    assert!(
        untied.contains("`lm_head.weight` is not `transformer.wte.weight`, although the configuration ties them"),
        "{untied}"
    );
    let message = error("gpt-neo", Layout::GptNeo);
    assert!(message.contains("missing `blocks.0.attn.b_Q (which GptNeo does not have)`"), "{message}");
    assert!(message.contains("superfluous `h.2.ln_1.weight` [12]"), "{message}");
}

/// The message about a file with an unembedding of its own for a network without one.
fn refused_tie() -> String {
    let folder = copy("gpt2-crfm");
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    config["tie_word_embeddings"] = true.into();
    fs_err::write(&path, config.to_string()).unwrap();
    let known = read_network(folder.path()).unwrap();
    let interface = Interface::Tokens { vocabulary: 9, length: 9, read: Read::NEXT_TOKEN };
    let model = Model::new(known.network, interface).unwrap();
    let file = read_checkpoint(&folder.path().join("model.safetensors")).unwrap();
    family_weights(&file, known.layout, &NameMap::default(), &model).unwrap_err().to_string()
}

/// A file of llama2.c with this header, and as many bytes behind it.
fn llama2c(header: [i32; 7], n_bytes: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let bytes: Vec<u8> = header.into_iter().flat_map(i32::to_le_bytes).chain(std::iter::repeat_n(0, n_bytes)).collect();
    fs_err::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn llama2c_files_whose_header_lies_are_refused() {
    // dim 4, hidden 6, 1 layer, 2 heads, 1 of keys, 5 tokens, 3 positions, by hand: the embedding 20, norms 3·4, queries and
    // outputs 2·16, keys and values 2·8, the MLP 3·24, tables of 3 positions 6 + 6... of width 2: 3·2.
    let good = [4, 6, 1, 2, 1, 5, 3];
    let n_bytes = 4 * (20 + 12 + 32 + 16 + 72 + 6);
    let (_folder, path) = llama2c(good, n_bytes);
    let weights = read_llama2c(&path).unwrap();
    assert_eq!(weights.iter().map(|w| w.values.len()).sum::<usize>(), 20 + 12 + 32 + 16 + 72);
    // An unembedding of its own is told by a negative vocabulary, and takes as much as the embedding.
    let (_folder, path) = llama2c([4, 6, 1, 2, 1, -5, 3], n_bytes + 80);
    assert!(read_llama2c(&path).unwrap().iter().any(|w| w.name == "unembed.W_U"));
    for (header, n_bytes, says) in [
        (good, n_bytes - 1, "found 659"),
        (good, n_bytes + 4, "found 664"),
        ([0x616b_3432, 1, 0, 0, 0, 0, 0], 256, "version 1, expected version 0"),
        ([4, 6, 1, 3, 1, 5, 3], n_bytes, "expected heads of an even width that divide dim"),
        ([4, 6, -1, 2, 1, 5, 3], n_bytes, "n_layers = -1, expected 1 to"),
        ([i32::MAX; 7], n_bytes, "dim = 2147483647"),
        ([1 << 24, 1 << 24, 1 << 24, 1 << 12, 1, 1 << 24, 1 << 24], n_bytes, "bytes, found"),
        ([4, 6, 1, 2, 1, i32::MIN, 3], n_bytes, "vocab_size = 0"),
    ] {
        let (_folder, path) = llama2c(header, n_bytes);
        let error = read_llama2c(&path).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains("model.bin"), "{error}");
        assert!(read_network(&path).is_err());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.bin");
    fs_err::write(&path, [1, 2, 3]).unwrap();
    assert!(read_llama2c(&path).unwrap_err().to_string().contains("it has 3 bytes"));
}
