//! What attention finds in its context.

use std::path::Path;

use ontogeny::graph::ColumnData;
use ontogeny::zoo::{
    InContextRegressionConfig, TaskConfig, dmmse_predictions, ridge_predictions, squared_errors_by_position,
};

use super::{Bound, Check, Figure, variant};
use crate::runs::{Run, stay};

/// ln 32, of the vocabulary of both presets of repeats.
const LN_32: f64 = 3.465_735_902_799_726_5;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "induction",
        looked_for: "the loss on repeated tokens falls in a transition (its size, in nats)",
        bound: Bound::Below(-1.0),
        figure: Figure::Run(|run| Some(run.fall("subtask_loss.repeated")?.size)),
    },
    Check {
        preset: "induction",
        looked_for: "the others stay near ln 32 = 3.47 (least loss)",
        bound: Bound::Above(LN_32 - 0.35),
        figure: Figure::Run(|run| least(run, "other")),
    },
    Check {
        preset: "induction",
        looked_for: "in the end copies are told (loss on repeated tokens over that on others)",
        bound: Bound::Below(0.5),
        figure: Figure::Run(|run| Some(run.last("subtask_loss", "repeated")? / run.last("subtask_loss", "other")?)),
    },
    Check {
        preset: "induction-repeats",
        looked_for: "one layer is enough (its last loss on repeated tokens over ln 32)",
        bound: Bound::Below(0.05),
        figure: Figure::Seed(|runs| Some(variant(runs, "layers=1")?.last("subtask_loss", "repeated")? / LN_32)),
    },
    Check {
        preset: "induction-repeats",
        looked_for: "two layers are no sooner (step of the fall with one over that with two)",
        bound: Bound::Below(2.0),
        figure: Figure::Seed(|runs| {
            let step = |name| Some(variant(runs, name)?.fall("subtask_loss.repeated")?.step);
            Some(step("layers=1")? / step("layers=2")?)
        }),
    },
    Check {
        preset: "translation",
        looked_for: "which word is next comes in one transition (size of the largest fall, in nats)",
        bound: Bound::Below(-1.0),
        figure: Figure::Run(|run| Some(run.fall("loss.train")?.size)),
    },
    Check {
        preset: "translation",
        looked_for: "after that there is nothing left to learn (accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "skip-trigrams",
        looked_for: "pairs of keyword and query fall at steps of their own (last over first step at which a loss is halved)",
        bound: Bound::Above(2.0),
        figure: Figure::Run(|run| {
            let steps: Vec<f64> = run
                .view
                .observables
                .get("subtask_loss")?
                .components()
                .iter()
                .filter_map(|pair| {
                    let start = run.series("subtask_loss", pair)?.first()?.1;
                    run.first("subtask_loss", pair, |loss| loss < start / 2.0)
                })
                .collect();
            Some(steps.iter().copied().reduce(f64::max)? / steps.iter().copied().reduce(f64::min)?)
        }),
    },
    Check {
        preset: "skip-trigrams",
        looked_for: "all pairs are learned (accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "few-shot",
        looked_for: "labels that the sequence has shown are matched in a transition (its size, in nats)",
        bound: Bound::Below(-0.3),
        figure: Figure::Run(|run| Some(run.fall("subtask_loss.seen")?.size)),
    },
    Check {
        preset: "few-shot",
        looked_for: "in the end they are right (accuracy; guessing between two has 0.5)",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Run(|run| run.last("subtask_accuracy", "seen")),
    },
    Check {
        preset: "few-shot",
        looked_for: "those of new items cannot be known (least loss over ln 4)",
        bound: Bound::Above(0.95),
        figure: Figure::Run(|run| Some(least(run, "unseen")? / 4_f64.ln())),
    },
    Check {
        preset: "ioi",
        looked_for: "first one of the two names: a plateau where one answer in two is right (last over first step with an accuracy of 0.5 ± \
                     0.1, mean over both orders)",
        bound: Bound::AtLeast(1.5),
        figure: Figure::Run(|run| stay(&accuracy_of_both(run)?, 0.5, 0.1)),
    },
    Check {
        preset: "ioi",
        looked_for: "then the right one, in both orders (lower accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| {
            Some(run.last("subtask_accuracy", "abba")?.min(run.last("subtask_accuracy", "baba")?))
        }),
    },
    Check {
        preset: "toy-ioi",
        looked_for: "first one of the two names (mean accuracy of both orders before the fall; one of the eight names would have 0.13)",
        bound: Bound::Above(0.25),
        figure: Figure::Run(|run| {
            let start = run.fall("loss.train")?.start;
            Some(accuracy_of_both(run)?.into_iter().rev().find(|(step, _)| *step <= start)?.1)
        }),
    },
    Check {
        preset: "toy-ioi",
        looked_for: "then the right one, in both orders (lower accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| {
            Some(run.last("subtask_accuracy", "abba")?.min(run.last("subtask_accuracy", "baba")?))
        }),
    },
    Check {
        preset: "in-context-regression",
        looked_for: "first a plateau at the mean answer, D + σ² (last over first step within a tenth of it)",
        bound: Bound::AtLeast(1.5),
        figure: Figure::Run(|run| {
            let level = run.setting("task.dimension")? + run.setting("task.noise_variance")?;
            run.stays("loss", "train", level, 0.1 * level)
        }),
    },
    Check {
        preset: "in-context-regression",
        looked_for: "in the end the context is used (last answer's squared error over the first's; guessing has 1)",
        bound: Bound::Below(0.5),
        figure: Figure::Run(|run| {
            let pairs = run.setting("task.pairs")?;
            Some(run.last("subtask_loss", &format!("answer_{pairs}"))? / run.last("subtask_loss", "answer_1")?)
        }),
    },
    Check {
        preset: "in-context-regression",
        looked_for: "as ridge regression does (loss over that of exact ridge predictions on the same examples)",
        bound: Bound::Below(1.1),
        figure: Figure::Run(|run| Some(run.last("loss", "train")? / exact(run, "train")?.ridge)),
    },
    Check {
        preset: "in-context-tasks",
        looked_for: "few tasks are known by heart: on new ones the error is nearer that of dMMSE than that of ridge regression (0 is ridge, 1 \
                     dMMSE; 4 tasks)",
        bound: Bound::Above(0.5),
        figure: Figure::Seed(|runs| between(variant(runs, "tasks=4")?, "ood")),
    },
    Check {
        preset: "in-context-tasks",
        looked_for: "many make it regress: the error on new tasks is that of ridge regression (ratio, 4096 tasks)",
        bound: Bound::Below(1.1),
        figure: Figure::Seed(|runs| over_ridge(variant(runs, "tasks=4096")?)),
    },
    Check {
        preset: "in-context-tasks",
        looked_for: "a threshold between: the more tasks, the nearer to ridge regression on new ones (least ratio of the errors of neighbours, \
                     4 to 16 and 16 to 4096)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| {
            let [few, some, many] = ["tasks=4", "tasks=16", "tasks=4096"].map(|name| over_ridge(variant(runs, name)?));
            Some((few? / some?).min(some? / many?))
        }),
    },
    Check {
        preset: "in-context-tasks",
        looked_for: "few are solved better than ridge regression could (error on the training tasks over ridge's; 4 tasks)",
        bound: Bound::Below(1.0),
        figure: Figure::Seed(|runs| {
            let run = variant(runs, "tasks=4")?;
            Some(run.last("loss", "train")? / exact(run, "train")?.ridge)
        }),
    },
    Check {
        preset: "few-shot-vectors",
        looked_for: "many classes: new ones are told by the context (accuracy)",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Seed(|runs| variant(runs, "many-classes")?.last("subtask_accuracy", "in_context")),
    },
    Check {
        preset: "few-shot-vectors",
        looked_for: "and known ones are not known by heart (accuracy without the context; chance is 0.25)",
        bound: Bound::Near { value: 0.25, by: 0.1 },
        figure: Figure::Seed(|runs| variant(runs, "many-classes")?.last("subtask_accuracy", "in_weights")),
    },
    Check {
        preset: "few-shot-vectors",
        looked_for: "few classes: they are known by heart (accuracy without the context)",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Seed(|runs| variant(runs, "few-classes")?.last("subtask_accuracy", "in_weights")),
    },
    Check {
        preset: "few-shot-vectors",
        looked_for: "and the context is ignored (accuracy on swapped labels)",
        bound: Bound::Below(0.1),
        figure: Figure::Seed(|runs| variant(runs, "few-classes")?.last("subtask_accuracy", "swapped")),
    },
];

fn least(run: &Run, subtask: &str) -> Option<f64> {
    run.series("subtask_loss", subtask)?.into_iter().map(|(_, loss)| loss).reduce(f64::min)
}

/// Steps with the mean accuracy of both orders of the names.
fn accuracy_of_both(run: &Run) -> Option<Vec<(f64, f64)>> {
    let (abba, baba) = (run.series("subtask_accuracy", "abba")?, run.series("subtask_accuracy", "baba")?);
    Some(abba.into_iter().zip(baba).map(|((step, a), (_, b))| (step, f64::midpoint(a, b))).collect())
}

/// Squared errors of the exact predictors on a split, the mean over its answers.
struct Exact {
    ridge: f64,
    dmmse: Option<f64>,
}

fn exact(run: &Run, split: &str) -> Option<Exact> {
    let Some(TaskConfig::InContextRegression(config)) = run.task() else { return None };
    let seed = u32::try_from(run.view.run.seed).ok()?;
    let task = TaskConfig::InContextRegression(config.clone()).prepare(seed, Path::new(".")).ok()?;
    let column = |name| {
        task.split(split)?.data.columns().iter().find_map(|column| match &column.data {
            ColumnData::Float(values) if column.name == name => Some(values),
            _ => None,
        })
    };
    let (x, y) = (column("x")?, column("y")?);
    let InContextRegressionConfig { pairs, noise_variance, .. } = config;
    let mean = |errors: Vec<ontogeny::zoo::PositionError>| errors.iter().map(|e| e.mean).sum::<f64>() / pairs as f64;
    let ridge = mean(squared_errors_by_position(x, y, pairs, |x, y| ridge_predictions(x, y, noise_variance)));
    let dmmse = config.task_vectors(seed).map(|tasks| {
        mean(squared_errors_by_position(x, y, pairs, |x, y| dmmse_predictions(x, y, &tasks, noise_variance)))
    });
    Some(Exact { ridge, dmmse })
}

/// The last error on new tasks, over that of ridge regression on the same examples.
fn over_ridge(run: &Run) -> Option<f64> {
    Some(run.last("loss", "ood")? / exact(run, "ood")?.ridge)
}

/// Where the error on a split lies between that of ridge regression, 0, and that of dMMSE, 1.
fn between(run: &Run, split: &str) -> Option<f64> {
    let Exact { ridge, dmmse } = exact(run, split)?;
    Some((run.last("loss", split)? - ridge) / (dmmse? - ridge))
}
