//! What the weight-file targets share: a file to read, what must hold of any answer, and archives around fuzzed parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ontogeny_study::SeriesSettings;
use ontogeny_zoo::{ReadError, check_finite, describe, read_tensors};

/// Reads `bytes` as a weight file in both of the ways there are, and checks what must hold whatever the bytes are.
///
/// Through a file in memory, because `pytorch-reader` reads paths only.
///
/// # Panics
/// When the two ways disagree, an error does not name the file, or a tensor is not what its shape says.
pub fn read_weights(bytes: &[u8]) -> Option<ReadError> {
    let path = scratch();
    fs::write(path, bytes).expect("the scratch file is written");
    let read = read_tensors(path);
    let described = describe(path);
    let file = match (read, described) {
        (Ok(file), Ok(description)) => {
            assert_eq!(file.tensors.len(), description.tensors.len());
            file
        }
        (Err(error), Err(other)) => {
            let message = error.to_string();
            assert_eq!(message, other.to_string(), "`inspect` and import must say the same");
            assert!(message.contains(&*path.to_string_lossy()), "no file name: {message}");
            assert!(message.len() < 4096 + 8 * bytes.len(), "a message of {} bytes", message.len());
            return Some(error);
        }
        (read, described) => {
            panic!("read {:?}, described {:?}", read.map(|f| f.tensors.len()), described.map(|d| d.tensors.len()))
        }
    };
    for tensor in &file.tensors {
        assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>(), "{}", tensor.name);
    }
    assert!(file.tensors.windows(2).all(|pair| pair[0].name < pair[1].name), "names are sorted and unique");
    assert_eq!(file.content_hash().len(), 64);
    if let Err(error) = check_finite(&file) {
        let tensor = file.get(&error.tensor).expect("a tensor of the file");
        assert!(error.index.iter().zip(&tensor.shape).all(|(at, extent)| at < extent));
    }
    None
}

fn scratch() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("ontogeny-fuzz-{}", std::process::id()))
    })
}

/// A zip archive that stores `entries` without checksums (zero stands for none), so that a fuzzer reaches what is in it
/// (APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16).
pub fn stored_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let offset = archive.len() as u32;
        let length = (bytes.len() as u32).to_le_bytes();
        // Version 2.0, no flags, stored, no date, no checksum, both lengths, length of the name, no extra field.
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &length,
            &length,
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        archive.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), bytes].concat());
        // No comment, disk 0, no attributes.
        directory
            .extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let n_entries = (entries.len() as u16).to_le_bytes();
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &n_entries,
        &n_entries,
        &(directory.len() as u32).to_le_bytes(),
        &(archive.len() as u32).to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    [archive, directory, end].concat()
}

/// Reads `bytes` as a file of series with that extension, in three settings, and checks what must hold of any series.
///
/// # Panics
/// When an error does not name the file, or a series is empty, unsorted or not finite.
pub fn read_series_as(bytes: &[u8], extension: &str) {
    let path = scratch().with_extension(extension);
    fs::write(&path, bytes).expect("the scratch file is written");
    let every = ontogeny_study::Every { names: None, steps: 7.5 };
    for settings in [
        SeriesSettings::default(),
        SeriesSettings { time_axis: Some(-1), every: vec![every], log_values: true, ..SeriesSettings::default() },
        SeriesSettings {
            time_axis: Some(0),
            select: vec!["*a*".parse().expect("a pattern")],
            ..SeriesSettings::default()
        },
    ] {
        match ontogeny_study::read_series(&path, &settings) {
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains(&*path.to_string_lossy()), "no file name: {message}");
                assert!(message.len() < 4096 + 8 * bytes.len(), "a message of {} bytes", message.len());
            }
            Ok(file) => {
                assert!(!file.series.is_empty());
                for named in &file.series {
                    let (steps, values) = (named.series.steps(), named.series.values());
                    assert!(steps.len() == values.len() && !values.is_empty());
                    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{}: {steps:?}", named.name);
                    assert!(values.iter().all(|v| v.is_finite()), "{}", named.name);
                }
            }
        }
    }
}
