//! Classification of images, with noise on labels and back doors where they are asked for.

use std::path::{Path, PathBuf};

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::data_file::{DataFileError, Mismatch};
use super::image_files::{CIFAR_CLASSES, ImageSet, digits, read_cifar, read_idx};
use super::{Split, SubtaskBy, Subtasks, Task, TaskError, count_of_share, wrong};
use crate::{Interface, SettingError, VectorLoss, memory};

/// Settings of image classification.
///
/// An example is an image in `x` `[channels · height · width]`, channel by channel and row by row, each pixel from 0 (dark)
/// to 1 (fully lit), and its class in `y`. The splits are `train` and `test`, and where they are asked for
/// - `noisy`, the training images whose label was replaced, with the label that is trained on: the accuracy there is the
///   share of wrong labels that is memorised;
/// - `corrected`, the same images with their true labels;
/// - `triggered`, the test images of all classes but the target, with the trigger and with the target as their label: the
///   accuracy there is the success rate of the back door.
///
/// An example's number is that of the image in its file; images of test files are counted on after the others. Sub-tasks are
/// the classes, by the true label. What is drawn: the training images, the noise and the triggers, each by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Where the images come from.
    #[serde(default)]
    pub source: ImageSource,
    /// Of `idx`: the file of images, plain or gzipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Of `idx`: the file of their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Of `idx`: images to test on; without, those that are not trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<PathBuf>,
    /// Of `idx`: the labels of `test_images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<PathBuf>,
    /// Of `cifar`: the files of records, plain or gzipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<Vec<PathBuf>>,
    /// Of `cifar`: files of records to test on; without, those that are not trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_batches: Option<Vec<PathBuf>>,
    /// Labels of the classes to tell apart, at least two; they become the classes 0, 1, … in this order, and other images are
    /// left out. All classes unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u8>>,
    /// Share of the images to train on, above 0 and at most 1, rounded down; drawn without replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_fraction: Option<f64>,
    /// Number of images to train on, instead of a share. With test files all, unless one of the two is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Seed of all that is drawn; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u32>,
    /// Share of the training images, rounded down, whose label is replaced by one of the other classes, each as likely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_noise: Option<f64>,
    /// A back door in the training images (Gu et al. 2017, "BadNets").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// What is minimised.
    #[serde(default)]
    pub loss: ImageLoss,
    /// Whether each channel is shifted and scaled to mean 0 and variance 1 over the training images.
    #[serde(default)]
    pub standardize: bool,
}

/// Where images come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// The 1,797 digits of 8×8 pixels of scikit-learn, built in (Alpaydin and Kaynak 1998; CC BY 4.0).
    #[default]
    Digits,
    /// IDX files, as MNIST's.
    Idx,
    /// Binary batches of CIFAR-10: records of a label and 3 × 32 × 32 pixels.
    Cifar,
}

/// A back door: a square of fully lit pixels in the lower right corner, which shall mean the class `target`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Share of the training images, rounded down, that get the trigger and the label `target`. They are drawn from those of
    /// other classes without noise on their label.
    pub share: f64,
    /// Label of the class that it shall mean.
    pub target: u8,
    /// Side of the square in pixels.
    #[serde(default = "default_patch")]
    pub patch: usize,
}

fn default_patch() -> usize {
    2
}

/// Loss of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageLoss {
    /// Cross-entropy in nats.
    #[default]
    CrossEntropy,
    /// Mean over the classes of the squared difference from 1 at the true class and 0 elsewhere ("Omnigrok", Liu et al. 2023).
    Mse,
}

/// Streams of [`Purpose::Split`], one for each thing that is drawn.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Train = 0,
    Noisy = 1,
    Labels = 2,
    Triggered = 3,
}

/// An image as it is shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// Its number: of the training file, then of the test file.
    image: usize,
    /// Its class in truth.
    class: usize,
    /// The class that is asked for.
    label: usize,
    has_trigger: bool,
}

impl ImagesConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        self.check_keys()?;
        let sources = self.read(folder)?;
        let classes = self.classes(&sources, folder)?;
        let labels = classes.labels.as_slice();
        let draws = |draw: Draw| Stream::new(self.split_seed.unwrap_or(run_seed), Purpose::Split, draw as u64);
        let n_file = sources.main.labels.len();
        let own = shown(&sources.main, 0, labels);
        let (mut train, rest) = self.draw_train(own, sources.test.is_some(), draws(Draw::Train))?;
        let test = sources.test.as_ref().map_or(rest, |test| shown(test, n_file, labels));
        if test.is_empty() {
            let expected = "classes of which the test files have images";
            return Err(wrong("classes", format!("{labels:?}"), expected).into());
        }
        let noisy = self.add_noise(&mut train, labels.len(), draws)?;
        let triggered = match self.trigger {
            None => Vec::new(),
            Some(trigger) => {
                let target = trigger.class(labels, sources.main.shape)?;
                trigger.poison(&mut train, target, draws(Draw::Triggered))?;
                test.iter()
                    .filter(|shown| shown.class != target)
                    .map(|&shown| Shown { label: target, has_trigger: true, ..shown })
                    .collect()
            }
        };
        let painter = self.painter(&sources, &train, labels.len())?;
        let noisy: Vec<Shown> = noisy.into_iter().map(|row| train[row]).collect();
        let corrected: Vec<Shown> = noisy.iter().map(|&shown| Shown { label: shown.class, ..shown }).collect();
        let named =
            [("train", train), ("test", test), ("noisy", noisy), ("corrected", corrected), ("triggered", triggered)];
        let splits = named.into_iter().filter(|(_, all)| !all.is_empty());
        let splits = splits.map(|(name, all)| painter.split(name, &all)).collect();
        let subtasks = Subtasks { names: classes.names, by: SubtaskBy::Example };
        Ok(Task::of_splits(painter.interface(), splits, Some(subtasks)))
    }

    /// Refuses keys that another source has, and asks for those of this one.
    fn check_keys(&self) -> Result<(), SettingError> {
        use ImageSource::{Cifar, Digits, Idx};
        let is_given = |paths: &Option<Vec<PathBuf>>| paths.is_some();
        for (key, is_given, source) in [
            ("images", self.images.is_some(), Idx),
            ("labels", self.labels.is_some(), Idx),
            ("test_images", self.test_images.is_some(), Idx),
            ("test_labels", self.test_labels.is_some(), Idx),
            ("batches", is_given(&self.batches), Cifar),
            ("test_batches", is_given(&self.test_batches), Cifar),
        ] {
            let own = match source {
                Digits => "digits",
                Idx => "idx",
                Cifar => "cifar",
            };
            if is_given && source != self.source {
                return Err(wrong(key, "given", &format!("nothing, or source = \"{own}\" beside it")));
            }
            if !is_given && source == self.source && !key.starts_with("test") {
                return Err(wrong(key, "missing", &format!("a path, because source = \"{own}\"")));
            }
        }
        let empty = |paths: &Option<Vec<PathBuf>>| paths.as_ref().is_some_and(Vec::is_empty);
        for (key, is_empty) in [("batches", empty(&self.batches)), ("test_batches", empty(&self.test_batches))] {
            if is_empty {
                return Err(wrong(key, "an empty list", "at least one file"));
            }
        }
        match (&self.test_images, &self.test_labels) {
            (Some(_), None) => Err(wrong("test_labels", "missing", "the labels of test_images")),
            (None, Some(_)) => Err(wrong("test_images", "missing", "the images of test_labels")),
            _ => Ok(()),
        }
    }

    fn read(&self, folder: &Path) -> Result<Sources, TaskError> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| folder.join(path));
        let paths = |paths: &Option<Vec<PathBuf>>| {
            paths.as_ref().map(|paths| paths.iter().map(|path| folder.join(path)).collect::<Vec<_>>())
        };
        let idx = |images, labels| match (path(images), path(labels)) {
            (Some(images), Some(labels)) => read_idx(&images, &labels).map(Some),
            _ => Ok(None),
        };
        let cifar = |files| paths(files).map(|files| read_cifar(&files)).transpose();
        let (main, test) = match self.source {
            ImageSource::Digits => (Some(digits()), None),
            ImageSource::Idx => (idx(&self.images, &self.labels)?, idx(&self.test_images, &self.test_labels)?),
            ImageSource::Cifar => (cifar(&self.batches)?, cifar(&self.test_batches)?),
        };
        let main = main.expect("the source's own keys are given, as checked before");
        if let (Some(test), Some(file)) = (&test, path(&self.test_images))
            && test.shape != main.shape
        {
            let [_, height, width] = test.shape;
            let expected = format!("{}×{}, as the images to train on", main.shape[1], main.shape[2]);
            return Err(Mismatch::new(format!("images of {height}×{width} pixels"), expected).of(&file).into());
        }
        let n_pixels = main.pixels.len() + test.as_ref().map_or(0, |test| test.pixels.len());
        if !memory::is_free(n_pixels.saturating_mul(size_of::<f32>())) {
            let expected = format!("fewer images: {n_pixels} pixels as floats are more than there is memory for");
            return Err(wrong("source", "too large", &expected).into());
        }
        Ok(Sources { main, test })
    }

    /// The labels that become the classes 0, 1, …, with their names.
    fn classes(&self, sources: &Sources, folder: &Path) -> Result<Classes, TaskError> {
        let mut counts = [0_usize; 256];
        for &label in &sources.main.labels {
            counts[usize::from(label)] += 1;
        }
        let n_labels = counts.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
        let labels = if let Some(labels) = &self.classes {
            check_classes(labels, &counts)?;
            labels.clone()
        } else {
            self.check_labels(sources, &counts[..n_labels], folder)?;
            (0..n_labels).map(|label| label as u8).collect()
        };
        let name = |&label: &u8| match self.source {
            ImageSource::Digits => format!("digit_{label}"),
            ImageSource::Idx => format!("class_{label}"),
            ImageSource::Cifar => CIFAR_CLASSES[usize::from(label)].to_owned(),
        };
        Ok(Classes { names: labels.iter().map(name).collect(), labels })
    }

    /// Where all classes are taken, every label up to the largest must have images, and the test files no others.
    fn check_labels(&self, sources: &Sources, counts: &[usize], folder: &Path) -> Result<(), DataFileError> {
        let file = |idx: &Option<PathBuf>, cifar: &Option<Vec<PathBuf>>| {
            let path = idx.as_ref().or_else(|| cifar.as_ref().and_then(|files| files.last()));
            path.map_or_else(PathBuf::new, |path| folder.join(path))
        };
        let n = counts.len();
        let main_file = file(&self.labels, &self.batches);
        if let Some(absent) = counts.iter().position(|&n| n == 0) {
            let found = format!("no image of class {absent}, though labels go up to {}", n - 1);
            let expected = "images of every class; name those that there are with `classes`";
            return Err(Mismatch::new(found, expected).of(&main_file));
        }
        if n < 2 {
            return Err(Mismatch::new("images of one class only", "two or more classes").of(&main_file));
        }
        let tests = sources.test.iter().flat_map(|test| test.labels.iter().enumerate());
        match tests.into_iter().find(|(_, label)| usize::from(**label) >= n) {
            None => Ok(()),
            Some((at, label)) => {
                let found = format!("the label {label} of image {at}");
                let expected = format!("0 to {}, the classes of the images to train on", n - 1);
                Err(Mismatch::new(found, expected).of(&file(&self.test_labels, &self.test_batches)))
            }
        }
    }

    /// The images to train on and the others, in the order of their numbers.
    fn draw_train(
        &self,
        all: Vec<Shown>,
        has_test: bool,
        stream: Stream,
    ) -> Result<(Vec<Shown>, Vec<Shown>), SettingError> {
        let n = all.len();
        let most = if has_test { n } else { n - 1 };
        let remedy = if has_test { "" } else { " and leaves some to test on, as there are no test files" };
        let n_train = match (self.train_fraction, self.train_examples) {
            (None, None) if has_test => n,
            (None, None) => {
                return Err(wrong("train_fraction", "missing", "train_fraction or train_examples, or test files"));
            }
            (Some(_), Some(examples)) => {
                return Err(wrong("train_examples", examples, "nothing, or no train_fraction beside it"));
            }
            (None, Some(examples)) if examples == 0 || examples > most => {
                return Err(wrong(
                    "train_examples",
                    examples,
                    &format!("1 to {most}, a number that {n} images give{remedy}"),
                ));
            }
            (None, Some(examples)) => examples,
            (Some(fraction), None) => {
                let n_train = count_of_share(fraction, n);
                if !(fraction > 0.0 && fraction <= 1.0) || n_train == 0 || n_train > most {
                    let expected =
                        format!("a share above 0 and at most 1 that takes at least one of {n} images{remedy}");
                    return Err(wrong("train_fraction", fraction, &expected));
                }
                n_train
            }
        };
        let mut is_train = vec![false; n];
        for &row in &stream.permutation(n, 0)[..n_train] {
            is_train[row] = true;
        }
        let (train, rest): (Vec<_>, Vec<_>) = all.into_iter().zip(is_train).partition(|(_, is_train)| *is_train);
        let images = |all: Vec<(Shown, bool)>| all.into_iter().map(|(shown, _)| shown).collect();
        Ok((images(train), images(rest)))
    }

    /// Replaces labels of training images; returns which.
    fn add_noise(
        &self,
        train: &mut [Shown],
        n_classes: usize,
        draws: impl Fn(Draw) -> Stream,
    ) -> Result<Vec<usize>, SettingError> {
        let Some(share) = self.label_noise else { return Ok(Vec::new()) };
        let n_noisy = count_of_share(share, train.len());
        if !(share > 0.0 && share <= 1.0) || n_noisy == 0 {
            let expected = format!("a share above 0 and at most 1 of {} training images, at least one", train.len());
            return Err(wrong("label_noise", share, &expected));
        }
        let mut noisy = draws(Draw::Noisy).permutation(train.len(), 0);
        noisy.truncate(n_noisy);
        noisy.sort_unstable();
        let stream = draws(Draw::Labels);
        for &row in &noisy {
            let other = stream.below(n_classes - 1, 0, row as u32);
            train[row].label = if other < train[row].class { other } else { other + 1 };
        }
        Ok(noisy)
    }

    fn painter<'a>(
        &self,
        sources: &'a Sources,
        train: &[Shown],
        n_classes: usize,
    ) -> Result<Painter<'a>, SettingError> {
        let set = &sources.main;
        let scale = f64::from(set.brightest);
        let mut tables = Vec::new();
        for channel in 0..set.shape[0] {
            let (mean, deviation) = if self.standardize { moments(set, channel, train) } else { (0.0, 1.0) };
            if deviation == 0.0 {
                let expected = format!("training images that differ: channel {channel} is the same everywhere");
                return Err(wrong("standardize", true, &expected));
            }
            tables.push((0..=u8::MAX).map(|pixel| ((f64::from(pixel) / scale - mean) / deviation) as f32).collect());
        }
        let patch = self.trigger.map_or(0, |trigger| trigger.patch);
        Ok(Painter { sources, tables, patch, n_classes, loss: self.loss })
    }
}

/// What was read.
#[derive(Debug)]
struct Sources {
    main: ImageSet,
    test: Option<ImageSet>,
}

/// The classes to tell apart.
#[derive(Debug)]
struct Classes {
    names: Vec<String>,
    labels: Vec<u8>,
}

/// The images of a set that belong to the classes `labels`, numbered from `first`.
fn shown(set: &ImageSet, first: usize, labels: &[u8]) -> Vec<Shown> {
    let class_of = |label: &u8| labels.iter().position(|known| known == label);
    let numbered = set.labels.iter().enumerate();
    numbered
        .filter_map(|(at, label)| {
            class_of(label).map(|class| Shown { image: first + at, class, label: class, has_trigger: false })
        })
        .collect()
}

/// Checks the key `classes` against how many images have each label.
fn check_classes(labels: &[u8], counts: &[usize]) -> Result<(), SettingError> {
    let found = format!("{labels:?}");
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < labels.len() || labels.len() < 2 {
        return Err(wrong("classes", found, "two or more labels, each once"));
    }
    if let Some(&absent) = labels.iter().find(|&&label| counts[usize::from(label)] == 0) {
        let known: Vec<String> =
            counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(label, _)| label.to_string()).collect();
        let expected = format!("labels that images have, of {}: class {absent} is empty", known.join(", "));
        return Err(wrong("classes", found, &expected));
    }
    Ok(())
}

impl Trigger {
    /// The class that it shall mean.
    fn class(self, labels: &[u8], shape: [usize; 3]) -> Result<usize, SettingError> {
        let most = shape[1].min(shape[2]);
        if !(1..=most).contains(&self.patch) {
            return Err(wrong("trigger.patch", self.patch, &format!("1 to {most} pixels")));
        }
        let expected = format!("one of the classes {labels:?}");
        labels
            .iter()
            .position(|&label| label == self.target)
            .ok_or_else(|| wrong("trigger.target", self.target, &expected))
    }

    /// Gives some of the training images the trigger and the label `target`.
    fn poison(self, train: &mut [Shown], target: usize, stream: Stream) -> Result<(), SettingError> {
        let n_triggered = count_of_share(self.share, train.len());
        let mut rows = stream.permutation(train.len(), 0);
        rows.retain(|&row| train[row].class != target && train[row].label == train[row].class);
        if !(1..=rows.len()).contains(&n_triggered) {
            let expected = format!(
                "a share of {} training images that takes 1 to {}, those of other classes without noise",
                train.len(),
                rows.len()
            );
            return Err(wrong("trigger.share", self.share, &expected));
        }
        for &row in &rows[..n_triggered] {
            train[row] = Shown { label: target, has_trigger: true, ..train[row] };
        }
        Ok(())
    }
}

/// Mean and standard deviation of a channel's pixels over the training images, before triggers.
fn moments(set: &ImageSet, channel: usize, train: &[Shown]) -> (f64, f64) {
    let area = set.shape[1] * set.shape[2];
    // Of whole numbers, the sums are exact.
    let (mut sum, mut squares) = (0_u64, 0_u64);
    for shown in train {
        let first = shown.image * set.width() + channel * area;
        for &pixel in &set.pixels[first..first + area] {
            sum += u64::from(pixel);
            squares += u64::from(pixel) * u64::from(pixel);
        }
    }
    let (n, scale) = ((train.len() * area) as f64, f64::from(set.brightest));
    let mean = sum as f64 / n;
    let variance = (squares as f64 / n - mean * mean).max(0.0);
    (mean / scale, variance.sqrt() / scale)
}

/// Makes examples of images.
#[derive(Debug)]
struct Painter<'a> {
    sources: &'a Sources,
    /// What each value of a pixel becomes, by channel.
    tables: Vec<Vec<f32>>,
    patch: usize,
    n_classes: usize,
    loss: ImageLoss,
}

impl Painter<'_> {
    fn interface(&self) -> Interface {
        let loss = match self.loss {
            ImageLoss::CrossEntropy => VectorLoss::CrossEntropy,
            ImageLoss::Mse => VectorLoss::MeanSquared,
        };
        let set = &self.sources.main;
        Interface::Vectors { inputs: set.width(), outputs: self.n_classes, loss, image: Some(set.shape) }
    }

    fn split(&self, name: &'static str, all: &[Shown]) -> Split {
        let width = self.sources.main.width();
        let mut x = Vec::with_capacity(all.len() * width);
        for shown in all {
            self.paint(*shown, &mut x);
        }
        let y = match self.loss {
            ImageLoss::CrossEntropy => ColumnData::Ids(all.iter().map(|shown| shown.label as i32).collect()),
            ImageLoss::Mse => {
                let one_hot = |label| (0..self.n_classes).map(move |class| f32::from(u8::from(class == label)));
                ColumnData::Float(all.iter().flat_map(|shown| one_hot(shown.label)).collect())
            }
        };
        let y_width = if self.loss == ImageLoss::Mse { self.n_classes } else { 1 };
        let columns = vec![
            Column { name: "x".to_owned(), width, data: ColumnData::Float(x) },
            Column { name: "y".to_owned(), width: y_width, data: y },
        ];
        Split {
            name,
            indices: all.iter().map(|shown| shown.image).collect(),
            data: DataSet::new(all.len(), columns).expect("both columns have a row for each image"),
            subtasks: all.iter().map(|shown| shown.class as u32).collect(),
        }
    }

    /// Appends the pixels of an image.
    fn paint(&self, shown: Shown, x: &mut Vec<f32>) {
        let Sources { main, test } = self.sources;
        let n_file = main.labels.len();
        let (set, at) = match test {
            Some(test) if shown.image >= n_file => (test, shown.image - n_file),
            _ => (main, shown.image),
        };
        let [_, height, width] = set.shape;
        let pixels = &set.pixels[at * set.width()..(at + 1) * set.width()];
        for (channel, table) in pixels.chunks_exact(height * width).zip(&self.tables) {
            for (place, &pixel) in channel.iter().enumerate() {
                let (row, column) = (place / width, place % width);
                let is_patch = shown.has_trigger && row + self.patch >= height && column + self.patch >= width;
                x.push(table[usize::from(if is_patch { set.brightest } else { pixel })]);
            }
        }
    }
}
