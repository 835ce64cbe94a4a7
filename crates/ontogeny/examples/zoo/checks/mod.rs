//! What each preset should show, as figures of its runs and the bounds they must keep.
//!
//! A bound is that of the paper or of the closed form that the preset names. Where these give none it is the weakest figure at which
//! the sentence still holds: above 1 for "later than", 3 standard errors for "higher than"; a
//! plateau lasts at least from a step to half as many again.

mod agents;
mod changes;
mod coefficients;
mod context;
mod games;
mod grokking;
mod images;
mod linear;
mod parity;
mod sequences;
mod superposition;
mod text;

use crate::runs::{Preset, Run};

/// Presets that belong together.
pub(crate) struct Theme {
    pub(crate) title: &'static str,
    pub(crate) checks: &'static [Check],
}

/// In the order of the page. A preset stands with its first check.
pub(crate) const THEMES: &[Theme] = &[
    Theme { title: "Grokking", checks: grokking::CHECKS },
    Theme { title: "Parities and skills", checks: parity::CHECKS },
    Theme { title: "Linear networks", checks: linear::CHECKS },
    Theme { title: "Superposition", checks: superposition::CHECKS },
    Theme { title: "Attention and learning in context", checks: context::CHECKS },
    Theme { title: "Numbers and words in order", checks: sequences::CHECKS },
    Theme { title: "Images", checks: images::CHECKS },
    Theme { title: "Text", checks: text::CHECKS },
    Theme { title: "Games", checks: games::CHECKS },
    Theme { title: "Agents", checks: agents::CHECKS },
    Theme { title: "Trainings that change", checks: changes::CHECKS },
    Theme { title: "Learning coefficients", checks: coefficients::CHECKS },
];

/// Something that a preset should show.
pub(crate) struct Check {
    pub(crate) preset: &'static str,
    /// In words, and which figure says so.
    pub(crate) looked_for: &'static str,
    pub(crate) bound: Bound,
    figure: Figure,
}

/// A figure, `None` where the runs do not have it: then nothing was seen.
enum Figure {
    /// Of a run.
    Run(fn(&Run) -> Option<f64>),
    /// Of the runs that a sweep has of one seed.
    Seed(fn(&[&Run]) -> Option<f64>),
    /// Of all runs.
    All(fn(&[&Run]) -> Option<f64>),
}

/// What is to be kept by a figure.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    Above(f64),
    Below(f64),
    Near { value: f64, by: f64 },
}

impl Bound {
    pub(crate) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::Above(bound) => figure > bound,
            Self::Below(bound) => figure < bound,
            Self::Near { value, by } => (figure - value).abs() <= by,
        }
    }
}

impl Check {
    /// The figure of each run, of each seed, or of all runs together.
    pub(crate) fn figures(&self, preset: &Preset) -> Vec<Option<f64>> {
        match self.figure {
            Figure::Run(figure) => preset.runs.iter().map(figure).collect(),
            Figure::Seed(figure) => preset.by_seed().iter().map(|runs| figure(runs)).collect(),
            Figure::All(figure) => vec![figure(&preset.runs.iter().collect::<Vec<_>>())],
        }
    }
}

/// The run of a sweep whose name holds `variant`.
fn variant<'a>(runs: &[&'a Run], variant: &str) -> Option<&'a Run> {
    runs.iter().find(|run| run.variant == variant).copied()
}

/// How sure it is that the fall of one series is over before that of another begins: the least ratio of their steps that the 95 %
/// intervals of both allow.
fn least_delay(run: &Run, early: &str, late: &str) -> Option<f64> {
    Some(run.fall(late)?.lower / run.fall(early)?.upper)
}

/// By how many standard errors the largest estimate of a learning coefficient is above the last one.
fn excess_of_the_peak(run: &Run, measure: &str) -> Option<f64> {
    let estimates = run.estimates(measure);
    let &(_, last, last_error) = estimates.last()?;
    let &(_, peak, peak_error) = estimates.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((peak - last) / peak_error.hypot(last_error))
}
