//! Settings of `observable = "llc"` in a run file, and the estimator that they describe.

use ontogeny_posterior::{
    Baseline, Batch as ChainBatch, Centre, Correction, Evaluation, GaussianPrior, GradientRule, Llc, Restriction,
    RestrictionError, Sampler, Schedule,
};
use ontogeny_store::CalibratedSettings;
use ontogeny_zoo::Batch;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::sections::Parts;

/// Settings of `observable = "llc"`. Keys that are not given do not enter the key of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlcConfig {
    /// One of [`Sampler::NAMES`].
    pub sampler: String,
    /// Chains from the same start.
    pub chains: usize,
    /// Steps before the first draw.
    pub burn_in: usize,
    /// Draws of each chain.
    pub draws: usize,
    /// Steps from draw to draw.
    pub thin: usize,
    /// ε.
    pub step_size: f64,
    /// γ.
    pub localization: f64,
    /// Examples of a gradient, or `"full"`.
    pub batch: Batch,
    /// Whose loss a draw records.
    pub evaluation: EvaluationConfig,
    /// Examples of an evaluation that is `fresh` or `fixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation_batch: Option<usize>,
    /// What the loss of a draw is compared with; the same examples unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineConfig>,
    /// `control_variate` for gradients with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient: Option<GradientConfig>,
    /// nβ; n/ln n with n the training examples unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_beta: Option<f64>,
    /// α of RMSprop.
    pub decay: f64,
    /// Added to the root in RMSprop and Adam.
    pub eps: f64,
    /// What RMSprop does about its preconditioner depending on the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correction: Option<CorrectionConfig>,
    /// β₁, β₂ of Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Share of the momentum lost in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friction: Option<f64>,
    /// Most leapfrog steps of HMC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leapfrogs: Option<usize>,
    /// Most doublings of NUTS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
    /// Acceptance that MALA, HMC and NUTS adapt their step to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_acceptance: Option<f64>,
    /// Precision of a Gaussian prior at the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_precision: Option<f64>,
    /// Half the width of the box around the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounding_box: Option<f64>,
    /// First step size of burn-in, as a multiple of `step_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burn_in_from: Option<f64>,
    /// Whether step size, localisation and temperature are found before anything is measured, and on which checkpoints.
    /// Those given are where the search begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrate: Option<Calibrate>,
    /// Settings found, which then stand in place of those given.
    #[serde(skip)]
    pub(crate) is_frozen: bool,
    /// Whether a record keeps the losses of single examples, or of their tokens, at every draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_losses: Option<KeptLosses>,
    /// Of how many training examples: the first ones; 100, or all where there are fewer, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_examples: Option<usize>,
    /// The part that moves, or a list whose union moves.
    pub restrict: Parts,
}

/// `calibrate` of an LLC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Calibrate {
    /// On three checkpoints spread over the run. Reads only from `true`.
    Spread(bool),
    /// On the checkpoints of these steps.
    Steps(Vec<u64>),
}

/// `keep_losses` of an LLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptLosses {
    /// Only the losses that enter λ̂.
    None,
    /// The loss of each example.
    Example,
    /// The loss of each token, of networks that predict next tokens.
    Token,
}

/// `evaluation` of an LLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationConfig {
    /// The examples of the gradient.
    Batch,
    /// Others for each draw.
    Fresh,
    /// The same for all draws.
    Fixed,
    /// All training examples.
    Full,
}

/// `baseline` of an LLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineConfig {
    /// The examples of the evaluation.
    SameExamples,
    /// All training examples.
    Full,
}

/// `gradient` of an LLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientConfig {
    /// The mean of the batch.
    Plain,
    /// With the gradients at the start as a control variate.
    ControlVariate,
}

/// `correction` of RMSprop-SGLD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionConfig {
    /// None.
    None,
    /// The preconditioner is constant after burn-in.
    Freeze,
    /// The drift Γ.
    Curvature,
}

impl Default for LlcConfig {
    fn default() -> Self {
        let llc = Llc::default();
        Self {
            sampler: llc.sampler.name().to_owned(),
            chains: llc.chains,
            burn_in: llc.burn_in,
            draws: llc.draws,
            thin: llc.thin,
            step_size: llc.step_size,
            localization: llc.localization,
            batch: Batch::Full,
            evaluation: EvaluationConfig::Batch,
            evaluation_batch: None,
            baseline: None,
            gradient: None,
            n_beta: None,
            decay: 0.99,
            eps: 0.1,
            correction: None,
            betas: None,
            friction: None,
            leapfrogs: None,
            max_depth: None,
            target_acceptance: None,
            prior_precision: None,
            bounding_box: None,
            burn_in_from: None,
            calibrate: None,
            is_frozen: false,
            keep_losses: None,
            keep_examples: None,
            restrict: Parts(vec!["full".to_owned()]),
        }
    }
}

impl<'de> Deserialize<'de> for Calibrate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrueOrSteps;
        impl<'de> Visitor<'de> for TrueOrSteps {
            type Value = Calibrate;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, or a list of steps with checkpoints")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Calibrate, E> {
                if value {
                    Ok(Calibrate::Spread(true))
                } else {
                    Err(E::custom("`calibrate = false` says nothing; leave it out"))
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Calibrate, A::Error> {
                let mut steps = Vec::new();
                while let Some(step) = seq.next_element()? {
                    steps.push(step);
                }
                Ok(Calibrate::Steps(steps))
            }
        }
        deserializer.deserialize_any(TrueOrSteps)
    }
}

/// The keys that say how chains move and whose loss their draws record, which observables made of draws share.
pub(crate) const SAMPLING_KEYS: [&str; 24] = [
    "sampler",
    "chains",
    "burn_in",
    "draws",
    "thin",
    "step_size",
    "localization",
    "batch",
    "evaluation",
    "evaluation_batch",
    "baseline",
    "gradient",
    "n_beta",
    "decay",
    "eps",
    "correction",
    "betas",
    "friction",
    "leapfrogs",
    "max_depth",
    "target_acceptance",
    "prior_precision",
    "bounding_box",
    "burn_in_from",
];

/// Most draws of all chains together that one record may hold.
pub(crate) const MAX_KEPT: usize = 10_000_000;

impl LlcConfig {
    /// Whether the losses of single examples are kept at every draw.
    pub(crate) fn keeps_losses(&self) -> bool {
        matches!(self.keep_losses, Some(KeptLosses::Example | KeptLosses::Token))
    }

    /// The estimator with these settings; `Err` explains what does not fit together.
    pub(crate) fn llc(&self, seed: u32) -> Result<Llc, String> {
        let restriction = self.restriction().map_err(|e| e.to_string())?;
        let kept = self.chains.saturating_mul(self.draws);
        if kept > MAX_KEPT {
            return Err(format!("`chains · draws` is {kept}; expected at most {MAX_KEPT}: every draw's loss is kept"));
        }
        let prior = |precision| GaussianPrior { precision, centre: Centre::Zero };
        Ok(Llc {
            sampler: self.sampler()?,
            chains: self.chains,
            burn_in: self.burn_in,
            draws: self.draws,
            thin: self.thin,
            step_size: self.step_size,
            localization: self.localization,
            batch: match self.batch {
                Batch::Full => ChainBatch::Full,
                Batch::Size(n) => ChainBatch::Size(n),
            },
            gradient: match self.gradient {
                None | Some(GradientConfig::Plain) => GradientRule::Plain,
                Some(GradientConfig::ControlVariate) => GradientRule::ControlVariate,
            },
            evaluation: self.evaluation()?,
            baseline: match self.baseline {
                None | Some(BaselineConfig::SameExamples) => Baseline::SameExamples,
                Some(BaselineConfig::Full) => Baseline::Full,
            },
            n_beta: self.n_beta,
            seed,
            restriction,
            priors: self.prior_precision.map(prior).into_iter().collect(),
            bounding_box: self.bounding_box,
            schedule: self.burn_in_from.map_or(Schedule::Constant, |from| Schedule::BurnIn { from }),
        })
    }

    /// Whether its settings are still to be found.
    pub(crate) fn awaits_calibration(&self) -> bool {
        self.calibrate.is_some() && !self.is_frozen
    }

    /// Puts what was found in place of what was given.
    pub(crate) fn freeze(&mut self, found: CalibratedSettings) {
        self.step_size = found.step_size;
        self.localization = found.localization;
        self.n_beta = Some(found.n_beta);
        self.draws = found.draws;
        self.is_frozen = true;
    }

    /// Whether the run has the checkpoints that are named.
    pub(crate) fn check_calibration(&self, steps: &[u64]) -> Result<(), String> {
        match &self.calibrate {
            Some(Calibrate::Steps(named)) if named.is_empty() => {
                Err("`calibrate` is an empty list; name steps of checkpoints, or say `true`".to_owned())
            }
            Some(Calibrate::Steps(named)) => named.iter().find(|step| !steps.contains(step)).map_or(Ok(()), |step| {
                let nearest = steps.iter().min_by_key(|known| known.abs_diff(*step));
                let hint = nearest.map_or_else(String::new, |known| format!("; the nearest is {known}"));
                Err(format!("`calibrate` names step {step}, at which there is no checkpoint{hint}"))
            }),
            _ => Ok(()),
        }
    }

    /// The named sampler with the settings given; one that it does not have is a mistake.
    fn sampler(&self) -> Result<Sampler, String> {
        let mut sampler: Sampler =
            self.sampler.parse().map_err(|e: ontogeny_posterior::UnknownSampler| e.to_string())?;
        let mut taken: &[&str] = &[];
        match &mut sampler {
            Sampler::RmspropSgld { decay, eps, correction } => {
                (*decay, *eps) = (self.decay, self.eps);
                *correction = match self.correction {
                    None | Some(CorrectionConfig::None) => Correction::None,
                    Some(CorrectionConfig::Freeze) => Correction::Freeze,
                    Some(CorrectionConfig::Curvature) => Correction::Curvature,
                };
                taken = &["correction"];
            }
            Sampler::AdamSgld { betas, eps } => {
                *eps = self.eps;
                *betas = self.betas.unwrap_or(*betas);
                taken = &["betas"];
            }
            Sampler::Sghmc { friction } | Sampler::Sgnht { friction } | Sampler::Baoab { friction } => {
                *friction = self.friction.unwrap_or(*friction);
                taken = &["friction"];
            }
            Sampler::Mala { target_acceptance } => {
                *target_acceptance = self.target_acceptance.or(*target_acceptance);
                taken = &["target_acceptance"];
            }
            Sampler::Hmc { leapfrogs, target_acceptance } => {
                *leapfrogs = self.leapfrogs.unwrap_or(*leapfrogs);
                *target_acceptance = self.target_acceptance.or(*target_acceptance);
                taken = &["leapfrogs", "target_acceptance"];
            }
            Sampler::Nuts { max_depth, target_acceptance } => {
                *max_depth = self.max_depth.unwrap_or(*max_depth);
                *target_acceptance = self.target_acceptance.or(*target_acceptance);
                taken = &["max_depth", "target_acceptance"];
            }
            _ => {}
        }
        let given = [
            ("correction", self.correction.is_some()),
            ("betas", self.betas.is_some()),
            ("friction", self.friction.is_some()),
            ("leapfrogs", self.leapfrogs.is_some()),
            ("max_depth", self.max_depth.is_some()),
            ("target_acceptance", self.target_acceptance.is_some()),
        ];
        match given.into_iter().find(|(key, is_given)| *is_given && !taken.contains(key)) {
            Some((key, _)) => Err(format!("`{key}` is no setting of the sampler `{sampler}`; leave it out")),
            None => Ok(sampler),
        }
    }

    fn evaluation(&self) -> Result<Evaluation, String> {
        match (self.evaluation, self.evaluation_batch) {
            (EvaluationConfig::Batch, None) => Ok(Evaluation::Batch),
            (EvaluationConfig::Full, None) => Ok(Evaluation::Full),
            (EvaluationConfig::Fresh, Some(n)) => Ok(Evaluation::Fresh(n)),
            (EvaluationConfig::Fixed, Some(n)) => Ok(Evaluation::Fixed(n)),
            (_, None) => {
                Err("`evaluation` is \"fresh\" or \"fixed\"; say of how many examples by `evaluation_batch`".to_owned())
            }
            (_, Some(_)) => {
                Err("`evaluation_batch` belongs to `evaluation = \"fresh\"` or `\"fixed\"`; leave it out".to_owned())
            }
        }
    }

    fn restriction(&self) -> Result<Restriction, RestrictionError> {
        match self.restrict.0.as_slice() {
            [one] => one.parse(),
            several => Restriction::union(several),
        }
    }

    /// Name of the restricted part, the `component` of the result.
    pub fn component(&self) -> String {
        self.restrict.0.join(" + ")
    }
}
