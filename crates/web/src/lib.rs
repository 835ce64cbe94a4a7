//! The report of a run: one self-contained HTML page that needs no network and no script to be read.
//!
//! [`report`] takes what the store knows of a run and returns the page. Every figure is static SVG on one step axis,
//! with the stages as bands; a small inline script adds a cursor that moves on all figures at once.
//! [`curves_page`] and [`curves_svg`] draw any series in the same way, as a page or as one picture.
//! [`study_page`] and [`atlas_page`] show what studies found; [`effects_svg`], [`study_figure_svg`] and
//! [`atlas_markdown`] the same for the documentation.
//! Nothing here reads files or knows how a number was measured.
//!
//! ```
//! # fn page(view: &ontogeny_store::RunView) -> String {
//! ontogeny_web::report(view)
//! # }
//! ```

mod attention;
mod axis;
mod by_position;
mod calibration;
mod changes;
mod chart;
mod csv;
mod curves;
mod density;
mod figure;
mod fluctuations;
mod heatmap;
mod influence;
mod line;
mod number;
mod page;
mod panel;
mod parts;
mod picture;
mod response;
mod strip;
mod study;
mod summary;
mod table;
mod text;
mod training;
mod trajectory;
mod warnings;

#[cfg(test)]
mod sample;

pub use curves::{Curve, Curves, curves_page, curves_svg};
pub use page::{calibration_page, report};
pub use study::{atlas_markdown, atlas_page, effects_svg, study_figure_svg, study_page};
