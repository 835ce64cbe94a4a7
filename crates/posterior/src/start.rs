//! The start of all chains: is it a minimum of the loss, as seen by a posterior of this temperature?

use ontogeny_graph::{Threads, Workspace};

use crate::objective::{FullLoss, LossProgram, Objective, ObjectiveError};
use crate::selection::Selection;

/// What the loss looks like at w*, before any chain has moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// Euclidean norm of the gradient of L_n over the free parameters, weight decay not included.
    pub gradient_norm: f64,
    /// How far the log posterior density rises, in nats, along the straight line against this gradient: the largest
    /// value found of nβ·[L_n(w*) − L_n(w* − t·g)] − γ/2·t²‖g‖². About ½ for each direction in which w* lies one
    /// posterior standard deviation off the minimum, and about the amount by which the baseline is too high in nβ·L.
    pub decrease: f64,
}

/// Rises of the density below this cannot matter to any estimate worth having, in nats.
const NEGLIGIBLE: f64 = 0.01;
/// Halvings of the exponent searched: from the pull of the localisation alone to curvatures 4²⁰ times as strong.
const MAX_TRIALS: usize = 20;

impl Start {
    /// Measures the full-data gradient, then searches the line.
    ///
    /// A gradient alone does not say whether a start is a minimum: its effect depends on the curvature it meets. If
    /// only the localisation held the weights they would move by nβ·g/γ; a curvature h shortens that to
    /// nβ·g/(nβh + γ). So steps are tried from `longest_step` down by factors of 4 until the density rises no more.
    /// The search sees one direction: a lower bound of what a descent could gain.
    pub(crate) fn measure(
        objective: &Objective,
        selection: &Selection,
        evaluation: &LossProgram,
        weights: &[f32],
        baseline: &FullLoss,
        posterior: &Tempering,
        threads: &Threads,
    ) -> Result<Self, ObjectiveError> {
        let mut gradient = objective.full_gradient(selection, evaluation.batch, weights, threads)?;
        selection.project_direction(&mut gradient);
        let square: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        let mut start = Self { gradient_norm: square.sqrt(), decrease: 0.0 };
        let Tempering { n_beta, localization, longest_step } = *posterior;
        // Along a convex line the gain is at most that of the localisation alone.
        if !square.is_finite() || 0.5 * n_beta * square * longest_step < NEGLIGIBLE {
            return Ok(start);
        }
        let mut workspace = Workspace::with_threads(&evaluation.program, threads);
        let mut trial = weights.to_vec();
        let mut length = longest_step;
        for _ in 0..MAX_TRIALS {
            for range in selection.ranges() {
                for i in range.clone() {
                    trial[i] = (f64::from(weights[i]) - length * f64::from(gradient[i])) as f32;
                }
            }
            let loss = objective.mean_loss(evaluation, &mut workspace, &trial, |_| ())?;
            let gain = n_beta * (baseline.mean - loss) - 0.5 * localization * length * length * square;
            if gain > start.decrease {
                start.decrease = gain;
            } else if start.decrease > 0.0 {
                break;
            }
            length *= 0.25;
        }
        Ok(start)
    }
}

/// The settings that give a gradient its meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tempering {
    pub(crate) n_beta: f64,
    pub(crate) localization: f64,
    /// Longest step tried along the gradient: nβ/γ, or where it is shorter what a chain without curvature and noise
    /// would cover.
    pub(crate) longest_step: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Batch;
    use crate::restriction::Restriction;
    use ontogeny_graph::Graph;

    /// L = ½·h·Σ w² over 4 coordinates, at distance `offset` from its minimum in each.
    fn measure(h: f64, offset: f32, localization: f64) -> Start {
        let mut g = Graph::new();
        let w = g.param("w", &[4]);
        let square = g.square(w);
        let sum = g.sum(square, &[0]);
        let loss = g.scale(sum, 0.5 * h);
        let objective = Objective::population(g, loss, 1000).unwrap();
        let selection = Restriction::full().resolve(objective.space()).unwrap();
        let weights = [offset; 4];
        let program = objective.program(1, None).unwrap();
        let baseline = objective.full_loss(&weights, Batch::Full).unwrap();
        let tempering = Tempering { n_beta: 100.0, localization, longest_step: 100.0 / localization };
        Start::measure(&objective, &selection, &program, &weights, &baseline, &tempering, &Threads::one()).unwrap()
    }

    #[test]
    fn a_minimum_gains_nothing() {
        assert_eq!(measure(1.0, 0.0, 1.0), Start { gradient_norm: 0.0, decrease: 0.0 });
    }

    #[test]
    fn the_gain_is_that_of_the_best_point_on_the_line() {
        // Exact on a line: (nβ‖g‖)²/(2(nβh + γ)). At u times the best length a parabola gives 2u − u² of its top; of
        // lengths in steps of 4 the better neighbour gives least where u and u/4 tie, at u = 1.6: 0.64.
        for (h, offset, localization) in [(1.0, 0.3, 1.0), (10.0, 0.1, 5.0), (0.01, 3.0, 2.0), (100.0, 0.1, 0.01)] {
            let start = measure(h, offset, localization);
            let square = 4.0 * (h * f64::from(offset)).powi(2);
            let exact = 100.0 * 100.0 * square / (2.0 * (100.0 * h + localization));
            assert!((start.gradient_norm - square.sqrt()).abs() < 1e-5 * square.sqrt());
            assert!(0.63 * exact < start.decrease && start.decrease < 1.001 * exact, "{start:?} {exact}");
        }
    }
}
