//! Series from text tables: any text is read or refused with a message that names the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ontogeny_fuzz::read_series_as;

fuzz_target!(|bytes: &[u8]| {
    read_series_as(bytes, "csv");
    read_series_as(bytes, "tsv");
});
