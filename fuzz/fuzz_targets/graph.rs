//! The compiler of graphs: random valid graphs, whose compiled values and gradients must be those of the interpreter.
#![no_main]
#![expect(dead_code, reason = "the property tests use more of their common parts")]

#[path = "../../crates/graph/tests/common/mod.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[shape, seed], rest)) = bytes.split_first_chunk() else { return };
    let (ops, _) = rest.as_chunks::<4>();
    if shape % 4 == 0 {
        common::random::check_tall(&ops[..ops.len().min(12)], seed.into());
    } else {
        common::random::check_small(&ops[..ops.len().min(24)], seed.into());
    }
});
