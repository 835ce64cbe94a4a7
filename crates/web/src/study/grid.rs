//! Tables of these pages, which stand as cards on a phone or scroll in their own frame.

use std::fmt::Write as _;

use crate::text::escape;

/// More rows than this scroll under their header.
const LONG: usize = 40;

/// A table whose cells are markup.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    columns: Vec<Column>,
    /// Cells, and what is said below them over the whole width.
    rows: Vec<(Vec<String>, String)>,
    /// Whether rows become cards on a narrow screen; otherwise the table scrolls.
    stacks: bool,
}

/// A column with its heading.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    heading: &'static str,
    class: &'static str,
}

impl Grid {
    /// `columns` are headings with a class: `n` for numbers, `long` for what may wrap, or nothing.
    pub(super) fn new(columns: &[(&'static str, &'static str)], stacks: bool) -> Self {
        let columns = columns.iter().map(|(heading, class)| Column { heading, class }).collect();
        Self { columns, rows: Vec::new(), stacks }
    }

    /// Adds a row of markup, a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push((cells, String::new()));
    }

    /// Adds a row with a remark, which is markup too; an empty one is none.
    pub(super) fn row_with_remark(&mut self, cells: Vec<String>, remark: String) {
        self.rows.push((cells, remark));
    }

    pub(super) fn html(&self, name: &str) -> String {
        let tall = if self.rows.len() > LONG && !self.stacks { " tall" } else { "" };
        let stacks = if self.stacks { " class=\"stack\"" } else { "" };
        let mut html = format!(
            "<div class=\"scroll{tall}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table{stacks}><thead><tr>",
            escape(name)
        );
        for Column { heading, class } in &self.columns {
            let _ = write!(html, "<th scope=\"col\"{}>{heading}</th>", attribute(class));
        }
        html.push_str("</tr></thead><tbody>");
        for (row, remark) in &self.rows {
            html.push_str("<tr>");
            for (cell, Column { heading, class }) in row.iter().zip(&self.columns) {
                let label = if self.stacks && !cell.is_empty() {
                    format!(" data-label=\"{}\"", label(heading))
                } else {
                    String::new()
                };
                let _ = write!(html, "<td{}{label}>{cell}</td>", attribute(class));
            }
            html.push_str("</tr>");
            if !remark.is_empty() {
                let n = self.columns.len();
                let _ = write!(html, "<tr class=\"why-row\"><td colspan=\"{n}\">{remark}</td></tr>");
            }
        }
        html.push_str("</tbody></table></div>");
        html
    }
}

/// The heading beside a cell of a card: without what stands in brackets.
pub(super) fn label(heading: &str) -> &str {
    heading.split_once(" [").map_or(heading, |(name, _)| name)
}

fn attribute(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") }
}
