//! The safetensors reader: the bytes as a file, and as a header and data with a length that fits in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::read_weights;

fuzz_target!(|bytes: &[u8]| {
    read_weights(bytes);
    let n_header = bytes.iter().rposition(|&byte| byte == b'}').map_or(0, |at| at + 1);
    read_weights(&[&(n_header as u64).to_le_bytes(), bytes].concat());
});
