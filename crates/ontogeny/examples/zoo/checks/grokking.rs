//! Presets that learn by heart first.

use super::{Bound, Check, Figure, excess_of_the_peak, least_delay, variant};
use crate::runs::Run;

const LATER: &str = "the test loss falls after the training loss (least ratio of the steps that both intervals allow)";

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "grokking",
        looked_for: LATER,
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| least_delay(run, "loss.train", "loss.test")),
    },
    Check {
        preset: "grokking",
        looked_for: "the rule is found (test accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "grokking",
        looked_for: "the learning coefficient is highest in between (largest above last, in standard errors)",
        bound: Bound::Above(3.0),
        figure: Figure::Run(|run| excess_of_the_peak(run, "llc")),
    },
    Check {
        preset: "grokking-multiplication",
        looked_for: LATER,
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| least_delay(run, "loss.train", "loss.test")),
    },
    Check {
        preset: "grokking-multiplication",
        looked_for: "the rule is found (test accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "grokking-small",
        looked_for: "the training pairs are known by heart (training accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "grokking-small",
        looked_for: "meanwhile the test loss rises above guessing, ln 31 = 3.43 (largest test loss)",
        bound: Bound::Above(3.434),
        figure: Figure::Run(|run| {
            run.series("loss", "test")?.into_iter().skip(1).map(|(_, loss)| loss).reduce(f64::max)
        }),
    },
    Check {
        preset: "modular-mlp",
        looked_for: "the learning coefficient rises, then falls (largest above last, in standard errors)",
        bound: Bound::Above(3.0),
        figure: Figure::Run(|run| excess_of_the_peak(run, "llc")),
    },
    Check {
        preset: "modular-mlp",
        looked_for: LATER,
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| least_delay(run, "loss.train", "loss.test")),
    },
    Check {
        preset: "weight-decay",
        looked_for: "without weight decay the rule is not found (test accuracy)",
        bound: Bound::Below(0.99),
        figure: Figure::Seed(|runs| variant(runs, "weight_decay=0.0")?.last("accuracy", "test")),
    },
    Check {
        preset: "weight-decay",
        looked_for: "twice as much of it finds the rule sooner (least ratio of the steps to 99 % test accuracy, 0.5 to 1 and 1 to 2)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| {
            let to_rule = |name| variant(runs, name)?.first("accuracy", "test", |share| share >= 0.99);
            let [half, one, two] = ["weight_decay=0.5", "weight_decay=1.0", "weight_decay=2.0"].map(to_rule);
            Some((half? / one?).min(one? / two?))
        }),
    },
    Check {
        preset: "omnigrok",
        looked_for: "large weights: the test loss passes that of a constant answer, 0.09, long after the training loss (ratio)",
        bound: Bound::Above(2.0),
        figure: Figure::Seed(|runs| delay_of_test(variant(runs, "init_scale=8.0")?)),
    },
    Check {
        preset: "omnigrok",
        looked_for: "usual weights: with it (ratio)",
        bound: Bound::Below(2.0),
        figure: Figure::Seed(|runs| delay_of_test(variant(runs, "init_scale=1.0")?)),
    },
];

/// Of ten answers, one of which is 1, the mean is 0.1 and its mean squared error 0.09.
fn delay_of_test(run: &Run) -> Option<f64> {
    let step = |split| run.first("loss", split, |loss| loss < 0.09);
    Some(step("test")? / step("train")?)
}
