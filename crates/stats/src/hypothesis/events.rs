//! Precision and recall of events found in training, with a margin in log time and intervals.

use super::answer::{Effect, Interval};
use super::bootstrap::{ResamplingSettings, bootstrap};
use super::proportion::{ProportionKind, proportion};
use crate::array_error::{ArrayError, enough, setting};

/// How far from a true event a found one may lie and still be it, in x = ln(step + 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margin {
    /// How much earlier, in nats of step + 1.
    pub before: f64,
    /// How much later.
    pub after: f64,
}

impl Margin {
    /// A factor in step + 1, earlier or later: 1.25 takes 80 to 125 for 100.
    pub fn factor(factor: f64) -> Self {
        Self { before: factor.ln(), after: factor.ln() }
    }
}

/// Events of one run, in training steps, in any order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunEvents {
    /// What is there.
    pub truth: Vec<f64>,
    /// What was found or foretold.
    pub found: Vec<f64>,
}

/// Pairs (index in `truth`, index in `found`), each event in one pair at most, as many pairs as there can be, in the order
/// of the steps.
///
/// # Errors
/// Steps that are negative or not finite; a margin that is.
pub fn match_events(run: &RunEvents, margin: Margin) -> Result<Vec<(usize, usize)>, ArrayError> {
    for (name, side) in [("the margin before", margin.before), ("the margin after", margin.after)] {
        setting(name, side, side >= 0.0 && side.is_finite(), "a number, at least 0")?;
    }
    let (truth, found) = (in_log_time("a true event", &run.truth)?, in_log_time("a found event", &run.found)?);
    // Windows of one width around points on a line: taking the earliest free partner, from the left, is a largest matching.
    let (mut i, mut j, mut pairs) = (0, 0, vec![]);
    while i < truth.len() && j < found.len() {
        let lag = found[j].0 - truth[i].0;
        if lag < -margin.before {
            j += 1;
        } else if lag > margin.after {
            i += 1;
        } else {
            pairs.push((truth[i].1, found[j].1));
            (i, j) = (i + 1, j + 1);
        }
    }
    Ok(pairs)
}

/// A share with two intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventShare {
    /// Matched events.
    pub n_matched: usize,
    /// All events, found ones for precision and true ones for recall.
    pub n_events: usize,
    /// The share with the interval of Clopper and Pearson, as if all events were independent.
    pub share: Effect,
    /// By resampling runs, which allows for events of a run that stand and fall together. `None` where it knows nothing: one
    /// run, or a share that is the same whichever runs are drawn.
    pub over_runs: Option<Interval>,
}

/// How well events were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventScores {
    /// Share of the found events that are true; `None` where nothing was found.
    pub precision: Option<EventShare>,
    /// Share of the true events that were found; `None` where there are none.
    pub recall: Option<EventShare>,
}

/// Precision and recall over all events of the `runs`, at the level of the `settings`.
///
/// # Errors
/// Those of [`match_events`]; no runs, a level outside (0, 1), fewer than 100 resamples.
pub fn event_scores(
    runs: &[RunEvents],
    margin: Margin,
    settings: &ResamplingSettings,
) -> Result<EventScores, ArrayError> {
    enough("runs", runs.len(), 1)?;
    let mut precision = vec![];
    let mut recall = vec![];
    for run in runs {
        let n_matched = match_events(run, margin)?.len();
        precision.push((n_matched, run.found.len()));
        recall.push((n_matched, run.truth.len()));
    }
    Ok(EventScores { precision: share(&precision, settings)?, recall: share(&recall, settings)? })
}

/// The share of (matched, all) counts of runs.
fn share(counts: &[(usize, usize)], settings: &ResamplingSettings) -> Result<Option<EventShare>, ArrayError> {
    let sums = |counts: &[(usize, usize)]| counts.iter().fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    let (n_matched, n_events) = sums(counts);
    if n_events == 0 {
        return Ok(None);
    }
    let share = proportion(n_matched, n_events, ProportionKind::ClopperPearson, settings.level)?;
    let ratio = |counts: &[(usize, usize)]| {
        let (matched, all) = sums(counts);
        matched as f64 / all as f64
    };
    let over_runs = match bootstrap(counts, ratio, settings) {
        Ok(found) => Some(found.effect.interval),
        // Settings are told; what the data lack is not an error.
        Err(error @ (ArrayError::Setting { .. } | ArrayError::TooFew { what: "resamples", .. })) => return Err(error),
        Err(_) => None,
    };
    Ok(Some(EventShare { n_matched, n_events, share, over_runs }))
}

/// ln(step + 1) with the index of each event, in order.
fn in_log_time(what: &'static str, steps: &[f64]) -> Result<Vec<(f64, usize)>, ArrayError> {
    let mut events = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        setting(what, *step, *step >= 0.0 && step.is_finite(), "a step, at least 0")?;
        events.push((step.ln_1p(), index));
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Largest number of pairs, by trying for each true event every partner and none.
    fn largest(run: &RunEvents, margin: Margin, i: usize, used: u32) -> usize {
        if i == run.truth.len() {
            return 0;
        }
        let mut best = largest(run, margin, i + 1, used);
        for (j, found) in run.found.iter().enumerate() {
            let lag = found.ln_1p() - run.truth[i].ln_1p();
            if used >> j & 1 == 0 && lag >= -margin.before && lag <= margin.after {
                best = best.max(1 + largest(run, margin, i + 1, used | 1 << j));
            }
        }
        best
    }

    #[test]
    fn as_many_pairs_as_there_can_be() {
        for seed in 0..300 {
            let mut stream = Stream::new(seed, 0, 0);
            let mut draw = || {
                let n = stream.below(6);
                (0..n).map(|_| (3.0 * stream.uniform()).exp().round()).collect::<Vec<f64>>()
            };
            let run = RunEvents { truth: draw(), found: draw() };
            for margin in [Margin { before: 0.3, after: 0.3 }, Margin { before: 0.8, after: 0.0 }] {
                let pairs = match_events(&run, margin).unwrap();
                assert_eq!(pairs.len(), largest(&run, margin, 0, 0), "{run:?}");
                for (n, (i, j)) in pairs.iter().enumerate() {
                    let lag = run.found[*j].ln_1p() - run.truth[*i].ln_1p();
                    assert!(lag >= -margin.before && lag <= margin.after);
                    assert!(pairs[..n].iter().all(|(a, b)| a != i && b != j));
                }
            }
        }
    }

    #[test]
    fn shares_of_a_small_case() {
        let runs = [
            RunEvents { truth: vec![99.0, 999.0], found: vec![109.0, 5.0] },
            RunEvents { truth: vec![49.0], found: vec![49.0] },
            RunEvents { truth: vec![], found: vec![7.0] },
        ];
        let scores = event_scores(&runs, Margin::factor(1.25), &ResamplingSettings::default()).unwrap();
        let (precision, recall) = (scores.precision.unwrap(), scores.recall.unwrap());
        assert_eq!((precision.n_matched, precision.n_events, recall.n_events), (2, 4, 3));
        assert_eq!((precision.share.estimate, recall.share.estimate), (0.5, 2.0 / 3.0));
        assert!(precision.over_runs.unwrap().contains(0.5));
    }

    #[test]
    fn edges() {
        let settings = ResamplingSettings::default();
        let margin = Margin { before: 0.1, after: 0.1 };
        let nothing = event_scores(&[RunEvents::default()], margin, &settings).unwrap();
        assert_eq!(nothing, EventScores { precision: None, recall: None });
        let perfect = vec![RunEvents { truth: vec![0.0], found: vec![0.0] }; 5];
        let recall = event_scores(&perfect, margin, &settings).unwrap().recall.unwrap();
        assert!(recall.over_runs.is_none() && recall.share.interval.lower < 0.5);
        let bad = RunEvents { truth: vec![-1.0], found: vec![] };
        assert!(event_scores(&[bad], margin, &settings).is_err() && event_scores(&[], margin, &settings).is_err());
        let nan = RunEvents { truth: vec![], found: vec![f64::NAN] };
        assert!(match_events(&nan, margin).is_err());
        assert!(match_events(&RunEvents::default(), Margin::factor(0.5)).is_err());
        let few = ResamplingSettings { n_resamples: 1, ..settings };
        assert!(event_scores(&perfect, margin, &few).is_err());
    }
}
