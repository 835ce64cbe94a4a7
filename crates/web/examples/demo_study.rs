//! Writes the pages and pictures of an invented study: `cargo run -p ontogeny-web --example demo_study -- FOLDER [WORDS]`,
//! with these words in place of its own.

#[path = "../src/study/sample.rs"]
mod sample;

use std::path::Path;

use ontogeny_web::{atlas_markdown, atlas_page, effects_svg, study_figure_svg, study_page};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder to write to")?;
    let folder = Path::new(&folder);
    fs_err::create_dir_all(folder)?;
    let mut atlas = sample::atlas();
    let study = std::env::args().nth(2).map_or_else(sample::study, |words| sample::worded(&words));
    atlas.studies[3].verdict = Some(study.clone());
    for row in &atlas.studies {
        if let Some(verdict) = &row.verdict {
            fs_err::write(folder.join(format!("{}-small.html", row.id)), study_page(verdict, ""))?;
        }
    }
    fs_err::write(folder.join("index.html"), atlas_page(&atlas))?;
    fs_err::write(folder.join("effects.svg"), effects_svg(&study))?;
    for (index, figure) in study.figures.iter().enumerate() {
        fs_err::write(folder.join(format!("figure-{index}.svg")), study_figure_svg(figure))?;
    }
    let figure = |_: &str| Some("figure-0.svg".to_owned());
    fs_err::write(folder.join("atlas.md"), atlas_markdown(&atlas, &figure))?;
    Ok(())
}
