//! From a run file to a run that can be executed: data, network and measurements resolved and checked, nothing written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ontogeny_graph::{ENGINE_VERSION, Isa};
use ontogeny_observe::Subject;
use ontogeny_store::{Imported, KeyParts, Manifest, ManifestError, MeasurePlan, Place, RecordKey, RunFolder};
use ontogeny_zoo::{Interface, Model, Stage, Task, TaskConfig, TaskTrainer, TokensConfig};

use crate::instruments::Instruments;
use crate::partner::OtherRun;
use crate::sections::{MeasureConfig, ObservableConfig};
use crate::start::StartWeights;
use crate::{RunFile, Source, StudyError, import, training};

/// Version of the detector of transitions and stages: where it is raised, finished runs are looked at again.
const DETECTOR_VERSION: u32 = 4;

/// A run that is ready to be executed.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) file: RunFile,
    pub(crate) task: Arc<Task>,
    /// The tasks of earlier stages, as `curriculum` of the file.
    pub(crate) earlier: Vec<EarlierTask>,
    pub(crate) model: Model,
    /// Steps of all checkpoints, ascending.
    pub(crate) steps: Vec<u64>,
    /// Empty for a training.
    pub(crate) imported: Vec<Imported>,
    pub(crate) manifest: Manifest,
    /// Weights to start from, if not those that the seed gives.
    pub(crate) start: Option<StartWeights>,
    data_hash: String,
    /// Other runs that are compared with, by measurement.
    pub(crate) others: Arc<BTreeMap<String, OtherRun>>,
}

/// A task that is trained before that of the file.
#[derive(Debug, Clone)]
pub(crate) struct EarlierTask {
    pub(crate) task: Arc<Task>,
    data_hash: String,
}

/// What a run would do, as `--dry-run` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkSummary {
    /// Title of the run.
    pub title: String,
    /// Its folder, or its address.
    pub directory: String,
    /// Parameters of the network.
    pub n_parameters: usize,
    /// Examples by split.
    pub splits: Vec<(String, usize)>,
    /// Updates of the training still to make; `None` for an import.
    pub training: Option<u64>,
    /// Steps of all checkpoints.
    pub checkpoints: Vec<u64>,
    /// Measurements by name: (missing, of all).
    pub measures: Vec<(String, usize, usize)>,
}

impl Run {
    /// Resolves and checks everything that can be known before anything is written.
    ///
    /// # Errors
    /// A setting out of range, data or files that are missing or do not fit, a measurement that is not defined for this
    /// network, or a series in `[stages]` that nothing measures.
    pub fn prepare(file: RunFile, command: &str) -> Result<Self, StudyError> {
        let path = file.path.clone();
        Self::prepare_unnamed(file, command).map_err(|error| error.in_run_file(&path))
    }

    /// [`Run::prepare`] with errors that do not name the run file.
    fn prepare_unnamed(mut file: RunFile, command: &str) -> Result<Self, StudyError> {
        file.read_network()?;
        let task = file.task.prepare(file.seed, file.folder())?;
        let model = Model::new(file.network.clone(), task.interface)?;
        let mut earlier = Vec::with_capacity(file.curriculum.len());
        for stage in &file.curriculum {
            let failed = |source| StudyError::Stage { stage: stage.name.clone(), source: Box::new(source) };
            let task = stage.task.prepare(file.seed, file.folder()).map_err(failed)?;
            earlier.push(EarlierTask { data_hash: hash_data(&task, &stage.task), task: Arc::new(task) });
        }
        let (steps, imported) = match &file.source {
            Source::Train(train) => {
                if task.split("train").is_none() && task.environment.is_none() {
                    return Err(no_train_split(&task));
                }
                // Compiling the step checks the batch and the optimiser's settings.
                let trainer = TaskTrainer::new(&model, &stages(&file, &earlier, &task), train, file.seed)?;
                (trainer.checkpoint_steps(), Vec::new())
            }
            Source::Import(config) => {
                let imported = import::find(config, file.folder(), model.network())?;
                for checkpoint in &imported {
                    // A file of another network is found before a folder is made.
                    import::weights(config, &model, &checkpoint.path)?;
                }
                (imported.iter().map(|checkpoint| checkpoint.step).collect(), imported)
            }
        };
        let folder = file.folder().to_owned();
        let start = match &mut file.start {
            Some(start) => {
                let subject = Subject { model: &model, task: &task, seed: file.seed };
                Some(start.weights(&file.task, &subject, &folder)?)
            }
            None => None,
        };
        let data_hash = hash_data(&task, &file.task);
        let configuration = file.resolved()?;
        let manifest = manifest(&file, &imported, start.as_ref(), configuration, (&data_hash, &earlier), command)?;
        let mut run = Self {
            file,
            task: Arc::new(task),
            earlier,
            model,
            steps,
            imported,
            manifest,
            start,
            data_hash,
            others: Arc::default(),
        };
        run.check_partners()?;
        run.others = Arc::new(OtherRun::all_of(&run)?);
        Instruments::new(&run)?.check_stages()?;
        Ok(run)
    }

    /// The folder of the run unless another is asked for: `runs/NAME-HASH`, from the file's name and the hash of what
    /// decides the checkpoints.
    pub fn default_directory(&self) -> PathBuf {
        let stem = self.file.path.file_stem().map_or_else(|| "run".to_owned(), |s| s.to_string_lossy().into_owned());
        Path::new("runs").join(format!("{stem}-{}", &self.manifest.trajectory[..4]))
    }

    /// Hash of everything that decides the checkpoints: runs with the same hash have the same ones.
    pub fn trajectory(&self) -> &str {
        &self.manifest.trajectory
    }

    /// The seed every random stream derives from.
    pub fn seed(&self) -> u32 {
        self.file.seed
    }

    /// Whether its checkpoints are imported, so that they existed before.
    pub fn is_import(&self) -> bool {
        matches!(self.file.source, Source::Import(_))
    }

    /// Title of the run.
    pub fn title(&self) -> &str {
        &self.file.title
    }

    /// Whether a report is to be written at the end.
    pub fn writes_report(&self) -> bool {
        self.file.report.write
    }

    /// What is missing in `place`, without writing anything.
    ///
    /// # Errors
    /// A folder that exists and is not this run.
    pub fn work_to_do(&self, place: impl Into<Place>) -> Result<WorkSummary, StudyError> {
        let place = place.into();
        let folder = match RunFolder::open(&place) {
            Ok(folder) => Some(folder),
            Err(ManifestError::NotARun { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(folder) = &folder {
            self.check_same_run(folder)?;
        }
        let calibrated = folder.as_ref().map(|folder| self.with_calibrations(folder)).transpose()?;
        let run = calibrated.as_ref().map_or(self, |(run, _)| run);
        let plans = run.plans(folder.as_ref())?;
        let mut measures = Vec::new();
        let mut shelf = folder.as_ref().map(RunFolder::shelf).transpose()?;
        for (name, plan) in &plans {
            let mut missing = 0;
            for (&step, key) in &plan.steps {
                let found = match (&folder, &mut shelf, key) {
                    (Some(folder), Some(shelf), Some(key)) => loop {
                        match shelf.find(name, step, key)? {
                            Some(lookup) => break lookup.into_record().is_some(),
                            // Sealed by another worker since.
                            None => *shelf = folder.shelf()?,
                        }
                    },
                    _ => false,
                };
                missing += usize::from(!found);
            }
            measures.push((name.clone(), missing, plan.steps.len()));
        }
        let checkpoints = self.steps_in(folder.as_ref())?;
        let training = match &self.file.source {
            Source::Train(train) => {
                let done = match &folder {
                    Some(folder) => folder.read_state()?.map_or(0, |state| state.step),
                    None => 0,
                };
                Some(checkpoints.last().copied().unwrap_or(train.steps).saturating_sub(done))
            }
            Source::Import(_) => None,
        };
        Ok(WorkSummary {
            title: self.file.title.clone(),
            directory: place.to_string(),
            n_parameters: self.model.space().len(),
            splits: self.task.splits.iter().map(|split| (split.name.to_owned(), split.data.len())).collect(),
            training,
            checkpoints,
            measures,
        })
    }

    /// Refuses a folder whose checkpoints are those of another run; records of it would be lost.
    fn check_same_run(&self, folder: &RunFolder) -> Result<(), StudyError> {
        let (found, expected) = (&folder.manifest().trajectory, &self.manifest.trajectory);
        let is_empty = folder.checkpoint_steps().map_err(StudyError::Io)?.is_empty() && folder.imported()?.is_empty();
        if found == expected || is_empty {
            return Ok(());
        }
        let path = folder.place().path("run.toml");
        Err(ManifestError::OtherTrajectory { path, found: found.clone(), expected: expected.clone() }.into())
    }

    /// The measurements with the key of every record whose checkpoint exists.
    pub(crate) fn plans(&self, folder: Option<&RunFolder>) -> Result<BTreeMap<String, MeasurePlan>, StudyError> {
        let (tensors, planned) = (self.tensors(folder)?, self.steps_in(folder)?);
        let mut plans = BTreeMap::new();
        for measure in &self.file.measures {
            // Without settings there is nothing that a record could depend on.
            let is_open = measure.observable.awaits_calibration();
            let key = |step| (!is_open).then(|| self.key_at(measure, step, &planned, &tensors)).flatten();
            let keyed = |&step: &u64| (step, key(step));
            let steps = planned.iter().map(keyed).collect();
            let (unit, description) = measure.observable.describe(self.model.interface());
            let kind = measure.observable.kind().to_owned();
            let on = measure.on.as_ref().map_or_else(String::new, |on| format!(" On the data of the stage `{on}`."));
            let description = format!("{description}{on}");
            plans.insert(measure.name.clone(), MeasurePlan { kind, unit: unit.to_owned(), description, steps });
        }
        Ok(plans)
    }

    /// Steps of all checkpoints that there will be, as far as that is known: those of the schedule, unless the training in
    /// `folder` has ended before (`stop_below`), and those where its loss fell low enough (`checkpoint_below`).
    pub(crate) fn steps_in(&self, folder: Option<&RunFolder>) -> Result<Vec<u64>, StudyError> {
        let mut steps = self.steps.clone();
        if let (Some(folder), Source::Train(train)) = (folder, &self.file.source) {
            let progress = training::progress(folder, train)?;
            if let Some(end) = progress.end {
                steps.retain(|&step| step < end);
                steps.push(end);
            }
            steps.extend(progress.below_steps);
            steps.sort_unstable();
            steps.dedup();
        }
        Ok(steps)
    }

    /// The hash of every checkpoint that exists.
    pub(crate) fn tensors(&self, folder: Option<&RunFolder>) -> Result<BTreeMap<u64, String>, StudyError> {
        let mut tensors: BTreeMap<u64, String> = BTreeMap::new();
        for checkpoint in &self.imported {
            tensors.insert(checkpoint.step, checkpoint.blake3.clone());
        }
        if let (Some(folder), Source::Train(_)) = (folder, &self.file.source) {
            for step in folder.checkpoint_steps().map_err(StudyError::Io)? {
                tensors.insert(step, folder.checkpoint_header(step)?.hash);
            }
        }
        Ok(tensors)
    }

    /// The stages of the training, that of `[task]` last.
    pub(crate) fn stages(&self) -> Vec<Stage<'_>> {
        stages(&self.file, &self.earlier, &self.task)
    }

    /// The task on whose data something is measured, and the hash of these.
    pub(crate) fn task_of(&self, measure: &MeasureConfig) -> (&Task, &str) {
        let on = measure.on.as_ref().and_then(|on| self.file.curriculum.iter().position(|stage| stage.name == *on));
        match on.map(|at| &self.earlier[at]) {
            Some(earlier) => (&earlier.task, &earlier.data_hash),
            None => (&self.task, &self.data_hash),
        }
    }

    /// Hash of the examples of all splits.
    pub(crate) fn data_hash(&self) -> &str {
        &self.data_hash
    }

    /// Hash of everything the analysis depends on.
    pub(crate) fn basis(&self, plans: &BTreeMap<String, MeasurePlan>) -> String {
        let keys: Vec<_> = plans.iter().map(|(name, plan)| (name, &plan.steps)).collect();
        let text = serde_json::json!([DETECTOR_VERSION, keys, self.file.stages, self.file.seed]).to_string();
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The key of a record at a step; `None` before its checkpoint, or the one it is compared with, exists. `planned` are the
    /// steps of all checkpoints, `tensors` the hashes of those that exist.
    pub(crate) fn key_at(
        &self,
        measure: &MeasureConfig,
        step: u64,
        planned: &[u64],
        tensors: &BTreeMap<u64, String>,
    ) -> Option<RecordKey> {
        let own = tensors.get(&step)?;
        let Some(partner) = self.partner(measure, step, planned) else { return Some(self.key(measure, own, None)) };
        Some(self.key(measure, own, Some(partner.hash(tensors)?)))
    }

    /// Hash of everything a measurement of one checkpoint depends on.
    fn key(&self, measure: &MeasureConfig, tensors: &str, partner: Option<&str>) -> RecordKey {
        // The sampler's noise depends on the seed; what reads weights alone does not.
        let is_drawn =
            measure.observable.chains().is_some() || matches!(measure.observable, ObservableConfig::Observed(_));
        let seed = is_drawn.then_some(self.file.seed);
        let mut configuration = serde_json::json!({
            "observable": measure.observable,
            "network": self.file.network,
            "layout": match &self.file.source {
                Source::Import(import) => serde_json::json!({ "layout": import.layout, "names": import.names }),
                Source::Train(_) => serde_json::Value::Null,
            },
            "seed": seed,
        });
        if let Some(partner) = partner {
            configuration["partner"] = partner.into();
        }
        RecordKey::new(&KeyParts {
            tensors,
            data: self.task_of(measure).1,
            configuration: &configuration.to_string(),
            observable: measure.observable.kind(),
            algorithm_version: measure.observable.algorithm_version(),
        })
    }
}

/// Hash of the examples of all splits.
fn hash_data(task: &Task, settings: &TaskConfig) -> String {
    let mut hasher = blake3::Hasher::new();
    for split in &task.splits {
        hasher.update(split.name.as_bytes());
        hasher.update(split.content_hash().as_bytes());
    }
    if let (TaskConfig::Tokens(TokensConfig { tokenizer: Some(_), .. }), Some(words)) = (settings, &task.words) {
        // Prompts in words depend on it, and the ids do not.
        let vocabulary = match task.interface {
            Interface::Tokens { vocabulary, .. } => vocabulary,
            _ => 0,
        };
        hasher.update(words.content_hash(vocabulary).as_bytes());
    }
    if task.environment.is_some() {
        // What an agent acts in takes the place of data.
        hasher.update(serde_json::json!(settings).to_string().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Each stage begins where the one before ends.
fn stages<'a>(file: &'a RunFile, earlier: &'a [EarlierTask], task: &'a Task) -> Vec<Stage<'a>> {
    let (mut first, mut restarts_optimizer) = (0, false);
    let mut stages = Vec::with_capacity(earlier.len() + 1);
    for (stage, earlier) in file.curriculum.iter().zip(earlier) {
        stages.push(Stage { name: &stage.name, task: &earlier.task, first, restarts_optimizer });
        (first, restarts_optimizer) = (stage.until, stage.restart_optimizer);
    }
    stages.push(Stage { name: "[task]", task, first, restarts_optimizer });
    stages
}

fn no_train_split(task: &Task) -> StudyError {
    let names: Vec<&str> = task.splits.iter().map(|split| split.name).collect();
    StudyError::Import(format!("the task has no split `train` to train on; it has {}", names.join(", ")))
}

fn manifest(
    file: &RunFile,
    imported: &[Imported],
    start: Option<&StartWeights>,
    configuration: toml::Table,
    (data_hash, earlier): (&str, &[EarlierTask]),
    command: &str,
) -> Result<Manifest, StudyError> {
    let isa = Isa::current().name();
    let mut decisive = configuration.clone();
    for key in ["title", "run_file", "start", "measure", "stages", "report"] {
        decisive.remove(key);
    }
    let decisive = toml::to_string(&decisive).map_err(StudyError::Resolve)?;
    let mut trajectory = blake3::Hasher::new();
    trajectory.update(decisive.as_bytes());
    trajectory.update(data_hash.as_bytes());
    for earlier in earlier {
        trajectory.update(earlier.data_hash.as_bytes());
    }
    if let Some(network) = file.network_hash() {
        trajectory.update(network.as_bytes());
    }
    if let Some(start) = start {
        // Whatever the folder is called: it is the weights that count.
        trajectory.update(start.hash.as_bytes());
    }
    let mut portable = configuration.clone();
    portable.remove("run_file");
    let text = toml::to_string(&portable).map_err(StudyError::Resolve)?;
    let mut hashes = BTreeMap::new();
    hashes.insert("configuration".to_owned(), blake3::hash(text.as_bytes()).to_hex().to_string());
    hashes.insert("data".to_owned(), data_hash.to_owned());
    for (stage, earlier) in file.curriculum.iter().zip(earlier) {
        hashes.insert(format!("data of {}", stage.name), earlier.data_hash.clone());
    }
    if let Some(network) = file.network_hash() {
        hashes.insert("network".to_owned(), network.to_owned());
    }
    if let Some(start) = start {
        hashes.insert("start".to_owned(), start.hash.clone());
    }
    for checkpoint in imported {
        hashes.insert(format!("checkpoint {}", checkpoint.step), checkpoint.blake3.clone());
    }
    Ok(Manifest {
        title: file.title.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instruction_set: isa.to_owned(),
        engine: Some(ENGINE_VERSION),
        seed: u64::from(file.seed),
        command: command.to_owned(),
        trajectory: trajectory.finalize().to_hex().to_string(),
        hashes,
        configuration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Overrides;

    const TEXT: &str = "seed = 5
[task]
kind = \"modular_arithmetic\"
p = 5
operation = \"add\"
train_fraction = 0.8
[network]
kind = \"transformer\"
layers = 1
d_model = 8
heads = 2
d_mlp = 8
activation = \"gelu\"
normalization = \"layer_norm\"
positions = \"learned\"
[train]
optimizer = \"sgd\"
learning_rate = 0.05
batch = 6
steps = 4
checkpoints = [0, 4]
[measure.llc]
draws = 40
";

    fn key(text: &str, tensors: &str) -> RecordKey {
        let file = RunFile::parse(Path::new("tiny.toml"), text, &Overrides::default()).unwrap();
        let run = Run::prepare(file, "a test").unwrap();
        run.key(&run.file.measures[0], tensors, None)
    }

    #[test]
    fn defect_3_a_result_is_of_its_own_weights_network_data_and_settings() {
        let own = key(TEXT, "weights");
        assert_eq!(key(TEXT, "weights"), own);
        assert_ne!(key(TEXT, "other weights"), own);
        for (from, to) in [
            ("d_mlp = 8", "d_mlp = 12"),
            ("activation = \"gelu\"", "activation = \"relu\""),
            ("train_fraction = 0.8", "train_fraction = 0.6"),
            ("p = 5", "p = 7"),
            ("seed = 5", "seed = 6"),
            ("draws = 40", "draws = 41"),
            ("draws = 40", "draws = 40\nfriction = 0.5\nsampler = \"baoab\""),
            ("draws = 40", "draws = 40\nrestrict = \"unembed\""),
        ] {
            assert!(TEXT.contains(from));
            assert_ne!(key(&TEXT.replace(from, to), "weights"), own, "{to}");
        }
        // What changes no number changes no key.
        assert_eq!(key(&TEXT.replace("[measure.llc]", "[measure.llc]\nrefused = \"accept\""), "weights"), own);
    }
}
