//! Random graphs: the compiled program and the reference interpreter agree on values and derivatives.
#![no_main]

#[path = "../../crates/graph/tests/common/agreement.rs"]
mod agreement;
#[path = "../../crates/graph/tests/common/random_graphs.rs"]
mod random_graphs;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let case = random_graphs::case(bytes);
    if let Err(wrong) = agreement::check(&case) {
        panic!("{wrong}\n{:?}", case.graph);
    }
});
