//! `ontogeny doctor`: what works on this machine, and whether chains find what is known.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_graph::Isa;
use ontogeny_posterior::known_answers::{Comparison, KnownAnswer};
use ontogeny_posterior::{Execution, LlcError, in_parallel};
use serde::Serialize;

use super::CommandError;
use crate::bench::{cores, cpu};
use crate::cli::{DoctorArgs, exit};
use crate::progress::Counter;
use crate::terminal::{number, print, say};

pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, CommandError> {
    let build = Build {
        version: env!("CARGO_PKG_VERSION"),
        cpu: cpu(),
        cores: cores(),
        isa: Isa::current().name(),
        os: std::env::consts::OS,
        features: if cfg!(feature = "s3") { &["s3"] } else { &[] },
    };
    if !args.posterior {
        if args.json {
            print(&serde_json::to_string(&build)?);
        } else {
            print_build(&build);
            print(
                "`ontogeny doctor --posterior` holds estimates against exact answers (some ten seconds on two cores)",
            );
        }
        return Ok(exit::DONE);
    }
    let cases = measure(args.seed, args.threads.unwrap_or(Execution::default().threads))?;
    let n_failed = cases.iter().filter(|case| !case.is_sound).count();
    if args.json {
        print(&serde_json::to_string(&Output { build, seed: args.seed, is_sound: n_failed == 0, cases })?);
    } else {
        print_build(&build);
        print_table(&cases);
    }
    if n_failed == 0 {
        return Ok(exit::DONE);
    }
    say(&format!(
        "{n_failed} of the cases lie more than {} standard errors from the exact answer, which happens by chance once in 800 runs; try `--seed {}`, \
         and report it if it happens again",
        KnownAnswer::LARGEST_Z,
        args.seed.wrapping_add(1)
    ));
    Ok(exit::REFUSED)
}

/// This program and its machine.
#[derive(Serialize)]
struct Build {
    version: &'static str,
    cpu: String,
    cores: usize,
    isa: &'static str,
    os: &'static str,
    features: &'static [&'static str],
}

/// The JSON object.
#[derive(Serialize)]
struct Output {
    build: Build,
    seed: u32,
    is_sound: bool,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    #[serde(rename = "case")]
    name: &'static str,
    sampler: &'static str,
    /// Mean of nβ·(L − L*); null if a chain diverged.
    measured: Option<f64>,
    mcse: Option<f64>,
    exact: f64,
    exact_error: f64,
    z: Option<f64>,
    verdict: String,
    is_sound: bool,
}

impl Case {
    fn new(answer: &KnownAnswer, comparison: &Comparison) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        Self {
            name: answer.name,
            sampler: answer.llc.sampler.name(),
            measured: comparison.measured,
            mcse: finite(comparison.mcse),
            exact: answer.exact,
            exact_error: answer.exact_error,
            z: finite(comparison.z),
            verdict: comparison.verdict.to_string(),
            is_sound: comparison.is_sound(),
        }
    }
}

/// All cases, one a thread: they are many, and of different lengths.
fn measure(seed: u32, threads: NonZero<usize>) -> Result<Vec<Case>, LlcError> {
    let answers = KnownAnswer::all()?;
    let counter = Counter::new("doctor");
    let n_done = AtomicUsize::new(0);
    let one = Execution { threads: NonZero::<usize>::MIN, ..Execution::default() };
    let cases = in_parallel(answers.len(), threads, |i| {
        let comparison = answers[i].compare(seed, &one);
        counter.on(n_done.fetch_add(1, Ordering::Relaxed) + 1, answers.len());
        comparison.map(|comparison| Case::new(&answers[i], &comparison))
    });
    counter.finish();
    cases.into_iter().collect()
}

fn print_build(build: &Build) {
    let Build { version, cpu, cores, isa, os, features } = build;
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    print(&format!("ontogeny {version} on {os}, optional features: {features}"));
    print(&format!("{cpu}, {cores} cores, instruction set {isa}"));
}

fn print_table(cases: &[Case]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["case", "sampler", "measured", "±", "exact", "z", "", "verdict"]);
    let or_dash = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), number);
    for case in cases {
        table.add_row([
            case.name.to_owned(),
            case.sampler.to_owned(),
            or_dash(case.measured),
            or_dash(case.mcse),
            number(case.exact),
            case.z.map_or_else(|| "–".to_owned(), |z| format!("{z:+.1}")),
            if case.is_sound { String::new() } else { "FAILED".to_owned() },
            case.verdict.clone(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print(&table.to_string());
}
