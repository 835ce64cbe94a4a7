//! The reader of `.npz` archives on raw bytes: directories, local headers and lengths that lie.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::read_weights;

fuzz_target!(|bytes: &[u8]| {
    read_weights(bytes);
});
