//! The page: what is read first, in one column, with its style and its one small script.

use std::fmt::Write as _;

use ontogeny_store::{Calibration, RunView};

use crate::attention;
use crate::calibration;
use crate::changes;
use crate::chart::Frame;
use crate::figure;
use crate::fluctuations;
use crate::heatmap;
use crate::influence;
use crate::number;
use crate::panel::{self, Form};
use crate::parts;
use crate::response;
use crate::strip;
use crate::summary;
use crate::table;
use crate::text::escape;
use crate::trajectory;
use crate::warnings;

const STYLE: &str = concat!(include_str!("palette.css"), include_str!("figure.css"), include_str!("style.css"));
const SCRIPT: &str = concat!(include_str!("script.js"), include_str!("attention.js"));
/// Where the table of transitions would stand.
const NOT_RECORDED: &str =
    "No transition is recorded: either the run was not searched for any, or none was significant.";
/// Nothing may be loaded from anywhere: the page is what it is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The report of a run as one self-contained HTML page.
///
/// The page needs no network; without a script all figures, tables and data are there and only the cursor is missing.
/// It is a function of `view` alone: the same view gives the same bytes.
/// Values that are not finite are treated as missing, and all strings of the run are escaped.
/// The size grows by about 100 bytes for each value and error (500 checkpoints of ten series: under 2.5 MB; their trajectory 0.4 MB).
pub fn report(view: &RunView) -> String {
    let frame = Frame::of(view);
    let steps: Vec<f64> = view.checkpoints.iter().map(|step| *step as f64).collect();
    let mut html = head(&view.run.title, &summary::sentence(view), frame.as_ref(), &steps);
    if let Some(frame) = frame {
        html.push_str(&strip::strip(&frame));
        html.push_str(&how_to_read(view));
        for section in panel::sections(view) {
            let _ = write!(html, "<section><h2>{}</h2>", section.heading);
            for panel in &section.panels {
                html.push_str(&match panel.form {
                    Form::Lines | Form::SmallLines => figure::lines(panel, &frame),
                    Form::HeatMap | Form::RowHeatMap | Form::CountMap => heatmap::heat_map(panel, &frame),
                });
            }
            if section.heading == response::HEADING {
                html.push_str(&response::tables(view));
            }
            html.push_str("</section>");
        }
        html.push_str(&attention::section(view));
        html.push_str(&influence::section(view));
        html.push_str(&parts::sections(view, &frame));
        html.push_str(&trajectory::section(view, &frame));
        html.push_str(&fluctuations::sections(view, &frame));
        html.push_str(&table::transitions(&view.transitions, &view.stages, &view.intervals, NOT_RECORDED));
        html.push_str(&view.change_points.as_ref().map(changes::section).unwrap_or_default());
        html.push_str(&view.warnings.as_ref().map(|found| warnings::section(found, &frame)).unwrap_or_default());
        html.push_str(&table::estimates(view));
        html.push_str(&calibration::section(view));
    }
    html.push_str(&table::provenance(&view.run));
    html.push_str(&foot());
    html
}

/// What a calibration tried and chose, as one self-contained HTML page.
pub fn calibration_page(measure: &str, calibration: &Calibration) -> String {
    let title = format!("Calibration of {measure}");
    format!("{}{}{}", head(&title, "", None, &[]), calibration::one(measure, calibration), foot())
}

/// Everything above the first figure; `steps` are the places of the cursor.
pub(crate) fn head(title: &str, summary: &str, frame: Option<&Frame<'_>>, steps: &[f64]) -> String {
    let main = frame.map_or_else(String::new, |frame| cursor_data(frame, steps));
    let mut html = opening(title, "", &main);
    let _ = write!(html, "<header><h1>{}</h1><p class=\"summary\">{}</p></header>", escape(title), escape(summary));
    html
}

/// Everything above the header: `style` follows the rules of all pages, `main` are attributes of the column.
pub(crate) fn opening(title: &str, style: &str, main: &str) -> String {
    let mut html = String::new();
    html.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(html, "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">");
    html.push_str(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">",
    );
    let _ = write!(html, "<title>{}</title><style>{STYLE}{style}</style></head><body><main{main}>", escape(title));
    html
}

/// Everything below the last table.
pub(crate) fn foot() -> String {
    format!(
        "<p id=\"spoken\" role=\"status\" aria-live=\"polite\"></p></main><script>{SCRIPT}</script></body></html>\n"
    )
}

/// What the script needs to place the cursor: its steps, and scale and ends of the step axis.
fn cursor_data(frame: &Frame<'_>, steps: &[f64]) -> String {
    let steps: Vec<String> = steps.iter().map(f64::to_string).collect();
    let axis = &frame.axis;
    format!(
        " data-steps=\"{}\" data-scale=\"{}\" data-first=\"{}\" data-last=\"{}\"",
        steps.join(","),
        axis.scale,
        axis.steps.0,
        axis.steps.1
    )
}

fn how_to_read(view: &RunView) -> String {
    let mut sentences = vec![
        "All figures share this axis, logarithmic in the step, and lines join the measured checkpoints.".to_owned(),
    ];
    if !view.stages.is_empty() {
        sentences.push("Shaded bands are every second stage.".to_owned());
    }
    if view.observables.values().any(|o| o.standard_errors.values.iter().any(Option::is_some)) {
        sentences.push(
            "Shaded ranges and bars are 95 % intervals (± 1.96 standard errors); after a ± stands one standard error."
                .to_owned(),
        );
    }
    if !view.transitions.is_empty() {
        sentences.push(
            "Triangles mark the transitions of the series shown; the bars above are the 95 % intervals of their steps."
                .to_owned(),
        );
    }
    if view.change_points.is_some() {
        sentences.push(changes::HOW_TO_READ.to_owned());
    }
    let steps = view.checkpoints.iter().max().copied().unwrap_or(0);
    format!(
        "<p class=\"note\">{} The values beside the names are those at the cursor, at first step {}.</p>",
        sentences.join(" "),
        number::count(steps)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn hostile_strings_stay_text() {
        let hostile = "</title><script>alert(1)</script>\" onload='x' &";
        let mut view = sample::grokking(8, 2);
        view.run.title = hostile.to_owned();
        view.run.command = hostile.to_owned();
        view.run.configuration = hostile.to_owned();
        view.run.directory = hostile.to_owned();
        view.run.hashes.insert(hostile.to_owned(), hostile.to_owned());
        view.transitions[0].observable = hostile.to_owned();
        view.transitions[0].label = Some(hostile.to_owned());
        view.stages[0].observables = vec![hostile.to_owned()];
        let mut fluctuations = view.fluctuations["path"].clone();
        (fluctuations.over, fluctuations.units) = (hostile.to_owned(), hostile.to_owned());
        view.fluctuations.insert(hostile.to_owned(), fluctuations);
        let mut parts = view.parts["subtask_loss"].clone();
        (parts.mean, parts.unit) = (Some(hostile.to_owned()), hostile.to_owned());
        parts.components.iter_mut().for_each(|part| part.name = hostile.to_owned());
        parts.sigmoids[0].components = vec![hostile.to_owned()];
        view.parts.insert(hostile.to_owned(), parts);
        let warnings = view.warnings.as_mut().unwrap();
        warnings.left_out = vec![hostile.to_owned()];
        for series in &mut warnings.series {
            (series.name, series.unit) = (hostile.to_owned(), hostile.to_owned());
        }
        let together = warnings.together.as_mut().unwrap();
        together.units = vec![hostile.to_owned(); 2];
        together.group.as_mut().unwrap().units = vec![hostile.to_owned()];
        let changes = view.change_points.as_mut().unwrap();
        for text in [&mut changes.shape, &mut changes.time, &mut changes.criterion, &mut changes.quantity] {
            *text = hostile.to_owned();
        }
        for series in &mut changes.series {
            (series.unit, series.quantity_unit) = (hostile.to_owned(), hostile.to_owned());
            series.observable = hostile.to_owned();
        }
        let mut loss = view.observables["loss"].clone();
        loss.unit = hostile.to_owned();
        loss.description = hostile.to_owned();
        loss.kind = hostile.to_owned();
        loss.coordinates.insert("split".to_owned(), vec![ontogeny_store::Coordinate::Text(hostile.to_owned()); 3]);
        loss.status[0] = ontogeny_store::Status::Refused { verdict: hostile.to_owned(), reason: hostile.to_owned() };
        loss.details[0].insert(hostile.to_owned(), ontogeny_store::Detail::Text(hostile.to_owned()));
        view.observables.insert(hostile.to_owned(), loss);
        let labels = || vec![ontogeny_store::Coordinate::Text(hostile.to_owned()); 2];
        for name in ["answers", "pairs"] {
            let mut own = view.observables[name].clone();
            (own.unit, own.description) = (hostile.to_owned(), hostile.to_owned());
            if name == "answers" {
                own.coordinates.insert("probe".to_owned(), labels());
                own.coordinates.insert("component".to_owned(), [labels(), labels()].concat()[..3].to_vec());
            }
            let texts = own.details.iter_mut().flat_map(|details| details.values_mut());
            texts.for_each(|detail| *detail = ontogeny_store::Detail::Text(hostile.to_owned()));
            view.observables.insert(format!("{hostile} {name}"), own);
        }
        let html = report(&view);
        assert_eq!(html.matches("<script").count(), 1, "only our own script");
        assert!(!html.contains("alert(1)</script>") && !html.contains("\" onload"));
        assert_eq!(html.matches("</title>").count(), html.matches("<title>").count());
    }

    #[test]
    fn nothing_is_fetched() {
        let html = report(&sample::grokking(24, 3));
        for fetched in ["src=", "@import", "url(", "http://", "https://", "fetch(", "import("] {
            assert!(!html.contains(fetched), "{fetched}");
        }
        assert!(html.split("href=\"").skip(1).all(|address| address.starts_with("data:")));
    }

    #[test]
    fn every_number_of_checkpoints_gives_a_page() {
        for (n, refused) in [(0, 0), (1, 0), (1, 1), (2, 0), (24, 0), (24, 24), (500, 30)] {
            let html = report(&sample::grokking(n, refused));
            assert!(html.ends_with("</html>\n"));
            for wrong in ["NaN", "inf%", "inf\"", "-0%"] {
                assert!(!html.contains(wrong), "{n} checkpoints, {refused} refused: {wrong}");
            }
            assert_eq!(html.matches("<figure").count(), html.matches("</figure>").count());
            assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
            let n_figures = [0, 14, 29][usize::from(n > 0) + usize::from(n >= 8)];
            assert_eq!(html.matches("<figure").count(), n_figures, "{n} checkpoints");
        }
    }

    #[test]
    fn five_hundred_checkpoints_stay_under_two_and_a_half_megabytes() {
        let mut view = sample::grokking(500, 30);
        let with_path = report(&view).len();
        view.trajectories.clear();
        let without = report(&view).len();
        assert!(without < 2_500_000 && with_path - without < 400_000, "{with_path} and {without} bytes");
    }

    #[test]
    fn the_same_view_gives_the_same_bytes_also_through_json() {
        let view = sample::grokking(24, 3);
        let json = serde_json::to_string(&view).unwrap();
        let again: RunView = serde_json::from_str(&json).unwrap();
        assert_eq!(report(&view), report(&again));
    }

    #[test]
    fn ids_are_unique() {
        let html = report(&sample::grokking(24, 3));
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let n = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), n);
    }
}
