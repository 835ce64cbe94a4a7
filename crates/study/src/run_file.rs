//! The run file: what to train or import, what to measure, where to look for stages.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ontogeny_zoo::{NetworkConfig, TaskConfig, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::curriculum::{self, StageConfig};
use crate::known_network;
use crate::sections::{ImportConfig, MeasureConfig, ObservableConfig, ReportConfig, StagesConfig};
use crate::start::StartConfig;
use crate::sweep::SWEEP_KEYS;
use crate::toml_source::{Overrides, RunFileError, Section, Text};

/// A run file, read and checked for form; data and network are checked by [`crate::Run::prepare`].
#[derive(Debug, Clone, PartialEq)]
pub struct RunFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// A title for people.
    pub title: String,
    /// The seed every random stream derives from.
    pub seed: u32,
    /// `[task]`: what is measured, and what is trained, in the last stage where there are several.
    pub task: TaskConfig,
    /// `[curriculum.…]`: what is trained before, in the order of the steps.
    pub curriculum: Vec<StageConfig>,
    /// `[network]`.
    pub network: NetworkConfig,
    /// `[start]`.
    pub start: Option<StartConfig>,
    /// `[train]` or `[import]`.
    pub source: Source,
    /// `[measure.…]`, by name.
    pub measures: Vec<MeasureConfig>,
    /// `[stages]`.
    pub stages: StagesConfig,
    /// `[report]`.
    pub report: ReportConfig,
}

/// Where checkpoints come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub enum Source {
    /// `[train]`.
    Train(TrainConfig),
    /// `[import]`.
    Import(ImportConfig),
}

const KEYS: &[&str] = &[
    "title",
    "seed",
    "seeds",
    "sweep",
    "task",
    "curriculum",
    "network",
    "start",
    "train",
    "import",
    "measure",
    "stages",
    "report",
    "scale",
];

/// Longest run file read: a device may never end.
const MAX_BYTES: u64 = 16 << 20;

impl RunFile {
    /// Reads a run file with overrides.
    ///
    /// # Errors
    /// A file that cannot be read, or a mistake in it, with its line.
    pub fn read(path: impl AsRef<Path>, overrides: &Overrides) -> Result<Self, StudyError> {
        let path = path.as_ref();
        Ok(Self::parse(path, &Self::text(path)?, overrides)?)
    }

    /// The text of a file that is not too long to be a run file.
    pub(crate) fn text(path: &Path) -> Result<String, StudyError> {
        let mut bytes = Vec::new();
        let file = fs_err::File::open(path).map_err(StudyError::Io)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(StudyError::Io)?;
        let mistake = |line, message| RunFileError { path: path.to_owned(), line, message, hint: None };
        if bytes.len() as u64 > MAX_BYTES {
            let message = format!("found more than {MAX_BYTES} bytes, expected a run file, which has some thousands");
            return Err(mistake(None, message).into());
        }
        Ok(String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|&byte| byte == b'\n').count();
            mistake(Some(line), "found bytes that are no UTF-8, expected TOML, which is UTF-8 text".to_owned())
        })?)
    }

    /// Parses the text of a run file; `path` is for messages and for the relative paths in it.
    ///
    /// # Errors
    /// A mistake in it, with its line; or a file that describes several runs, which [`crate::Sweep`] reads.
    pub fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, RunFileError> {
        let text = Text { path, text };
        let file = Section::parse(&text, overrides)?;
        if let Some(place) = SWEEP_KEYS.iter().find_map(|key| file.place_of(key)) {
            let hint = "run the file itself, or remove these keys".to_owned();
            return Err(file.error_at(Some(place), "`seeds` and `sweep` describe several runs".to_owned(), Some(hint)));
        }
        Self::from_section(file)
    }

    /// As [`RunFile::parse`], for one run of a file that describes several; the overrides say which.
    pub(crate) fn parse_member(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, RunFileError> {
        let text = Text { path, text };
        let mut file = Section::parse(&text, overrides)?;
        for key in SWEEP_KEYS {
            file.take::<toml::Value>(key)?;
        }
        Self::from_section(file)
    }

    fn from_section(mut file: Section<'_>) -> Result<Self, RunFileError> {
        let path = file.path();
        // First, so that a slip in `[train]` is not called its absence.
        file.check_keys(KEYS)?;
        let title = file.take("title")?.unwrap_or_else(|| {
            path.file_stem().map_or_else(|| "Run".to_owned(), |stem| stem.to_string_lossy().into_owned())
        });
        let seed = file.take("seed")?.unwrap_or(0);
        let written_task = file.copy_of("task");
        let task = with_kind(&mut file, "task", TaskConfig::KINDS, TaskConfig::deserialize_kind)?;
        let import_place = file.place_of("import");
        let mut import =
            file.take_section("import")?.map(|import| import.read(ImportConfig::deserialize)).transpose()?;
        let network = network(&mut file, import.as_mut(), import_place.clone())?;
        let curriculum_place = file.place_of("curriculum");
        let curriculum = match (file.take_section("curriculum")?, &written_task) {
            (Some(section), Some(task)) => curriculum::read(section, task)?,
            _ => Vec::new(),
        };
        let start_place = file.place_of("start");
        let start = file.take_section("start")?.map(|start| start.read(StartConfig::deserialize)).transpose()?;
        let source = match (file.take_section("train")?, import) {
            (Some(train), None) => Source::Train(train.read(TrainConfig::deserialize)?),
            (None, Some(import)) => Source::Import(import),
            (Some(_), Some(_)) => {
                let message = "a run either trains or imports: found both [train] and [import]".to_owned();
                return Err(file.error_at(import_place, message, Some("remove one of them".to_owned())));
            }
            (None, None) => {
                let message = "found neither [train] nor [import]; expected one of them".to_owned();
                return Err(file.error(message, None));
            }
        };
        if start.is_some() && matches!(source, Source::Import(_)) {
            let message = "[start] says where a training begins; found it beside [import]".to_owned();
            return Err(file.error_at(start_place, message, Some("remove one of them".to_owned())));
        }
        if let Some(last) = curriculum.last() {
            let problem = match &source {
                Source::Import(_) => Some((
                    "[curriculum] says what is trained; found it beside [import]".to_owned(),
                    "remove one of them",
                )),
                Source::Train(train) if last.until >= train.steps => Some((
                    format!(
                        "`curriculum.{}.until` is {}; expected a step below `train.steps` = {}",
                        last.name, last.until, train.steps
                    ),
                    "[task] is trained last, for at least one step",
                )),
                Source::Train(_) => None,
            };
            if let Some((message, hint)) = problem {
                return Err(file.error_at(curriculum_place, message, Some(hint.to_owned())));
            }
        }
        let mut measures = Vec::new();
        if let Some(section) = file.take_section("measure")? {
            for (name, section) in section.into_sections()? {
                measures.push(MeasureConfig::read(&name, section, &curriculum)?);
            }
        }
        let stages = match file.take_section("stages")? {
            Some(section) => section.read(StagesConfig::deserialize)?,
            None => StagesConfig::default(),
        };
        let report = match file.take_section("report")? {
            Some(section) => section.read(ReportConfig::deserialize)?,
            None => ReportConfig::default(),
        };
        Ok(Self {
            path: path.to_owned(),
            title,
            seed,
            task,
            curriculum,
            network,
            start,
            source,
            measures,
            stages,
            report,
        })
    }

    /// The run file that a run's manifest holds, with its paths relative to where it was read from.
    ///
    /// # Errors
    /// A configuration of another version of ontogeny.
    pub(crate) fn from_manifest(mut configuration: toml::Table) -> Result<Self, StudyError> {
        let path = match configuration.remove("run_file") {
            Some(toml::Value::String(path)) => PathBuf::from(path),
            _ => PathBuf::from("run.toml"),
        };
        let text = toml::to_string(&configuration).map_err(StudyError::Resolve)?;
        Ok(Self::parse(&path, &text, &Overrides::default())?)
    }

    /// Reads the network where it is a file of its own.
    ///
    /// # Errors
    /// A file that is no such network.
    pub(crate) fn read_network(&mut self) -> Result<(), StudyError> {
        let folder = self.folder().to_owned();
        match &mut self.network {
            NetworkConfig::Onnx(network) => Ok(network.read(&folder)?),
            _ => Ok(()),
        }
    }

    /// BLAKE3 hash of the network's file, where it is one.
    pub(crate) fn network_hash(&self) -> Option<&str> {
        match &self.network {
            NetworkConfig::Onnx(network) => Some(network.blake3()),
            _ => None,
        }
    }

    /// Folder that relative paths in the file start at.
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    /// The configuration with every default filled in, as it is kept in the run's manifest.
    ///
    /// # Errors
    /// A value that TOML cannot hold.
    pub fn resolved(&self) -> Result<toml::Table, StudyError> {
        let mut measures = toml::Table::new();
        for measure in &self.measures {
            let mut table = match &measure.observable {
                ObservableConfig::Llc(llc) => toml::Table::try_from(llc).map_err(StudyError::Resolve)?,
                ObservableConfig::Susceptibility(config) => config.resolved().map_err(StudyError::Resolve)?,
                ObservableConfig::Influence(config) => config.resolved().map_err(StudyError::Resolve)?,
                ObservableConfig::RelativeVariance(config) => config.resolved().map_err(StudyError::Resolve)?,
                ObservableConfig::SubtaskLoss(config) | ObservableConfig::SubtaskAccuracy(config) => {
                    toml::Table::try_from(config).map_err(StudyError::Resolve)?
                }
                // An enum is a table of its kind's name.
                ObservableConfig::Observed(observed) => {
                    let mut named = toml::Table::try_from(observed).map_err(StudyError::Resolve)?;
                    match named.remove(observed.kind()) {
                        Some(toml::Value::Table(settings)) => settings,
                        _ => toml::Table::new(),
                    }
                }
                ObservableConfig::Trajectory(config) => toml::Table::try_from(config).map_err(StudyError::Resolve)?,
                ObservableConfig::RobustLoss(config) | ObservableConfig::RobustAccuracy(config) => {
                    toml::Table::try_from(config).map_err(StudyError::Resolve)?
                }
                _ => toml::Table::new(),
            };
            table.insert("observable".to_owned(), measure.observable.kind().into());
            if let Some(on) = &measure.on {
                table.insert("on".to_owned(), on.clone().into());
            }
            if measure.accepts_refusal {
                table.insert("refused".to_owned(), "accept".into());
            }
            measures.insert(measure.name.clone(), table.into());
        }
        let table =
            |value: Result<toml::Table, toml::ser::Error>| value.map(toml::Value::Table).map_err(StudyError::Resolve);
        let mut resolved = toml::Table::new();
        resolved.insert("title".to_owned(), self.title.clone().into());
        resolved.insert("seed".to_owned(), i64::from(self.seed).into());
        // Relative paths in the configuration start at the folder of this file.
        let path = std::path::absolute(&self.path).map_err(StudyError::Io)?;
        resolved.insert("run_file".to_owned(), path.to_string_lossy().into_owned().into());
        resolved.insert("task".to_owned(), table(toml::Table::try_from(&self.task))?);
        // A network in a file is named by `[import]`.
        if !matches!(self.network, NetworkConfig::Onnx(_)) {
            resolved.insert("network".to_owned(), table(toml::Table::try_from(&self.network))?);
        }
        if !self.curriculum.is_empty() {
            let mut stages = toml::Table::new();
            for stage in &self.curriculum {
                stages.insert(stage.name.clone(), table(toml::Table::try_from(stage))?);
            }
            resolved.insert("curriculum".to_owned(), stages.into());
        }
        if let Some(start) = &self.start {
            resolved.insert("start".to_owned(), table(toml::Table::try_from(start))?);
        }
        match &self.source {
            Source::Train(train) => resolved.insert("train".to_owned(), table(toml::Table::try_from(train))?),
            Source::Import(import) => resolved.insert("import".to_owned(), table(toml::Table::try_from(import))?),
        };
        resolved.insert("measure".to_owned(), measures.into());
        resolved.insert("stages".to_owned(), table(toml::Table::try_from(&self.stages))?);
        resolved.insert("report".to_owned(), table(toml::Table::try_from(&self.report))?);
        Ok(resolved)
    }
}

/// `[network]`, or what `[import]` knows of its network.
fn network(
    file: &mut Section<'_>,
    import: Option<&mut ImportConfig>,
    place: Option<Range<usize>>,
) -> Result<NetworkConfig, RunFileError> {
    let folder = folder_of(file.path());
    let known = match import {
        Some(import) => known_network::take(import, folder)
            .map_err(|message| file.error_at(place.clone(), format!("in `import`: {message}"), None))?,
        None => None,
    };
    match known {
        Some(_) if file.place_of("network").is_some() => {
            let message = "found [network] beside `import.network` or `import.run`, which say what it is".to_owned();
            Err(file.error_at(place, message, Some("remove one of them".to_owned())))
        }
        Some(network) => Ok(network),
        None => with_kind(file, "network", NetworkConfig::KINDS, NetworkConfig::deserialize_kind),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The sub-table `key`, which must be there, by its `kind`.
fn with_kind<'a, T>(
    file: &mut Section<'a>,
    key: &str,
    kinds: &[&str],
    read: impl FnOnce(&str, toml::de::ValueDeserializer<'a>) -> Result<T, toml::de::Error>,
) -> Result<T, RunFileError> {
    match file.take_section(key)? {
        Some(section) => section.read_kind(kinds, read),
        None => Err(file.error(format!("[{key}] is missing"), Some(format!("add it, with kind = one of {kinds:?}")))),
    }
}
