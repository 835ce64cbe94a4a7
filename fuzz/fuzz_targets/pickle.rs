//! The opcode scan, and the reader behind it on the same pickle, in both of PyTorch's containers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::{read_weights, stored_zip};
use ontogeny_zoo::{ReadError, scan_pickle};

/// Values for storages, enough for the tensors of the seeds.
const STORAGE: &[u8] = &[0x3f; 256];

/// The three pickles before the object in a legacy file: magic number, protocol 1001, a little-endian system.
const LEGACY_HEAD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s.";

/// The list of storages after it: none.
const LEGACY_TAIL: &[u8] = b"\x80\x02]q\x00.";

fuzz_target!(|bytes: &[u8]| {
    let scanned = scan_pickle(bytes, 0);
    if let Ok(end) = scanned {
        assert!(end <= bytes.len());
        assert_eq!(scan_pickle(&bytes[..end], 0), Ok(end), "what follows STOP does not matter");
        assert!(end == 0 || scan_pickle(&bytes[..end - 1], 0).is_err(), "STOP is needed");
    }
    let error = read_weights(&stored_zip(&[
        ("archive/data.pkl", bytes),
        ("archive/data/0", STORAGE),
        ("archive/data/1", STORAGE),
        ("archive/data/2", STORAGE),
    ]));
    if let Err(refused) = scanned {
        let by_scan = matches!(&error, Some(ReadError::Pickle { source, .. }) if *source == refused);
        assert!(by_scan, "nothing may be read of a pickle that the scan refuses: {error:?}");
    }
    read_weights(&[LEGACY_HEAD, bytes, LEGACY_TAIL].concat());
});
