//! Writes the report of an invented run: `cargo run -p ontogeny-web --example demo_report -- report.html [CHECKPOINTS] [REFUSED]`.

#[path = "../src/sample.rs"]
mod sample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name the file to write, such as report.html")?;
    let n_checkpoints = arguments.next().map_or(Ok(24), |n| n.parse())?;
    let n_refused = arguments.next().map_or(Ok(3), |n| n.parse())?;
    let mut view = sample::grokking(n_checkpoints, n_refused);
    sample::add_attention(&mut view, 3, 24, 8);
    fs_err::write(path, ontogeny_web::report(&view))?;
    Ok(())
}
