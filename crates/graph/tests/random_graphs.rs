//! A few hundred random graphs, compiled and interpreted; `fuzz/fuzz_targets/graph.rs` runs the same for hours.

mod common;
#[path = "common/random_graphs.rs"]
mod random_graphs;

use common::cases;
use proptest::prelude::*;
use random_graphs::{Outcome, case, check};

proptest! {
    #![proptest_config(cases(600))]
    #[test]
    fn compiled_graphs_agree_with_their_interpretation(bytes in prop::collection::vec(any::<u8>(), 0..240)) {
        let case = case(&bytes);
        match check(&case) {
            Ok(Outcome::Agrees | Outcome::Unclear) => {}
            Err(wrong) => return Err(TestCaseError::fail(format!("{wrong}\n{:?}", case.graph))),
        }
    }
}
