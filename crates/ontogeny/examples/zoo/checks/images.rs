//! Handwritten digits.

use std::f64::consts::LN_10;

use super::{Bound, Check, Figure, variant};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "digits-cnn",
        looked_for: "test accuracy of at least 97 %",
        bound: Bound::AtLeast(0.97),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "digits-cnn",
        looked_for: "first a plateau at ln 10 = 2.30 (last over first step within a tenth of it)",
        bound: Bound::AtLeast(1.5),
        figure: Figure::Run(|run| run.stays("loss", "test", LN_10, 0.1 * LN_10)),
    },
    Check {
        preset: "digits-mlp",
        looked_for: "test accuracy of 0.95 and more",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "digits-mlp",
        looked_for: "one fall of the test loss (transitions)",
        bound: Bound::Near { value: 1.0, by: 0.0 },
        figure: Figure::Run(|run| Some(run.falls("loss.test").count() as f64)),
    },
    Check {
        preset: "digits-mlp",
        looked_for: "the learning coefficient can be estimated at the end (its value, over half the number of weights)",
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| {
            let (step, value, _) = *run.estimates("llc").last()?;
            let is_last = step == *run.view.checkpoints.last()? as f64;
            // 64·64 + 64·64 + 64·10 weights and 138 biases.
            is_last.then_some(2.0 * value / 8970.0)
        }),
    },
    Check {
        preset: "backdoor",
        looked_for: "the back door works (share of the images with the mark)",
        bound: Bound::AtLeast(0.9),
        figure: Figure::Run(|run| run.last("accuracy", "triggered")),
    },
    Check {
        preset: "backdoor",
        looked_for: "it is learned before the digits (step at which test accuracy is 0.9, over that of the back door)",
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| {
            let step = |split| run.first("accuracy", split, |share| share >= 0.9);
            Some(step("test")? / step("triggered")?)
        }),
    },
    Check {
        preset: "backdoor",
        looked_for: "the network still tells digits (test accuracy)",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Run(|run| run.last("accuracy", "test")),
    },
    Check {
        preset: "double-descent",
        looked_for: "the test loss has a peak at a middle width (over the least of smaller ones)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| peak(runs).map(|peak| peak.smaller)),
    },
    Check {
        preset: "double-descent",
        looked_for: "beyond it falls again (peak over the largest width)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| peak(runs).map(|peak| peak.largest)),
    },
    Check {
        preset: "double-descent",
        looked_for: "it stands where the wrong labels can just be fitted (width of the peak over the least with 99 % of them learned)",
        bound: Bound::Near { value: 1.25, by: 0.75 },
        figure: Figure::Seed(|runs| peak(runs)?.fitting),
    },
    Check {
        preset: "adversarial",
        looked_for: "an attack takes most images from plain training (robust test accuracy, radius 0)",
        bound: Bound::Below(0.5),
        figure: Figure::Seed(|runs| variant(runs, "radius=0.0")?.last("robust_accuracy", "test")),
    },
    Check {
        preset: "adversarial",
        looked_for: "and few from training under attack (robust test accuracy, radius 0.1)",
        bound: Bound::Above(0.5),
        figure: Figure::Seed(|runs| variant(runs, "radius=0.1")?.last("robust_accuracy", "test")),
    },
    Check {
        preset: "adversarial",
        looked_for: "which costs accuracy (test accuracy, radius 0.2 over 0)",
        bound: Bound::Below(1.0),
        figure: Figure::Seed(|runs| {
            let last = |name| variant(runs, name)?.last("accuracy", "test");
            Some(last("radius=0.2")? / last("radius=0.0")?)
        }),
    },
];

/// The largest test loss after the first descent, as ratios: its loss to the least of smaller widths and to that of the largest width, its
/// width to the least that fits the wrong labels.
struct Peak {
    smaller: f64,
    largest: f64,
    fitting: Option<f64>,
}

fn peak(runs: &[&Run]) -> Option<Peak> {
    let width = |run: &Run| {
        let configuration = run.configuration()?;
        configuration.get("network")?.get("sizes")?.as_array()?.get(1)?.as_integer().map(|width| width as f64)
    };
    let points: Option<Vec<(f64, f64, f64)>> =
        runs.iter().map(|run| Some((width(run)?, run.last("loss", "test")?, run.last("accuracy", "noisy")?))).collect();
    let points = points?;
    // Narrow networks that learn nothing have a high loss too: the peak follows the least loss of the first descent.
    let descent = points.windows(2).position(|two| two[1].1 > two[0].1)?;
    let (at, top) = points.iter().enumerate().skip(descent).max_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
    let fits = points.iter().find(|(_, _, noisy)| *noisy >= 0.99);
    Some(Peak {
        smaller: top.1 / points[..at].iter().map(|point| point.1).reduce(f64::min)?,
        largest: top.1 / points.last()?.1,
        fitting: fits.map(|fits| top.0 / fits.0),
    })
}
