//! Series from JSON documents and JSON lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::read_series_as;

fuzz_target!(|bytes: &[u8]| {
    read_series_as(bytes, "json");
    read_series_as(bytes, "jsonl");
});
