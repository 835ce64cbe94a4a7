//! Sequences of ids from files: bytes, arrays, and what cannot be used.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::io::Write;
use std::path::Path;

use ontogeny_graph::ColumnData;
use ontogeny_zoo::{Interface, Read, Split, Task, TaskConfig, TaskError};
use serde_json::{Value, json};

fn prepare(folder: &Path, changes: &Value) -> Result<Task, TaskError> {
    let mut settings = json!({ "kind": "tokens" });
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value::<TaskConfig>(settings).unwrap().prepare(2, folder)
}

fn sequences(split: &Split) -> Vec<&[i32]> {
    let column = &split.data.columns()[0];
    let ColumnData::Ids(ids) = &column.data else { panic!("ids") };
    ids.chunks_exact(column.width).collect()
}

/// An `.npy` file.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = padded - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn integers(values: &[i64], shape: &str) -> Vec<u8> {
    npy("<i8", shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

#[test]
fn every_format_gives_the_same_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ids: Vec<u8> = (0..12).map(|i| i * 5 % 9).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&ids).unwrap();
    let wide: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    for (name, bytes, length) in [
        ("plain", ids.clone(), Some(4)),
        ("test_3x4_u8.gz", encoder.finish().unwrap(), None),
        ("wide.npy", integers(&wide, "(3, 4)"), None),
        ("narrow.npy", npy("|u1", "(3, 4)", &ids), None),
    ] {
        fs_err::write(folder.join(name), bytes).unwrap();
        let task = prepare(folder, &json!({ "data": name, "length": length })).unwrap();
        assert_eq!(task.interface, Interface::Tokens { vocabulary: 9, length: 4, read: Read::NEXT_TOKEN }, "{name}");
        assert_eq!((task.splits.len(), task.splits[0].name), (1, "train"));
        assert_eq!(sequences(&task.splits[0]), [[0, 5, 1, 6], [2, 7, 3, 8], [4, 0, 5, 1]], "{name}");
    }
    let wider = prepare(folder, &json!({ "data": "wide.npy", "vocabulary": 40 })).unwrap();
    assert!(matches!(wider.interface, Interface::Tokens { vocabulary: 40, .. }));
}

#[test]
fn a_share_is_drawn_and_the_rest_held_out() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("data"), (0..200).collect::<Vec<u8>>()).unwrap();
    let split = |seed| {
        let settings = json!({ "data": "data", "length": 2, "train_fraction": 0.29, "split_seed": seed });
        prepare(folder.path(), &settings).unwrap()
    };
    let task = split(0);
    let (train, test) = (task.split("train").unwrap(), task.split("test").unwrap());
    assert_eq!((train.data.len(), test.data.len()), (29, 71));
    for split in [train, test] {
        for (sequence, &at) in sequences(split).iter().zip(&split.indices) {
            assert_eq!(*sequence, [2 * at as i32, 2 * at as i32 + 1]);
        }
    }
    let mut together = [train.indices.clone(), test.indices.clone()].concat();
    together.sort_unstable();
    assert!(together.into_iter().eq(0..100));
    assert_eq!(split(0), task);
    assert_ne!(split(1), task);
}

#[test]
fn unusable_data_are_named_with_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, bytes) in [
        ("seven", vec![0; 7]),
        ("empty", Vec::new()),
        ("ids", vec![0, 1, 2, 9, 4, 5]),
        ("minus.npy", integers(&[0, 1, 2, 3, -4, 5], "(2, 3)")),
        ("big.npy", integers(&[0, 1, 2, 1 << 40, 4, 5], "(2, 3)")),
        ("flat.npy", integers(&[0, 1, 2], "(3,)")),
        ("none.npy", integers(&[], "(0, 3)")),
        ("single.npy", integers(&[0, 1, 2], "(3, 1)")),
        ("floats.npy", npy("<f4", "(1, 1)", &1.0_f32.to_le_bytes())),
        ("short.npy", integers(&[0, 1, 2], "(2, 3)")),
    ] {
        fs_err::write(folder.join(name), bytes).unwrap();
    }
    for (changes, message) in [
        (json!({ "data": "seven", "length": 3 }), "seven: 7 bytes; expected whole sequences of 3 ids, at least one"),
        (json!({ "data": "empty", "length": 3 }), "empty: 0 bytes; expected whole sequences of 3 ids"),
        (
            json!({ "data": "seven" }),
            "task.length is missing; expected the ids of a sequence, because the data are bytes",
        ),
        (json!({ "data": "seven", "length": 1 }), "task.length is 1; expected at least 2 ids"),
        (
            json!({ "data": "flat.npy", "length": 3 }),
            "task.length is 3; expected nothing, because an array has its own",
        ),
        (
            json!({ "data": "ids", "length": 3, "vocabulary": 6 }),
            "ids: the id 9 at place 0 of sequence 1; expected 0 to 5, by `vocabulary`",
        ),
        (json!({ "data": "ids", "length": 3, "vocabulary": 0 }), "task.vocabulary is 0; expected 1 to 16777216"),
        (json!({ "data": "minus.npy" }), "the id -4 at place 1 of sequence 1; expected 0 to 16777215"),
        (json!({ "data": "big.npy" }), "the id 1099511627776 at place 0 of sequence 1; expected 0 to 16777215"),
        (
            json!({ "data": "flat.npy" }),
            "array `flat` of i64 and shape [3]; expected one array of integers [sequences, length]",
        ),
        (json!({ "data": "none.npy" }), "array `none` without elements, of shape [0, 3]"),
        (json!({ "data": "single.npy" }), "single.npy: sequences of 1 ids; expected at least 2"),
        (json!({ "data": "floats.npy" }), "array `floats` of f32 and shape [1, 1]"),
        (json!({ "data": "short.npy" }), "short.npy"),
        (json!({ "data": "absent" }), "absent"),
        (
            json!({ "data": "ids", "length": 3, "train_fraction": 1.0 }),
            "task.train_fraction is 1; expected a share of 2 sequences that leaves some on either side",
        ),
        (
            json!({ "data": "ids", "length": 3, "split_seed": 1 }),
            "task.split_seed is 1; expected train_fraction beside it",
        ),
    ] {
        let error = prepare(folder, &changes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// Sequences of another's run, which are not part of the project.
#[test]
fn sequences_of_the_torus_chain_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/torus-markov-ckpts");
    if !folder.is_dir() {
        println!("skipped: no ../shared/data/torus-markov-ckpts beside the repository");
        return;
    }
    let task = prepare(&folder, &json!({ "data": "test_sequences_10000x16_u8.gz" })).unwrap();
    assert_eq!(task.interface, Interface::Tokens { vocabulary: 16, length: 16, read: Read::NEXT_TOKEN });
    assert_eq!(task.split("train").unwrap().data.len(), 10_000);
}
