//! What every figure shares: the frame with the stages as bands, the step axis, and marks for transitions and the cursor.
//!
//! An SVG that scales as a whole would shrink its letters on a phone. So the outer SVG has no view box: letters and ticks
//! are placed in percent and keep their size, while curves live in an inner SVG that is stretched to the frame
//! (strokes do not stretch). Labels stand outside the frame, in the margins of the surrounding element.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ontogeny_store::{Boundary, RunView, SeriesChanges, Transition};

use crate::axis::{self, StepAxis, Tick, ValueAxis};
use crate::number;
use crate::text::escape;

/// What every figure stands on: the axis, and what was found along it.
#[derive(Debug, Clone)]
pub(crate) struct Frame<'a> {
    pub axis: StepAxis,
    pub transitions: &'a [Transition],
    pub boundaries: &'a [Boundary],
    pub changes: &'a [SeriesChanges],
    /// What analyses call a series, by the name that it has in figures, where that is another.
    pub names: BTreeMap<String, String>,
    /// What goes through the stages: `run`, or `series`.
    pub subject: &'static str,
}

impl<'a> Frame<'a> {
    /// The frame of a run; `None` without checkpoints.
    pub(crate) fn of(view: &'a RunView) -> Option<Self> {
        let axis = StepAxis::of(view.checkpoints.iter().map(|step| *step as f64))?;
        let changes = view.change_points.as_ref().map_or(&[][..], |found| &found.series);
        Some(Self {
            axis,
            transitions: &view.transitions,
            boundaries: &view.stages,
            changes,
            names: names(view),
            subject: "run",
        })
    }

    /// Ends of all stages in percent of the width; without boundaries the whole run is one stage.
    pub(crate) fn stages(&self) -> Vec<(f64, f64)> {
        let inner = self.boundaries.iter().map(|boundary| self.axis.position(boundary.step));
        let mut edges: Vec<f64> = [0.0].into_iter().chain(inner).chain([100.0]).collect();
        edges.sort_by(f64::total_cmp);
        edges.windows(2).map(|edge| (edge[0], edge[1])).collect()
    }

    /// Every second stage as a shaded band.
    pub(crate) fn bands(&self) -> String {
        let mut svg = String::new();
        for (from, to) in self.stages().into_iter().skip(1).step_by(2) {
            let _ = write!(
                svg,
                "<rect class=\"band\" x=\"{}%\" width=\"{}%\" height=\"100%\"/>",
                round(from),
                round(to - from)
            );
        }
        svg
    }

    /// Marks and labels of the step axis, below the frame.
    pub(crate) fn step_axis(&self) -> String {
        axis_below(&self.axis.ticks(), "step")
    }

    /// What analyses call the series of this address.
    fn name<'b>(&'b self, address: &'b str) -> &'b str {
        self.names.get(address).map_or(address, String::as_str)
    }

    /// A short mark at the top of the frame for each transition of one of these series.
    pub(crate) fn transition_marks(&self, series: &[(String, String)]) -> String {
        let mut svg = String::new();
        for transition in self.transitions {
            let Some((_, class)) = series.iter().find(|(address, _)| self.name(address) == transition.observable)
            else {
                continue;
            };
            let at = round(self.axis.position(transition.step));
            let _ = write!(
                svg,
                "<svg x=\"{at}%\" y=\"0\"><path class=\"mark {class}\" d=\"M-5-9h10l-5 8z\"><title>{}</title></path></svg>",
                escape(&transition_words(transition))
            );
        }
        svg
    }

    /// At the bottom of the frame a stroke for each change point of one of these series, on a bar over its interval.
    pub(crate) fn change_marks(&self, series: &[(String, String)]) -> String {
        let mut svg = String::new();
        for own in self.changes {
            let Some((_, class)) = series.iter().find(|(address, _)| self.name(address) == own.observable) else {
                continue;
            };
            for change in &own.changes {
                let [at, lower, upper] =
                    [change.step, change.lower, change.upper].map(|x| round(self.axis.position(x)));
                let words = format!(
                    "change of {} at step {} [{}, {}]",
                    own.observable,
                    number::step(change.step),
                    number::step(change.lower),
                    number::step(change.upper)
                );
                let _ = write!(
                    svg,
                    "<line class=\"change-interval {class}\" x1=\"{lower}%\" x2=\"{upper}%\" y1=\"100%\" y2=\"100%\"/><svg x=\"{at}%\" y=\"100%\"><path class=\"change {class}\" d=\"M0-1v-22\"><title>{}</title></path></svg>",
                    escape(&words)
                );
            }
        }
        svg
    }

    /// The cursor, hidden until the script moves it.
    pub(crate) fn cursor() -> &'static str {
        "<line class=\"cursor\" x1=\"0\" x2=\"0\" y1=\"0\" y2=\"100%\"/>"
    }

    /// The span of steps in words, for text alternatives.
    pub(crate) fn span(&self) -> String {
        let (first, last) = self.axis.steps;
        format!("steps {} to {}", number::step(first), number::step(last))
    }
}

/// A horizontal axis below the frame, with its name to the left of it.
pub(crate) fn axis_below(ticks: &[Tick], name: &str) -> String {
    let mut svg = format!(
        "<line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/><svg x=\"0\" y=\"100%\"><text x=\"-7\" y=\"17\" text-anchor=\"end\">{}</text></svg>",
        escape(name)
    );
    for Tick { at, label } in ticks {
        let (at, x) = (round(*at), axis::shift(*at, label));
        let _ = write!(
            svg,
            "<svg x=\"{at}%\" y=\"100%\"><line class=\"axis\" y2=\"4\"/><text x=\"{x}\" y=\"17\" text-anchor=\"middle\">{label}</text></svg>"
        );
    }
    svg
}

/// `llc.unembed` for the series that figures call `llc_unembed.unembed`, after its measurement.
fn names(view: &RunView) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for ((measure, addresses), observable) in view.addresses().into_iter().zip(view.observables.values()) {
        for (address, label) in addresses.into_iter().zip(observable.components()) {
            let own = if label.is_empty() { measure.clone() } else { format!("{measure}.{label}") };
            if own != address {
                names.insert(own, address);
            }
        }
    }
    names
}

/// Horizontal lines and labels of a value axis, left of the frame.
pub(crate) fn value_axis(axis: &ValueAxis) -> String {
    let mut svg = String::new();
    if axis.power() != 0 {
        // Between the topmost label and the lane of refused estimates.
        let power = number::power_of_ten(axis.power());
        let _ = write!(svg, "<text x=\"-7\" y=\"-6\" text-anchor=\"end\">× {power}</text>");
    }
    for Tick { at, label } in axis.ticks() {
        let at = round(at);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{at}%\" y2=\"{at}%\"/><text x=\"-7\" y=\"{at}%\" dy=\".35em\" text-anchor=\"end\">{label}</text>"
        );
    }
    svg
}

/// `grokking of loss.test at step 1,900 [1,800, 2,000]`, or without a name `transition of …`.
pub(crate) fn transition_words(t: &Transition) -> String {
    format!(
        "{} of {} at step {} [{}, {}]",
        transition_name(t),
        t.observable,
        number::step(t.step),
        number::step(t.lower),
        number::step(t.upper)
    )
}

/// The name of a known kind of transition, or the plain word.
pub(crate) fn transition_name(t: &Transition) -> &str {
    t.label.as_deref().unwrap_or("transition")
}

/// The class that gives series `index` its colour and, from the eighth on, its dashes.
pub(crate) fn series_class(index: usize) -> String {
    let dashed = if index >= 7 { " dashed" } else { "" };
    format!("c{}{dashed}", index % 7 + 1)
}

/// A coordinate to two decimals, without zeros at the end.
pub(crate) fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
