//! What is to be measured, what of it is done by anyone, and what this worker does next.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use ontogeny_store::{Claim, Lookup, MissingReason, RecordKey, RunWriter};

use crate::event::Event;
use crate::execute::Options;
use crate::partner::Place;
use crate::sections::MeasureConfig;
use crate::station::Job;
use crate::{Run, Source, StudyError, import};

/// All units of work of a run, step by step, as this worker knows them.
pub(crate) struct Board<'a> {
    run: &'a Run,
    /// Steps of the checkpoints that there will be.
    steps: Vec<u64>,
    units: Vec<Unit>,
    /// Units before this one are done.
    first: usize,
    /// Hash of each checkpoint that exists.
    checkpoints: BTreeMap<u64, String>,
    /// Steps of the schedule before this one have a checkpoint.
    next_step: usize,
    /// Whether the state after the last step is there, with which the training can be continued one day.
    has_last_state: bool,
    /// Units that were missing when the work began, and those of them that are done.
    n_total: usize,
    n_done: usize,
}

/// One measurement at one checkpoint.
struct Unit {
    /// Index of the measurement in the run file.
    measure: usize,
    step: u64,
    /// Known once the checkpoint exists.
    key: Option<RecordKey>,
    is_done: bool,
    /// There was a record of that name that could not be believed; the name of another says nothing.
    was_damaged: bool,
}

/// What there is to do.
pub(crate) enum Next {
    /// This unit, which is now claimed.
    Unit { at: usize, claim: Claim },
    /// Nothing now; others are at it, or checkpoints are still to come.
    Wait,
    /// Nothing, ever.
    Done,
}

impl<'a> Board<'a> {
    pub(crate) fn new(run: &'a Run, writer: &RunWriter, options: &Options<'_>) -> Result<Self, StudyError> {
        let checkpoints = run.imported.iter().map(|c| (c.step, c.blake3.clone())).collect();
        let mut board = Self {
            run,
            steps: Vec::new(),
            units: Vec::new(),
            first: 0,
            checkpoints,
            next_step: 0,
            has_last_state: false,
            n_total: 0,
            n_done: 0,
        };
        board.find_steps(writer)?;
        board.look_closely(writer, options)?;
        Ok(board)
    }

    /// Learns what only the training can tell: whether it has ended before the end of its schedule, so that what would come
    /// after is no longer to be done, and which further checkpoints it keeps.
    pub(crate) fn find_steps(&mut self, writer: &RunWriter) -> Result<(), StudyError> {
        let steps = self.run.steps_in(Some(writer.folder()))?;
        if steps == self.steps {
            return Ok(());
        }
        let mut known: BTreeMap<(u64, usize), Unit> =
            self.units.drain(..).map(|unit| ((unit.step, unit.measure), unit)).collect();
        let mut n_new = 0;
        for &step in &steps {
            for measure in 0..self.run.file.measures.len() {
                let unit = known.remove(&(step, measure));
                n_new += usize::from(unit.is_none());
                let new = || Unit { measure, step, key: None, is_done: false, was_damaged: false };
                self.units.push(unit.unwrap_or_else(new));
            }
        }
        // Of what is no longer planned nothing was done, because its checkpoints never were.
        self.n_total = (self.n_total + n_new).saturating_sub(known.len());
        self.steps = steps;
        (self.first, self.next_step) = (0, 0);
        self.find_keys(0..self.units.len());
        Ok(())
    }

    /// Checkpoints that exist.
    pub(crate) fn n_available(&self) -> usize {
        self.checkpoints.len()
    }

    /// Measurements to make, those of checkpoints to come included.
    pub(crate) fn n_missing(&self) -> usize {
        self.n_total - self.n_done
    }

    /// The first step of the schedule that has no checkpoint, or the last where its state is missing.
    pub(crate) fn first_checkpoint_to_come(&self) -> Option<u64> {
        let missing = self.steps.get(self.next_step).copied();
        missing.or_else(|| self.steps.last().copied().filter(|_| !self.has_last_state))
    }

    /// Reads and verifies every record anew; what is damaged is said, and counts as not done.
    pub(crate) fn look_closely(&mut self, writer: &RunWriter, options: &Options<'_>) -> Result<(), StudyError> {
        self.find_checkpoints(writer)?;
        if self.first_checkpoint_to_come().is_none() && matches!(self.run.file.source, Source::Train(_)) {
            // Nobody will need it in this run, but it is better to hear of damage today.
            writer.folder().read_state()?;
        }
        let mut shelf = writer.folder().shelf()?;
        for unit in &mut self.units {
            let Some(key) = &unit.key else { continue };
            let measure = &self.run.file.measures[unit.measure].name;
            let lookup = loop {
                match shelf.find(measure, unit.step, key)? {
                    Some(lookup) => break lookup,
                    None => shelf = writer.folder().shelf()?,
                }
            };
            unit.is_done = matches!(lookup, Lookup::Found(_));
            unit.was_damaged = matches!(lookup, Lookup::Missing(MissingReason::Damaged { .. }));
            if let Lookup::Missing(reason @ MissingReason::Damaged { .. }) = lookup {
                let message = format!("`{measure}` at step {}: {reason}", unit.step);
                let mut fields = serde_json::Map::new();
                fields.insert("message".to_owned(), message.clone().into());
                writer.event("damaged", fields).map_err(StudyError::Io)?;
                (options.observer)(&Event::Notice { message });
            }
        }
        self.first = 0;
        self.n_total = self.units.iter().filter(|unit| !unit.is_done).count();
        self.n_done = 0;
        Ok(())
    }

    /// Learns of new checkpoints and of records that others made.
    pub(crate) fn refresh(&mut self, writer: &RunWriter) -> Result<(), StudyError> {
        self.find_checkpoints(writer)?;
        let shelf = writer.folder().shelf()?;
        for unit in &mut self.units[self.first..] {
            let measure = &self.run.file.measures[unit.measure].name;
            let Some(key) = unit.key.as_ref().filter(|_| !unit.is_done) else { continue };
            let is_there = shelf.has(measure, unit.step, key);
            if is_there && (!unit.was_damaged || is_made(writer, measure, unit.step, key)?) {
                unit.is_done = true;
                self.n_done += 1;
            }
        }
        Ok(())
    }

    /// Learns of a checkpoint that this process made, without a look at all the others.
    pub(crate) fn learn(&mut self, writer: &RunWriter, step: u64) -> Result<(), StudyError> {
        self.checkpoints.insert(step, writer.folder().checkpoint_header(step)?.hash);
        let n_measures = self.run.file.measures.len();
        if self.run.file.measures.iter().any(|measure| measure.observable.partner().is_some()) {
            // Others may have waited for this one.
            self.find_keys(self.first..self.units.len());
        } else if let Ok(step_idx) = self.steps.binary_search(&step) {
            self.find_keys(step_idx * n_measures..(step_idx + 1) * n_measures);
        }
        Ok(())
    }

    fn find_checkpoints(&mut self, writer: &RunWriter) -> Result<(), StudyError> {
        let had_last_state = std::mem::replace(&mut self.has_last_state, true);
        if matches!(self.run.file.source, Source::Train(_)) {
            let last = self.steps.last().copied().unwrap_or_default();
            self.has_last_state = writer.folder().state_step()?.is_some_and(|step| step >= last);
            for step in writer.folder().checkpoint_steps().map_err(StudyError::Io)? {
                if let Entry::Vacant(new) = self.checkpoints.entry(step) {
                    new.insert(writer.folder().checkpoint_header(step)?.hash);
                }
            }
            if self.has_last_state && !had_last_state {
                // Whoever trained: only now are all of its checkpoints known.
                self.find_steps(writer)?;
            }
        }
        self.find_keys(self.first..self.units.len());
        Ok(())
    }

    fn find_keys(&mut self, units: Range<usize>) {
        while self.steps.get(self.next_step).is_some_and(|step| self.checkpoints.contains_key(step)) {
            self.next_step += 1;
        }
        for unit in self.units[units].iter_mut().filter(|unit| unit.key.is_none()) {
            let measure = &self.run.file.measures[unit.measure];
            unit.key = self.run.key_at(measure, unit.step, &self.steps, &self.checkpoints);
        }
    }

    /// Claims the first unit that is neither done nor held by another worker.
    pub(crate) fn next(&mut self, writer: &RunWriter) -> Result<Next, StudyError> {
        self.next_of(writer, |_| true)
    }

    /// As [`Board::next`], of those that are not made of chains: they use one thread each.
    pub(crate) fn next_without_chains(&mut self, writer: &RunWriter) -> Result<Next, StudyError> {
        self.next_of(writer, |measure| measure.observable.chains().is_none())
    }

    /// How many units there are to measure now, of those that are not made of chains.
    pub(crate) fn n_without_chains(&self) -> usize {
        let is_one = |unit: &&Unit| {
            let measure = &self.run.file.measures[unit.measure];
            unit.key.is_some() && !unit.is_done && measure.observable.chains().is_none()
        };
        self.units[self.first..].iter().filter(is_one).count()
    }

    fn next_of(&mut self, writer: &RunWriter, is_wanted: impl Fn(&MeasureConfig) -> bool) -> Result<Next, StudyError> {
        while self.units.get(self.first).is_some_and(|unit| unit.is_done) {
            self.first += 1;
        }
        for at in self.first..self.units.len() {
            let unit = &self.units[at];
            let (Some(key), false) = (&unit.key, unit.is_done) else { continue };
            let measure = &self.run.file.measures[unit.measure];
            if !is_wanted(measure) {
                continue;
            }
            let name = format!("{}.step-{:08}", measure.name, unit.step);
            let Some(claim) = writer.claim(&name).map_err(StudyError::Io)? else { continue };
            // Another may have finished it since we looked last.
            if is_made(writer, &measure.name, unit.step, key)? {
                self.units[at].is_done = true;
                self.n_done += 1;
                continue;
            }
            return Ok(Next::Unit { at, claim });
        }
        Ok(if self.first == self.units.len() { Next::Done } else { Next::Wait })
    }

    /// What a claimed unit is.
    pub(crate) fn job(&self, at: usize) -> Job<'a> {
        let unit = &self.units[at];
        let measure = &self.run.file.measures[unit.measure];
        let place = self.run.partner(measure, unit.step, &self.steps);
        let hash = |place: &Place<'a>| place.hash(&self.checkpoints).unwrap_or_default().to_owned();
        Job {
            measure: unit.measure,
            step: unit.step,
            key: unit.key.clone().expect("only units whose checkpoint exists are claimed"),
            partner: place.map(|place| (hash(&place), place)),
        }
    }

    /// Measurements of this work that are done, and all of them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.n_done, self.n_total)
    }

    /// A unit was measured.
    pub(crate) fn finish(&mut self, at: usize, refused: Option<String>, options: &Options<'_>) {
        self.units[at].is_done = true;
        self.n_done += 1;
        let unit = &self.units[at];
        (options.observer)(&Event::Measured {
            measure: self.run.file.measures[unit.measure].name.clone(),
            step: unit.step,
            n_done: self.n_done,
            n_total: self.n_total,
            refused,
        });
    }
}

/// Whether there is a whole record.
fn is_made(writer: &RunWriter, measure: &str, step: u64, key: &RecordKey) -> Result<bool, StudyError> {
    let folder = writer.folder();
    // By name first, which is cheap; a record that is there may still be damaged.
    Ok(folder.has_record(measure, step, key)? && folder.record(measure, step, key)?.into_record().is_some())
}

pub(crate) fn weights_at(run: &Run, writer: &RunWriter, step: u64) -> Result<Vec<f32>, StudyError> {
    if let (Source::Import(config), Some(checkpoint)) =
        (&run.file.source, run.imported.iter().find(|checkpoint| checkpoint.step == step))
    {
        checkpoint.verify()?;
        return import::weights(config, &run.model, &checkpoint.path);
    }
    let checkpoint = writer.folder().read_checkpoint(step)?;
    import::flat(&run.model, step, &checkpoint.tensors)
}
