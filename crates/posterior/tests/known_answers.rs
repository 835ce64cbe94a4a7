//! Every known answer is met, by the standard error that the estimate itself states.

use std::num::NonZero;

use ontogeny_posterior::known_answers::KnownAnswer;
use ontogeny_posterior::{Execution, Verdict, in_parallel};

#[test]
fn all_known_answers_are_met() {
    let cases = KnownAnswer::all().unwrap();
    assert!(cases.len() >= 18);
    let threads = Execution::default().threads;
    let one = Execution { threads: NonZero::<usize>::MIN, ..Execution::default() };
    let mut failures = Vec::new();
    for (case, comparison) in
        cases.iter().zip(in_parallel(cases.len(), threads, |i| cases[i].compare(0, &one).unwrap()))
    {
        let resolution = comparison.mcse / case.exact;
        // An error of 3 % or more would hide much; coarse steps are there to show their bias, and are refused for it.
        let is_expected = matches!(comparison.verdict, Verdict::Ok | Verdict::StepTooLarge);
        if !comparison.is_sound() || !is_expected || resolution > 0.03 {
            failures.push(format!("{} with {}: {comparison:?}, exact {}", case.name, case.llc.sampler, case.exact));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
