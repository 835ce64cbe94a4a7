//! The page: what was looked for and seen, by theme, then the losses of every preset.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checks::{Bound, Check, THEMES};
use crate::runs::{Preset, Run};

/// How often something was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Always,
    Sometimes,
    Never,
}

/// A check with its figures.
struct Finding<'a> {
    check: &'a Check,
    figures: Vec<Option<f64>>,
    n_seen: usize,
}

impl<'a> Finding<'a> {
    fn new(check: &'a Check, preset: &Preset) -> Self {
        let figures = check.figures(preset);
        let n_seen = figures.iter().flatten().filter(|&&figure| check.bound.holds(figure)).count();
        Self { check, figures, n_seen }
    }

    fn seen(&self) -> Seen {
        match self.n_seen {
            0 => Seen::Never,
            n if n == self.figures.len() => Seen::Always,
            _ => Seen::Sometimes,
        }
    }
}

pub(crate) fn page(presets: &[Preset], n_seeds: u32, plate: &str) -> String {
    let themes: Vec<(&str, Vec<Finding<'_>>)> = THEMES
        .iter()
        .map(|theme| {
            let of = |check: &'static Check| {
                let preset = presets.iter().find(|preset| preset.name == check.preset)?;
                Some(Finding::new(check, preset))
            };
            (theme.title, theme.checks.iter().filter_map(of).collect())
        })
        .collect();
    let findings = || themes.iter().flat_map(|(_, findings)| findings);
    let count = |seen| findings().filter(|finding| finding.seen() == seen).count();
    let n_runs: usize = presets.iter().map(|preset| preset.runs.len()).sum();
    let mut text = format!(
        "# What the presets show\n\n\
         Every preset of `ontogeny new` but `import` at its small scale, with {n_seeds} seeds (or those that its file names): {n_runs} \
         runs of {} presets, made, measured and written down by\n\n\
         ```\ncargo run --release -p ontogeny --example zoo -- --seeds {n_seeds}\n```\n\n![Losses of the presets]({plate})\n\n\
         Of {} figures that were looked for, {} are there for every seed, {} for some, {} for none. The bounds are those of the \
         papers that the presets name, or of closed forms; where there is neither, the weakest with which the sentence still holds.\n\n",
        presets.len(),
        findings().count(),
        count(Seen::Always),
        count(Seen::Sometimes),
        count(Seen::Never),
    );
    not_shown(&mut text, findings());
    text.push_str(
        "*Found* is the mean over seeds, with the least and the largest; *seen* counts the seeds (or runs) that keep the bound. A figure \
         that a run does not have, such as the step of a transition where there is none, counts as not seen.\n",
    );
    for (title, findings) in themes.iter().filter(|(_, findings)| !findings.is_empty()) {
        let _ = write!(text, "\n## {title}\n\n| preset | looked for | bound | found | seen |\n|---|---|---|---|---|\n");
        for finding in findings {
            let Check { preset, looked_for, bound, .. } = finding.check;
            let seen = match finding.seen() {
                Seen::Always => format!("{} of {}", finding.n_seen, finding.figures.len()),
                _ => format!("**{} of {}**", finding.n_seen, finding.figures.len()),
            };
            let _ = writeln!(
                text,
                "| `{preset}` | {looked_for} | {} | {} | {seen} |",
                words(*bound),
                found(&finding.figures)
            );
        }
    }
    losses(&mut text, presets);
    text
}

/// The list of what a preset promises and does not show.
fn not_shown<'a>(text: &mut String, findings: impl Iterator<Item = &'a Finding<'a>>) {
    let missing: Vec<&Finding<'_>> = findings.filter(|finding| finding.seen() != Seen::Always).collect();
    if missing.is_empty() {
        return;
    }
    text.push_str("**Not shown:**\n\n");
    for finding in missing {
        let _ = writeln!(
            text,
            "- `{}`: {}; expected {}, found {} ({} of {} seeds)",
            finding.check.preset,
            finding.check.looked_for,
            words(finding.check.bound),
            found(&finding.figures),
            finding.n_seen,
            finding.figures.len()
        );
    }
    text.push('\n');
}

fn words(bound: Bound) -> String {
    match bound {
        Bound::AtLeast(least) => format!("≥ {}", digits(least)),
        Bound::Above(bound) => format!("> {}", digits(bound)),
        Bound::Below(bound) => format!("< {}", digits(bound)),
        Bound::Near { value, by: 0.0 } => digits(value),
        Bound::Near { value, by } => format!("{} ± {}", digits(value), digits(by)),
    }
}

/// Mean, least and largest of the figures that there are.
fn found(figures: &[Option<f64>]) -> String {
    let mut values: Vec<f64> = figures.iter().copied().flatten().collect();
    values.sort_by(f64::total_cmp);
    let none = match figures.len() - values.len() {
        0 => String::new(),
        n if n == figures.len() => return "no figure".to_owned(),
        n => format!(", none in {n}"),
    };
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (least, largest) = (digits(values[0]), digits(values[values.len() - 1]));
    let range = if least == largest { String::new() } else { format!(" [{least}, {largest}]") };
    format!("{}{range}{none}", digits(mean))
}

/// Three digits that count, without zeros at the end.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let power = value.abs().log10().floor() as i32;
    if power < -3 {
        return format!("{value:.1e}").replace('-', "−");
    }
    // A share just below 1 must not read 1.
    let decimals = if (0.99..1.0).contains(&value) { 4 } else { usize::try_from(2 - power).unwrap_or(0) };
    let text = format!("{value:.decimals$}").replace('-', "−");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The last losses and the largest falls of every preset and setting.
fn losses(text: &mut String, presets: &[Preset]) {
    text.push_str(
        "\n## Losses and their falls\n\nA loss is that of the last checkpoint, mean ± standard deviation over seeds. A fall is the largest \
         transition of that loss: median step over the seeds that have one, with the least and the largest, and how many have one.\n\n\
         | preset | setting | split | last loss | falls at step | in |\n|---|---|---|---|---|---|\n",
    );
    for preset in presets {
        for (variant, runs) in preset.by_variant() {
            for (split, losses) in last_losses(&runs) {
                let (steps, n) = falls(&runs, &format!("loss.{split}"));
                let _ = writeln!(
                    text,
                    "| `{}` | {variant} | {split} | {} | {steps} | {n} of {} |",
                    preset.name,
                    mean_and_deviation(&losses),
                    runs.len()
                );
            }
        }
        for failure in &preset.failures {
            let _ = writeln!(text, "| `{}` | failed: {failure} | | | | |", preset.name);
        }
    }
}

/// Of these the table tells; others are parts of them, or sub-tasks.
const SPLITS: [&str; 3] = ["train", "test", "ood"];

/// Every last loss, by split.
fn last_losses(runs: &[&Run]) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let Some(observable) = run.view.observables.get("loss") else { continue };
        for split in observable.components().into_iter().filter(|split| SPLITS.contains(&split.as_str())) {
            if let Some(loss) = run.last("loss", &split) {
                all.entry(split).or_default().push(loss);
            }
        }
    }
    all
}

fn mean_and_deviation(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    format!("{} ± {}", digits(mean), digits((square / (n - 1.0).max(1.0)).sqrt()))
}

/// Median, least and largest step of the largest fall, and in how many runs there is one.
fn falls(runs: &[&Run], address: &str) -> (String, usize) {
    let mut steps: Vec<f64> = runs.iter().filter_map(|run| run.fall(address)).map(|fall| fall.step).collect();
    steps.sort_by(f64::total_cmp);
    let Some((&first, &last)) = steps.first().zip(steps.last()) else { return ("–".to_owned(), 0) };
    (format!("{:.0} [{first:.0}, {last:.0}]", steps[steps.len() / 2]), steps.len())
}
