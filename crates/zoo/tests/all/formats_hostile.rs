//! Damaged and malicious weight files: an error that says what is wrong, never a panic, never wrong values.

use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ontogeny_zoo::{PickleScanError, ReadError, check_finite, read_tensors};

const FIXTURES: [&str; 9] = [
    "state_dict.pt",
    "state_dict_protocol4.pt",
    "state_dict_without_checksums.pt",
    "state_dict_legacy.pt",
    "state_dict.safetensors",
    "checkpoint.pt",
    "arrays.npz",
    "arrays_compressed.npz",
    "single.npy",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

fn hostile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(name)
}

/// A folder for files that are written and read back.
struct Scratch {
    folder: tempfile::TempDir,
    n_files: Cell<usize>,
}

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Self { folder, n_files: Cell::new(0) }
    }

    /// Writes a new file: to overwrite one makes some file systems wait for the disk.
    fn write(&self, bytes: &[u8]) -> PathBuf {
        self.n_files.set(self.n_files.get() + 1);
        let path = self.folder.path().join(format!("scratch-{}", self.n_files.get()));
        fs_err::write(&path, bytes).expect("a file is written");
        path
    }

    fn error(&self, what: &str, bytes: &[u8]) -> String {
        error_of(what, &self.write(bytes))
    }
}

/// The message of the error that reading `path` must end in.
fn error_of(what: &str, path: &Path) -> String {
    let error = read_tensors(path).map(|file| file.tensors.len()).expect_err(what).to_string();
    assert!(error.contains(&path.display().to_string()), "{what}: {error}");
    error
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let scratch = Scratch::new();
    for name in FIXTURES {
        let bytes = fs_err::read(fixture(name)).expect("a fixture");
        let path = scratch.write(&bytes);
        read_tensors(&path).unwrap_or_else(|error| panic!("{name} whole: {error}"));
        let file = fs_err::OpenOptions::new().write(true).open(&path).expect("the copy opens");
        for n in (0..bytes.len()).rev() {
            file.set_len(n as u64).expect("the copy is cut");
            error_of(&format!("{name} cut to {n} bytes"), &path);
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_and_checksums_keep_values_right() {
    const N_FLIPS: usize = 1500;
    let scratch = Scratch::new();
    // Numerical Recipes' linear congruential generator: the flips are the same in every run.
    let mut state = 1_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for name in FIXTURES {
        let bytes = fs_err::read(fixture(name)).expect("a fixture");
        let path = scratch.write(&bytes);
        let original = read_tensors(&path).expect("a whole fixture").tensors;
        let mut file = fs_err::OpenOptions::new().write(true).open(&path).expect("the copy opens");
        let mut set = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).expect("a place in the copy");
            file.write_all(&[byte]).expect("the copy is changed");
        };
        let has_checksums = bytes.starts_with(b"PK") && !name.contains("without");
        let mut n_read = 0;
        for _ in 0..N_FLIPS {
            let at = next(bytes.len());
            set(at, bytes[at] ^ (1 << next(8)));
            let damaged = read_tensors(&path);
            set(at, bytes[at]);
            let Ok(damaged) = damaged else { continue };
            n_read += 1;
            for tensor in &damaged.tensors {
                assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>(), "{name}");
                // The names of an archive's entries are outside the checksums.
                let is_original = original.iter().any(|other| {
                    (&other.shape, other.dtype, &other.data) == (&tensor.shape, tensor.dtype, &tensor.data)
                });
                assert!(!has_checksums || is_original, "{name}, byte {at}: {tensor:?}");
            }
        }
        // Padding, dates and values without a checksum leave some files readable; not most headers.
        assert!(n_read < N_FLIPS, "{name}: every damaged file was read");
    }
}

#[test]
fn pickles_that_call_are_refused_by_name_before_anything_is_read() {
    let cases = [
        ("os_system.pt", "posix", "system"),
        ("os_system_protocol4.pt", "posix", "system"),
        ("os_system_legacy.pt", "posix", "system"),
        ("eval.pt", "__builtin__", "eval"),
        ("whole_module.pt", "torch.nn.modules.linear", "Linear"),
    ];
    for (file, module, name) in cases {
        let error = read_tensors(hostile(file)).expect_err(file);
        let ReadError::Pickle { source, .. } = &error else { panic!("{file}: {error}") };
        let PickleScanError::ForbiddenGlobal { module: m, name: n, .. } = source else { panic!("{file}: {error}") };
        assert_eq!((m.as_str(), n.as_str()), (module, name), "{file}");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[test]
fn small_files_that_claim_much_are_refused_before_memory_is_taken() {
    let error = read_tensors(hostile("expanded_8_gib.pt")).expect_err("8 GiB from one number");
    assert!(matches!(&error, ReadError::TooLarge { what, claimed: 8_589_934_592, .. } if what == "weight"), "{error}");
    let error = read_tensors(hostile("bomb.npz")).expect_err("a zip bomb");
    assert!(matches!(&error, ReadError::TooLarge { what, claimed: 67_108_868, .. } if what == "zeros"), "{error}");
}

#[test]
fn names_that_occur_twice_are_refused() {
    let error = read_tensors(hostile("same_path.pt")).expect_err("two tensors of one path");
    assert!(matches!(&error, ReadError::DuplicateName { name, .. } if name == "a.b"), "{error}");
    let error = read_tensors(hostile("duplicate.npz")).expect_err("two entries of one name");
    assert!(error.to_string().contains("same name"), "{error}");
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
    let scratch = Scratch::new();
    let error = read_tensors(scratch.write(&safetensors(header, 4))).expect_err("two tensors of one name");
    assert!(matches!(&error, ReadError::DuplicateName { name, .. } if name == "a"), "{error}");
}

#[test]
fn values_that_are_not_finite_are_read_but_reported() {
    let file = read_tensors(hostile("nan.pt")).expect("NaN is no reading error");
    let error = check_finite(&file).expect_err("NaN and infinity");
    assert_eq!((error.tensor.as_str(), error.index.as_slice(), error.count), ("weight", &[1, 0][..], 2));
    assert!(error.value.is_nan());
    let message = error.to_string();
    assert!(message.contains("nan.pt") && message.contains("2 non-finite values of 4"), "{message}");
}

/// A safetensors file with that header and so many zero bytes of data.
fn safetensors(header: &str, n_data_bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; n_data_bytes]].concat()
}

#[test]
fn safetensors_headers_that_lie_are_refused_with_the_tensor() {
    let scratch = Scratch::new();
    let one = |entry: &str| format!(r#"{{"w":{{{entry}}}}}"#);
    let cases = [
        ("shape of 2^60", one(r#""dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]"#), 4, "`w`"),
        (
            "shape that overflows",
            one(r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]"#),
            4,
            "`w`",
        ),
        (
            "data of 2^60",
            one(r#""dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]"#),
            4,
            "`w`",
        ),
        ("data cut short", one(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#), 7, "truncated"),
        ("trailing garbage", one(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#), 9, "9 bytes follow"),
        ("a hole", one(r#""dtype":"F32","shape":[2],"data_offsets":[4,12]"#), 12, "expected to begin at 0"),
        ("ends before it begins", one(r#""dtype":"F32","shape":[0],"data_offsets":[0,-4]"#), 0, "header"),
        ("negative extent", one(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), 4, "header"),
        ("unknown type", one(r#""dtype":"F33","shape":[1],"data_offsets":[0,4]"#), 4, "header"),
        ("no type", one(r#""shape":[1],"data_offsets":[0,4]"#), 4, "header"),
        ("not JSON", "{\"w\":".to_owned(), 4, "header"),
        ("deep JSON", format!("{{\"w\":{}", "[".repeat(100_000)), 4, "header"),
        ("JSON and more", "{}{}".to_owned(), 0, "header"),
    ];
    for (what, header, n_data_bytes, expected) in cases {
        let error = scratch.error(what, &safetensors(&header, n_data_bytes));
        assert!(error.contains(expected), "{what}: {error}");
    }
    for length in [1_u64 << 60, u64::MAX, 99_999_999, 3] {
        let bytes = [&length.to_le_bytes(), b"{}".as_slice()].concat();
        let error = scratch.error("a header of another length", &bytes);
        assert!(error.contains(&length.to_string()), "{error}");
    }
}

#[test]
fn element_types_that_are_not_read_do_not_hide_their_neighbours() {
    let header = r#"{"c":{"dtype":"C64","shape":[1],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let scratch = Scratch::new();
    let mut bytes = safetensors(header, 12);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1.5_f32.to_le_bytes());
    let file = read_tensors(scratch.write(&bytes)).expect("a readable file");
    assert_eq!(file.get("w").and_then(|tensor| tensor.data.as_f32()), Some(&[1.5_f32][..]));
    assert_eq!(file.unread.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn numpy_headers_that_lie_are_refused() {
    let scratch = Scratch::new();
    let npy = |descr: &str, shape: &str, n_data_bytes: usize| {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), &vec![0; n_data_bytes]].concat()
    };
    assert_eq!(read_tensors(scratch.write(&npy("'<f4'", "(2,)", 8))).expect("a sound array").tensors.len(), 1);
    let cases = [
        ("2^60 values", npy("'<f4'", "(1152921504606846976,)", 8), "1152921504606846976"),
        ("a shape that overflows", npy("'<f4'", "(4294967296, 4294967296)", 8), "4294967296"),
        ("a shape of 2^60 bytes", npy("'|u1'", "(1152921504606846976,)", 8), "found 8"),
        ("cut short", npy("'<f4'", "(2,)", 7), "found 7"),
        ("trailing garbage", npy("'<f4'", "(2,)", 9), "found 9"),
        ("no header", b"\x93NUMPY\x01\x00".to_vec(), "header"),
        ("version 9", b"\x93NUMPY\x09\x00\x00\x00{}".to_vec(), "version is 9"),
        ("a header of 4 GB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), "4294967295"),
        ("nonsense", npy("'<f4'", "oops", 0), "malformed"),
    ];
    for (what, bytes, expected) in cases {
        let error = scratch.error(what, &bytes);
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn bytes_around_an_archive_are_refused() {
    let scratch = Scratch::new();
    for name in ["state_dict.pt", "arrays.npz"] {
        let bytes = fs_err::read(fixture(name)).expect("a fixture");
        for n in [1, 21, 22, 400] {
            scratch.error("bytes after it", &[bytes.as_slice(), &vec![b'x'; n]].concat());
        }
        scratch.error("bytes before it", &[b"x".as_slice(), &bytes].concat());
        scratch.error("two of them", &[bytes.as_slice(), &bytes].concat());
    }
}

#[test]
fn what_is_no_weight_file_is_named() {
    let scratch = Scratch::new();
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [(&[u8], &str); 6] = [
        (b"", "an empty file"),
        (b"abc", "too short"),
        (b"step,loss\n1,2.0\n", "none of these formats"),
        (b"\x80\x02}q\x00.", "plain pickle"),
        (&tar, "tar archive"),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "zip archive with neither"),
    ];
    for (bytes, expected) in cases {
        let error = scratch.error(expected, bytes);
        assert!(error.contains(expected), "{error}");
    }
    let error = read_tensors(scratch.folder.path().join("absent.pt")).expect_err("no such file");
    assert!(matches!(&error, ReadError::Io { .. }) && error.to_string().contains("absent.pt"), "{error}");
    let error = read_tensors(scratch.folder.path()).expect_err("a folder");
    assert!(matches!(&error, ReadError::NotAFile { .. }), "{error}");
}
