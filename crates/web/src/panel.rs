//! Which figures a run gets: its observables, sorted into panels of lines and heat maps with their series.

use ontogeny_store::{Observable, RunView, Status, refused_parts};

use crate::{by_position, density, influence, line, response, text, training};

/// More components than this are a heat map, not lines.
pub(crate) const MOST_LINES: usize = 12;

/// From so many parts on, lines are shown as a map, too.
const FEWEST_ROWS: usize = 4;

/// A heading with the figures under it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    pub heading: &'static str,
    pub panels: Vec<Panel>,
}

/// One figure: series that share a unit and an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panel {
    /// Unique in the page; letters, digits, `-` and `_`.
    pub id: String,
    pub title: String,
    pub unit: String,
    /// What is measured, a sentence for each measurement shown.
    pub description: String,
    pub series: Vec<Series>,
    /// Kind of the observable, such as `accuracy`.
    pub kind: String,
    pub form: Form,
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A figure of the page's main height.
    Lines,
    /// A lower figure, for the parts of one measurement that do not share a unit.
    SmallLines,
    /// One row for each series, colour for the value.
    HeatMap,
    /// As a heat map, but the rows share no unit: each has its own shades.
    RowHeatMap,
    /// As a heat map of how many there are, in logarithmic shades; where there are none it is blank.
    CountMap,
}

/// One component of one observable over the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Address, such as `llc.full`.
    pub address: String,
    /// Shortest name that is unique in its panel.
    pub label: String,
    /// Name of its measurement, which holds its status.
    pub measurement: String,
    pub points: Vec<Point>,
}

/// A series at one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub step: f64,
    /// Finite, or absent.
    pub value: Option<f64>,
    /// Finite and not negative, or absent.
    pub standard_error: Option<f64>,
    /// Verdict and reason where the estimate was refused.
    pub refusal: Option<String>,
}

impl Point {
    /// The 95 % interval of a normal error, value ± 1.96 standard errors.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        let (value, se) = (self.value?, self.standard_error?);
        Some((value - 1.96 * se, value + 1.96 * se))
    }
}

impl Series {
    /// The points that have a value.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&Point, f64)> {
        self.points.iter().filter_map(|p| p.value.map(|v| (p, v)))
    }

    /// The last point that has a value.
    pub(crate) fn last(&self) -> Option<(&Point, f64)> {
        self.measured().last()
    }
}

impl Panel {
    /// Steps at which any of the series has a row, ascending.
    pub(crate) fn steps(&self) -> Vec<f64> {
        let mut steps: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.step)).collect();
        steps.sort_unstable_by(f64::total_cmp);
        steps.dedup();
        steps
    }

    /// Refused estimates, one for each measurement and step: measurement, step, reason.
    pub(crate) fn refusals(&self) -> Vec<(&str, f64, &str)> {
        let mut refusals: Vec<(&str, f64, &str)> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for series in &self.series {
            if seen.contains(&series.measurement.as_str()) {
                continue;
            }
            seen.push(&series.measurement);
            for point in &series.points {
                if let Some(reason) = &point.refusal {
                    refusals.push((&series.measurement, point.step, reason));
                }
            }
        }
        refusals
    }
}

/// The sections of a report, in reading order; those without data are left out.
pub(crate) fn sections(view: &RunView) -> Vec<Section> {
    let mut losses = Vec::new();
    let mut progress = Vec::new();
    let mut maps = Vec::new();
    let mut llc = Vec::new();
    let mut responses = Vec::new();
    for (name, observable) in &view.observables {
        if observable.dims.first().is_none_or(|dim| dim != "step") || influence::is_one(observable) {
            continue;
        }
        maps.extend(density::map(name, observable, &view.checkpoints));
        let series = series_of(name, observable, &view.checkpoints);
        maps.extend(line::panels(name, &title(name), observable, &view.checkpoints));
        let has_scores = observable.dims.len() > 2 && observable.dims.last().is_some_and(|dim| dim == "score");
        let has_quantities = observable.dims.iter().any(|dim| dim == "quantity");
        let is_drawn_twice = has_parts(observable) && !has_scores;
        if (FEWEST_ROWS..=MOST_LINES).contains(&series.len()) && is_drawn_twice {
            let lines = panel(name, observable, series.clone(), Form::Lines);
            // Effects of parts are compared with each other, not with their own past.
            let is_of_parts = observable.dims[1..] == ["part".to_owned()];
            maps.push(if is_of_parts { map_of_parts(lines) } else { map_of_lines(lines) });
        }
        if has_scores {
            let figures = by_score(name, observable, series);
            let is_map = figures.iter().any(|figure| figure.form == Form::HeatMap);
            if is_map { maps.extend(figures) } else { progress.extend(figures) }
        } else if response::is_one(observable) {
            responses.extend(response::panels(name, observable, series));
        } else if series.len() > MOST_LINES && !has_quantities {
            maps.push(panel(name, observable, series, Form::HeatMap));
        } else if observable.kind == "llc" {
            llc.push((name, observable, series));
        } else if observable.kind == "loss" || observable.kind == "accuracy" {
            losses.push(panel(name, observable, series, Form::Lines));
        } else if has_quantities {
            progress.extend(by_family(name, observable, series));
        } else {
            progress.push(panel(name, observable, series, Form::Lines));
        }
    }
    // Loss before accuracy, whatever the names.
    losses.sort_by_key(|p: &Panel| (p.unit == "1", p.id.clone()));
    maps.extend(by_position::panels(view));
    let llc = together(llc);
    let of_parts = llc.iter().filter(|panel| panel.series.len() >= FEWEST_ROWS).cloned();
    maps.extend(of_parts.map(map_of_lines));
    let all = [
        ("Losses and accuracy", losses),
        ("Learning coefficient", llc),
        (response::HEADING, responses),
        ("Progress measures", progress),
        ("Maps", maps),
        ("Training", view.training.as_ref().map(|log| training::panels(log, loss_unit(view))).unwrap_or_default()),
    ];
    all.into_iter()
        .filter(|(_, panels)| !panels.is_empty())
        .map(|(heading, panels)| Section { heading, panels })
        .collect()
}

/// Whether the components of an observable are parts of one kind: of a network, or of a task.
fn has_parts(observable: &Observable) -> bool {
    let is_other = |dim: &String| ["split", "quantity", "share", "policy"].contains(&dim.as_str());
    !response::is_one(observable) && !observable.dims[1..].iter().any(is_other)
}

/// A figure of all parts for each score: a map, or lines where the parts are few.
fn by_score(name: &str, observable: &Observable, series: Vec<Series>) -> Vec<Panel> {
    let mut figures: Vec<Panel> = Vec::new();
    for mut series in series {
        let label = series.label.clone();
        let (part, score) = label.rsplit_once('.').unwrap_or((&label, "score"));
        part.clone_into(&mut series.label);
        let id = format!("{}-{}", text::slug(name), text::slug(score));
        if let Some(figure) = figures.iter_mut().find(|figure| figure.id == id) {
            figure.series.push(series);
            continue;
        }
        let whole = panel(name, observable, vec![series], Form::HeatMap);
        let description = if figures.is_empty() { whole.description.clone() } else { String::new() };
        figures.push(Panel { id, title: format!("{}: {score}", whole.title), description, ..whole });
    }
    if figures.first().is_some_and(|figure| figure.series.len() < FEWEST_ROWS) {
        for figure in &mut figures {
            figure.form = Form::SmallLines;
        }
    }
    figures
}

/// The same lines as a map in one scale.
fn map_of_parts(lines: Panel) -> Panel {
    let title = format!("{}, part by part", lines.title);
    Panel { id: format!("{}-map", lines.id), title, description: String::new(), form: Form::HeatMap, ..lines }
}

/// The same lines as a map: where each stands in its own range, so that what moves together is seen.
fn map_of_lines(lines: Panel) -> Panel {
    Panel {
        id: format!("{}-map", lines.id),
        title: format!("{}, each row in shades of its own", lines.title),
        description: String::new(),
        form: Form::RowHeatMap,
        ..lines
    }
}

/// Unit of the task's loss, as far as the run measures it.
fn loss_unit(view: &RunView) -> &str {
    view.observables.values().find(|observable| observable.kind == "loss").map_or("1", |observable| &observable.unit)
}

/// Every component of an observable as a series.
pub(crate) fn series_of(name: &str, observable: &Observable, checkpoints: &[u64]) -> Vec<Series> {
    let steps = steps_of(observable, checkpoints);
    let width = observable.values.shape.iter().skip(1).product::<usize>();
    let mut labels = observable.components();
    if labels.len() != width {
        labels = (0..width).map(|index| index.to_string()).collect();
    }
    // Values of one label of the first dimension, which may be refused alone.
    let n_each = observable.values.shape.iter().skip(2).product::<usize>().max(1);
    let refused: Vec<Vec<(usize, &str)>> = observable.details.iter().map(refused_parts).collect();
    labels
        .into_iter()
        .enumerate()
        .map(|(component, label)| {
            let points =
                observable.series(component).into_iter().zip(&steps).enumerate().map(|(at, ((value, se), step))| {
                    let refusal = match observable.status.get(at) {
                        Some(Status::Refused { verdict, reason }) => Some(refusal_words(verdict, reason)),
                        _ => refused.get(at).and_then(|parts| {
                            let own = parts.iter().find(|(part, _)| *part == component / n_each);
                            own.map(|(_, why)| (*why).to_owned())
                        }),
                    };
                    Point {
                        step: *step as f64,
                        value: value.filter(|v| v.is_finite() && refusal.is_none()),
                        standard_error: se.filter(|v| v.is_finite() && *v >= 0.0 && refusal.is_none()),
                        refusal,
                    }
                });
            let mut points: Vec<Point> = points.collect();
            points.sort_by(|a, b| a.step.total_cmp(&b.step));
            let address = if label.is_empty() { name.to_owned() } else { format!("{name}.{label}") };
            let label = if label.is_empty() { name.to_owned() } else { label };
            Series { address, label, measurement: name.to_owned(), points }
        })
        .collect()
}

/// Verdict and reason in one phrase.
pub(crate) fn refusal_words(verdict: &str, reason: &str) -> String {
    if reason.is_empty() { verdict.to_owned() } else { format!("{verdict}, {reason}") }
}

/// The steps of an observable: its own coordinate, or the run's checkpoints where it has none.
pub(crate) fn steps_of(observable: &Observable, checkpoints: &[u64]) -> Vec<u64> {
    let own: Vec<u64> =
        observable.coordinates.get("step").into_iter().flatten().filter_map(|c| c.to_string().parse().ok()).collect();
    if own.is_empty() { checkpoints.to_vec() } else { own }
}

fn panel(name: &str, observable: &Observable, series: Vec<Series>, form: Form) -> Panel {
    Panel {
        id: text::slug(name),
        title: title(name),
        unit: observable.unit.clone(),
        description: observable.description.clone(),
        series,
        kind: observable.kind.clone(),
        form,
    }
}

/// All learning coefficients of one unit in one figure, so that full and restricted ones can be compared.
fn together(measurements: Vec<(&String, &Observable, Vec<Series>)>) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for (name, observable, series) in measurements {
        if let Some(shared) = panels.iter_mut().find(|p| p.unit == observable.unit) {
            if !shared.description.contains(&observable.description) {
                shared.description = format!("{} {}", shared.description, observable.description);
            }
            shared.series.extend(series);
        } else {
            let mut new = panel(name, observable, series, Form::Lines);
            "Local learning coefficient".clone_into(&mut new.title);
            panels.push(new);
        }
    }
    for panel in &mut panels {
        use_addresses_where_labels_clash(&mut panel.series);
    }
    panels
}

fn use_addresses_where_labels_clash(series: &mut [Series]) {
    let labels: Vec<String> = series.iter().map(|s| s.label.clone()).collect();
    for s in series {
        if labels.iter().filter(|label| **label == s.label).count() > 1 {
            s.label.clone_from(&s.address);
        }
    }
}

/// An observable along a dimension `quantity` holds numbers that do not share a unit: one low figure for each family.
///
/// A family is all losses (in nats), or the quantities with the same first word (`gini_embed`, `gini_unembed`).
fn by_family(name: &str, observable: &Observable, series: Vec<Series>) -> Vec<Panel> {
    let mut families: Vec<(String, Vec<Series>)> = Vec::new();
    for s in series {
        let is_loss = s.label.split('_').any(|word| word == "loss");
        let family = if is_loss { "loss" } else { s.label.split('_').next().unwrap_or_default() }.to_owned();
        match families.iter_mut().find(|(key, _)| *key == family) {
            Some((_, members)) => members.push(s),
            None => families.push((family, vec![s])),
        }
    }
    families
        .into_iter()
        .enumerate()
        .map(|(at, (family, members))| {
            let title = match members.as_slice() {
                [only] => title(&only.label),
                _ if family == "loss" => format!("{} losses", title(name)),
                _ => title(&family),
            };
            // Words that several measurements may share say whose they are.
            let title = if observable.kind == "fourier" { title } else { whose(name, &title) };
            let unit = match family.as_str() {
                "loss" | "divergence" => "nats",
                "bits" | "length" => "bits",
                _ => "1",
            };
            let unit = unit.to_owned();
            Panel {
                id: format!("{}-{}", text::slug(name), text::slug(&family)),
                title,
                unit,
                description: if at == 0 { observable.description.clone() } else { String::new() },
                series: members,
                kind: observable.kind.clone(),
                form: if family == "loss" { Form::Lines } else { Form::SmallLines },
            }
        })
        .collect()
}

/// A figure's title behind the name of its measurement.
fn whose(name: &str, of: &str) -> String {
    let mut letters = of.chars();
    let small: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    format!("{}: {small}", title(name))
}

/// A name as a heading: `weight_norm` becomes `Weight norm`, `n_key_frequencies` becomes `Number of key frequencies`.
pub(crate) fn title(name: &str) -> String {
    let spaced =
        name.strip_prefix("n_").map_or_else(|| name.to_owned(), |rest| format!("number_of_{rest}")).replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn sections_come_in_reading_order_and_llcs_share_a_figure() {
        let view = sample::grokking(24, 3);
        let sections = sections(&view);
        let headings: Vec<&str> = sections.iter().map(|s| s.heading).collect();
        assert_eq!(
            headings,
            ["Losses and accuracy", "Learning coefficient", "Susceptibilities", "Progress measures", "Maps"]
        );
        let llc = &sections[1].panels;
        assert_eq!(llc.len(), 1);
        let labels: Vec<&str> = llc[0].series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["full", "unembed"]);
        assert_eq!(llc[0].refusals().len(), 3);
        assert_eq!(sections[4].panels[0].form, Form::HeatMap);
    }

    #[test]
    fn four_parts_and_more_are_a_map_too() {
        let mut view = sample::grokking(24, 0);
        let maps = |view: &RunView| -> Vec<String> {
            let maps = sections(view).into_iter().filter(|section| section.heading == "Maps").flat_map(|s| s.panels);
            maps.filter(|panel| panel.form == Form::RowHeatMap).map(|panel| panel.id).collect()
        };
        assert_eq!(maps(&view), ["weight_norm-map"]);
        for part in ["l0h0", "l0h1"] {
            let mut own = view.observables["llc_unembed"].clone();
            own.coordinates.insert("component".to_owned(), vec![ontogeny_store::Coordinate::Text(part.to_owned())]);
            view.observables.insert(format!("llc_{part}"), own);
        }
        assert_eq!(maps(&view), ["weight_norm-map", "llc-map"]);
    }

    #[test]
    fn heads_have_a_map_for_each_score() {
        let mut view = sample::grokking(24, 0);
        let mut own = view.observables["weight_norm"].clone();
        own.kind = "head_scores".to_owned();
        own.dims = ["step", "head", "score"].map(str::to_owned).to_vec();
        let texts = |labels: &[&str]| labels.iter().map(|&l| ontogeny_store::Coordinate::Text(l.to_owned())).collect();
        own.coordinates.insert("head".to_owned(), texts(&["l0h0", "l0h1", "l0h2", "l0h3"]));
        own.coordinates.insert("score".to_owned(), texts(&["previous", "induction"]));
        let n_steps = own.values.shape[0];
        own.values.shape = vec![n_steps, 4, 2];
        own.values.values = (0..8 * n_steps).map(|at| Some(at as f64 / 1e3)).collect();
        own.standard_errors.shape = vec![n_steps, 4, 2];
        own.standard_errors.values = vec![None; 8 * n_steps];
        view.observables.insert("heads".to_owned(), own);
        let maps = sections(&view).into_iter().filter(|s| s.heading == "Maps").flat_map(|s| s.panels);
        let of_heads: Vec<(String, Vec<String>)> = maps
            .filter(|panel| panel.kind == "head_scores")
            .map(|panel| (panel.id, panel.series.into_iter().map(|s| s.label).collect()))
            .collect();
        let heads = ["l0h0", "l0h1", "l0h2", "l0h3"].map(str::to_owned).to_vec();
        assert_eq!(of_heads, [("heads-previous".to_owned(), heads.clone()), ("heads-induction".to_owned(), heads)]);
    }

    #[test]
    fn quantities_of_different_units_are_kept_apart() {
        let sections = sections(&sample::grokking(24, 0));
        let titles: Vec<&str> = sections[3].panels.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles, ["Fourier losses", "Gini", "Sum of squares", "Number of key frequencies", "Weight norm"]);
    }

    #[test]
    fn refused_and_non_finite_values_are_absent() {
        let mut view = sample::grokking(8, 2);
        let loss = view.observables.get_mut("loss").unwrap();
        loss.values.values[0] = Some(f64::NAN);
        let loss_series = series_of("loss", &view.observables["loss"], &view.checkpoints);
        assert_eq!(loss_series[0].points[0].value, None);
        let llc = series_of("llc", &view.observables["llc"], &view.checkpoints);
        for point in &llc[0].points {
            assert_eq!(point.value.is_some(), point.refusal.is_none(), "{point:?}");
        }
    }

    #[test]
    fn unknown_observables_are_drawn_by_their_shape() {
        let mut view = sample::grokking(4, 0);
        let known = view.observables["fourier_power"].clone();
        let n_steps = view.checkpoints.len();
        let mut shaped = |name: &str, dims: &[(&str, usize)]| {
            let mut observable = Observable { kind: "novel".into(), ..known.clone() };
            observable.dims = [("step", n_steps)].iter().chain(dims).map(|(dim, _)| (*dim).to_owned()).collect();
            let shape: Vec<usize> = [n_steps].into_iter().chain(dims.iter().map(|(_, extent)| *extent)).collect();
            let n_values = shape.iter().product();
            observable.values = ontogeny_store::Nested { shape, values: vec![Some(1.0); n_values] };
            for (dim, extent) in dims {
                let labels = (0..*extent as u64).map(ontogeny_store::Coordinate::Number).collect();
                observable.coordinates.insert((*dim).to_owned(), labels);
            }
            view.observables.insert(name.to_owned(), observable);
        };
        shaped("a_plain", &[]);
        shaped("b_few", &[("layer", 2), ("head", 3)]);
        shaped("c_many", &[("layer", 2), ("head", 8)]);
        let found: Vec<(String, Form, String)> = sections(&view)
            .into_iter()
            .flat_map(|s| s.panels)
            .filter(|p| p.kind == "novel")
            .map(|p| (p.title, p.form, p.series.last().unwrap().address.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("A plain".into(), Form::Lines, "a_plain".into()),
                ("B few".into(), Form::Lines, "b_few.1.2".into()),
                ("B few, each row in shades of its own".into(), Form::RowHeatMap, "b_few.1.2".into()),
                ("C many".into(), Form::HeatMap, "c_many.1.7".into()),
            ]
        );
    }

    #[test]
    fn an_observable_whose_labels_do_not_fit_is_numbered() {
        let mut view = sample::grokking(4, 0);
        view.observables.get_mut("loss").unwrap().coordinates.remove("split");
        let series = series_of("loss", &view.observables["loss"], &view.checkpoints);
        assert_eq!(series.iter().map(|s| s.address.as_str()).collect::<Vec<_>>(), ["loss.0", "loss.1", "loss.2"]);
    }
}
