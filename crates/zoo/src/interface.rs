//! What a task gives to a network and asks of it: inputs, predictions, loss.

use std::fmt;

/// What a task gives to a network and asks of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interface {
    /// Sequences of ids in the input `tokens` `[batch, length]`.
    Tokens {
        /// Ids are below this.
        vocabulary: usize,
        /// Ids of one sequence.
        length: usize,
        /// What is predicted.
        read: Read,
    },
    /// Vectors in the float input `x` `[batch, inputs]`.
    Vectors {
        /// Width of `x`.
        inputs: usize,
        /// Width of the network's output.
        outputs: usize,
        /// What is compared with what.
        loss: VectorLoss,
        /// Channels, height and width where `x` is an image, row by row; their product is `inputs`.
        image: Option<[usize; 3]>,
    },
    /// Questions x and answers y in turn, in the float inputs `x` `[batch, pairs, dimension]` and `y` `[batch, pairs]`:
    /// every answer is predicted from its question and the pairs before it. The loss is the squared difference.
    Pairs {
        /// Width of a question.
        dimension: usize,
        /// Pairs of one sequence.
        pairs: usize,
    },
    /// Items x and their classes y in turn, in the floats `x` `[batch, pairs, dimension]` and the ids `y` `[batch, pairs]`: the
    /// class of the last item is predicted, from the item and the pairs before it. The loss is cross-entropy in nats.
    LabelledItems {
        /// Width of an item.
        dimension: usize,
        /// Pairs of one sequence, the last of which is the question.
        pairs: usize,
        /// Classes.
        classes: usize,
    },
}

/// Which positions of a sequence are predicted; the loss is cross-entropy in nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// One class per sequence, read at the last position, against the ids `targets` `[batch]`.
    LastPosition {
        /// Number of classes: the first ids of the vocabulary. Logits of the others are not computed.
        classes: usize,
    },
    /// The tokens number `from`, `from + every`, … of the sequence itself, each from those before it.
    Tokens {
        /// Position of the first predicted token, at least 1.
        from: usize,
        /// Distance of two predicted tokens, at least 1.
        every: usize,
        /// Whether the float input `weights` `[batch, answers]` says what each predicted token counts. An example's loss
        /// is then the weighted sum, so that its weights should sum to 1; else it is the mean.
        is_weighted: bool,
    },
}

impl Read {
    /// Each token but the first.
    pub const NEXT_TOKEN: Self = Self::Tokens { from: 1, every: 1, is_weighted: false };
}

/// Loss of one example of a network of vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VectorLoss {
    /// Cross-entropy in nats against the ids `y` `[batch]`.
    CrossEntropy,
    /// Mean over the outputs of the squared difference from the floats `y` `[batch, outputs]`.
    MeanSquared,
    /// `factor` · Σᵢ `importance`ⁱ (ŷᵢ − yᵢ)², i from 0.
    Squared {
        /// 1, or ½ in papers that differentiate by hand.
        factor: f64,
        /// Ratio of the weights of neighbouring outputs; 1 where all count the same.
        importance: f64,
    },
}

/// A column that a task's data sets have: an input of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InputColumn {
    pub(crate) name: &'static str,
    /// Elements of one example.
    pub(crate) width: usize,
    pub(crate) is_ids: bool,
}

impl Interface {
    /// Predictions of one example that have a loss of their own: predicted tokens, or pairs; else 1.
    pub fn answers(&self) -> usize {
        match *self {
            Self::Tokens { length, read: Read::Tokens { from, every, .. }, .. } => {
                length.saturating_sub(from).div_ceil(every.max(1))
            }
            Self::Pairs { pairs, .. } => pairs,
            Self::Tokens { .. } | Self::Vectors { .. } | Self::LabelledItems { .. } => 1,
        }
    }

    /// Unit of its loss: `nats` of a cross-entropy, `1` of a squared difference.
    pub fn loss_unit(&self) -> &'static str {
        match self {
            Self::Tokens { .. } | Self::LabelledItems { .. } | Self::Vectors { loss: VectorLoss::CrossEntropy, .. } => {
                "nats"
            }
            Self::Vectors { .. } | Self::Pairs { .. } => "1",
        }
    }

    /// The inputs of its graphs, which every data set of the task has as columns.
    pub(crate) fn columns(&self) -> Vec<InputColumn> {
        let ids = |name, width| InputColumn { name, width, is_ids: true };
        let floats = |name, width| InputColumn { name, width, is_ids: false };
        match *self {
            Self::Tokens { length, read: Read::LastPosition { .. }, .. } => {
                vec![ids("tokens", length), ids("targets", 1)]
            }
            Self::Tokens { length, read: Read::Tokens { is_weighted, .. }, .. } => {
                let weights = is_weighted.then(|| floats("weights", self.answers()));
                [ids("tokens", length)].into_iter().chain(weights).collect()
            }
            Self::Vectors { inputs, loss: VectorLoss::CrossEntropy, .. } => vec![floats("x", inputs), ids("y", 1)],
            Self::Vectors { inputs, outputs, .. } => vec![floats("x", inputs), floats("y", outputs)],
            Self::Pairs { dimension, pairs } => vec![floats("x", pairs * dimension), floats("y", pairs)],
            Self::LabelledItems { dimension, pairs, .. } => vec![floats("x", pairs * dimension), ids("y", pairs)],
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tokens { vocabulary, length, read } => {
                write!(f, "sequences of {length} ids below {vocabulary} that predict ")?;
                match read {
                    Read::LastPosition { classes } => write!(f, "one of {classes} classes"),
                    Read::Tokens { from, every, is_weighted } => {
                        let weights = if is_weighted { ", with weights" } else { "" };
                        write!(f, "their tokens from number {from} on, every {every}{weights}")
                    }
                }
            }
            Self::Vectors { inputs, outputs, loss, image } => {
                write!(f, "vectors of {inputs} numbers")?;
                if let Some([channels, height, width]) = image {
                    write!(f, " (images of {channels}×{height}×{width})")?;
                }
                match loss {
                    VectorLoss::CrossEntropy => write!(f, " that predict one of {outputs} classes"),
                    VectorLoss::MeanSquared => write!(f, " that predict {outputs} numbers by their mean square"),
                    VectorLoss::Squared { factor, importance } => {
                        write!(f, " that predict {outputs} numbers by {factor}·Σ {importance}ⁱ·(difference)²")
                    }
                }
            }
            Self::Pairs { dimension, pairs } => write!(f, "sequences of {pairs} questions of {dimension} numbers"),
            Self::LabelledItems { dimension, pairs, classes } => {
                write!(f, "sequences of {pairs} items of {dimension} numbers in one of {classes} classes")
            }
        }
    }
}
