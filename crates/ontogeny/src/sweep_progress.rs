//! Progress of many runs: a line for each that is at work on a terminal, plain lines elsewhere, JSON on request.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ontogeny_study::Event;

use crate::terminal::{self, harmless};

/// A sink for the events of all runs.
pub(crate) struct SweepReporter {
    names: Vec<String>,
    form: Form,
}

enum Form {
    Json,
    /// A bar for each run at work.
    Bars(MultiProgress, Mutex<BTreeMap<usize, ProgressBar>>),
    /// When each run had its last line, and its training loss.
    Lines(Mutex<BTreeMap<usize, Instant>>),
}

/// Time between two plain lines of a run.
const PACE: Duration = Duration::from_secs(10);

/// Width of a run's name on a terminal.
const NAME: usize = 36;

impl SweepReporter {
    pub(crate) fn new(title: &str, directory: &Path, names: &[&str], json: bool) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let n = names.len();
        if json {
            return Self { names, form: Form::Json };
        }
        terminal::say(&format!("{title}  →  {}  ({n} runs)", directory.display()));
        let form = if std::io::stderr().is_terminal() {
            Form::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)), Mutex::default())
        } else {
            Form::Lines(Mutex::default())
        };
        Self { names, form }
    }

    /// An event of the run number `at`.
    pub(crate) fn on(&self, at: usize, event: &Event) {
        let name = &self.names[at];
        match &self.form {
            Form::Json => {
                if event.is_milestone()
                    && let Ok(mut value) = serde_json::to_value(event)
                    && let Some(object) = value.as_object_mut()
                {
                    object.insert("run".to_owned(), name.clone().into());
                    terminal::print(&value.to_string());
                }
            }
            Form::Bars(all, bars) => {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(at).or_insert_with(|| {
                    let style = ProgressStyle::with_template("  {prefix:36} {bar:16} {msg:44} {eta} left");
                    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█░░");
                    let bar = all.add(ProgressBar::new(0)).with_style(style);
                    bar.set_prefix(cut(name));
                    bar
                });
                match event {
                    Event::Trained { step, n_steps, loss } => {
                        bar.set_length(*n_steps);
                        bar.set_position(*step);
                        bar.set_message(format!("step {step}/{n_steps}  loss {loss:.2e}"));
                    }
                    Event::Measuring { measure, step, .. } => bar.set_message(format!("{measure} at step {step}")),
                    Event::Notice { message } => {
                        let _ = all.println(harmless(&format!("  {name}: {message}")));
                    }
                    Event::Analysed { n_transitions, .. } => {
                        bar.finish_and_clear();
                        let _ = all.println(harmless(&format!("  {name}: done, {n_transitions} transitions")));
                    }
                    _ => {}
                }
            }
            Form::Lines(last) => {
                let line = match event {
                    Event::Trained { step, n_steps, loss } => {
                        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                        let now = Instant::now();
                        let begun = *last.entry(at).or_insert(now);
                        if now - begun < PACE {
                            return;
                        }
                        last.insert(at, now);
                        format!("train {step}/{n_steps}  loss {loss:.2e}")
                    }
                    Event::Notice { message } => message.clone(),
                    Event::Analysed { n_transitions, .. } => format!("done, {n_transitions} transitions"),
                    _ => return,
                };
                terminal::say(&format!("  {name}: {line}"));
            }
        }
    }

    /// Removes the bars.
    pub(crate) fn finish(&self) {
        if let Form::Bars(_, bars) = &self.form {
            for bar in bars.lock().unwrap_or_else(PoisonError::into_inner).values() {
                bar.finish_and_clear();
            }
        }
    }
}

/// A name that fits its column.
fn cut(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME - 1).collect();
    format!("{start}…")
}
