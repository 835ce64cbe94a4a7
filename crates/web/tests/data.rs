//! The numbers that a page offers as CSV, read back by a parser of its own and compared with what was drawn.

#[path = "../src/sample.rs"]
mod sample;

use std::collections::BTreeMap;

use ontogeny_store::{Detail, RunView, Status};
use ontogeny_web::{Curve, Curves, curves_page, report};

/// A table as it was read: names of columns, then rows of cells.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Read {
    fn column(&self, name: &str) -> Vec<&str> {
        let at = self.header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name} in {:?}", self.header));
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }

    fn numbers(&self, name: &str) -> Vec<Option<f64>> {
        let number = |cell: &str| (!cell.is_empty()).then(|| cell.parse().unwrap_or_else(|_| panic!("{name}: {cell}")));
        self.column(name).into_iter().map(number).collect()
    }
}

/// All links of a piece of a page: file name, table.
fn links(html: &str) -> Vec<(String, Read)> {
    let attribute = |link: &str, name: &str| {
        link.split(&format!(" {name}=\""))
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("an attribute ends")
            .to_owned()
    };
    let read = |link: &str| {
        let address = attribute(link, "href");
        let encoded = address.strip_prefix("data:text/csv;charset=utf-8,").expect("an address of data");
        let text = percent_encoding::percent_decode_str(encoded).decode_utf8().expect("UTF-8");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().expect("a header").iter().map(String::from).collect();
        let rows = reader
            .records()
            .map(|row| row.expect("as many cells as the header").iter().map(String::from).collect())
            .collect();
        (attribute(link, "download"), Read { header, rows })
    };
    html.split("<a class=\"csv\"").skip(1).map(read).collect()
}

/// The tables of a page by file name; those under the strip and under their table are the same.
fn tables(html: &str) -> BTreeMap<String, Read> {
    let mut tables = BTreeMap::new();
    for (name, table) in links(html) {
        let before = tables.insert(name.clone(), table.clone());
        assert!(before.is_none_or(|before| before == table), "{name} names two tables");
    }
    tables
}

/// Refused steps, a missing value, and reasons and names that need quotes.
fn awkward() -> RunView {
    let mut view = sample::grokking(24, 3);
    let llc = view.observables.get_mut("llc").expect("the sample has it");
    llc.status[1] = Status::Refused { verdict: "a, \"b\"; llc_unembed: c".into(), reason: "two\nlines".into() };
    let unembed = view.observables.get_mut("llc_unembed").expect("the sample has it");
    unembed.status[5] = Status::Refused { verdict: String::new(), reason: String::new() };
    let loss = view.observables.get_mut("loss").expect("the sample has it");
    loss.values.values[3 * 7 + 1] = None;
    loss.values.values[3 * 8] = Some(f64::NAN);
    loss.values.values[3 * 9] = Some(-1.0 / 3e200);
    view.transitions[0].label = Some("x,\"y\"\nz".to_owned());
    view
}

#[test]
fn every_figure_and_every_table_offers_its_numbers() {
    for (n_checkpoints, n_refused) in [(1, 0), (1, 1), (24, 0), (24, 24), (500, 30)] {
        let html = report(&sample::grokking(n_checkpoints, n_refused));
        let has_strip_data = n_checkpoints > 8;
        for figure in html.split("<figure id=\"").skip(1) {
            let figure = figure.split("</figure>").next().unwrap();
            let n = links(figure).len();
            let expected = if figure.starts_with("life\"") { if has_strip_data { 2 } else { 0 } } else { 1 };
            assert_eq!(n, expected, "{n_checkpoints} checkpoints: {}", &figure[..60]);
        }
        let outside: String =
            html.split("<figure").map(|part| part.split_once("</figure>").map_or(part, |(_, rest)| rest)).collect();
        // The maps of a calibration share one file.
        let shared = ["Trials as CSV", "Table as CSV"].map(|label| outside.matches(label).count());
        let n_files = outside.matches("<table>").count() + shared.iter().sum::<usize>();
        assert!(outside.contains("class=\"map\"") && outside.contains("Trials as CSV"));
        assert_eq!(links(&outside).len(), n_files);
    }
}

#[test]
fn the_data_of_figures_comes_back_exactly() {
    let view = awkward();
    let tables = tables(&report(&view));
    let steps: Vec<Option<f64>> = view.checkpoints.iter().map(|step| Some(*step as f64)).collect();
    let unit_of = |name: &str| if name == "loss" { "nats" } else { "dimensionless" };
    let files = [
        ("loss.csv", "loss", &["train", "test", "all"][..]),
        ("accuracy.csv", "accuracy", &["train", "test"]),
        ("llc.csv", "llc", &["full"]),
        ("llc.csv", "llc_unembed", &["unembed"]),
        ("weight_norm.csv", "weight_norm", &["total", "embed", "pos_embed", "attn", "mlp", "unembed"]),
    ];
    for (file, name, components) in files {
        let (read, observable) = (&tables[file], &view.observables[name]);
        assert_eq!(read.numbers("step"), steps);
        for (component, label) in components.iter().enumerate() {
            let column = |of: &str| read.numbers(&format!("{name}.{label}{of} ({})", unit_of(name)));
            let is_there = |at: usize| !matches!(observable.status[at], Status::Refused { .. });
            let expected = |all: &[Option<f64>]| -> Vec<Option<f64>> {
                let of_component = all.iter().skip(component).step_by(components.len());
                of_component.enumerate().map(|(at, x)| x.filter(|x| x.is_finite() && is_there(at))).collect()
            };
            assert_eq!(column(""), expected(&observable.values.values), "{name}.{label}");
            if observable.kind == "llc" {
                assert_eq!(column(" standard error"), expected(&observable.standard_errors.values));
            }
        }
    }
    let llc = &tables["llc.csv"];
    let status = llc.column("llc status");
    assert_eq!(
        status[..2],
        ["refused: not converged, R̂ 1.31 is above 1.05", "refused: a, \"b\"; llc_unembed: c, two\nlines"]
    );
    assert!(status[3..].iter().all(|cell| cell.is_empty()));
    assert_eq!(llc.column("llc_unembed status").iter().position(|cell| !cell.is_empty()), Some(5));
    let map = &tables["fourier_power.csv"];
    assert_eq!((map.header.len(), map.rows.len()), (27, 24));
    let power: Vec<Option<f64>> =
        (1..=26).flat_map(|k| map.numbers(&format!("fourier_power.{k} (dimensionless)"))).collect();
    let transposed: Vec<Option<f64>> = (0..26)
        .flat_map(|k| view.observables["fourier_power"].values.values[k..].iter().step_by(26).copied())
        .collect();
    assert_eq!(power, transposed);
}

#[test]
fn the_data_of_tables_comes_back_exactly() {
    let view = awkward();
    let tables = tables(&report(&view));
    let transitions = &tables["transitions.csv"];
    assert_eq!(transitions.column("transition"), ["x,\"y\"\nz", "", "", "grokking"]);
    assert_eq!(transitions.column("unit of size"), ["nats", "dimensionless", "dimensionless", "nats"]);
    let of =
        |get: fn(&ontogeny_store::Transition) -> f64| view.transitions.iter().map(|t| Some(get(t))).collect::<Vec<_>>();
    assert_eq!(transitions.numbers("lower (step)"), of(|t| t.lower));
    assert_eq!(transitions.numbers("width (decades)"), of(|t| t.width_decades));
    assert_eq!(transitions.numbers("size"), of(|t| t.size));
    assert_eq!(transitions.numbers("p"), of(|t| t.p_value));
    let stages: Vec<Option<f64>> = view.stages.iter().map(|b| Some(b.upper)).collect();
    assert_eq!(tables["stages.csv"].numbers("upper (step)"), stages);

    let estimates = &tables["llc-estimates.csv"];
    assert_eq!(estimates.column("status")[..4], ["refused", "refused", "refused", "done"]);
    assert_eq!(estimates.column("reason")[1], "a, \"b\"; llc_unembed: c, two\nlines");
    for (column, key) in [("r_hat", "r_hat"), ("ess_bulk (draws)", "ess_bulk"), ("mcse (dimensionless)", "mcse")] {
        let expected: Vec<Option<f64>> = view.observables["llc"]
            .details
            .iter()
            .map(|d| match d[key] {
                Detail::Number(x) => x,
                Detail::Text(_) => None,
            })
            .collect();
        assert_eq!(estimates.numbers(column), expected, "{column}");
    }
}

#[test]
fn curves_of_any_name_are_saved_under_it() {
    let names = ["loss", "val/ppl (all)", "損失", "blocks.0.attn"];
    let curves = names.map(|name| Curve {
        name: name.to_owned(),
        unit: if name == "loss" { "nats".to_owned() } else { String::new() },
        steps: vec![0.0, 0.1, 1e9],
        values: vec![1e-7, 40.0, -2.0 / 3.0],
        standard_errors: (name == "loss").then(|| vec![0.1, 0.2, 0.3]),
    });
    let page = curves_page(&Curves { title: "c".into(), curves: curves.to_vec(), ..Curves::default() });
    let tables = tables(&page);
    let files: Vec<&str> = tables.keys().map(String::as_str).collect();
    assert_eq!(files, ["blocks.0.attn.csv", "loss.csv", "val-ppl--all-.csv", "損失.csv"]);
    assert_eq!(tables["loss.csv"].numbers("step"), [Some(0.0), Some(0.1), Some(1e9)]);
    assert_eq!(tables["loss.csv"].numbers("loss standard error (nats)"), [Some(0.1), Some(0.2), Some(0.3)]);
    assert_eq!(tables["損失.csv"].numbers("損失"), [Some(1e-7), Some(40.0), Some(-2.0 / 3.0)]);
}
