//! Power of the transition detector against the height of a step: writes `docs/detector-power.csv`
//! and `docs/detector-power.svg`.
//!
//! `cargo run --release -p ontogeny-stats --example detector_power [SERIES PER POINT] [FIRST SEED]`

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::families::autoregression;
use common::{Random, Share, in_parallel, log_spaced};
use ontogeny_stats::{Series, TransitionSettings, transitions};
use std::fmt::Write as _;
use std::path::Path;

/// Lengths of the series, spaced evenly in the logarithm of the step from 1 to 10,000.
const LENGTHS: [usize; 3] = [50, 100, 200];
/// Autocorrelation of neighbouring points.
const PHIS: [f64; 2] = [0.0, 0.6];
/// Heights of the step, in standard deviations of the noise; 0 is the rate of false alarms.
const HEIGHTS: [usize; 7] = [0, 1, 2, 3, 4, 6, 8];
const HIGHEST: usize = HEIGHTS[HEIGHTS.len() - 1];
/// Simulations behind a p-value. They end with the twentieth that is as strong as the candidate, so
/// p ≤ 0.05 says that fewer than twenty of the first 399 are: more of them change no decision.
const NULL_DRAWS: usize = 399;
/// Seeds from one point of the figure to the next, so that no two share a series.
const SEEDS_PER_POINT: u64 = 1_000_000;

/// Share of series in which a step of this height was found, with its 95 % interval.
struct Point {
    n_points: usize,
    phi: f64,
    height: usize,
    share: f64,
    lower: f64,
    upper: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n_series: u64 = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let first_seed: u64 = std::env::args().nth(2).map_or(Ok(0), |text| text.parse())?;
    let mut points: Vec<Point> = Vec::new();
    for phi in PHIS {
        for n_points in LENGTHS {
            for height in HEIGHTS {
                let seed = first_seed + points.len() as u64 * SEEDS_PER_POINT + 1;
                let found = in_parallel(n_series, |i| is_found(n_points, phi, height as f64, seed + i));
                let found = Share::of(&found);
                println!("{n_points} points, phi {phi}, {height} sd: {found}");
                let (lower, upper) = found.interval();
                points.push(Point {
                    n_points,
                    phi,
                    height,
                    share: found.n_found as f64 / n_series as f64,
                    lower,
                    upper,
                });
            }
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs_err::write(folder.join("detector-power.csv"), csv(&points, n_series))?;
    fs_err::write(folder.join("detector-power.svg"), svg(&points, n_series))?;
    Ok(())
}

/// Whether anything is found in noise of unit variance with a step somewhere in its middle half,
/// and for a true step, whether what is found covers it.
fn is_found(n_points: usize, phi: f64, height: f64, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let steps = log_spaced(n_points);
    let centre = 10f64.powf(1.0 + 2.0 * random.uniform());
    let noise = autoregression(n_points, phi, &mut random);
    let values = steps.iter().zip(noise).map(|(&step, e)| e + if step >= centre { height } else { 0.0 }).collect();
    let series = Series::new(steps, values).expect("the steps increase");
    let settings = TransitionSettings { null_draws: NULL_DRAWS, ..TransitionSettings::default() };
    let found = transitions(&series, &settings).expect("the series is long enough");
    found.iter().any(|t| height == 0.0 || t.size > 0.0 && t.lower <= centre && centre <= t.upper)
}

fn csv(points: &[Point], n_series: u64) -> String {
    let mut text = String::from("points,phi,height_sd,found,lower,upper,series\n");
    for p in points {
        let Point { n_points, phi, height, share, lower, upper } = p;
        let _ = writeln!(text, "{n_points},{phi},{height},{share:.4},{lower:.4},{upper:.4},{n_series}");
    }
    text
}

/// Two panels, one for each autocorrelation, with a curve for each length.
fn svg(points: &[Point], n_series: u64) -> String {
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 400\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title>Power of the transition detector</title>\n\
         <style>\n\
         svg { --ink: #1f2328; --soft: #656d76; --grid: #d8dee4; --a: #0969da; --b: #bc4c00; --c: #1a7f37; background: #fff }\n\
         @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --soft: #9198a1; --grid: #30363d; --a: #58a6ff; --b: #f0883e; --c: #3fb950; background: #0d1117 } }\n\
         text { fill: var(--ink) } .soft { fill: var(--soft) } .grid { stroke: var(--grid) }\n\
         .line { fill: none; stroke-width: 2 } .bar { stroke-width: 1.5 }\n\
         .a { stroke: var(--a) } .b { stroke: var(--b) } .c { stroke: var(--c) }\n\
         .dot.a { fill: var(--a) } .dot.b { fill: var(--b) } .dot.c { fill: var(--c) }\n\
         </style>\n",
    );
    for (panel, phi) in PHIS.into_iter().enumerate() {
        let left = 60.0 + 390.0 * panel as f64;
        let x = |height: usize| left + 40.0 * height as f64;
        let y = |share: f64| 320.0 - 260.0 * share;
        let title = if phi == 0.0 { "white noise".to_owned() } else { format!("AR(1) noise, φ = {phi}") };
        let _ = writeln!(text, "<text x=\"{left}\" y=\"40\" font-weight=\"600\">{title}</text>");
        for tenth in [0, 2, 4, 6, 8, 10] {
            let at = y(f64::from(tenth) / 10.0);
            let _ = writeln!(
                text,
                "<path class=\"grid\" d=\"M{left} {at}H{}\"/><text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{} %</text>",
                x(HIGHEST),
                left - 8.0,
                at + 4.0,
                10 * tenth
            );
        }
        // The level of the test, at which the rate of false alarms should lie.
        let _ = writeln!(
            text,
            "<path class=\"grid\" stroke-dasharray=\"4 4\" d=\"M{left} {0}H{1}\"/><text class=\"soft\" x=\"{1}\" y=\"{2}\" text-anchor=\"end\" font-size=\"11\">α = 5 %</text>",
            y(0.05),
            x(HIGHEST),
            y(0.05) - 4.0
        );
        for height in HEIGHTS {
            let _ = writeln!(
                text,
                "<text class=\"soft\" x=\"{}\" y=\"340\" text-anchor=\"middle\">{height}</text>",
                x(height)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"362\" text-anchor=\"middle\">height of the step, in noise standard deviations</text>",
            x(HIGHEST / 2)
        );
        for (class, n_points) in ["a", "b", "c"].into_iter().zip(LENGTHS) {
            let curve: Vec<&Point> = points.iter().filter(|p| p.phi == phi && p.n_points == n_points).collect();
            let path: Vec<String> = curve.iter().map(|p| format!("{:.1} {:.1}", x(p.height), y(p.share))).collect();
            let _ = writeln!(text, "<path class=\"line {class}\" d=\"M{}\"/>", path.join("L"));
            for p in curve {
                let (at, share) = (x(p.height), y(p.share));
                let _ = writeln!(
                    text,
                    "<path class=\"bar {class}\" d=\"M{at:.1} {:.1}V{:.1}\"/><circle class=\"dot {class}\" cx=\"{at:.1}\" cy=\"{share:.1}\" r=\"3\"/>",
                    y(p.lower),
                    y(p.upper)
                );
            }
        }
    }
    for (i, (class, n_points)) in ["a", "b", "c"].into_iter().zip(LENGTHS).enumerate() {
        let at = 450.0 + 110.0 * i as f64;
        let _ = writeln!(
            text,
            "<path class=\"line {class}\" d=\"M{at} 16h18\"/><text x=\"{}\" y=\"20\">{n_points} points</text>",
            at + 24.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"60\" y=\"20\" font-weight=\"600\">Share of series in which the step is found</text>\n\
         <text class=\"soft\" x=\"60\" y=\"390\" font-size=\"11\">{n_series} series for each point; found: significant, the step within the interval of its centre; bars: 95 % intervals; at height 0: share with a false transition</text>\n</svg>"
    );
    text
}
