//! Executing a run, together with whoever else works on it: training, measuring what is there, and the conclusion.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use ontogeny_graph::{ENGINE_VERSION, Isa, Threads};
use ontogeny_store::{Analysis, Claim, Manifest, Place, RunWriter, SealedError, refused_parts};

use crate::analysis::analyse;
use crate::board::{Board, Next};
use crate::essential;
use crate::event::{Event, Refusal, Summary};
use crate::fluctuations;
use crate::parts;
use crate::sections::MeasureConfig;
use crate::station::Station;
use crate::{Run, Source, StudyError};

/// How to execute, as opposed to what: nothing here changes a result.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads for training and chains together.
    pub threads: NonZero<usize>,
    /// Hears every event, from any thread.
    pub observer: &'a (dyn Fn(&Event) + Sync),
    /// Once set, the run stops at the next step; what is finished is kept.
    pub cancel: &'a AtomicBool,
}

/// How often a worker looks whether others have finished something.
const POLL: Duration = Duration::from_millis(200);

/// Rounds of measuring what was found damaged at the end; a disk that spoils what is written to it needs no more.
const ROUNDS: usize = 3;

impl Run {
    /// Does whatever is missing in `place`, which is created if need be. Any number of processes may do so at once: they
    /// share the work, and all of them return when all of it is done.
    ///
    /// # Errors
    /// A place of another run or with workers of another configuration, a training or measurement that failed, an
    /// interruption. The run stays readable, and the same call continues.
    pub fn execute(&self, place: impl Into<Place>, options: &Options<'_>) -> Result<Summary, StudyError> {
        let place = place.into();
        let writer = self.join(&place, options)?;
        let (mut run, missing) = self.with_calibrations(writer.folder())?;
        if !missing.is_empty() {
            // Everything else first: a calibration needs checkpoints from all over the run.
            let others = self.without(&missing);
            let mut board = Board::new(&others, &writer, options)?;
            others.work(&writer, &mut board, options)?;
            for measure in &missing {
                self.calibrate(measure, &writer, options)?;
            }
            run = self.with_calibrations(writer.folder())?.0;
        }
        run.execute_with(&place, &writer, options)
    }

    /// What [`Self::execute`] does once all settings are known.
    fn execute_with(&self, place: &Place, writer: &RunWriter, options: &Options<'_>) -> Result<Summary, StudyError> {
        let plans = self.plans(Some(writer.folder()))?;
        // A worker that comes later knows the same plan, and perhaps fewer of its checkpoints than those at work.
        let is_first = writer.others().map_err(StudyError::Io)?.is_empty();
        if is_first || writer.folder().measures().map_or(true, |found| found.is_empty()) {
            writer.write_measures(&plans)?;
        }
        let mut board = Board::new(self, writer, options)?;
        (options.observer)(&Event::Opened {
            title: self.file.title.clone(),
            directory: place.to_string(),
            n_checkpoints: board.n_available(),
            n_missing: board.n_missing(),
        });
        for _ in 0..ROUNDS {
            self.work(writer, &mut board, options)?;
            if let Some(summary) = self.conclude(writer, options)? {
                return Ok(summary);
            }
            board.look_closely(writer, options)?;
        }
        let missing = writer.folder().work_list()?;
        let reasons: Vec<String> = missing.iter().take(3).map(|item| item.reason.to_string()).collect();
        Err(StudyError::Store(format!(
            "measurements do not stay as they are written: {}; check the disk of `{place}`",
            reasons.join("; ")
        )))
    }

    fn join(&self, place: &Place, options: &Options<'_>) -> Result<RunWriter, StudyError> {
        let writer = RunWriter::join(place, &self.manifest)?;
        for message in other_bits(writer.folder().manifest(), &self.manifest) {
            (options.observer)(&Event::Notice { message });
        }
        for other in writer.others().map_err(StudyError::Io)? {
            let message = format!("sharing the work with process {} on {}", other.pid, other.host);
            (options.observer)(&Event::Notice { message });
        }
        if !self.imported.is_empty() {
            writer.write_imported(&self.imported)?;
        }
        let mut fields = serde_json::Map::new();
        fields.insert("version".to_owned(), self.manifest.version.clone().into());
        fields.insert("instruction_set".to_owned(), Isa::current().name().into());
        fields.insert("engine".to_owned(), ENGINE_VERSION.into());
        writer.event("opened", fields).map_err(StudyError::Io)?;
        Ok(writer)
    }

    /// Trains if nobody else does, and measures whatever is there and not claimed, until all of it is done by someone.
    fn work<'a>(&'a self, writer: &RunWriter, board: &mut Board<'a>, options: &Options<'_>) -> Result<(), StudyError> {
        let (announce, announced) = mpsc::channel();
        thread::scope(|scope| {
            let mut trainer: Option<ScopedJoinHandle<'_, Result<(), StudyError>>> = None;
            // Bits do not depend on how many train: all do while there is nothing to measure.
            let mut training_threads: Option<Threads> = None;
            let mut measure = || -> Result<(), StudyError> {
                let mut station = None;
                let mut more: Vec<Station<'_>> = Vec::new();
                let mut has_trained = false;
                loop {
                    if let Some(finished) = trainer.take_if(|trainer| trainer.is_finished()) {
                        joined(finished)?;
                        has_trained = true;
                        board.find_steps(writer)?;
                        board.refresh(writer)?;
                    }
                    if options.cancel.load(Ordering::Relaxed) {
                        return Err(StudyError::Interrupted);
                    }
                    if trainer.is_none()
                        && let Some(step) = board.first_checkpoint_to_come()
                        && let Source::Train(config) = &self.file.source
                    {
                        if has_trained {
                            return Err(no_checkpoint(writer, step));
                        }
                        if let Some(claim) = writer.claim("train").map_err(StudyError::Io)? {
                            tell_taken_over("the training", &claim, writer, options)?;
                            let announce = announce.clone();
                            let threads = training_threads.insert(Threads::new(options.threads)).clone();
                            trainer = Some(scope.spawn(move || {
                                let _claim = claim;
                                self.train(writer, config, &announce, &threads, options)
                            }));
                        }
                    }
                    match board.next(writer)? {
                        Next::Unit { at, claim } => {
                            let station = match &mut station {
                                Some(made) => made,
                                none => none.insert(Station::new(self)?),
                            };
                            let reserved = usize::from(trainer.is_some());
                            let threads = NonZero::new(options.threads.get().saturating_sub(reserved));
                            let threads = threads.unwrap_or(NonZero::<usize>::MIN);
                            if let Some(threads) = &training_threads {
                                threads.set_at_rest(true);
                            }
                            let (job, counts) = (board.job(at), board.counts());
                            let refused = station.measure(writer, &job, &claim, threads, counts, options)?;
                            board.finish(at, refused, options);
                            drop(claim);
                            if threads.get() > 1 && board.n_without_chains() > 1 {
                                self.measure_side_by_side(writer, board, station, &mut more, threads, options)?;
                            }
                            if let Some(threads) = &training_threads {
                                threads.set_at_rest(false);
                            }
                        }
                        Next::Done if trainer.is_none() && board.first_checkpoint_to_come().is_none() => return Ok(()),
                        Next::Done | Next::Wait => {
                            // Our own trainer says when there is something new; of others we have to look.
                            match announced.recv_timeout(POLL) {
                                Ok(step) => std::iter::once(step)
                                    .chain(announced.try_iter())
                                    .try_for_each(|step| board.learn(writer, step))?,
                                Err(_) => board.refresh(writer)?,
                            }
                        }
                    }
                }
            };
            let measured = measure();
            if measured.is_err() {
                options.cancel.store(true, Ordering::Relaxed);
            }
            match (trainer.map(joined), measured) {
                // The first cause, not its consequence on the other thread.
                (Some(Err(error)), Err(other)) if error.is_interruption() => Err(other),
                (Some(Err(error)), _) | (_, Err(error)) => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Measures what is there and not made of chains, a unit a thread, until nothing is left that nobody has claimed. `more` are
    /// the stations of the other threads, made when they are needed.
    fn measure_side_by_side<'a>(
        &'a self,
        writer: &RunWriter,
        board: &mut Board<'a>,
        station: &mut Station<'a>,
        more: &mut Vec<Station<'a>>,
        threads: NonZero<usize>,
        options: &Options<'_>,
    ) -> Result<(), StudyError> {
        let n_stations = threads.get().min(board.n_without_chains());
        while more.len() + 1 < n_stations {
            more.push(Station::without_chains(self)?);
        }
        let board = Mutex::new(board);
        let lock = || board.lock().unwrap_or_else(PoisonError::into_inner);
        let has_failed = AtomicBool::new(false);
        let work = |station: &mut Station<'a>| -> Result<(), StudyError> {
            while !has_failed.load(Ordering::Relaxed) {
                let (at, claim, job, counts) = {
                    let mut board = lock();
                    let Next::Unit { at, claim } = board.next_without_chains(writer)? else { return Ok(()) };
                    (at, claim, board.job(at), board.counts())
                };
                let refused = station.measure(writer, &job, &claim, NonZero::<usize>::MIN, counts, options)?;
                // Given back only now, so that no other thread takes it for one that is still to be done.
                lock().finish(at, refused, options);
                drop(claim);
            }
            Ok(())
        };
        let work = |station: &mut Station<'a>| {
            let result = work(station);
            if result.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            result
        };
        let work = &work;
        let results: Vec<Result<(), StudyError>> = thread::scope(|scope| {
            let others: Vec<_> = more.iter_mut().map(|station| scope.spawn(move || work(station))).collect();
            let own = work(station);
            others.into_iter().map(joined).chain([own]).collect()
        });
        // The first cause, not the interruption that may follow from it.
        let (mut interrupted, mut failed) = (None, None);
        for error in results.into_iter().filter_map(Result::err) {
            let slot = if error.is_interruption() { &mut interrupted } else { &mut failed };
            slot.get_or_insert(error);
        }
        failed.or(interrupted).map_or(Ok(()), Err)
    }

    /// Seals the records, and looks for transitions and stages unless that was done in the same records; `None` where
    /// something is missing after all.
    fn conclude(&self, writer: &RunWriter, options: &Options<'_>) -> Result<Option<Summary>, StudyError> {
        let _claim = loop {
            if options.cancel.load(Ordering::Relaxed) {
                return Err(StudyError::Interrupted);
            }
            match writer.claim("conclude").map_err(StudyError::Io)? {
                Some(claim) => break claim,
                None => thread::sleep(POLL),
            }
        };
        let plans = self.plans(Some(writer.folder()))?;
        writer.write_measures(&plans)?;
        writer.seal()?;
        if let Err(error @ SealedError::Damaged { .. }) = writer.folder().analysis() {
            (options.observer)(&Event::Notice { message: format!("{error}; it is made again now") });
            writer.write_analysis(&Analysis::default())?;
        }
        let seen = writer.folder().view()?;
        for problem in &seen.problems {
            (options.observer)(&Event::Notice { message: problem.to_string() });
        }
        let mut view = seen.results;
        let is_missing = |status: &ontogeny_store::Status| *status == ontogeny_store::Status::Missing;
        if view.observables.values().any(|observable| observable.status.iter().any(is_missing)) {
            return Ok(None);
        }
        let basis = self.basis(&plans);
        let mut analysis = writer.folder().analysis()?;
        if analysis.basis != basis {
            let left_out;
            (analysis, left_out) = analyse(&view, &self.file.stages, u64::from(self.file.seed), options.threads);
            let (parts, whole) = parts::of_run(&view, &self.file);
            analysis.parts = parts;
            if !whole.is_empty() {
                let message = format!("not taken apart: {}", whole.join("; "));
                (options.observer)(&Event::Notice { message });
            }
            let (trajectories, short) = essential::trajectories(self, writer.folder(), &plans)?;
            analysis.trajectories = trajectories;
            let (fluctuations, still) = fluctuations::of_run(self, writer.folder(), &plans)?;
            analysis.fluctuations = fluctuations;
            if !still.is_empty() {
                let message = format!("no fluctuations to analyse: {}", still.join("; "));
                (options.observer)(&Event::Notice { message });
            }
            analysis.basis = basis;
            writer.write_analysis(&analysis)?;
            if !short.is_empty() {
                let message = format!("no path to analyse: {}", short.join("; "));
                (options.observer)(&Event::Notice { message });
            }
            if !left_out.is_empty() {
                let message = format!("not looked at for transitions: {}", left_out.join("; "));
                (options.observer)(&Event::Notice { message });
            }
        }
        view.transitions.clone_from(&analysis.transitions);
        view.stages.clone_from(&analysis.stages);
        view.intervals.clone_from(&analysis.intervals);
        view.trajectories.clone_from(&analysis.trajectories);
        view.change_points.clone_from(&analysis.change_points);
        view.warnings.clone_from(&analysis.warnings);
        view.parts.clone_from(&analysis.parts);
        view.fluctuations.clone_from(&analysis.fluctuations);
        (options.observer)(&Event::Analysed {
            n_transitions: analysis.transitions.len(),
            n_boundaries: analysis.stages.len(),
        });
        let refusals = refusals(&view, &self.file.measures);
        writer.remove_old_leases().map_err(StudyError::Io)?;
        writer.event("finished", serde_json::Map::new()).map_err(StudyError::Io)?;
        Ok(Some(Summary { view, analysis, refusals }))
    }
}

/// Says that a unit was held by a worker that is gone.
pub(crate) fn tell_taken_over(
    unit: &str,
    claim: &Claim,
    writer: &RunWriter,
    options: &Options<'_>,
) -> Result<(), StudyError> {
    if claim.attempt() == 1 {
        return Ok(());
    }
    let from = claim.previous().map_or_else(|| "a worker".to_owned(), |w| format!("process {} on {}", w.pid, w.host));
    let message = format!("{unit} is taken over from {from}, which is gone (attempt {})", claim.attempt());
    (options.observer)(&Event::Notice { message });
    let mut fields = serde_json::Map::new();
    fields.insert("unit".to_owned(), unit.into());
    fields.insert("from".to_owned(), from.into());
    fields.insert("attempt".to_owned(), claim.attempt().into());
    writer.event("taken_over", fields).map_err(StudyError::Io)
}

/// What to say where a run holds the bits of another instruction set or engine than this.
fn other_bits(begun: &Manifest, now: &Manifest) -> Vec<String> {
    let differ = "numbers made from here on may differ in the last bits; continue";
    let mut messages = Vec::new();
    if begun.instruction_set != now.instruction_set {
        messages.push(format!(
            "the run was begun on {}, this is {}: {differ} on a processor like the first to keep them",
            begun.instruction_set, now.instruction_set
        ));
    }
    if begun.engine != now.engine {
        let name = |engine: Option<u32>| engine.map_or_else(|| "an older engine".to_owned(), |v| format!("engine {v}"));
        messages.push(format!(
            "the run was begun by {}, this is {}: {differ} with the ontogeny that began it to keep them",
            name(begun.engine),
            name(now.engine)
        ));
    }
    messages
}

fn joined(trainer: ScopedJoinHandle<'_, Result<(), StudyError>>) -> Result<(), StudyError> {
    trainer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn no_checkpoint(writer: &RunWriter, step: u64) -> StudyError {
    StudyError::Store(format!(
        "`{}` has no checkpoint of step {step}, although the training is past it: found a file that was removed, expected \
         every step of the schedule: put it back, or remove the state in `checkpoints` (`state-….safetensors`) and run \
         again, training makes the same bits anew",
        writer.folder().path().display()
    ))
}

fn refusals(view: &ontogeny_store::RunView, measures: &[MeasureConfig]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (name, observable) in &view.observables {
        let accepted = measures.iter().any(|measure| measure.name == *name && measure.accepts_refusal);
        for (at, (status, step)) in observable.status.iter().zip(&view.checkpoints).enumerate() {
            let mut refuse = |reason| refusals.push(Refusal { measure: name.clone(), step: *step, reason, accepted });
            if let ontogeny_store::Status::Refused { verdict, reason } = status {
                refuse(format!("{verdict}: {reason}"));
                continue;
            }
            for (_, why) in observable.details.get(at).map(refused_parts).unwrap_or_default() {
                refuse(why.to_owned());
            }
        }
    }
    refusals
}
