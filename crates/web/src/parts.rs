//! A mean curve as the sum of its parts: a stacked picture, the components with their half times, and the sigmoids of the mean.

use std::fmt::Write as _;

use ontogeny_store::{Part, RunView, SumOfParts};

use crate::axis::{Scale, ValueAxis};
use crate::chart::{self, Frame, round};
use crate::csv::{self, Csv};
use crate::figure;
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::table::Table;
use crate::text::{counted, escape, slug, unit_name, unit_suffix};

/// Components with a colour of their own: those with the largest shares; the others are stacked as one.
const MOST_COLOURED: usize = 6;

/// A section for every measurement that was taken apart.
pub(crate) fn sections(view: &RunView, frame: &Frame<'_>) -> String {
    view.parts.iter().map(|(name, found)| section(name, found, frame)).collect()
}

/// One section.
pub(crate) fn section(name: &str, found: &SumOfParts, frame: &Frame<'_>) -> String {
    let panel = panel(name, found);
    format!(
        "<section><h2>Sum of parts: {}</h2><p class=\"note\">{}</p>{}{}{}</section>",
        escape(found.mean.as_deref().unwrap_or(name)),
        words(found),
        picture(&panel, found, frame),
        components(name, found),
        sigmoids(name, found)
    )
}

/// One sentence for a page of curves.
pub(crate) fn summary(found: &SumOfParts, span: &str) -> String {
    let mean = found.mean.as_deref().unwrap_or("The mean");
    let learned = found.components.iter().filter(|part| part.is_learned).count();
    let n = counted(found.components.len(), "component");
    format!("{mean} over {span}, as the mean of {n}, of which {learned} are learned.")
}

fn words(found: &SumOfParts) -> String {
    let mut sentences = vec![format!(
        "The weighted mean of {} as a stack: each is as high as its weight times its value.",
        counted(found.components.len(), "component")
    )];
    if let (Some(mean), Some(share)) = (&found.mean, found.explained) {
        sentences.push(format!("The stack explains {} of the variation of {}.", percent(share), escape(mean)));
    }
    if let Some(fit) = &found.learning_times {
        let slope = number::estimate(fit.slope, fit.standard_error);
        sentences.push(format!(
            "Half times of the {} learned components go as the power {slope} of their weight; −1 is expected where a component is learned \
             from so many examples of its own (Michaud et al. 2023).",
            fit.n
        ));
    }
    sentences.join(" ")
}

/// The others as one, then the components with colours, the last learned first.
pub(crate) fn panel(name: &str, found: &SumOfParts) -> Panel {
    let mut by_share: Vec<&Part> = found.components.iter().collect();
    by_share.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()).then_with(|| a.name.cmp(&b.name)));
    let is_coloured = |part: &&Part| by_share.iter().take(MOST_COLOURED).any(|own| own.name == part.name);
    let series = |label: &str, values: Vec<f64>| Series {
        address: label.to_owned(),
        label: label.to_owned(),
        measurement: label.to_owned(),
        points: found
            .steps
            .iter()
            .zip(values)
            .map(|(&step, value)| Point {
                step,
                value: Some(value).filter(|value| value.is_finite()),
                standard_error: None,
                refusal: None,
            })
            .collect(),
    };
    // What is learned last stands at the bottom, so that what goes first leaves from the top.
    let rest: Vec<&Part> = found.components.iter().filter(|part| !is_coloured(part)).collect();
    let mut all = Vec::new();
    if !rest.is_empty() {
        let sum = |at: usize| rest.iter().filter_map(|part| part.contribution.get(at)).sum();
        all.push(series(&format!("{} others", rest.len()), (0..found.steps.len()).map(sum).collect()));
    }
    let coloured = found.components.iter().rev().filter(is_coloured);
    all.extend(coloured.map(|part| series(&part.name, part.contribution.clone())));
    Panel {
        id: format!("parts-{}", slug(name)),
        title: format!("Parts of {}", found.mean.as_deref().unwrap_or("the mean")),
        unit: found.unit.clone(),
        description: String::new(),
        series: all,
        kind: "parts".to_owned(),
        form: Form::Lines,
    }
}

fn picture(panel: &Panel, found: &SumOfParts, frame: &Frame<'_>) -> String {
    format!(
        "<figure id=\"{}\">{}{}<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"{}; left and right arrow keys move the \
         cursor\"><div class=\"frame main only\">{}</div></div>{}</figure>",
        panel.id,
        figure::caption(panel),
        figure::key(panel),
        escape(&panel.title),
        drawing(panel, found, frame),
        figure::foot(panel)
    )
}

/// The stack, the mean over it, and a stroke at every sigmoid of the mean.
pub(crate) fn drawing(panel: &Panel, found: &SumOfParts, frame: &Frame<'_>) -> String {
    let n = found.steps.len().min(found.values.len());
    let value = |series: &Series, at: usize| series.points.get(at).and_then(|point| point.value).unwrap_or(0.0);
    // Upper edge of each layer; a negative value takes away from what is below it.
    let mut edges: Vec<Vec<f64>> = vec![vec![0.0; n]];
    for series in &panel.series {
        let below = &edges[edges.len() - 1];
        edges.push((0..n).map(|at| below[at] + value(series, at)).collect());
    }
    let all: Vec<f64> = edges.iter().flatten().chain(&found.values).copied().collect();
    let axis = ValueAxis::covering(Scale::Linear, &all, &[]);
    let place = |at: usize, value: f64| {
        format!("{} {}", round(10.0 * frame.axis.position(found.steps[at])), round(10.0 * axis.position(value)))
    };
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\">{}{}{}<svg class=\"curves\" width=\"100%\" height=\"100%\" viewBox=\"0 0 1000 \
         1000\" preserveAspectRatio=\"none\">",
        escape(&alternative(panel, found, frame)),
        frame.bands(),
        chart::value_axis(&axis),
        frame.step_axis()
    );
    for (layer, pair) in edges.windows(2).enumerate() {
        let there = (0..n).map(|at| place(at, pair[1][at]));
        let back = (0..n).rev().map(|at| place(at, pair[0][at]));
        let path = there.chain(back).collect::<Vec<_>>().join("L");
        let _ = write!(svg, "<path class=\"area {}\" d=\"M{path}z\"/>", chart::series_class(layer));
    }
    let line = (0..n).map(|at| place(at, found.values[at])).collect::<Vec<_>>().join("L");
    let _ = write!(svg, "<path class=\"line whole\" d=\"M{line}\"/></svg>");
    for sigmoid in &found.sigmoids {
        let at = round(frame.axis.position(sigmoid.step));
        let _ = write!(
            svg,
            "<svg x=\"{at}%\" y=\"0\"><path class=\"mark sigmoid\" d=\"M-5-9h10l-5 8z\"><title>sigmoid of {} at step {}</title></path></svg>",
            number::change(sigmoid.change),
            number::step(sigmoid.step)
        );
    }
    svg.push_str(Frame::cursor());
    svg.push_str("</svg>");
    svg
}

fn alternative(panel: &Panel, found: &SumOfParts, frame: &Frame<'_>) -> String {
    let ends = |values: &[f64]| match values {
        [first, .., last] => format!("from {} to {}", number::value(*first), number::value(*last)),
        _ => "of one value".to_owned(),
    };
    let layers: Vec<String> = panel.series.iter().map(|series| series.label.clone()).collect();
    format!(
        "{}, over {}, {}{}; from the bottom up: {}",
        panel.title,
        frame.span(),
        ends(&found.values),
        unit_suffix(&found.unit),
        layers.join(", ")
    )
}

fn components(name: &str, found: &SumOfParts) -> String {
    let mut table =
        Table::new(&["component", "weight", "share of the change", "half time (step)", "sharpness", "learned"]);
    let columns = ["component", "weight", "share", "half time (step)", "sharpness", "learned"];
    let mut data = Csv::new(columns.map(str::to_owned).to_vec());
    for part in &found.components {
        let learned = if part.is_learned { "yes" } else { "no" };
        table.row(&[
            part.name.clone(),
            number::value(part.weight),
            percent(part.share),
            part.half_time.map_or_else(|| "–".to_owned(), number::step),
            number::significant(part.sharpness, 2),
            learned.to_owned(),
        ]);
        let numbers = [Some(part.weight), Some(part.share), part.half_time, Some(part.sharpness)].map(csv::cell);
        data.push([part.name.clone()].into_iter().chain(numbers).chain([learned.to_owned()]).collect());
    }
    format!(
        "{}<p class=\"note\">Half time: when half of the component’s own change is made for the last time. Sharpness: the largest part of it in a \
         tenth of the axis, 1 where it is sudden. Learned: it changes by at least half as much as the one that changes most.</p><p \
         class=\"foot\">{}</p>",
        table.html("Components"),
        data.link(&format!("{name} parts"), "Components as CSV")
    )
}

fn sigmoids(name: &str, found: &SumOfParts) -> String {
    if found.sigmoids.is_empty() {
        return "<p class=\"note\">The mean shows no sigmoid.</p>".to_owned();
    }
    let mut table = Table::new(&["sigmoid at step", "width (decades)", "change", "learned meanwhile"]);
    let columns = ["step", "width (decades)", "change", "unit", "components"];
    let mut data = Csv::new(columns.map(str::to_owned).to_vec());
    for sigmoid in &found.sigmoids {
        table.row(&[
            number::step(sigmoid.step),
            number::value(sigmoid.decades),
            format!("{}{}", number::change(sigmoid.change), unit_suffix(&found.unit)),
            if sigmoid.components.is_empty() { "–".to_owned() } else { sigmoid.components.join(", ") },
        ]);
        let numbers = [sigmoid.step, sigmoid.decades, sigmoid.change].map(|x| csv::cell(Some(x)));
        let words = [unit_name(&found.unit).to_owned(), sigmoid.components.join(" ")];
        data.push(numbers.into_iter().chain(words).collect());
    }
    format!(
        "{}<p class=\"note\">The mean as a sum of sigmoids in ln(step + 1), as many as BIC bears, explains {} of its variation; triangles in the \
         figure mark their middles. Any smooth curve can be written so: it is evidence only where they stand where components are \
         learned.</p><p class=\"foot\">{}</p>",
        table.html("Sigmoids"),
        percent(found.explained_by_sigmoids),
        data.link(&format!("{name} sigmoids"), "Sigmoids as CSV")
    )
}

fn percent(share: f64) -> String {
    format!("{} %", number::significant(100.0 * share, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn layers_stand_on_each_other_and_end_at_the_mean() {
        let view = sample::grokking(24, 0);
        let found = &view.parts["subtask_loss"];
        let frame = Frame::of(&view).unwrap();
        let panel = panel("subtask_loss", found);
        let labels: Vec<&str> = panel.series.iter().map(|series| series.label.as_str()).collect();
        // Eight components: the six with the largest shares, the last learned first, and the others together.
        assert_eq!(labels, ["2 others", "task_6", "task_5", "task_4", "task_3", "task_2", "task_1"]);
        let html = section("subtask_loss", found, &frame);
        assert_eq!(html.matches("class=\"area ").count(), 7);
        let edge = |class: &str| {
            let path = html.split(&format!("class=\"{class}\" d=\"M")).nth(1).unwrap();
            path.split(['L', '"', 'z']).take(24).map(str::to_owned).collect::<Vec<String>>()
        };
        assert_eq!(edge("area c7"), edge("line whole"), "the uppermost layer ends at the mean");
        for words in [
            "Half times of the 5 learned components",
            "power −1.000 ± 0.020",
            "task_1, task_2",
            "class=\"band\"",
            "learned meanwhile",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
    }

    #[test]
    fn few_components_have_no_others() {
        let view = sample::grokking(24, 0);
        let mut found = view.parts["subtask_loss"].clone();
        found.components.truncate(2);
        found.sigmoids.clear();
        (found.mean, found.learning_times) = (None, None);
        let html = section("x", &found, &Frame::of(&view).unwrap());
        assert!(
            !html.contains("others")
                && html.contains("The mean shows no sigmoid.")
                && html.contains("Parts of the mean")
        );
    }
}
