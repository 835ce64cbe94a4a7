//! From what an observable gives to what a record keeps.

use std::collections::BTreeMap;

use ontogeny_observe::{
    EVALUATION_VERSION, Evaluation, FOURIER_VERSION, Findings, FourierProgress, LEGAL_MOVES_VERSION, LOSS, LegalMoves,
    Measured, RETURN_VERSION, Refusal, WEIGHT_NORM_VERSION,
};
use ontogeny_posterior::{Diagnostics, Estimate, Llc};
use ontogeny_store::{Coordinate, Detail, NumberType, Outcome, RecordArray, index_labels};
use ontogeny_zoo::{Interface, TaskEnvironment};

use crate::llc_config::LlcConfig;
use crate::sections::ObservableConfig;
use crate::trajectory::{TRAJECTORY_VERSION, TrajectoryOf};

/// Label of a return: it is addressed as `return.expected`.
pub(crate) const RETURN_LABEL: &str = "expected";

/// Version of the learning coefficient's algorithm: sampler, estimator and verdict.
const LLC_VERSION: u32 = 4;

/// Version of the susceptibilities' algorithm, the last two digits, over the chains of an LLC.
const SUSCEPTIBILITY_VERSION: u32 = 100 * LLC_VERSION + 1;

/// As of the susceptibilities.
const INFLUENCE_VERSION: u32 = 100 * LLC_VERSION + 1;

/// As of the susceptibilities.
const RELATIVE_VARIANCE_VERSION: u32 = 100 * LLC_VERSION + 1;

/// A measurement of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    pub(crate) outcome: Outcome,
    pub(crate) arrays: Vec<RecordArray>,
    pub(crate) details: BTreeMap<String, Detail>,
}

impl ObservableConfig {
    /// Unit, and one sentence that says what is measured, on a task of this interface.
    pub(crate) fn describe(&self, interface: Interface) -> (&'static str, &'static str) {
        let loss_unit = interface.loss_unit();
        match self {
            Self::Observed(observed) => match observed.describe() {
                (LOSS, says) => (loss_unit, says),
                own => own,
            },
            Self::Loss if loss_unit == "nats" => (loss_unit, "Mean cross-entropy over each split, exact."),
            Self::Loss => (loss_unit, "Mean squared error over each split, exact."),
            Self::Accuracy => ("1", "Share of each split whose largest logit is the target's."),
            Self::SubtaskLoss(_) => (loss_unit, "Mean loss of each sub-task, exact."),
            Self::SubtaskAccuracy(_) => ("1", "Share of each sub-task's answers whose largest logit is the target's."),
            Self::RobustLoss(_) => (loss_unit, "Mean loss over each split of examples that an attack has moved."),
            Self::RobustAccuracy(_) => {
                ("1", "Share of each split whose largest logit is the target's when an attack has moved the examples.")
            }
            Self::Return => ("1", "Expected return of the policy, exact."),
            Self::LegalMoves => (
                "1",
                "Share of the positions of each split in which the likeliest move is legal (rate), and probability of all legal \
                 moves together (mass).",
            ),
            Self::WeightNorm => ("1", "L2 norm of all weights and of each part of the network."),
            Self::Fourier => ("1", "Progress measures of modular addition (Nanda et al. 2023)."),
            Self::Llc(_) => ("1", "Local learning coefficient of the training loss, with its Monte Carlo error."),
            Self::Trajectory(config) => (
                "1",
                match config.of {
                    TrajectoryOf::Logits => {
                        "Root mean square of the logits (less their mean) or predictions on fixed examples."
                    }
                    TrajectoryOf::Losses => "Root mean square of the losses of single answers on fixed examples.",
                    TrajectoryOf::Weights => "Root mean square of the weights.",
                },
            ),
            Self::Influence(_) => (
                "nats^2",
                "Bayesian influence (Kreer et al. 2025): minus the covariance over the posterior of the losses of a training \
                 example and a query, for the pairs where it is largest in units of its Monte Carlo error.",
            ),
            Self::RelativeVariance(_) => (
                "1",
                "Second moment V of the log-likelihood ratio to the checkpoint over its mean K (ratio), at inverse temperatures that draw \
                 nearer to it, and d ln V/d ln K (exponent): 1 if the variance is relatively finite, below 1 if the ratio grows.",
            ),
            Self::Susceptibility(_) => (
                "nats",
                "Susceptibility (Baker et al. 2025): the rate nβ·chi at which the mean training loss over the posterior of a \
                 part changes as the data move towards a probe, with its Monte Carlo error.",
            ),
        }
    }

    /// Records of another version are made again.
    pub(crate) fn algorithm_version(&self) -> u32 {
        match self {
            Self::Loss | Self::Accuracy | Self::SubtaskLoss(_) | Self::SubtaskAccuracy(_) => EVALUATION_VERSION,
            // The last two digits are the attack's.
            Self::RobustLoss(_) | Self::RobustAccuracy(_) => 100 * EVALUATION_VERSION + 1,
            Self::Return => RETURN_VERSION,
            Self::LegalMoves => LEGAL_MOVES_VERSION,
            Self::Observed(observed) => observed.version(),
            Self::WeightNorm => WEIGHT_NORM_VERSION,
            Self::Fourier => FOURIER_VERSION,
            Self::Llc(_) => LLC_VERSION,
            Self::Susceptibility(_) => SUSCEPTIBILITY_VERSION,
            Self::Influence(_) => INFLUENCE_VERSION,
            Self::RelativeVariance(_) => RELATIVE_VARIANCE_VERSION,
            Self::Trajectory(_) => TRAJECTORY_VERSION,
        }
    }
}

pub(crate) fn loss(evaluations: &[(String, Evaluation)], interface: Interface) -> Reading {
    let entries = evaluations.iter().map(|(split, e)| (split.clone(), e.loss)).collect();
    plain(&Measured::along("split", interface.loss_unit(), entries))
}

pub(crate) fn accuracy(evaluations: &[(String, Evaluation)]) -> Reading {
    let entries = evaluations.iter().filter_map(|(split, e)| Some((split.clone(), e.accuracy?))).collect();
    plain(&Measured::along("split", "1", entries))
}

/// An expected return, with what it lies between.
pub(crate) fn agent_return(expected: f64, environment: &TaskEnvironment) -> Reading {
    let mut reading = plain(&Measured::along("policy", "1", vec![(RETURN_LABEL.to_owned(), expected)]));
    let optimal = environment.optimal_return();
    for (name, value) in
        [("optimal_return", optimal), ("random_return", environment.random_return()), ("regret", optimal - expected)]
    {
        insert_number(&mut reading.details, name, value);
    }
    reading
}

pub(crate) fn legal_moves(found: Vec<(String, LegalMoves)>) -> Reading {
    let values = found.iter().flat_map(|(_, legal)| [legal.rate, legal.mass]).collect();
    let splits = found.into_iter().map(|(split, _)| split).collect();
    let shares = ["rate", "mass"].map(str::to_owned).to_vec();
    plain(&Measured { unit: "1", dims: vec![("split", splits), ("share", shares)], values })
}

/// What an instrument found.
pub(crate) fn findings(found: Findings) -> Reading {
    let mut reading = plain(&found.value);
    if let Some(errors) = found.standard_errors {
        reading.arrays.push(array("standard_error", &Measured { values: errors, ..found.value }));
    }
    reading.arrays.extend(found.arrays.iter().map(|(name, measured)| {
        // Softmaxes are computed in 32 bits, and kept by the thousand.
        let number = if *name == "pattern" { NumberType::Float32 } else { NumberType::Float64 };
        RecordArray { number, ..array(name, measured) }
    }));
    for (name, value) in found.details {
        insert_number(&mut reading.details, name, value);
    }
    if let Some(Refusal { verdict, reason }) = found.refusal {
        reading.outcome = Outcome::Refused { verdict: verdict.to_owned(), reason };
    }
    reading
}

/// A measurement that is exact and always succeeds.
pub(crate) fn plain(measured: &Measured) -> Reading {
    Reading { outcome: Outcome::Done, arrays: vec![array("value", measured)], details: BTreeMap::new() }
}

pub(crate) fn fourier(progress: &FourierProgress) -> Reading {
    let mut reading = plain(&progress.measured);
    let labels: Vec<String> = (1..=progress.embedding_norms.len()).map(|k| k.to_string()).collect();
    let norms = Measured { unit: "1", dims: vec![("frequency", labels)], values: progress.embedding_norms.clone() };
    reading.arrays.push(array("embedding_norm", &norms));
    let keys: Vec<String> = progress.keys.iter().map(ToString::to_string).collect();
    let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    reading.details.insert("key_frequencies".to_owned(), Detail::Text(keys));
    reading
}

pub(crate) fn llc(estimate: &Estimate, config: &LlcConfig, llc: &Llc) -> Reading {
    let diagnostics = estimate.diagnostics();
    let component = vec![config.component()];
    let one = |name: &str, value: f64| {
        array(name, &Measured { unit: "1", dims: vec![("component", component.clone())], values: vec![value] })
    };
    let (outcome, mut arrays) = match estimate {
        Estimate::Ok { value, mcse, .. } => (Outcome::Done, vec![one("value", *value), one("standard_error", *mcse)]),
        Estimate::Refused { verdict, reason, .. } => {
            // The axis is kept, so that a refused estimate has its place; the value counts for nobody.
            let refused = Outcome::Refused { verdict: verdict.to_string(), reason: reason.clone() };
            (refused, vec![one("value", f64::NAN), one("standard_error", f64::NAN)])
        }
    };
    let n_draws = diagnostics.trace.excess.iter().map(Vec::len).max().unwrap_or(0);
    let padded = diagnostics.trace.excess.iter().flat_map(|chain| {
        let rest = n_draws - chain.len();
        chain.iter().map(|excess| excess * diagnostics.n_beta).chain(std::iter::repeat_n(f64::NAN, rest))
    });
    arrays.push(RecordArray {
        name: "trace".to_owned(),
        unit: "1".to_owned(),
        dims: vec!["chain".to_owned(), "draw".to_owned()],
        coordinates: BTreeMap::from([
            ("chain".to_owned(), index_labels(diagnostics.trace.excess.len())),
            ("draw".to_owned(), index_labels(n_draws)),
        ]),
        number: NumberType::Float64,
        values: padded.collect(),
    });

    let mut details: BTreeMap<String, Detail> = settings(diagnostics, llc);
    let mut number = |name: &str, value: f64| insert_number(&mut details, name, value);
    number("n_free", diagnostics.n_free as f64);
    if let Some(mean_loss) = diagnostics.mean_loss {
        number("mean_loss", mean_loss);
    }
    if let Some(convergence) = &diagnostics.convergence {
        number("r_hat", convergence.r_hat);
        number("ess_bulk", convergence.ess_bulk);
        number("ess_tail", convergence.ess_tail);
        number("mcse", convergence.mcse);
        number("autocorrelation_time", convergence.autocorrelation_time);
        number("drift_z", convergence.drift_z);
        number("share_below_baseline", convergence.share_below_baseline);
        number("discretization", convergence.discretization);
        if let Some(acceptance) = convergence.acceptance {
            number("acceptance", acceptance);
        }
    }
    if let (Estimate::Ok { .. }, Some(convergence)) = (estimate, &diagnostics.convergence) {
        number("variance_estimate", convergence.variance.value);
        number("variance_estimate_standard_error", convergence.variance.mcse);
        if let Some(controlled) = &diagnostics.controlled {
            number("value_cv", controlled.lambda.value);
            number("standard_error_cv", controlled.lambda.mcse);
        }
    }
    let norms = &diagnostics.norms;
    for (name, value) in [
        ("distance", norms.distance),
        ("gradient_part", norms.gradient),
        ("localization_part", norms.localization),
        ("noise_part", norms.noise),
        ("gradient_dot_localization", norms.gradient_localization),
        ("gradient_dot_noise", norms.gradient_noise),
        ("localization_dot_noise", norms.localization_noise),
    ] {
        number(name, value);
    }
    number("gradient_norm", diagnostics.start.gradient_norm);
    number("start_decrease", diagnostics.start.decrease);
    details.insert("verdict".to_owned(), Detail::Text(estimate.verdict().to_string()));
    Reading { outcome, arrays, details }
}

/// Settings of chains, and what was found of their start.
pub(crate) fn settings(diagnostics: &Diagnostics, llc: &Llc) -> BTreeMap<String, Detail> {
    let mut details = BTreeMap::new();
    for (name, value) in [
        ("n_beta", diagnostics.n_beta),
        ("n", diagnostics.n as f64),
        ("step_size", llc.step_size),
        ("localization", llc.localization),
        ("chains", llc.chains as f64),
        ("burn_in", llc.burn_in as f64),
        ("draws", llc.draws as f64),
        ("baseline_loss", diagnostics.baseline),
    ] {
        insert_number(&mut details, name, value);
    }
    // A flag, not its opposite: no descent found along the gradient does not make a minimum.
    let flag = if diagnostics.not_a_minimum { "yes" } else { "no" };
    details.insert("not_a_minimum".to_owned(), Detail::Text(flag.to_owned()));
    details.insert("sampler".to_owned(), Detail::Text(llc.sampler.name().to_owned()));
    details
}

pub(crate) fn insert_number(details: &mut BTreeMap<String, Detail>, name: &str, value: f64) {
    details.insert(name.to_owned(), Detail::Number(value.is_finite().then_some(value)));
}

fn array(name: &str, measured: &Measured) -> RecordArray {
    RecordArray {
        name: name.to_owned(),
        unit: measured.unit.to_owned(),
        dims: measured.dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
        coordinates: measured
            .dims
            .iter()
            .map(|(dim, labels)| ((*dim).to_owned(), labels.iter().cloned().map(Coordinate::Text).collect()))
            .collect(),
        number: NumberType::Float64,
        values: measured.values.clone(),
    }
}
