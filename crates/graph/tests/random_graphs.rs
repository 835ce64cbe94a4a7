//! Hundreds of random graphs, compiled and interpreted, on every instruction set; `fuzz/fuzz_targets/graph.rs` runs the
//! same for hours.

#[path = "common/agreement.rs"]
mod agreement;
mod common;
#[path = "common/random_graphs.rs"]
mod random_graphs;

use std::process::Command;

use agreement::check;
use common::cases;
use ontogeny_graph::Isa;
use proptest::prelude::*;
use random_graphs::case;

proptest! {
    #![proptest_config(cases(600))]
    #[test]
    fn compiled_graphs_agree_with_their_interpretation(bytes in prop::collection::vec(any::<u8>(), 0..240)) {
        let case = case(&bytes);
        if let Err(wrong) = check(&case) {
            return Err(TestCaseError::fail(format!("{wrong}\n{:?}", case.graph)));
        }
    }
}

/// The set of a process never changes, so each of the others has one of its own.
#[test]
fn the_narrower_instruction_sets_agree_too() {
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::current()) {
        let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
        command.args(["--exact", "compiled_graphs_agree_with_their_interpretation"]).env("ONTOGENY_ISA", isa.name());
        let output = command.output().expect("the binary that runs can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", isa.name());
    }
}
