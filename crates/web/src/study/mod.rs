//! The pages of studies: one for each verdict, one for the atlas, and the same as Markdown with pictures.
//!
//! | file | what it makes |
//! |---|---|
//! | `page.rs` | the page of a verdict, from the parts below |
//! | `figure.rs` | a figure of a study: bundles of lines, clouds of points |
//! | `effects.rs`, `effect_row.rs` | estimates with their units; one row of it |
//! | `tables.rs`, `grid.rs` | hypotheses, attacks, runs, values; how a table is written |
//! | `atlas.rs`, `markdown.rs` | all studies, as a page and for the documentation |
//! | `strip.rs` | an effect in units of the smallest one of interest |
//! | `picture.rs` | drawings as a picture that stands alone |
//! | `across.rs` | horizontal axes |
//! | `words.rs` | verdicts, intervals, claims, times in words |
//!
//! Numbers that are not finite, or too large to subtract, count as absent; what is absent is shown as such.

mod across;
mod atlas;
mod effect_row;
mod effects;
mod figure;
mod grid;
mod markdown;
mod page;
mod picture;
mod strip;
mod tables;
mod words;

#[cfg(test)]
pub(crate) mod sample;

pub use atlas::atlas_page;
pub use effects::effects_svg;
pub use figure::study_figure_svg;
pub use markdown::atlas_markdown;
pub use page::study_page;

/// Rules of these pages, after those of every page.
const STYLE: &str = concat!(include_str!("drawing.css"), include_str!("page.css"));

/// A number that can be drawn and written: differences of such numbers are finite too.
fn drawable(x: f64) -> Option<f64> {
    Some(x).filter(|x| x.is_finite() && x.abs() < 1e150)
}
