//! What a calibration tried and chose: λ̂ over step size and localisation, a map for each checkpoint.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ontogeny_store::{CalibratedSettings, Calibration, CalibrationTrial, RunView};

use crate::csv::{self, Csv};
use crate::number;
use crate::text::escape;

/// Colours of the maps, `h0` to `h15` in the style sheet.
const LEVELS: f64 = 16.0;

/// One section for all calibrations of a run; nothing where there are none.
pub(crate) fn section(view: &RunView) -> String {
    if view.calibrations.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section><h2>Calibration</h2>");
    for (measure, calibration) in &view.calibrations {
        html.push_str(&one(measure, calibration));
    }
    html.push_str("</section>");
    html
}

/// The maps and reasons of one calibration.
pub(crate) fn one(measure: &str, calibration: &Calibration) -> String {
    let mut html = format!("<h3>{}</h3><p>{}</p><ul>", escape(measure), settings(calibration));
    for reason in &calibration.reasons {
        let _ = write!(html, "<li>{}</li>", escape(reason));
    }
    html.push_str("</ul>");
    html.push_str(
        "<p class=\"note\">λ̂ ± one standard error, darker where larger; each map has its own shades. Framed: what was \
         chosen. In italics: refused, with the verdict. All at the first temperature of the search.</p>",
    );
    for step in &calibration.steps {
        html.push_str(&map(calibration, *step));
    }
    html.push_str(&temperatures(calibration));
    let _ = write!(html, "<p class=\"foot\">{}</p>", data(measure, calibration));
    html
}

fn settings(calibration: &Calibration) -> String {
    match &calibration.settings {
        Some(CalibratedSettings { step_size, localization, n_beta, draws }) => format!(
            "All checkpoints are measured with step size ε = {}, localization γ = {}, nβ = {} and {} draws a chain, found on \
             the checkpoints of {}.",
            number::value(*step_size),
            number::value(*localization),
            number::value(*n_beta),
            number::count(*draws as u64),
            steps(calibration)
        ),
        None => format!("No settings fit the checkpoints of {}.", steps(calibration)),
    }
}

fn steps(calibration: &Calibration) -> String {
    let steps: Vec<String> = calibration.steps.iter().map(|step| number::count(*step)).collect();
    match steps.as_slice() {
        [one] => format!("step {one}"),
        _ => format!("steps {}", steps.join(", ")),
    }
}

/// Numbers as keys in their order.
fn key(value: f64) -> u64 {
    value.to_bits()
}

/// λ̂ over ε (across) and γ (down) at one checkpoint.
fn map(calibration: &Calibration, step: u64) -> String {
    let n_beta = calibration.trials.first().map_or(f64::NAN, |trial| trial.n_beta);
    let trials = || calibration.trials.iter().filter(|trial| trial.step == step && trial.n_beta == n_beta);
    // The last of several with other numbers of draws.
    let cells: BTreeMap<(u64, u64), &CalibrationTrial> =
        trials().map(|trial| ((key(trial.localization), key(trial.step_size)), trial)).collect();
    // Positive numbers have the order of their bits.
    let sorted = |of: fn(&CalibrationTrial) -> f64| {
        let mut values: Vec<f64> = trials().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        values
    };
    let (sizes, pulls) = (sorted(|trial| trial.step_size), sorted(|trial| trial.localization));
    let means = || cells.values().filter(|trial| trial.verdict == "ok").filter_map(|trial| trial.mean);
    let (low, high) = means().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), m| (low.min(m), high.max(m)));
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"λ̂ over ε and γ at step {0}\"><table class=\"map\"><caption>Step {0}</caption><thead><tr><th>γ \\ ε</th>",
        number::count(step)
    );
    for size in &sizes {
        let _ = write!(html, "<th class=\"n\">{}</th>", number::value(*size));
    }
    html.push_str("</tr></thead><tbody>");
    for pull in pulls.iter().rev() {
        let _ = write!(html, "<tr><th class=\"n\">{}</th>", number::value(*pull));
        for size in &sizes {
            html.push_str(&match cells.get(&(key(*pull), key(*size))) {
                Some(trial) => cell(trial, calibration.settings.as_ref(), (low, high)),
                None => "<td></td>".to_owned(),
            });
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

fn cell(trial: &CalibrationTrial, chosen: Option<&CalibratedSettings>, (low, high): (f64, f64)) -> String {
    let is_chosen = chosen.is_some_and(|c| [c.step_size, c.localization] == [trial.step_size, trial.localization]);
    let frame = if is_chosen { " chosen" } else { "" };
    let value = match (trial.mean, trial.mcse) {
        (Some(mean), Some(mcse)) => format!("{} ± {}", number::value(mean), number::value(mcse)),
        _ => "–".to_owned(),
    };
    if trial.verdict != "ok" {
        return format!("<td class=\"n refused-row{frame}\">{value}<br>{}</td>", escape(&trial.verdict));
    }
    let share = trial.mean.filter(|_| high > low).map_or(0.0, |mean| (mean - low) / (high - low));
    let level = (share * LEVELS).min(LEVELS - 1.0) as usize;
    let ink = if level >= 8 { " over" } else { "" };
    format!("<td class=\"n f{level}{ink}{frame}\">{value}</td>")
}

/// λ̂ over nβ at the chosen step size and localisation.
fn temperatures(calibration: &Calibration) -> String {
    let Some(first) = calibration.trials.first() else { return String::new() };
    let others: Vec<&CalibrationTrial> =
        calibration.trials.iter().filter(|trial| trial.n_beta != first.n_beta).collect();
    let Some(pull) = others.first().map(|trial| trial.localization) else { return String::new() };
    let mut by_temperature: BTreeMap<u64, Vec<&CalibrationTrial>> = BTreeMap::new();
    for trial in &others {
        by_temperature.entry(key(trial.n_beta)).or_default().push(trial);
    }
    // At the first temperature the last trial with this localisation and the chosen step is the one compared.
    let here = others.first().map(|trial| trial.step_size * trial.n_beta / first.n_beta);
    for trial in calibration.trials.iter().filter(|t| t.n_beta == first.n_beta && t.localization == pull) {
        if here.is_some_and(|here| (trial.step_size / here - 1.0).abs() < 0.1) {
            by_temperature.entry(key(trial.n_beta)).or_default().push(trial);
        }
    }
    let mut html = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"λ̂ over the temperature\"><table class=\"map\"><caption>Over the temperature</caption><thead><tr><th>nβ</th>",
    );
    for step in &calibration.steps {
        let _ = write!(html, "<th class=\"n\">step {}</th>", number::count(*step));
    }
    html.push_str("</tr></thead><tbody>");
    for (n_beta, trials) in by_temperature {
        let is_chosen = calibration.settings.as_ref().is_some_and(|c| key(c.n_beta) == n_beta);
        let _ = write!(html, "<tr><th class=\"n\">{}</th>", number::value(f64::from_bits(n_beta)));
        for step in &calibration.steps {
            // Of several, the one with the most draws.
            let trial = trials.iter().filter(|trial| trial.step == *step).max_by_key(|trial| trial.draws);
            html.push_str(&trial.map_or_else(
                || "<td></td>".to_owned(),
                |trial| {
                    let text = cell(trial, None, (0.0, 0.0)).replace(" f0", "");
                    if is_chosen { text.replacen("class=\"n", "class=\"n chosen", 1) } else { text }
                },
            ));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

fn data(measure: &str, calibration: &Calibration) -> String {
    let header = [
        "step",
        "step size",
        "localization",
        "n_beta",
        "draws",
        "llc",
        "mcse",
        "discretization",
        "acceptance",
        "r_hat",
        "ess_bulk",
        "verdict",
    ];
    let mut csv = Csv::new(header.map(str::to_owned).to_vec());
    for t in &calibration.trials {
        let numbers = [t.mean, t.mcse, t.discretization, t.acceptance, t.r_hat, t.ess_bulk].map(csv::cell);
        let settings = [t.step_size, t.localization, t.n_beta].map(|x| csv::cell(Some(x)));
        let row = [t.step.to_string()].into_iter().chain(settings).chain([t.draws.to_string()]);
        csv.push(row.chain(numbers).chain([t.verdict.clone()]).collect());
    }
    csv.link(&format!("calibration-{measure}"), "Trials as CSV")
}
