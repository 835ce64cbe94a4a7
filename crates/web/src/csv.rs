//! The data of a figure or table as CSV, carried in the page itself as a `data:` address.

use std::fmt::Write as _;

use crate::text::unit_name;

/// A small table of text cells, header first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Csv {
    rows: Vec<Vec<String>>,
}

impl Csv {
    /// A table with this header.
    pub(crate) fn new(header: Vec<String>) -> Self {
        Self { rows: vec![header] }
    }

    /// Adds one row.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The text as RFC 4180 writes it, with line feeds.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                if cell.contains([',', '"', '\n', '\r']) {
                    let _ = write!(text, "\"{}\"", cell.replace('"', "\"\""));
                } else {
                    text.push_str(cell);
                }
            }
            text.push('\n');
        }
        text
    }

    /// A link that saves the table as `name.csv`, without a network and without a script.
    pub(crate) fn link(&self, name: &str, label: &str) -> String {
        let may_stand = |c: char| c.is_alphanumeric() || "._-".contains(c);
        let file: String = name.chars().map(|c| if may_stand(c) { c } else { '-' }).collect();
        format!(
            "<a class=\"csv\" download=\"{file}.csv\" href=\"data:text/csv;charset=utf-8,{}\">{}</a>",
            percent_encode(&self.text()),
            crate::text::escape(label),
        )
    }
}

/// The name of a column with its unit in parentheses; a unit that nobody knows is not named.
pub(crate) fn column(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name} ({})", unit_name(unit)) }
}

/// A finite number to seven significant digits, for what is made of single precision by the thousand; empty where there is none.
pub(crate) fn short(value: Option<f64>) -> String {
    cell(value.and_then(|value| format!("{value:.6e}").parse().ok()))
}

/// A finite number with all its digits, empty where there is none.
pub(crate) fn cell(number: Option<f64>) -> String {
    number.filter(|x| x.is_finite()).map_or(String::new(), |x| format!("{x:?}"))
}

/// Percent-encoding of everything that could end the attribute or the address; what is harmless stays readable.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 8);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b".,-_+()[]".contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut csv = Csv::new(vec!["step".into(), "reason".into()]);
        csv.push(vec!["1".into(), "R̂ 1.31, \"bad\"\nworse".into()]);
        assert_eq!(csv.text(), "step,reason\n1,\"R̂ 1.31, \"\"bad\"\"\nworse\"\n");
        let link = csv.link("a/b", "CSV");
        assert!(link.contains("download=\"a-b.csv\""));
        assert!(link.contains("step,reason%0A1,%22R%CC%82%201.31,%20%22%22bad%22%22%0Aworse%22%0A"));
    }

    #[test]
    fn numbers_survive_the_round_trip() {
        for x in [0.1, 1.0, -9.202e-9, 1e300, f64::MIN_POSITIVE, 1.0 / 3.0] {
            assert_eq!(cell(Some(x)).parse::<f64>().unwrap(), x);
        }
        assert_eq!([cell(None), cell(Some(f64::NAN)), cell(Some(f64::INFINITY))], ["", "", ""]);
    }
}
