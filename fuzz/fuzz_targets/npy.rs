//! The reader of single arrays: the bytes as a file, and with a length of the header that fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::{read_weights, stored_zip};

fuzz_target!(|bytes: &[u8]| {
    read_weights(bytes);
    read_weights(&stored_zip(&[("a.npy", bytes), ("b/../c.npy", bytes), ("d.txt", bytes)]));
    let n_header = bytes.iter().position(|&byte| byte == b'}').map_or(0, |at| at + 1).min(0xffff);
    read_weights(&[b"\x93NUMPY\x01\x00", &(n_header as u16).to_le_bytes()[..], bytes].concat());
});
