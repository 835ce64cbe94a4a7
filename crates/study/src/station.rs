//! Where checkpoints are measured: instruments, and the weights that they were used on last.

use std::num::NonZero;
use std::sync::atomic::Ordering;

use ontogeny_store::{Claim, Outcome, Record, RecordKey, RunWriter, refused_parts};

use crate::board::weights_at;
use crate::event::Event;
use crate::execute::{Options, tell_taken_over};
use crate::instruments::Instruments;
use crate::partner::Place;
use crate::{Run, StudyError};

/// A measurement of one checkpoint, claimed and not yet made.
pub(crate) struct Job<'a> {
    /// Index of the measurement in the run file.
    pub(crate) measure: usize,
    pub(crate) step: u64,
    pub(crate) key: RecordKey,
    /// The checkpoint it is compared with, by its hash.
    pub(crate) partner: Option<(String, Place<'a>)>,
}

/// What one thread measures with.
pub(crate) struct Station<'a> {
    run: &'a Run,
    instruments: Instruments<'a>,
    /// The weights used last.
    weights: Option<(u64, Vec<f32>)>,
    /// Those of the partner used last, by its hash.
    partner: Option<(String, Vec<f32>)>,
}

impl<'a> Station<'a> {
    /// A station for all measurements.
    pub(crate) fn new(run: &'a Run) -> Result<Self, StudyError> {
        Ok(Self { run, instruments: Instruments::new(run)?, weights: None, partner: None })
    }

    /// A station for those that are not made of chains.
    pub(crate) fn without_chains(run: &'a Run) -> Result<Self, StudyError> {
        Ok(Self { run, instruments: Instruments::without_chains(run)?, weights: None, partner: None })
    }

    /// Measures and keeps the record; returns why it was refused, where it was. `counts` are the measurements done and all of
    /// them, for events.
    pub(crate) fn measure(
        &mut self,
        writer: &RunWriter,
        job: &Job<'_>,
        claim: &Claim,
        threads: NonZero<usize>,
        (n_done, n_total): (usize, usize),
        options: &Options<'_>,
    ) -> Result<Option<String>, StudyError> {
        if options.cancel.load(Ordering::Relaxed) {
            return Err(StudyError::Interrupted);
        }
        let (run, step) = (self.run, job.step);
        let measure = &run.file.measures[job.measure];
        tell_taken_over(&format!("`{}` at step {step}", measure.name), claim, writer, options)?;
        if self.weights.as_ref().is_none_or(|(of, _)| *of != step) {
            self.weights = Some((step, weights_at(run, writer, step)?));
        }
        match &job.partner {
            None => self.partner = None,
            Some((hash, place)) => {
                if self.partner.as_ref().is_none_or(|(of, _)| of != hash) {
                    self.partner = Some((hash.clone(), place.weights(run, writer)?));
                }
            }
        }
        let weights = self.weights.as_ref().map(|(_, weights)| &weights[..]).unwrap_or_default();
        let weights = (weights, self.partner.as_ref().map(|(_, weights)| &weights[..]));
        let progress = |share: f64| {
            (options.observer)(&Event::Measuring { measure: measure.name.clone(), step, n_done, n_total, share });
        };
        let reading = self.instruments.measure(measure, step, weights, threads, &progress, options.cancel)?;
        let refused = match &reading.outcome {
            Outcome::Refused { verdict, reason } => Some(format!("{verdict}: {reason}")),
            Outcome::Done => {
                let parts: Vec<&str> = refused_parts(&reading.details).into_iter().map(|(_, why)| why).collect();
                (!parts.is_empty()).then(|| parts.join("; "))
            }
        };
        writer.put_record(&Record {
            key: job.key.clone(),
            measure: measure.name.clone(),
            kind: measure.observable.kind().to_owned(),
            algorithm_version: measure.observable.algorithm_version(),
            step,
            outcome: reading.outcome,
            arrays: reading.arrays,
            details: reading.details,
        })?;
        Ok(refused)
    }
}
