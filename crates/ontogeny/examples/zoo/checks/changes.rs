//! Trainings whose examples change on the way.

use super::{Bound, Check, Figure};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "fine-tuning",
        looked_for: "the first rule is found (largest test accuracy of addition)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| largest(run, "accuracy_of_addition", "test")),
    },
    Check {
        preset: "fine-tuning",
        looked_for: "so is the second (test accuracy of subtraction)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "fine-tuning",
        looked_for: "of the first, only pairs with b = 0 are left, 1/31 (test accuracy of addition)",
        bound: Bound::Near { value: 1.0 / 31.0, by: 0.03 },
        figure: Figure::Run(|run| run.last("accuracy_of_addition", "test")),
    },
    Check {
        preset: "curriculum",
        looked_for: "few tasks are learned by heart (error on new tasks over that on these, before the change)",
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| {
            let change = until(run, "few")?;
            let before = |measure, label| {
                run.series(measure, label)?.into_iter().rfind(|&(step, _)| step <= change).map(|(_, loss)| loss)
            };
            Some(before("loss", "ood")? / before("loss_of_few", "train")?)
        }),
    },
    Check {
        preset: "curriculum",
        looked_for: "many give way to regression: new tasks are as good as those trained on (ratio of the errors)",
        bound: Bound::Near { value: 1.0, by: 0.1 },
        figure: Figure::Run(|run| Some(run.last("loss", "ood")? / run.last("loss", "train")?)),
    },
    Check {
        preset: "curriculum",
        looked_for: "and what the few were worth goes (error on new tasks over that on the few, after over before the change)",
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| {
            let change = until(run, "few")?;
            let (new, few) = (run.series("loss", "ood")?, run.series("loss_of_few", "train")?);
            let ratios: Vec<(f64, f64)> = new.iter().zip(&few).map(|(new, few)| (new.0, new.1 / few.1)).collect();
            let before = ratios.iter().rfind(|(step, _)| *step <= change)?.1;
            Some(ratios.last()?.1 / before)
        }),
    },
];

fn largest(run: &Run, measure: &str, label: &str) -> Option<f64> {
    run.series(measure, label)?.into_iter().map(|(_, value)| value).reduce(f64::max)
}

/// The first step that no longer belongs to a stage.
fn until(run: &Run, stage: &str) -> Option<f64> {
    let configuration = run.configuration()?;
    Some(configuration.get("curriculum")?.get(stage)?.get("until")?.as_integer()? as f64)
}
