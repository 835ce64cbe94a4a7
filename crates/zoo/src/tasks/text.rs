//! Text: the next byte, character or byte pair is predicted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::data_file::{Mismatch, read_data_file, unpack_embedded};
use super::sampled::{Counts, Distribution, Example, Numbers};
use super::tokenizer::Tokenizer;
use super::{Split, Task, TaskError, Words, count_of_share, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of language modelling on a text.
///
/// The text becomes one sequence of tokens, of which the last part is held out. An example is a window of `context` tokens,
/// `tokens` `[context]`, of which each but the first is predicted from those before it. `test` are the windows of the part
/// held out, one after another. There are no documents: windows run across their ends.
///
/// [`ngram_entropy`](crate::ngram_entropy) and [`NgramModel`](crate::NgramModel) say what a predictor that sees one or two
/// tokens reaches on the parts of [`TextConfig::corpus`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Where the text comes from.
    #[serde(default)]
    pub source: TextSource,
    /// Of `file`: a UTF-8 text, plain or gzipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What its tokens are.
    #[serde(default)]
    pub tokenizer: Tokenizer,
    /// Of `bpe`: a `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_file: Option<PathBuf>,
    /// Of `bpe` without a `tokenizer_file`: how many tokens to learn from the text (all of it), at least 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Tokens of a window, at least 2.
    pub context: usize,
    /// Share of the tokens to train on, below 1, rounded down: the first ones.
    #[serde(default = "default_train_fraction")]
    pub train_fraction: f64,
    /// Whether the lines are shuffled before the text is cut, for lists that are sorted.
    #[serde(default)]
    pub shuffle_lines: bool,
    /// Which windows are trained on.
    #[serde(default)]
    pub windows: TextWindows,
    /// Of `random`: windows of the fixed sample `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_examples: Option<usize>,
    /// Most windows of `test`, evenly spaced; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_examples: Option<usize>,
    /// Seed of windows and of shuffled lines; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    /// 1,115,394 characters of plays by Shakespeare, built in ("tiny Shakespeare" of Karpathy's char-rnn, 2015).
    #[default]
    Shakespeare,
    /// 32,033 first names, one a line, the most frequent first, built in (Karpathy's makemore, 2022).
    Names,
    /// A file.
    File,
}

/// Which windows of a text are trained on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextWindows {
    /// At a random place each, without end. `train` is a fixed sample of such windows; updates see the same text, at other
    /// places.
    #[default]
    Random,
    /// Next to each other, each once an epoch: `train` is what is trained on.
    Adjacent,
}

/// A text in tokens, cut in two.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// Ids are below this.
    pub vocabulary: usize,
    /// The part to train on.
    pub train: Vec<i32>,
    /// The part held out, which follows it.
    pub test: Vec<i32>,
    /// What the ids read as.
    pub words: Words,
}

/// Longest window.
const MAX_CONTEXT: usize = 1 << 20;

const SHAKESPEARE: &[u8] = include_bytes!("../../data/tiny-shakespeare/tinyshakespeare.txt.gz");

const NAMES: &[u8] = include_bytes!("../../data/names/names.txt.gz");

fn default_train_fraction() -> f64 {
    0.9
}

impl TextConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        if !(2..=MAX_CONTEXT).contains(&self.context) {
            return Err(wrong("context", self.context, &format!("2 to {MAX_CONTEXT} tokens")).into());
        }
        let corpus = self.corpus(run_seed, folder)?;
        let Corpus { vocabulary, train, test, words } = corpus;
        let train: Arc<[i32]> = train.into();
        for (part, n) in [("to train on", train.len()), ("held out", test.len())] {
            if n < self.context {
                let expected = format!("at most the {n} tokens {part}: a longer text, or another train_fraction");
                return Err(wrong("context", self.context, &expected).into());
            }
        }
        let interface = Interface::Tokens { vocabulary, length: self.context, read: Read::NEXT_TOKEN };
        let test = self.test_split(&test, train.len())?;
        let mut task = match self.windows {
            TextWindows::Adjacent => {
                if let Some(n) = self.held_examples {
                    return Err(wrong("held_examples", n, "nothing, or windows = \"random\" beside it").into());
                }
                let starts: Vec<usize> = (0..train.len() / self.context).map(|i| i * self.context).collect();
                let train = windows("train", &train, 0, &starts, self.context);
                Task::of_splits(interface, vec![train], None)
            }
            TextWindows::Random => {
                let held = self.held_examples.unwrap_or_else(super::default_held_examples);
                let windows = RandomWindows { tokens: Arc::clone(&train), interface, length: self.context };
                Task::sampled(Arc::new(windows), Counts::new(None, held)?, self.data_seed.unwrap_or(run_seed))
            }
        };
        task.splits.push(test);
        (task.words, task.corpus) = (Some(words), Some(train));
        Ok(task)
    }

    /// The text in tokens. `run_seed` serves where the task has no seed of its own; relative paths start at `folder`.
    ///
    /// # Errors
    /// A setting out of range, a file that cannot be read or is not UTF-8, or a share that leaves nothing on one side.
    pub fn corpus(&self, run_seed: u32, folder: &Path) -> Result<Corpus, TaskError> {
        let mut text = self.text(folder)?;
        if self.shuffle_lines {
            text = shuffled(text, Stream::new(self.data_seed.unwrap_or(run_seed), Purpose::Split, 0));
        }
        let tokenizer_file = self.tokenizer_file.as_ref().map(|file| folder.join(file));
        let tokens = self.tokenizer.encode(&text, tokenizer_file.as_deref(), self.vocabulary, folder)?;
        let n = tokens.ids.len();
        let n_train = count_of_share(self.train_fraction, n);
        if n_train == 0 || n_train == n {
            let expected = format!("a share of {n} tokens that leaves some to train on and some held out");
            return Err(wrong("train_fraction", self.train_fraction, &expected).into());
        }
        let mut train = tokens.ids;
        let test = train.split_off(n_train);
        Ok(Corpus { vocabulary: tokens.vocabulary, train, test, words: tokens.words })
    }

    fn text(&self, folder: &Path) -> Result<String, TaskError> {
        let embedded = match (self.source, &self.file) {
            (TextSource::File, Some(file)) => {
                let path = folder.join(file);
                return Ok(utf8(read_data_file(&path)?).map_err(|wrong| wrong.of(&path))?);
            }
            (TextSource::File, None) => {
                return Err(wrong("file", "missing", "a path, because source = \"file\"").into());
            }
            (_, Some(_)) => return Err(wrong("file", "given", "nothing, or source = \"file\" beside it").into()),
            (TextSource::Shakespeare, None) => SHAKESPEARE,
            (TextSource::Names, None) => NAMES,
        };
        Ok(utf8(unpack_embedded(embedded)).expect("tests read every embedded text"))
    }

    fn test_split(&self, tokens: &[i32], first: usize) -> Result<Split, SettingError> {
        let n_windows = tokens.len() / self.context;
        let n = self.test_examples.unwrap_or(n_windows);
        if n == 0 || n > n_windows {
            return Err(wrong("test_examples", n, &format!("1 to {n_windows}, the windows held out")));
        }
        let starts: Vec<usize> = (0..n).map(|i| i * n_windows / n * self.context).collect();
        Ok(windows("test", tokens, first, &starts, self.context))
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, Mismatch> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let found = format!("the byte 0x{:02x} at offset {at}, which is not UTF-8 there", error.as_bytes()[at]);
        Mismatch::new(found, "UTF-8 text, plain or gzipped; convert it, for example with `iconv -t UTF-8`")
    })
}

/// The lines in random order. A last line without its end gets one.
fn shuffled(mut text: String, stream: Stream) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    stream.permutation(lines.len(), 0).into_iter().map(|line| lines[line]).collect()
}

/// The windows of a part of the text that begins with the token number `first`; a window's number is that of its first token.
fn windows(name: &'static str, tokens: &[i32], first: usize, starts: &[usize], length: usize) -> Split {
    let ids = starts.iter().flat_map(|&start| &tokens[start..start + length]).copied().collect();
    let column = Column { name: "tokens".to_owned(), width: length, data: ColumnData::Ids(ids) };
    Split {
        name,
        indices: starts.iter().map(|start| first + start).collect(),
        data: DataSet::new(starts.len(), vec![column]).expect("every window has the same length"),
        subtasks: Vec::new(),
    }
}

#[derive(Debug)]
struct RandomWindows {
    tokens: Arc<[i32]>,
    interface: Interface,
    length: usize,
}

impl Distribution for RandomWindows {
    fn interface(&self) -> Interface {
        self.interface
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let start = numbers.below(self.tokens.len() - self.length + 1);
        example.tokens.copy_from_slice(&self.tokens[start..start + self.length]);
    }
}
