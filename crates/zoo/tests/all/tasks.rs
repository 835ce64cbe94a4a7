//! Explicit training indices of modular arithmetic: every format, and every way to get them wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::io::Write;
use std::path::{Path, PathBuf};

use ontogeny_zoo::{ModularArithmeticConfig, Operation, Task, TaskConfig, TaskError};

fn prepare(folder: &Path, file: &str, key: Option<&str>) -> Result<Task, TaskError> {
    let config = ModularArithmeticConfig {
        p: 5,
        operation: Operation::Add,
        train_fraction: None,
        split_seed: None,
        train_indices: Some(PathBuf::from(file)),
        train_indices_key: key.map(str::to_owned),
    };
    TaskConfig::ModularArithmetic(config).prepare(0, folder)
}

/// An `.npy` file of one axis.
fn npy(descr: &str, n: usize, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n},), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = padded - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn integers(values: &[i64]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    npy("<i8", values.len(), &data)
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn indices_come_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let two = npz(&[("a", integers(&[0])), ("wd_train", integers(&[24, 3, 7]))]);
    for (file, bytes, key) in [
        ("train.txt", b"# pairs\n24\n\n  3 # the third\n7\n".to_vec(), None),
        ("train.npy", integers(&[7, 24, 3]), None),
        ("one.npz", npz(&[("wd_train", integers(&[24, 3, 7]))]), None),
        ("two.npz", two, Some("wd_train")),
    ] {
        fs_err::write(folder.path().join(file), bytes).unwrap();
        let task = prepare(folder.path(), file, key).unwrap();
        assert_eq!(task.split("train").unwrap().indices, [3, 7, 24], "{file}");
        assert_eq!(task.split("test").unwrap().data.len(), 22);
    }
}

#[test]
fn unusable_indices_are_named_with_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let two = npz(&[("a", integers(&[0])), ("b", integers(&[1]))]);
    let floats = npy("<f4", 1, &1.0_f32.to_le_bytes());
    for (file, bytes, key, message) in [
        ("big.txt", b"3\n25\n".to_vec(), None, "line 2 holds `25`; expected a whole number from 0 to 24"),
        ("word.txt", b"3\n4.5\n".to_vec(), None, "line 2 holds `4.5`; expected a whole number from 0 to 24"),
        ("minus.npy", integers(&[1, -1]), None, "entry 2 of `minus` holds `-1`; expected a whole number from 0 to 24"),
        ("twice.txt", b"3\n4\n3\n".to_vec(), None, "index 3 stands twice; expected each training index once"),
        ("empty.txt", b"# none\n".to_vec(), None, "holds no training indices; expected at least one"),
        ("which.npz", two.clone(), None, "2 arrays; expected train_indices_key to name one of: `a`, `b`"),
        ("other.npz", two, Some("c"), "no array `c`; expected train_indices_key to name one of: `a`, `b`"),
        ("floats.npy", floats, None, "array `floats` of f32; expected an array of integers"),
        ("key.txt", b"3\n".to_vec(), Some("a"), "train_indices_key = \"a\" for a text file"),
    ] {
        let path = folder.path().join(file);
        fs_err::write(&path, bytes).unwrap();
        let error = prepare(folder.path(), file, key).unwrap_err().to_string();
        assert!(error.contains(message), "{file}: {error}");
        assert!(error.contains(&path.display().to_string()), "{file}: {error}");
    }
    let missing = prepare(folder.path(), "missing.npz", None).unwrap_err().to_string();
    assert!(missing.contains("missing.npz"), "{missing}");
}
