//! Learning coefficients against closed forms, over parts and optimisers.

use ontogeny::store::Status;

use super::{Bound, Check, Figure, excess_of_the_peak, variant};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "reduced-rank",
        looked_for: "the learning coefficient of Aoyagi & Watanabe 2005, 9.5 with multiplicity 2: 9.5 − 1/ln(nβ) = 9.30 (last \
                     estimate less this, in standard errors)",
        bound: Bound::Near { value: 0.0, by: 3.0 },
        // The free energy at the inverse temperature nβ is λ ln nβ − (m − 1) ln ln nβ, its derivative by ln nβ what is
        // estimated (Watanabe 2013); nβ = n/ln n = 1000/ln 1000.
        figure: Figure::Run(|run| {
            let n = run.setting("task.train_examples")?;
            let &(_, value, error) = run.estimates("llc").last()?;
            Some((value - 9.5 + 1.0 / (n / n.ln()).ln()) / error)
        }),
    },
    Check {
        preset: "reduced-rank",
        looked_for: "not half of the weights, 15 (last estimate)",
        bound: Bound::Near { value: 9.5, by: 1.0 },
        figure: Figure::Run(|run| run.estimates("llc").last().map(|&(_, value, _)| value)),
    },
    Check {
        preset: "llc",
        looked_for: "the start is no minimum: its estimate is refused (1: it is)",
        bound: Bound::AtLeast(1.0),
        figure: Figure::Run(|run| {
            let first = run.view.observables.get("llc")?.status.first()?;
            Some(f64::from(u8::from(matches!(first, Status::Refused { .. }))))
        }),
    },
    Check {
        preset: "llc",
        looked_for: "with weight decay it falls after memorising (largest above last, in standard errors)",
        bound: Bound::Above(3.0),
        figure: Figure::Run(|run| excess_of_the_peak(run, "llc")),
    },
    Check {
        preset: "llc",
        looked_for: "parts have less than the whole (largest of a part over the whole, after memorising)",
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| {
            let (step, whole, _) = run.estimates("llc").into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
            let parts = ["llc_embed", "llc_attn", "llc_mlp", "llc_head_0", "llc_ends"];
            let of =
                |part| run.estimates(part).into_iter().find(|estimate| estimate.0 == step).map(|(_, value, _)| value);
            Some(parts.into_iter().filter_map(of).reduce(f64::max)? / whole)
        }),
    },
    Check {
        preset: "llc-optimizers",
        looked_for: "a larger step ends lower (SGD less SGD with a five-fold rate, in standard errors)",
        bound: Bound::Above(3.0),
        figure: Figure::Seed(|runs| excess_of_sgd(runs, "sgd-fast")),
    },
    Check {
        preset: "llc-optimizers",
        looked_for: "so does momentum",
        bound: Bound::Above(3.0),
        figure: Figure::Seed(|runs| excess_of_sgd(runs, "sgd-momentum")),
    },
];

fn excess_of_sgd(runs: &[&Run], other: &str) -> Option<f64> {
    let last = |name| variant(runs, name)?.estimates("llc").last().copied();
    let ((_, sgd, its_error), (_, other, error)) = (last("sgd")?, last(other)?);
    Some((sgd - other) / its_error.hypot(error))
}
