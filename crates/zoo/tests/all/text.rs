//! Text: windows, tokens, the texts that are built in, and files that cannot be used.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::io::Write;
use std::path::Path;

use ontogeny_graph::ColumnData;
use ontogeny_zoo::{
    Corpus, Interface, NgramModel, Read, Split, Task, TaskConfig, TaskError, TextConfig, ngram_entropy,
};
use serde_json::{Value, json};

fn config(changes: &Value) -> TextConfig {
    let mut settings = json!({ "context": 16 });
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn prepare_in(folder: &Path, changes: &Value) -> Result<Task, TaskError> {
    TaskConfig::Text(config(changes)).prepare(3, folder)
}

fn corpus(changes: &Value) -> Corpus {
    config(changes).corpus(3, Path::new("")).unwrap()
}

fn examples(split: &Split) -> Vec<&[i32]> {
    let column = &split.data.columns()[0];
    let ColumnData::Ids(ids) = &column.data else { panic!("ids") };
    ids.chunks_exact(column.width).collect()
}

/// A text of 500 different characters in ascending order, so that a token's id is its place.
fn places(folder: &Path) -> String {
    let text: String = (0x4e00..0x4e00 + 500).map(|code| char::from_u32(code).unwrap()).collect();
    fs_err::write(folder.join("places.txt"), &text).unwrap();
    text
}

#[test]
fn shakespeare_has_the_tokens_that_others_count() {
    // The README of nanoGPT's data/shakespeare_char: 65 characters, 1,003,854 and 111,540 tokens.
    let found = corpus(&json!({}));
    assert_eq!((found.vocabulary, found.train.len(), found.test.len()), (65, 1_003_854, 111_540));
    // "First": newline is the character 0, the space 1, `F` stands after 3 and further signs, as in nanoGPT's meta.pkl.
    assert_eq!(found.train[..5], [18, 47, 56, 57, 58]);
    let bytes = corpus(&json!({ "tokenizer": "byte" }));
    assert_eq!((bytes.vocabulary, &bytes.train[..5]), (256, &b"First".map(i32::from)[..]));
}

#[test]
fn names_have_the_bigram_loss_of_the_lecture_on_them() {
    let names = corpus(&json!({ "source": "names" }));
    let all = [names.train, names.test].concat();
    assert_eq!((names.vocabulary, all.len()), (27, 228_145));
    // Karpathy's first lecture on makemore: 2.4541 nats a letter for bigrams of letters and name ends. It counts the start of
    // the first name and the end of the last beside the 228,144 pairs here; each costs below 12 nats.
    let found = ngram_entropy(&all, 1).unwrap();
    assert!((found - 2.4541).abs() < 5e-5 + 24.0 / 228_144.0, "{found}");
}

#[test]
fn longer_contexts_predict_shakespeare_better() {
    let corpus = corpus(&json!({}));
    let losses: Vec<f64> = (0..4)
        .map(|order| NgramModel::new(&corpus.train, order, corpus.vocabulary).cross_entropy(&corpus.test).unwrap())
        .collect();
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0] - 0.2), "{losses:?}");
    // No predictor with that context does better on the text held out than the one counted in it.
    for (order, loss) in losses.iter().enumerate() {
        assert!(ngram_entropy(&corpus.test, order).unwrap() < *loss);
    }
}

#[test]
fn random_windows_are_uniform_and_stay_in_the_part_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    places(folder.path());
    let file = json!({ "source": "file", "file": "places.txt", "train_fraction": 0.8, "held_examples": 5000 });
    let task = prepare_in(folder.path(), &file).unwrap();
    let expected = Interface::Tokens { vocabulary: 500, length: 16, read: Read::NEXT_TOKEN };
    assert_eq!(task.interface, expected);
    let endless = task.endless.as_ref().unwrap();
    let mut batch = endless.buffer(5000);
    endless.fill(0, &mut batch);
    let ColumnData::Ids(ids) = &batch.columns()[0].data else { panic!("ids") };
    let seen = [ids.chunks_exact(16).collect(), examples(task.split("train").unwrap())];
    assert_ne!(seen[0], seen[1]);
    for windows in seen {
        let mut counts = [0.0; 11];
        for window in windows {
            assert!(window.iter().zip(window[0]..).all(|(&id, expected)| id == expected));
            // 385 places, 35 to each of 11 boxes.
            counts[window[0] as usize / 35] += 1.0;
        }
        // χ² of 10 degrees of freedom: above 29.6 with probability 0.001.
        let expected = 5000.0 / 11.0;
        let chi2: f64 = counts.iter().map(|n| (n - expected) * (n - expected) / expected).sum();
        assert!(chi2 < 29.6, "{counts:?}");
    }
    let test = task.split("test").unwrap();
    assert_eq!(test.indices, [400, 416, 432, 448, 464, 480]);
    for (window, &start) in examples(test).iter().zip(&test.indices) {
        assert!(window.iter().zip(start as i32..).all(|(&id, expected)| id == expected));
    }
}

#[test]
fn adjacent_windows_cover_the_text_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = places(folder.path());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    fs_err::write(folder.path().join("places.txt.gz"), encoder.finish().unwrap()).unwrap();
    let file = json!({
        "source": "file", "file": "places.txt.gz", "train_fraction": 0.5, "windows": "adjacent", "test_examples": 5,
    });
    let task = prepare_in(folder.path(), &file).unwrap();
    assert!(task.endless.is_none());
    let train = task.split("train").unwrap();
    assert!(train.indices.iter().copied().eq((0..15).map(|i| 16 * i)));
    assert!(examples(train).concat().into_iter().eq(0..240));
    // Of 15 windows held out, every third.
    assert_eq!(task.split("test").unwrap().indices, [250, 298, 346, 394, 442]);
}

#[test]
fn shuffled_lines_are_the_same_lines() {
    let plain = corpus(&json!({ "source": "names", "tokenizer": "byte" }));
    let shuffled =
        |seed| corpus(&json!({ "source": "names", "tokenizer": "byte", "shuffle_lines": true, "data_seed": seed }));
    let lines = |corpus: &Corpus| {
        let all: Vec<u8> = [&corpus.train[..], &corpus.test].concat().iter().map(|&id| id as u8).collect();
        String::from_utf8(all).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, mut after) = (lines(&plain), lines(&shuffled(1)));
    assert_eq!(after, lines(&shuffled(1)));
    assert_ne!(after, lines(&shuffled(2)));
    assert_ne!(after, before);
    let mut sorted = before;
    sorted.sort_unstable();
    after.sort_unstable();
    assert_eq!(after, sorted);
}

#[test]
fn unusable_files_and_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    places(folder);
    fs_err::write(folder.join("latin1.txt"), b"un caf\xe9 noir").unwrap();
    fs_err::write(folder.join("empty.txt"), b"").unwrap();
    let file = |changes: &Value| {
        let mut settings = json!({ "source": "file", "file": "places.txt" });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        settings
    };
    for (changes, message) in [
        (
            file(&json!({ "file": "latin1.txt" })),
            "latin1.txt: the byte 0xe9 at offset 6, which is not UTF-8 there; expected UTF-8 text, plain or gzipped; convert it",
        ),
        (
            file(&json!({ "file": "empty.txt" })),
            "task.train_fraction is 0.9; expected a share of 0 tokens that leaves some",
        ),
        (file(&json!({ "file": "absent.txt" })), "absent.txt"),
        (
            file(&json!({ "train_fraction": 1.0 })),
            "task.train_fraction is 1; expected a share of 500 tokens that leaves some",
        ),
        (file(&json!({ "train_fraction": 0.001 })), "task.train_fraction is 0.001; expected a share of 500 tokens"),
        (file(&json!({ "train_fraction": 0.98 })), "task.context is 16; expected at most the 10 tokens held out"),
        (file(&json!({ "train_fraction": 0.02 })), "task.context is 16; expected at most the 10 tokens to train on"),
        (file(&json!({ "context": 1 })), "task.context is 1; expected 2 to 1048576 tokens"),
        (file(&json!({ "test_examples": 4 })), "task.test_examples is 4; expected 1 to 3, the windows held out"),
        (
            file(&json!({ "windows": "adjacent", "held_examples": 4 })),
            "task.held_examples is 4; expected nothing, or windows = \"random\" beside it",
        ),
        (json!({ "source": "file" }), "task.file is missing; expected a path, because source = \"file\""),
        (json!({ "file": "places.txt" }), "task.file is given; expected nothing, or source = \"file\" beside it"),
        (json!({ "vocabulary": 300 }), "task.vocabulary is 300; expected nothing, or tokenizer = \"bpe\" beside it"),
        (
            json!({ "tokenizer_file": "x" }),
            "task.tokenizer_file is given; expected nothing, or tokenizer = \"bpe\" beside it",
        ),
    ] {
        let error = prepare_in(folder, &changes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[cfg(not(feature = "tokenizers"))]
#[test]
fn byte_pairs_ask_for_their_feature() {
    let error = prepare_in(Path::new(""), &json!({ "tokenizer": "bpe", "vocabulary": 300 })).unwrap_err().to_string();
    let expected = "task.tokenizer is bpe; expected `byte` or `char`, or ontogeny built with `--features tokenizers`";
    assert_eq!(error, expected);
}

#[cfg(feature = "tokenizers")]
mod byte_pairs {
    use super::*;

    #[test]
    fn learned_pairs_shorten_the_text() {
        let names =
            |vocabulary: usize| corpus(&json!({ "source": "names", "tokenizer": "bpe", "vocabulary": vocabulary }));
        let lengths: Vec<usize> = [256, 300, 1000].map(names).iter().map(|c| c.train.len() + c.test.len()).collect();
        assert_eq!(lengths[0], 228_145);
        assert!(lengths[1] < lengths[0] && lengths[2] < lengths[1], "{lengths:?}");
        assert_eq!(names(1000), names(1000));
    }

    #[test]
    fn settings_of_byte_pairs_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("bad.json"), b"{ \"model\": 3 }").unwrap();
        for (changes, message) in [
            (json!({}), "task.vocabulary is missing; expected the number of tokens to learn, or tokenizer_file"),
            (
                json!({ "vocabulary": 9, "tokenizer_file": "x" }),
                "task.vocabulary is 9; expected nothing, because tokenizer_file",
            ),
            (json!({ "tokenizer_file": "bad.json" }), "bad.json: no tokenizer that can be used ("),
            (json!({ "tokenizer_file": "none.json" }), "none.json"),
        ] {
            let mut settings = json!({ "tokenizer": "bpe" });
            settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let error = prepare_in(folder.path(), &settings).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    /// The tokenizer of Pythia, which is not part of the project.
    #[test]
    fn a_tokenizer_file_gives_its_tokens() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tokenizers/neox/20B_tokenizer.json");
        if !file.is_file() {
            println!("skipped: no ../shared/data/tokenizers beside the repository");
            return;
        }
        let found = corpus(&json!({ "tokenizer": "bpe", "tokenizer_file": file }));
        assert_eq!(found.vocabulary, 50_277);
        // "First Citizen:\n" of GPT-NeoX: `First`, ` Citizen`, `:`, newline.
        assert_eq!(found.train[2..4], [27, 187]);
    }
}

#[cfg(feature = "tokenizers")]
#[test]
fn tokenizers_of_files_have_the_ids_of_the_python_library() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = here.join("../../../shared/data/tokenizers");
    if !shared.is_dir() {
        println!("skipped: no ../shared/data/tokenizers beside the repository");
        return;
    }
    let fixture = fs_err::read_to_string(here.join("tests/fixtures/tokens.json")).unwrap();
    let fixture: Value = serde_json::from_str(&fixture).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("text.txt"), fixture["text"].as_str().unwrap()).unwrap();
    for (name, file, vocabulary) in [("gpt2", "gpt2/encoder.json", 50_257), ("neox", "neox/20B_tokenizer.json", 50_277)]
    {
        let settings = json!({
            "source": "file", "file": "text.txt", "context": 2, "train_fraction": 0.5, "tokenizer": shared.join(file),
        });
        let settings: TextConfig = serde_json::from_value(settings).unwrap();
        let corpus = settings.corpus(0, folder.path()).unwrap();
        assert_eq!(corpus.vocabulary, vocabulary, "{name}");
        let ids = [corpus.train, corpus.test].concat();
        assert_eq!(json!(ids), fixture[name], "{name}");
    }
}

#[test]
fn tokenizers_are_words_or_files() {
    let settings =
        |tokenizer: &str| serde_json::from_value::<TextConfig>(json!({ "context": 2, "tokenizer": tokenizer }));
    for name in ["byte", "char", "bpe", "folder/tokenizer.json", "tok512.bin"] {
        let read = settings(name).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap()["tokenizer"], name);
    }
    let error = settings("word").unwrap_err().to_string();
    assert!(error.contains("`byte`, `char`, `bpe`, `FOLDER/tokenizer.json`"), "{error}");
    let error = prepare_in(Path::new("nowhere"), &json!({ "tokenizer": "tok.bin" })).unwrap_err().to_string();
    assert!(error.contains("tok.bin"), "{error}");
}
