//! Fluctuations of many units: their leading eigenvalue over the steps, its share and steadiness, and spectra at chosen steps.

use std::fmt::Write as _;

use ontogeny_store::{FluctuationMode, Fluctuations, RunView};

use crate::chart::{Frame, round};
use crate::csv::{self, Csv};
use crate::figure;
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::text::{escape, slug};

/// Spectra in a drawing.
const MOST_SPECTRA: usize = 5;
/// Side of the drawing, in its own units, and the margin for letters.
const SIDE: f64 = 300.0;
const MARGIN: f64 = 26.0;
/// Eigenvalues below this share of the largest drawn are left out.
const LEAST: f64 = 1e-6;

/// A section for every measurement that was looked at.
pub(crate) fn sections(view: &RunView, frame: &Frame<'_>) -> String {
    view.fluctuations.iter().map(|(name, found)| section(name, found, frame)).collect()
}

fn section(name: &str, found: &Fluctuations, frame: &Frame<'_>) -> String {
    let mut html = format!("<section><h2>Fluctuations: {}</h2><p class=\"note\">{}</p>", escape(name), words(found));
    for panel in panels(name, found) {
        html.push_str(&figure::lines(&panel, frame));
    }
    let spectra: Vec<&FluctuationMode> = chosen(found);
    let data = format!("<p class=\"foot\">{}</p>", data(name, found));
    if spectra.is_empty() {
        html.push_str(&data);
    } else {
        let _ = write!(html, "<div class=\"planes alone\">{}</div>", spectrum(name, &spectra, &data));
    }
    html.push_str("</section>");
    html
}

fn words(found: &Fluctuations) -> String {
    let units = if found.n_units < found.n_measured {
        format!(
            "{} of {} units ({})",
            number::count(found.n_units as u64),
            number::count(found.n_measured as u64),
            escape(&found.units)
        )
    } else {
        format!("{} units ({})", number::count(found.n_units as u64), escape(&found.units))
    };
    let over = if found.over == "draws" {
        format!(
            "over at most {} draws of the chains, about the mean of each chain",
            number::count(found.n_vectors as u64)
        )
    } else {
        format!(
            "over {} checkpoints up to the step, about straight lines in ln(step + 1)",
            number::count(found.n_vectors as u64)
        )
    };
    let mut sentences = vec![format!(
        "Covariance of {units} {over} (Oku &amp; Aihara 2018). Towards a bifurcation one eigenvalue grows and its direction settles; the largest \
         has the trend τ {}.",
        number::change((100.0 * found.variance_tau).round() / 100.0)
    )];
    if let Some(group) = &found.group {
        let units: Vec<String> = group.units.iter().take(12).map(ToString::to_string).collect();
        let more = group.units.len().saturating_sub(12);
        sentences.push(format!(
            "Of {} units that were looked at for it, {}{} stand out as a group in the last window (dynamical network marker, Chen et al. \
             2012): index {}, p {}.",
            group.among,
            units.join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() },
            number::significant(group.index, 3),
            number::p_value(group.p_value)
        ));
    }
    sentences.join(" ")
}

fn panels(name: &str, found: &Fluctuations) -> Vec<Panel> {
    let series = |label: &str, of: &dyn Fn(&FluctuationMode) -> Option<f64>| Series {
        address: label.to_owned(),
        label: label.to_owned(),
        measurement: label.to_owned(),
        points: found
            .modes
            .iter()
            .map(|mode| Point {
                step: mode.step,
                value: of(mode).filter(|value| value.is_finite()),
                standard_error: None,
                refusal: None,
            })
            .collect(),
    };
    let panel = |id: &str, title: &str, unit: &str, description: &str, all: Vec<Series>| Panel {
        id: format!("fluctuations-{}-{id}", slug(name)),
        title: title.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        series: all,
        kind: "fluctuations".to_owned(),
        form: Form::SmallLines,
    };
    let share = |mode: &FluctuationMode| (mode.total > 0.0).then(|| mode.variance / mode.total);
    // The first step has none before it.
    let first = found.modes.first().map(|mode| mode.step);
    let agreement = |mode: &FluctuationMode| (Some(mode.step) != first).then_some(mode.agreement);
    let mut panels = vec![
        panel(
            "variance",
            "Leading eigenvalues",
            "",
            "The two largest, and the sum of all.",
            vec![
                series("largest", &|mode| Some(mode.variance)),
                series("second", &|mode| mode.spectrum.get(1).copied()),
                series("all", &|mode| Some(mode.total)),
            ],
        ),
        panel(
            "share",
            "Dominance and steadiness",
            "1",
            "Share of the largest in the sum, and |cosine| of its direction with that of the step before.",
            vec![series("share", &share), series("agreement", &agreement)],
        ),
    ];
    if found.modes.iter().any(|mode| mode.marker.is_some()) {
        let words = "Deviation times correlation inside over correlation across, of the group that stands out in the last window.";
        panels.push(panel("marker", "Network marker", "1", words, vec![series("index", &|mode| mode.marker)]));
    }
    panels
}

/// Steps whose spectra are drawn: evenly spread over those that have one.
fn chosen(found: &Fluctuations) -> Vec<&FluctuationMode> {
    let drawable: Vec<&FluctuationMode> =
        found.modes.iter().filter(|mode| mode.spectrum.first().is_some_and(|value| *value > 0.0)).collect();
    let n = drawable.len().min(MOST_SPECTRA);
    (0..n).map(|i| drawable[if n > 1 { i * (drawable.len() - 1) / (n - 1) } else { 0 }]).collect()
}

/// Eigenvalues against their rank, both on logarithmic axes, from pale to strong with the step.
fn spectrum(name: &str, spectra: &[&FluctuationMode], data: &str) -> String {
    let largest = spectra.iter().map(|mode| mode.spectrum[0]).fold(0.0, f64::max);
    let is_drawn = |value: &f64| *value >= LEAST * largest;
    let all = || spectra.iter().flat_map(|mode| mode.spectrum.iter().copied().filter(is_drawn));
    let (high, low) = (largest.log10(), all().fold(largest, f64::min).log10());
    let n_ranks = spectra.iter().map(|mode| mode.spectrum.len()).max().unwrap_or(1).max(2);
    let inside = SIDE - 2.0 * MARGIN;
    let x = |rank: usize| round(MARGIN + inside * ((rank + 1) as f64).ln() / (n_ranks as f64).ln());
    let y = |value: f64| {
        let along = if high > low { (value.log10() - low) / (high - low) } else { 0.5 };
        round(SIDE - MARGIN - inside * along)
    };
    let steps: Vec<String> = spectra.iter().map(|mode| number::step(mode.step)).collect();
    let mut svg = format!(
        "<figure id=\"fluctuations-{}-spectrum\"><svg class=\"chart plane\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"Eigenvalues \
         of {} against their rank, at steps {}, from {} down to {}\"><rect class=\"missing\" width=\"{SIDE}\" height=\"{SIDE}\"/>",
        slug(name),
        escape(name),
        steps.join(", "),
        number::value(10f64.powf(high)),
        number::value(10f64.powf(low))
    );
    for exponent in low.ceil() as i32..=high.floor() as i32 {
        let at = y(10f64.powi(exponent));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            SIDE - MARGIN,
            SIDE - 4.0,
            round(at - 3.0),
            number::power_of_ten(exponent)
        );
    }
    for (index, mode) in spectra.iter().enumerate() {
        // The first shades are too pale for a line.
        let shade = if spectra.len() > 1 { 5 + 10 * index / (spectra.len() - 1) } else { 15 };
        let places: Vec<(f64, f64)> =
            mode.spectrum.iter().enumerate().filter(|(_, v)| is_drawn(v)).map(|(rank, v)| (x(rank), y(*v))).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let dots = places.iter().fold(String::new(), |dots, (x, y)| dots + &format!("M{x} {y}h0"));
        let _ = write!(
            svg,
            "<g class=\"path h{shade}\"><path class=\"dots\" d=\"{dots}\"/><path class=\"line\" d=\"M{}\"><title>step {}</title></path></g>",
            line.join("L"),
            steps[index]
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">rank 1 to {n_ranks} →</text><text x=\"8\" y=\"16\">↑ eigenvalue</text></svg><p \
         class=\"note\">From pale to strong: steps {}.</p>{data}</figure>",
        SIDE - 8.0,
        SIDE - 7.0,
        steps.join(", ")
    );
    svg
}

fn data(name: &str, found: &Fluctuations) -> String {
    let n_ranks = found.modes.iter().map(|mode| mode.spectrum.len()).max().unwrap_or(0);
    let head = ["step", "sum of eigenvalues", "agreement", "network marker"].map(str::to_owned);
    let mut csv = Csv::new(head.into_iter().chain((1..=n_ranks).map(|rank| format!("eigenvalue {rank}"))).collect());
    for mode in &found.modes {
        let numbers = [Some(mode.step), Some(mode.total), Some(mode.agreement), mode.marker].map(csv::cell);
        let values = (0..n_ranks).map(|rank| csv::short(mode.spectrum.get(rank).copied()));
        csv.push(numbers.into_iter().chain(values).collect());
    }
    csv.link(&format!("{name} fluctuations"), "Eigenvalues as CSV")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn eigenvalues_shares_markers_and_spectra_are_drawn() {
        let view = sample::grokking(24, 0);
        let html = sections(&view, &Frame::of(&view).unwrap());
        // Three lines over the steps and one drawing of spectra.
        assert_eq!(html.matches("<figure").count(), 4, "{html}");
        for words in [
            "40 units (logits)",
            "trend τ +0.7",
            "0, 3, 4 stand out as a group",
            "Network marker",
            "From pale to strong: steps",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert_eq!(html.matches("<g class=\"path h").count(), MOST_SPECTRA);
        assert!(!html.contains("NaN") && !html.contains("inf"));
    }

    #[test]
    fn nothing_that_moves_and_a_single_step_are_drawn_without_numbers_that_are_none() {
        let view = sample::grokking(24, 0);
        let mut found = view.fluctuations["path"].clone();
        found.modes.truncate(1);
        found.modes[0].spectrum.truncate(1);
        let html = section("path", &found, &Frame::of(&view).unwrap());
        assert!(html.contains("rank 1 to 2") && !html.contains("NaN"), "{html}");
        found.modes[0].spectrum = vec![0.0];
        (found.modes[0].variance, found.modes[0].total) = (0.0, 0.0);
        let html = section("path", &found, &Frame::of(&view).unwrap());
        assert!(!html.contains("spectrum\"") && !html.contains("NaN"), "{html}");
    }
}
