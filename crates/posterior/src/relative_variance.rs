//! Relatively finite variance: how the second moment of log-likelihood ratios goes with their mean as both vanish.

use std::sync::Arc;

use ontogeny_graph::{Threads, Workspace};
use ontogeny_stats::{ChainError, Chains};

use crate::chain::Observer;
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::{Execution, Progress};
use crate::llc::{Llc, LlcError, SettingsError};
use crate::objective::{LossProgram, Objective};
use crate::quantity::Quantity;
use crate::response::{Judged, Refusal};
use crate::verdict::{Limits, Verdict};

/// Mean and second moment of the log-likelihood ratio f(x, w) = ℓ(x, w) − ℓ(x, w*) around w*, at several distances.
///
/// A model has a relatively finite variance if there is a c with E\[f²\] ≤ c·E\[f\] for all w near its optimum (Watanabe 2018,
/// section 2.1; a condition of the theory since Watanabe 2010). Expectations are those over the examples, which stand for the
/// truth. If w* is the truth, V/K → 2, singular or not: from E\[e^−f\] = 1 follows K = E\[f + e^−f − 1\], and to leading order both this
/// and V/2 are E\[f²\]/2. If it is not, but regular, V/K → 2·tr(GΣ)/tr(HΣ) with H the Hessian of the loss, G the second moment of
/// the gradients and Σ the covariance of w. Where the optimum is not one function, or where the mean of f has no second order and
/// f itself a first, the ratio diverges: with K ~ ε⁴ and V ~ ε² as V/K ~ K^−½.
///
/// The weights are draws of the posterior around w* at ascending nβ, everything else the same. Random directions would not
/// do: over all of them the mean K is r²·tr(H)/2d, and a flat direction, where the ratio may diverge, is one of d. Draws go as
/// far along each direction as the loss allows, so that each brings about as much to K as any other. The localisation must be
/// weak for that: where γ and not the loss holds the weights, they keep their distance at every nβ. A mean over draws is not the
/// supremum of the definition: thin sets of weights with a large ratio do not show.
#[derive(Debug, Clone, PartialEq)]
pub struct RelativeVariance {
    /// One for each nβ, ascending: the weights come nearer to w*.
    pub scales: Vec<VarianceScale>,
    /// d ln V/d ln K over the scales, by least squares: 1 where the ratio is bounded, below 1 where it grows as K → 0. None if
    /// any scale is refused. The error is of first order in those of the means, whose chains are independent.
    pub exponent: Option<Quantity>,
}

/// The draws at one temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct VarianceScale {
    /// nβ.
    pub n_beta: f64,
    /// λ̂ at this temperature, from the same draws.
    pub estimate: Estimate,
    /// Refused with the chains, where the second moment has not converged, and where K is not clearly above 0.
    pub moments: Judged<Moments>,
}

/// Means over the draws, with their Monte Carlo errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// K, the mean of f over the examples: in units of the loss.
    pub mean: Quantity,
    /// V, the mean of f².
    pub second: Quantity,
    /// V/K, a ratio of means.
    pub ratio: Quantity,
}

/// Mean and second moment of f at each draw, chain by chain.
#[derive(Debug, Default)]
struct Draws {
    means: Vec<Vec<f64>>,
    seconds: Vec<Vec<f64>>,
}

/// Chains of different scales must not share their noise: this times the number of the scale is added to the seed.
const SEED_STRIDE: u32 = 0x9E37_79B9;

impl Llc {
    /// Samples the posterior around `weights` at each of `n_betas`, and takes the moments of the log-likelihood ratio at
    /// every draw. `step_size` is that at the first of them, and in inverse proportion to nβ at the others; `n_beta` is not
    /// read. The second moment is that of the differences of `objective`'s losses, or the mean of `second`, where what
    /// happens is not one of the examples but drawn by the network itself. Costs a pass over the data at each draw, or two.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`]; fewer than two temperatures, or not ascending ones; no examples; a `second` of another
    /// network.
    pub fn relative_variance(
        &self,
        objective: &Objective,
        second: Option<&Objective>,
        weights: &[f32],
        n_betas: &[f64],
        execution: &Execution<'_>,
    ) -> Result<RelativeVariance, LlcError> {
        self.check_relative_variance(objective, second, n_betas)?;
        let (mut scales, mut draws) = (Vec::with_capacity(n_betas.len()), Vec::with_capacity(n_betas.len()));
        for (at, (settings, &n_beta)) in self.at_scales(n_betas).iter().zip(n_betas).enumerate() {
            // All scales have the same number of steps.
            let report = |p: Progress| {
                if let Some(progress) = execution.progress {
                    progress(Progress { done: at * p.total + p.done, total: n_betas.len() * p.total });
                }
            };
            let execution = Execution { progress: Some(&report), ..*execution };
            let (estimate, own) = settings.moments(objective, second, weights, &execution)?;
            let moments = judge(&estimate, &own)?;
            scales.push(VarianceScale { n_beta, estimate, moments });
            draws.push(own);
        }
        let exponent = exponent(&scales, &draws)?;
        Ok(RelativeVariance { scales, exponent })
    }

    /// Checks what can be known without weights.
    ///
    /// # Errors
    /// As [`Llc::relative_variance`].
    pub fn check_relative_variance(
        &self,
        objective: &Objective,
        second: Option<&Objective>,
        n_betas: &[f64],
    ) -> Result<(), LlcError> {
        let wrong = |found: String, expected: &str| Err(SettingsError::new("n_betas", found, expected).into());
        if n_betas.len() < 2 {
            return wrong(format!("{n_betas:?}"), "at least two, to see where the ratio goes");
        }
        let rises = |low: f64, high: f64| low.partial_cmp(&high) == Some(std::cmp::Ordering::Less);
        if let Some([low, high]) = n_betas.array_windows().find(|[low, high]| !rises(*low, *high)) {
            return wrong(format!("{low} before {high}"), "ascending numbers");
        }
        if objective.data().is_none() {
            let found = "a population loss".to_owned();
            return Err(SettingsError::new("objective", found, "one with examples, whose losses vary").into());
        }
        if second.is_some_and(|second| second.space() != objective.space()) {
            let expected = "the parameters of the objective";
            return Err(SettingsError::new("second", "another network", expected).into());
        }
        self.at_scales(n_betas).iter().try_for_each(|settings| settings.check(objective))
    }

    /// The settings of each scale.
    fn at_scales(&self, n_betas: &[f64]) -> Vec<Self> {
        let at = |(number, &n_beta): (u32, &f64)| Self {
            n_beta: Some(n_beta),
            step_size: self.step_size * n_betas[0] / n_beta,
            seed: self.seed.wrapping_add(number.wrapping_mul(SEED_STRIDE)),
            ..self.clone()
        };
        (0..).zip(n_betas).map(at).collect()
    }

    /// The chains of one scale. There are no draws where one of them has diverged.
    fn moments(
        &self,
        objective: &Objective,
        second: Option<&Objective>,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<(Estimate, Draws), LlcError> {
        let ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        let rows = objective.batch_rows(self.batch)?;
        let program = objective.program(rows, None)?;
        let mut start = Vec::new();
        let threads = Threads::new(execution.threads);
        objective.mean_loss(&program, &mut Workspace::with_threads(&program.program, &threads), weights, |loss| {
            start.push(loss);
        })?;
        let own = match second {
            Some(second) => {
                let rows = rows.min(second.data().map_or(1, ontogeny_graph::DataSet::len));
                Some((second, second.program(rows, None)?))
            }
            None => None,
        };
        let watch = |_, threads: &Threads| {
            let reader = |objective, program: &Arc<LossProgram>| Reader {
                objective,
                workspace: Workspace::with_threads(&program.program, threads),
                program: Arc::clone(program),
            };
            Ok(Watch {
                losses: reader(objective, &program),
                second: own.as_ref().map(|(second, program)| reader(second, program)),
                start: &start,
                means: Vec::with_capacity(self.draws),
                seconds: Vec::with_capacity(self.draws),
            })
        };
        let watched = ensemble.run(execution, watch)?;
        let (mut records, mut draws) = (Vec::with_capacity(watched.len()), Draws::default());
        for (record, watch) in watched {
            records.push(record);
            draws.means.push(watch.means);
            draws.seconds.push(watch.seconds);
        }
        Ok((ensemble.conclude(records)?, draws))
    }
}

/// An objective with what evaluates it.
struct Reader<'a> {
    objective: &'a Objective,
    program: Arc<LossProgram>,
    workspace: Workspace,
}

/// Watches the moments of one chain.
struct Watch<'a> {
    losses: Reader<'a>,
    /// Of whose examples the second moment is the mean.
    second: Option<Reader<'a>>,
    /// Losses of the examples at w*.
    start: &'a [f64],
    means: Vec<f64>,
    seconds: Vec<f64>,
}

impl Observer for Watch<'_> {
    fn draw(&mut self, weights: &[f32]) -> Result<(), LlcError> {
        let Reader { objective, program, workspace } = &mut self.losses;
        let (mut sum, mut squares, mut start) = (0.0, 0.0, self.start.iter());
        objective.mean_loss(program, workspace, weights, |loss| {
            let f = loss - start.next().copied().unwrap_or(f64::NAN);
            sum += f;
            squares += f * f;
        })?;
        let n = self.start.len() as f64;
        self.means.push(sum / n);
        self.seconds.push(match &mut self.second {
            Some(Reader { objective, program, workspace }) => {
                objective.mean_loss(program, workspace, weights, |_| ())?
            }
            None => squares / n,
        });
        Ok(())
    }
}

/// The moments of one scale, or why there are none.
fn judge(estimate: &Estimate, draws: &Draws) -> Result<Judged<Moments>, ChainError> {
    let refused = |verdict, reason| Ok(Judged::Refused(Refusal { component: "full".to_owned(), verdict, reason }));
    if let Estimate::Refused { verdict, reason, .. } = estimate {
        return refused(*verdict, reason.clone());
    }
    if draws.means.iter().chain(&draws.seconds).flatten().any(|value| !value.is_finite()) {
        return refused(Verdict::Diverged, "the loss of an example at a draw is not finite".to_owned());
    }
    let (means, seconds) = (Chains::new(&draws.means)?, Chains::new(&draws.seconds)?);
    // Flat directions may hardly matter to the loss that the estimate has judged.
    let r_hat = seconds.rank_rhat();
    if r_hat > Limits::R_HAT {
        let reason = format!(
            "the chains disagree on the second moment of f: R̂ is {r_hat:.3}, above {}; run longer",
            Limits::R_HAT
        );
        return refused(Verdict::NotConverged, reason);
    }
    let (found, needed) = (seconds.ess_bulk(), Limits::ESS_PER_CHAIN * draws.seconds.len() as f64);
    if found < needed {
        let found = found.floor();
        let reason = format!("{found:.0} effective draws of the second moment of f, fewer than {needed}; run longer");
        return refused(Verdict::NotConverged, reason);
    }
    let (mean, second) = (Quantity::of(&means), Quantity::of(&seconds));
    if mean.value <= 3.0 * mean.mcse {
        let reason = format!(
            "the mean of f is {:.4e} ± {:.1e}, not clearly above 0, so that nothing can be divided by it; run longer, or train closer \
             to a minimum",
            mean.value, mean.mcse
        );
        return refused(Verdict::NotConverged, reason);
    }
    let value = second.value / mean.value;
    let Quantity { mcse, .. } = combined(draws, -value / mean.value, 1.0 / mean.value)?;
    Ok(Judged::Ok(Moments { mean, second, ratio: Quantity { value, mcse } }))
}

/// The mean of a·K + b·V over the draws, with its error.
fn combined(draws: &Draws, a: f64, b: f64) -> Result<Quantity, ChainError> {
    let of = |(means, seconds): (&Vec<f64>, &Vec<f64>)| means.iter().zip(seconds).map(|(k, v)| a * k + b * v).collect();
    let series: Vec<Vec<f64>> = draws.means.iter().zip(&draws.seconds).map(of).collect();
    Quantity::of_segments(&series)
}

/// The slope of y = ln V on x = ln K by least squares. To first order it moves by Σ [(x − x̄)·dy + (r − b·(x − x̄))·dx]/Σ(x − x̄)²,
/// r the residuals, with dy = dV/V and dx = dK/K.
fn exponent(scales: &[VarianceScale], draws: &[Draws]) -> Result<Option<Quantity>, ChainError> {
    let moments: Option<Vec<&Moments>> = scales.iter().map(|scale| scale.moments.value()).collect();
    let Some(moments) = moments else { return Ok(None) };
    let of = |get: fn(&Moments) -> f64| moments.iter().map(|m| get(m).ln()).collect::<Vec<f64>>();
    let (x, y) = (of(|m| m.mean.value), of(|m| m.second.value));
    let n = moments.len() as f64;
    let (x_mean, y_mean) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let squares: f64 = x.iter().map(|x| (x - x_mean).powi(2)).sum();
    if squares == 0.0 {
        return Ok(None);
    }
    let value = x.iter().zip(&y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / squares;
    let mut variance = 0.0;
    for ((moments, draws), (x, y)) in moments.iter().zip(draws).zip(x.iter().zip(&y)) {
        let from_middle = x - x_mean;
        let residual = y - y_mean - value * from_middle;
        let of_mean = (residual - value * from_middle) / squares / moments.mean.value;
        let of_second = from_middle / squares / moments.second.value;
        variance += combined(draws, of_mean, of_second)?.mcse.powi(2);
    }
    Ok(Some(Quantity { value, mcse: variance.sqrt() }))
}
