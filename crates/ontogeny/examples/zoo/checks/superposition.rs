//! Features through a bottleneck.

use ontogeny::zoo::Polygon;

use super::{Bound, Check, Figure, variant};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "superposition",
        looked_for: "the run ends on a polygon of Chen et al. 2023 (relative distance of its loss to the nearest)",
        bound: Bound::Below(0.05),
        figure: Figure::Run(|run| Some(nearest(run)?.1)),
    },
    Check {
        preset: "superposition",
        looked_for: "on the pentagon with one feature lost, or on the hexagon (corners; one of 5 and 6)",
        bound: Bound::Near { value: 5.5, by: 0.5 },
        figure: Figure::Run(|run| Some(nearest(run)?.0 as f64)),
    },
    Check {
        preset: "superposition",
        looked_for: "the learning coefficient of a hexagon is no higher than that of a pentagon (pentagons less hexagons, in standard \
                     errors)",
        bound: Bound::Above(-3.0),
        figure: Figure::All(|runs| {
            let of = |corners: usize| {
                let estimates: Vec<(f64, f64, f64)> = runs
                    .iter()
                    .filter(|run| nearest(run).is_some_and(|(k, _)| k == corners))
                    .filter_map(|run| run.estimates("llc").last().copied())
                    .collect();
                let n = estimates.len() as f64;
                let error = estimates.iter().map(|(_, _, error)| error * error).sum::<f64>().sqrt();
                (n > 0.0).then(|| (estimates.iter().map(|(_, value, _)| value).sum::<f64>() / n, error / n))
            };
            let ((pentagon, its_error), (hexagon, error)) = (of(5)?, of(6)?);
            Some((pentagon - hexagon) / its_error.hypot(error))
        }),
    },
    Check {
        preset: "superposition-sparse",
        looked_for: "dense features are kept one to a dimension (‖W‖², of 5 dimensions)",
        bound: Bound::Near { value: 5.0, by: 0.5 },
        figure: Figure::Seed(|runs| kept(runs, "sparsity=0.0")),
    },
    Check {
        preset: "superposition-sparse",
        looked_for: "the sparser, the more are kept (least ratio of ‖W‖² of neighbours)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| {
            let [dense, sparse, sparser] =
                ["sparsity=0.0", "sparsity=0.9", "sparsity=0.99"].map(|name| kept(runs, name));
            Some((sparse? / dense?).min(sparser? / sparse?))
        }),
    },
];

/// Corners of the polygon, with or without a feature whose bias pays, whose loss is nearest to the last training loss, and the
/// relative distance to it.
fn nearest(run: &Run) -> Option<(usize, f64)> {
    let loss = run.last("loss", "train")?;
    let features = run.setting("task.features")? as usize;
    let kinds = (4..=6).flat_map(|k| (0..=features.saturating_sub(k)).map(move |positive| (k, positive)));
    kinds
        .filter_map(|(k, positive)| Some((k, (loss / Polygon::new(k, positive, features)?.energy() - 1.0).abs())))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

fn kept(runs: &[&Run], name: &str) -> Option<f64> {
    Some(variant(runs, name)?.last("weight_norm", "W").or(variant(runs, name)?.last("weight_norm", "total"))?.powi(2))
}
