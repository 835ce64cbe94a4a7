//! The observables that are settings and an instrument: one table, from which run files, records and reports know them.

use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use ontogeny_zoo::{Model, Task};
use serde::{Deserialize, Deserializer, Serialize};

use crate::activation_statistics::{ACTIVATION_STATISTICS_VERSION, ActivationStatisticsSettings};
use crate::attention::{ATTENTION_VERSION, AttentionSettings};
use crate::composition::{COMPOSITION_VERSION, CompositionSettings};
use crate::curvature::{CURVATURE_VERSION, CurvatureSettings};
use crate::description_length::{DESCRIPTION_LENGTH_VERSION, DescriptionLengthSettings};
use crate::erasure::{ERASURE_VERSION, ErasureSettings};
use crate::frequencies::{FREQUENCIES_VERSION, FrequenciesSettings};
use crate::head_scores::{HEAD_SCORES_VERSION, HeadScoresSettings};
use crate::icl_score::{ICL_SCORE_VERSION, IclScoreSettings};
use crate::interventions::{
    ABLATION_VERSION, AblationSettings, CHECKPOINT_PATCHING_VERSION, CheckpointPatchingSettings,
    LOGIT_ATTRIBUTION_VERSION, LOGIT_LENS_VERSION, LogitAttributionSettings, LogitLensSettings, PATCHING_VERSION,
    PatchingSettings, RESIDUAL_STREAM_VERSION, ResidualStreamSettings,
};
use crate::ioi::{IOI_VERSION, IoiHeadsSettings, IoiSettings};
use crate::linear_probe::{LINEAR_PROBE_VERSION, LinearProbeSettings};
use crate::mask_overlap::{MASK_OVERLAP_VERSION, MaskOverlapSettings};
use crate::mode_connectivity::{MODE_CONNECTIVITY_VERSION, ModeConnectivitySettings};
use crate::neuron_selectivity::{NEURON_SELECTIVITY_VERSION, NeuronSelectivitySettings};
use crate::ngrams::{NGRAMS_VERSION, NgramsSettings};
use crate::quanta::{QUANTA_VERSION, QuantaSettings};
use crate::similarity::{SIMILARITY_VERSION, SimilaritySettings};
use crate::weight_matching::{WEIGHT_MATCHING_VERSION, WeightMatchingSettings};
use crate::weight_statistics::{WEIGHT_STATISTICS_VERSION, WeightStatisticsSettings};
use crate::{Findings, ObserveError, Partner};

/// What an observable is made for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The network.
    pub model: &'a Model,
    /// The data it is measured on.
    pub task: &'a Task,
    /// Of everything that is drawn.
    pub seed: u32,
}

/// One checkpoint to measure, and how.
#[derive(Clone, Copy)]
pub struct Checkpoint<'a> {
    /// Flat, in the order of the model's parameter space.
    pub weights: &'a [f32],
    /// Weights of the partner, where the settings name one.
    pub partner: Option<&'a [f32]>,
    /// Threads that it may use.
    pub threads: NonZero<usize>,
    /// Told the share that is done, 0 to 1.
    pub progress: &'a (dyn Fn(f64) + Sync),
    /// When it is set, the measurement ends with [`ObserveError::Cancelled`].
    pub cancel: &'a AtomicBool,
}

impl<'a> Checkpoint<'a> {
    /// A checkpoint without partner, measured by one thread to its end.
    pub fn alone(weights: &'a [f32]) -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { weights, partner: None, threads: NonZero::<usize>::MIN, progress: &|_| (), cancel: &NEVER }
    }

    /// # Errors
    /// [`ObserveError::Cancelled`] when somebody wants the measurement to end.
    pub fn check_cancelled(&self) -> Result<(), ObserveError> {
        if self.cancel.load(std::sync::atomic::Ordering::Relaxed) { Err(ObserveError::Cancelled) } else { Ok(()) }
    }
}

/// Settings of an observable, as a run file writes them.
pub trait Settings {
    /// Compiles what the measurement needs.
    ///
    /// # Errors
    /// A network or task without what is read, or a setting out of range.
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError>;

    /// The other checkpoint that each one is compared with, where it is.
    fn partner(&self) -> Option<&Partner> {
        None
    }
}

/// Programs and choices of one observable, made once and used at each checkpoint.
pub trait Instrument: Send {
    /// Dimensions of the value with their labels, outermost first; the same at every checkpoint.
    fn dims(&self) -> Vec<(&'static str, Vec<String>)>;

    /// Measures one checkpoint.
    ///
    /// # Errors
    /// Weights that are not finite or of another network, or a cancellation.
    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError>;
}

/// Every kind: its settings, its name in run files, the version of its algorithm (records of another version are made
/// again), its unit, and a sentence that says what is measured.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($settings:ty): $name:literal, version $version:expr, unit $unit:expr, says $says:expr;)+) => {
        /// An observable that a run file asks for, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[non_exhaustive]
        pub enum Observed {
            $($(#[$doc])* #[serde(rename = $name)] $variant($settings),)+
        }

        impl Observed {
            /// The names in run files.
            pub const KINDS: &'static [&'static str] = &[$($name),+];

            /// Reads the settings of the kind of that name.
            ///
            /// # Errors
            /// Settings that the kind does not have, or no such kind.
            pub fn deserialize_kind<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
                match kind {
                    $($name => <$settings>::deserialize(settings).map(Self::$variant),)+
                    other => Err(serde::de::Error::unknown_variant(other, Self::KINDS)),
                }
            }

            /// The name in run files and records.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Version of the algorithm.
            pub fn version(&self) -> u32 {
                match self { $(Self::$variant(_) => $version,)+ }
            }

            /// Unit ([`LOSS`] stands for that of the task's loss), and one sentence that says what is measured.
            pub fn describe(&self) -> (&'static str, &'static str) {
                match self { $(Self::$variant(_) => ($unit, $says),)+ }
            }

            /// The settings.
            pub fn settings(&self) -> &dyn Settings {
                match self { $(Self::$variant(settings) => settings,)+ }
            }
        }
    };
}

kinds! {
    /// Where attention heads look.
    HeadScores(HeadScoresSettings): "head_scores", version HEAD_SCORES_VERSION, unit "1",
        says "Attention of each head, on repeated random sequences, to the previous token, the current one, the first, the earlier \
              copies of the current one (duplicate) and what followed them (induction, prefix_matching); and how much each head copies \
              the tokens it attends to (copying, ov_eigenvalues: -1 to 1).";
    /// What the loss loses without a part.
    Ablation(AblationSettings): "ablation", version ABLATION_VERSION, unit LOSS,
        says "Rise of the mean loss when one part of the network is ablated, with its standard error over the examples.";
    /// What a part carries of the answer.
    Patching(PatchingSettings): "patching", version PATCHING_VERSION, unit "logits",
        says "Part of the difference between the logits of the right and a wrong answer that comes with the clean activation of one \
              part, with its standard error over the examples.";
    /// What a part of another checkpoint brings.
    CheckpointPatching(CheckpointPatchingSettings): "checkpoint_patching", version CHECKPOINT_PATCHING_VERSION, unit "1",
        says "Share of the difference in loss to the partner that comes with the partner's activation of one part, with its standard error \
              over the examples.";
    /// What a part writes of the answer.
    LogitAttribution(LogitAttributionSettings): "logit_attribution", version LOGIT_ATTRIBUTION_VERSION, unit "logits",
        says "Direct logit attribution: the share of each part in the difference between the logits of the right and a wrong \
              answer, with its standard error over the examples; all shares sum up to the difference.";
    /// What was written into the residual stream.
    ResidualStream(ResidualStreamSettings): "residual_stream", version RESIDUAL_STREAM_VERSION, unit "1",
        says "The residual stream before the last norm as the sum of its parts: the size of each (norm), and its share of the whole, which \
              sum up to 1.";
    /// Answers before the end.
    LogitLens(LogitLensSettings): "logit_lens", version LOGIT_LENS_VERSION, unit "1",
        says "Logit lens: loss and accuracy of the answers that the residual stream gives at each place, and their divergence from \
              those at its end, in nats.";
    /// Attention patterns of prompts.
    Attention(AttentionSettings): "attention", version ATTENTION_VERSION, unit "nats",
        says "Mean entropy of each head's attention on the prompts below.";
    /// Composition of heads.
    Composition(CompositionSettings): "composition", version COMPOSITION_VERSION, unit "1",
        says "How much of what a head writes a later one reads with its queries, keys and values (Elhage et al. 2021), minus chance.";
    /// Learning in context.
    IclScore(IclScoreSettings): "icl_score", version ICL_SCORE_VERSION, unit LOSS,
        says "In-context learning score: the mean loss late in a sequence minus that early in it (negative: learned in context), and both.";
    /// Nearness to n-grams.
    Ngrams(NgramsSettings): "ngrams", version NGRAMS_VERSION, unit "1",
        says "Divergence of the network's predictions from those of n-grams of the text it is trained on, and how often the likeliest token \
              is the same.";
    /// Indirect object identification.
    Ioi(IoiSettings): "ioi", version IOI_VERSION, unit "1",
        says "Indirect object identification: the mean logit of the indirect object minus that of the subject, and the share of prompts in \
              which it is positive.";
    /// The heads of its circuit.
    IoiHeads(IoiHeadsSettings): "ioi_heads", version IOI_VERSION, unit "1",
        says "Attention of each head in the steps of the circuit for indirect object identification (Wang et al. 2023).";
    /// Selectivity of neurons.
    NeuronSelectivity(NeuronSelectivitySettings): "neuron_selectivity", version NEURON_SELECTIVITY_VERSION, unit "1",
        says "Class selectivity of the neurons of each layer (Morcos et al. 2018): the mean, the same by chance, the share of selective \
              neurons and of dead ones.";
    /// Eigenvalues of the Hessian or another matrix of curvature, and the dimensions they have.
    Curvature(CurvatureSettings): "curvature", version CURVATURE_VERSION, unit "1",
        says "Curvature of the mean loss over all weights: largest eigenvalues, trace, and effective dimensions of the spectrum.";
    /// Norms, ranks and sparsity of weight matrices.
    WeightStatistics(WeightStatisticsSettings): "weight_statistics", version WEIGHT_STATISTICS_VERSION, unit "1",
        says "Norms of the entries, spectral norm, effective ranks of the singular values and sparsity of each weight matrix, and of the \
              Q, K, V, O, QK and OV matrices of each attention head.";
    /// Dimension, dead units and sparsity of activations.
    ActivationStatistics(ActivationStatisticsSettings): "activation_statistics", version ACTIVATION_STATISTICS_VERSION, unit "1",
        says "Dimensions of the activations over examples (of their covariance, and from nearest neighbours), the share of units that \
              never vary, and how few units carry an activation.";
    /// How few bits describe the weights at a tolerated loss.
    DescriptionLength(DescriptionLengthSettings): "description_length", version DESCRIPTION_LENGTH_VERSION, unit "1",
        says "Bits for each weight, share of weights that can be 0, and the length of the weights' code in bits, at a tolerated rise of \
              the loss.";
    /// How alike the activations are.
    Similarity(SimilaritySettings): "similarity", version SIMILARITY_VERSION, unit "1",
        says "Similarity of the activations at each place with those of the partner: linear kernel alignment (plain and debiased), mean \
              canonical correlation, the same weighted by projections (PWCCA) and of the leading directions (SVCCA).";
    /// What a linear map reads from activations.
    LinearProbe(LinearProbeSettings): "linear_probe", version LINEAR_PROBE_VERSION, unit "1",
        says "Held-out accuracy of a linear probe at each place, of the same probe on a control task, and their difference \
              (selectivity).";
    /// What is lost with what a linear map reads.
    Erasure(ErasureSettings): "erasure", version ERASURE_VERSION, unit "1",
        says "Accuracy of a linear probe at each place before its target is erased there, after, and on samples that the erasure was not \
              fitted to, and by how much the erasure raises the network's loss.";
    /// The loss between two checkpoints.
    ModeConnectivity(ModeConnectivitySettings): "mode_connectivity", version MODE_CONNECTIVITY_VERSION, unit "1",
        says "Loss on the straight line to the partner: its maximum above the mean of the ends (barrier), its height above the chord \
              (excess), and the accuracy lost against the chord.";
    /// The same network but for the order of its units?
    WeightMatching(WeightMatchingSettings): "weight_matching", version WEIGHT_MATCHING_VERSION, unit "1",
        says "Barrier and distance to the partner as it is and with its units in the order of this checkpoint's (Git Re-Basin), and the share \
              of units that stay in place.";
    /// Whether the largest weights stay the same.
    MaskOverlap(MaskOverlapSettings): "mask_overlap", version MASK_OVERLAP_VERSION, unit "1",
        says "Share of the largest weights of each matrix that are the partner's too (overlap), the same between chance (0) and equality (1), \
              and the loss when only these, or only the partner's, are kept.";
    /// Modular addition by frequency.
    Frequencies(FrequenciesSettings): "frequencies", version FREQUENCIES_VERSION, unit "1",
        says "Modular addition by frequency: its share in the squared norm of the residues' embedding, and the number of neurons of which it \
              explains more than 85 %.";
    /// Examples with parallel gradients.
    Quanta(QuantaSettings): "quanta", version QUANTA_VERSION, unit "1",
        says "Clusters of examples by the angles between their gradients: share of the largest, slope of sizes against ranks, and agreement \
              with the task's sub-tasks.";
}

/// As unit in the table: that of the task's loss.
pub const LOSS: &str = "loss";
