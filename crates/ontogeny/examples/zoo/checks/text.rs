//! Language models of letters.

use std::path::Path;

use ontogeny::zoo::{NgramModel, TaskConfig, ngram_entropy};

use super::{Bound, Check, Figure};
use crate::runs::Run;

const PAIRS: &str = "the loss on text held out comes below the entropy of pairs of letters of the corpus (ratio)";
const PAIRS_HELD_OUT: &str = "and below what pairs counted in the training text reach on the text held out (ratio)";

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "names-lm",
        looked_for: PAIRS,
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| over_entropy(run, 1)),
    },
    Check {
        preset: "names-lm",
        looked_for: PAIRS_HELD_OUT,
        bound: Bound::Below(1.0),
        figure: Figure::Run(over_counted_pairs),
    },
    Check {
        preset: "shakespeare-lm",
        looked_for: PAIRS,
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| over_entropy(run, 1)),
    },
    Check {
        preset: "shakespeare-lm",
        looked_for: PAIRS_HELD_OUT,
        bound: Bound::Below(1.0),
        figure: Figure::Run(over_counted_pairs),
    },
];

/// The last test loss over the entropy of a letter after `order` others, in the whole corpus.
fn over_entropy(run: &Run, order: usize) -> Option<f64> {
    let corpus = corpus(run)?;
    let all = [corpus.train, corpus.test].concat();
    Some(run.last("loss", "test")? / ngram_entropy(&all, order)?)
}

fn over_counted_pairs(run: &Run) -> Option<f64> {
    let corpus = corpus(run)?;
    let pairs = NgramModel::new(&corpus.train, 1, corpus.vocabulary);
    Some(run.last("loss", "test")? / pairs.cross_entropy(&corpus.test)?)
}

fn corpus(run: &Run) -> Option<ontogeny::zoo::Corpus> {
    let Some(TaskConfig::Text(config)) = run.task() else { return None };
    config.corpus(u32::try_from(run.view.run.seed).ok()?, Path::new(".")).ok()
}
