//! The reader of PyTorch checkpoints on raw bytes: containers that lie.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::read_weights;

fuzz_target!(|bytes: &[u8]| {
    read_weights(bytes);
});
