//! Progress of a run: bars with the time left on a terminal, plain lines elsewhere, JSON on request; one stream of events.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ontogeny_study::Event;

use crate::terminal::{self, harmless};

/// A sink for events.
pub(crate) enum Reporter {
    Json,
    Bars(Bars),
    Lines(Mutex<Lines>),
}

pub(crate) struct Bars {
    all: MultiProgress,
    train: ProgressBar,
    measure: ProgressBar,
}

/// When the last plain lines were written.
pub(crate) struct Lines {
    begun: Instant,
    train: Pace,
    measure: Pace,
    calibrate: Pace,
}

pub(crate) struct Pace {
    last: Option<Instant>,
    first: Option<(Instant, f64)>,
}

/// Units of a measurement in its bar.
const FINE: u64 = 1000;

impl Reporter {
    pub(crate) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            let pace = || Pace { last: None, first: None };
            return Self::Lines(Mutex::new(Lines {
                begun: Instant::now(),
                train: pace(),
                measure: pace(),
                calibrate: pace(),
            }));
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let train = all.add(ProgressBar::new(0));
        train.set_style(style("  train    {bar:20} {pos:>6}/{len:<6} {msg:32} {eta} left"));
        let measure = all.add(ProgressBar::new(0));
        measure.set_style(style("  measure  {bar:20} {percent:>3} %         {msg:32} {eta} left"));
        Self::Bars(Bars { all, train, measure })
    }

    pub(crate) fn on(&self, event: &Event) {
        match self {
            Self::Json => {
                if event.is_milestone()
                    && let Ok(line) = serde_json::to_string(event)
                {
                    terminal::print(&line);
                }
            }
            Self::Bars(bars) => bars.on(event),
            Self::Lines(lines) => lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).on(event),
        }
    }

    /// Removes the bars.
    pub(crate) fn finish(&self) {
        if let Self::Bars(bars) = self {
            bars.train.finish_and_clear();
            bars.measure.finish_and_clear();
        }
    }
}

/// Progress of one kind of work, counted: a bar on a terminal, else a line every few seconds.
pub(crate) enum Counter {
    Bar(ProgressBar),
    Lines { what: &'static str, pace: Mutex<Pace> },
}

impl Counter {
    pub(crate) fn new(what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            let now = Some(Instant::now());
            // Short work is not worth a line.
            return Self::Lines { what, pace: Mutex::new(Pace { last: now, first: now.map(|now| (now, 0.0)) }) };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(style(&format!("  {what:<8} {{bar:20}} {{pos:>6}}/{{len:<6}} {{eta}} left")));
        Self::Bar(bar)
    }

    pub(crate) fn on(&self, n_done: usize, n_all: usize) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(n_all as u64);
                bar.set_position(n_done as u64);
            }
            Self::Lines { what, pace } => {
                let mut pace = pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(left) = pace.due(n_done as f64 / n_all.max(1) as f64) {
                    terminal::say(&format!("  {what:<8} {n_done}/{n_all}  {left}"));
                }
            }
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█░░")
}

impl Bars {
    fn on(&self, event: &Event) {
        match event {
            Event::Opened { title, directory, .. } => {
                let _ = self.all.println(harmless(&format!("{title}  →  {directory}")));
            }
            Event::Notice { message } => {
                let _ = self.all.println(harmless(&format!("  note: {message}")));
            }
            Event::Trained { step, n_steps, loss } => {
                self.train.set_length(*n_steps);
                self.train.set_position(*step);
                self.train.set_message(format!("loss {loss:.2e}"));
            }
            Event::Measuring { measure, step, n_done, n_total, share } => {
                self.measure.set_length(*n_total as u64 * FINE);
                self.measure.set_position(*n_done as u64 * FINE + (share * FINE as f64) as u64);
                self.measure.set_message(format!("{measure} at step {step}"));
            }
            Event::Measured { n_done, n_total, .. } => {
                self.measure.set_length(*n_total as u64 * FINE);
                self.measure.set_position(*n_done as u64 * FINE);
            }
            Event::Calibrating { measure, share } => {
                self.measure.set_length(FINE);
                self.measure.set_position((share * FINE as f64) as u64);
                self.measure.set_message(format!("calibrating {measure}"));
            }
            Event::Analysed { .. } => {}
        }
    }
}

impl Lines {
    fn on(&mut self, event: &Event) {
        match event {
            Event::Opened { title, directory, n_missing, .. } => {
                terminal::say(&format!("{title}  →  {directory}"));
                terminal::say(&format!("  {n_missing} measurements to make"));
            }
            Event::Notice { message } => terminal::say(&format!("  note: {message}")),
            Event::Trained { step, n_steps, loss } => {
                let share = *step as f64 / (*n_steps).max(1) as f64;
                if let Some(left) = self.train.due(share) {
                    terminal::say(&format!("  train    {step}/{n_steps}  loss {loss:.2e}  {left}"));
                }
            }
            Event::Measuring { measure, step, n_done, n_total, share } => {
                let share = (*n_done as f64 + share) / (*n_total).max(1) as f64;
                if let Some(left) = self.measure.due(share) {
                    let line = format!("  measure  {n_done}/{n_total}  {measure} at step {step}  {left}");
                    terminal::say(&line);
                }
            }
            Event::Measured { n_done, n_total, .. } if n_done == n_total => {
                terminal::say(&format!("  measure  {n_done}/{n_total}  {:.0} s", self.begun.elapsed().as_secs_f64()));
            }
            Event::Measured { .. } => {}
            Event::Calibrating { measure, share } => {
                if let Some(left) = self.calibrate.due(*share) {
                    terminal::say(&format!("  calibrate {measure}  {:.0} %, at most {left}", 100.0 * share));
                }
            }
            Event::Analysed { n_transitions, n_boundaries } => {
                terminal::say(&format!("  stages   {n_boundaries} boundaries, {n_transitions} transitions"));
            }
        }
    }
}

impl Pace {
    /// The time left in words, every few seconds; `None` in between.
    fn due(&mut self, share: f64) -> Option<String> {
        let now = Instant::now();
        let (begun, from) = *self.first.get_or_insert((now, share));
        if self.last.is_some_and(|last| now - last < Duration::from_secs(5)) {
            return None;
        }
        self.last = Some(now);
        let done = share - from;
        let left = (done > 0.0).then(|| (now - begun).mul_f64((1.0 - share).max(0.0) / done));
        Some(left.map(|left| format!("{:.0} s left", left.as_secs_f64())).unwrap_or_default())
    }
}
