//! Power of the transition detector against the height of a step: writes `docs/detector-power.csv`
//! and `docs/detector-power.svg`.
//!
//! `cargo run --release -p ontogeny --example detector_power [-- SERIES_PER_POINT]`

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::fmt::Write as _;
use std::num::NonZero;
use std::path::Path;

use ontogeny::posterior::in_parallel;
use ontogeny::stats::{Series, TransitionSettings, normal_quantile, transitions};

/// Lengths of the series, spaced evenly in the logarithm of the step from 1 to 10,000.
const LENGTHS: [usize; 3] = [50, 100, 200];
/// Autocorrelation of neighbouring points.
const PHIS: [f64; 2] = [0.0, 0.6];
/// Greatest height of the step, in standard deviations of the noise; 0 is the rate of false alarms.
const HIGHEST: usize = 8;

/// Share of series in which a step of this height was found.
struct Point {
    n_points: usize,
    phi: f64,
    height: usize,
    share: f64,
    lower: f64,
    upper: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n_series: usize = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let mut points = Vec::new();
    for phi in PHIS {
        for n_points in LENGTHS {
            for height in 0..=HIGHEST {
                let hits = in_parallel(n_series, threads, |i| is_found(n_points, phi, height as f64, i as u64));
                let n_found = hits.into_iter().filter(|hit| *hit).count();
                let (lower, upper) = interval(n_found as f64, n_series as f64);
                let share = n_found as f64 / n_series as f64;
                println!("{n_points} points, phi {phi}, {height} sd: {share:.3} [{lower:.3}, {upper:.3}]");
                points.push(Point { n_points, phi, height, share, lower, upper });
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
    // Not by the increment of the generator: that would give every series its neighbour's numbers.
    let mut state = seed.wrapping_add(1).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add((n_points * 100) as u64);
    let mut uniform = || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) * 2f64.powi(-53)
    };
    let steps: Vec<f64> = (0..n_points).map(|i| 1e4f64.powf(i as f64 / (n_points - 1) as f64)).collect();
    let centre = 10f64.powf(1.0 + 2.0 * uniform());
    let mut noise = normal_quantile(uniform());
    let values = steps.iter().map(|&step| {
        let value = noise + if step >= centre { height } else { 0.0 };
        noise = phi * noise + (1.0 - phi * phi).sqrt() * normal_quantile(uniform());
        value
    });
    let values = values.collect();
    let series = Series::new(steps, values).expect("the steps increase");
    let found = transitions(&series, &TransitionSettings::default()).expect("the series is long enough");
    found.iter().any(|t| height == 0.0 || t.size > 0.0 && t.lower <= centre && centre <= t.upper)
}

/// 95 % interval of a share (Wilson 1927).
fn interval(n_found: f64, n: f64) -> (f64, f64) {
    let z = normal_quantile(0.975);
    let (share, slack) = (n_found / n, z * z / n);
    let middle = (share + slack / 2.0) / (1.0 + slack);
    let half = z * (share * (1.0 - share) / n + slack / (4.0 * n)).sqrt() / (1.0 + slack);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn csv(points: &[Point], n_series: usize) -> String {
    let mut text = String::from("points,phi,height_sd,found,lower,upper,series\n");
    for p in points {
        let Point { n_points, phi, height, share, lower, upper } = p;
        let _ = writeln!(text, "{n_points},{phi},{height},{share:.4},{lower:.4},{upper:.4},{n_series}");
    }
    text
}

/// Two panels, one for each autocorrelation, with a curve for each length.
fn svg(points: &[Point], n_series: usize) -> String {
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
        for height in 0..=HIGHEST {
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
        let at = 520.0 + 100.0 * i as f64;
        let _ = writeln!(
            text,
            "<path class=\"line {class}\" d=\"M{at} 16h18\"/><text x=\"{}\" y=\"20\">{n_points} points</text>",
            at + 24.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"60\" y=\"20\" font-weight=\"600\">Share of series in which the step is found</text>\n\
         <text class=\"soft\" x=\"60\" y=\"390\" font-size=\"11\">{n_series} series for each point; bars: 95 % intervals; at height 0: share with a false transition</text>\n</svg>"
    );
    text
}
