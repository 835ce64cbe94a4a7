//! `ontogeny forecast`: predictions of verdicts.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ontogeny_atlas::forecast::{NewForecast, Outcome, Scoreboard, Skill, TrackRecord, record, score};
use ontogeny_atlas::registry::{Prediction, Registry};
use ontogeny_atlas::{Study, find, read_verdict};
use ontogeny_study::Scale;

use super::{CommandError, new};
use crate::cli::{ScaleArg, exit};
use crate::study_cli::{ForecastArgs, ForecastCommand, RecordArgs, ScoreArgs};
use crate::terminal::{number, print};

pub(crate) fn forecast(args: &ForecastArgs) -> Result<u8, CommandError> {
    match &args.command {
        ForecastCommand::Record(args) => put_on_record(args),
        ForecastCommand::Score(args) => scores(args),
    }
}

fn put_on_record(args: &RecordArgs) -> Result<u8, CommandError> {
    let (study, hypothesis) = args.what.split_once('/').map_or((args.what.as_str(), None), |(s, h)| (s, Some(h)));
    let path = find(&args.folders.studies, study)?;
    let study = Study::read(&path, super::study::scale_of(args.scale), &new::text)?;
    let names: Vec<&str> = study.file.hypotheses.iter().map(|h| h.id.as_str()).collect();
    let hypothesis = match hypothesis {
        None => names[0],
        Some(name) if names.contains(&name) => name,
        Some(name) => {
            return Err(CommandError::Arguments(format!(
                "{} has no hypothesis `{name}`; there are {}",
                study.file.id,
                names.join(", ")
            )));
        }
    };
    let statement = match (args.supported, args.interval) {
        (Some(supported), _) => Prediction::Probability { supported },
        (None, Some((lower, upper))) => Prediction::Interval { lower, upper, level: args.level },
        (None, None) => {
            return Err(CommandError::Arguments("found no prediction; expected --supported or --interval".to_owned()));
        }
    };
    let forecast = NewForecast {
        study: study.file.id.clone(),
        hypothesis: hypothesis.to_owned(),
        scale: if args.scale == ScaleArg::Small { "small" } else { "full" }.to_owned(),
        by: args.by.clone(),
        statement,
        note: args.note.clone(),
    };
    let mut registry = Registry::open(&args.folders.atlas)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line = record(&mut registry, &forecast, now)?;
    print(&format!("recorded: line {} of the registry, {}", line.index, line.hash));
    Ok(exit::DONE)
}

fn scores(args: &ScoreArgs) -> Result<u8, CommandError> {
    let atlas = &args.folders.atlas;
    let registry = Registry::open(atlas)?;
    let mut verdicts = BTreeMap::new();
    for study in registry.lines().iter().map(|line| line.entry.study()) {
        for scale in [Scale::Small, Scale::Full] {
            let scale = if scale == Scale::Small { "small" } else { "full" };
            let key = (study.to_owned(), scale.to_owned());
            if !verdicts.contains_key(&key)
                && let Some(verdict) = read_verdict(atlas, study, scale)?
            {
                verdicts.insert(key, verdict);
            }
        }
    }
    let board = score(&registry, &verdicts);
    if args.json {
        print(&serde_json::to_string(&board)?);
    } else {
        print_board(&board);
    }
    Ok(exit::DONE)
}

fn print_board(board: &Scoreboard) {
    for forecast in &board.forecasts {
        let said = match forecast.statement {
            Prediction::Probability { supported } => format!("supported with {supported}"),
            Prediction::Interval { lower, upper, level } => {
                format!("{} to {} with {level}", number(lower), number(upper))
            }
        };
        let came = match &forecast.outcome {
            Outcome::Open => "open".to_owned(),
            Outcome::Invalid { why } => format!("does not count: {why}"),
            Outcome::Unresolved { why, .. } => format!("unresolved: {why}"),
            Outcome::Probability { supported, brier, baseline_brier, .. } => {
                let word = if *supported { "supported" } else { "not supported" };
                format!("{word}; Brier {} (baseline {})", number(*brier), number(*baseline_brier))
            }
            Outcome::Interval { estimate, covered, score, .. } => {
                let word = if *covered { "covered" } else { "missed" };
                format!("{} {word}; score {}", number(*estimate), number(*score))
            }
        };
        print(&format!(
            "{:<5} {}/{} ({}) by {}: {said}  →  {came}",
            forecast.id, forecast.study, forecast.hypothesis, forecast.scale, forecast.by
        ));
    }
    for (by, record) in &board.forecasters {
        print_record(by, record);
    }
    if board.forecasters.len() > 1 {
        print_record("all", &board.all);
    }
    if board.forecasts.is_empty() {
        print("no forecasts yet: ontogeny forecast record STUDY --supported P --by NAME");
    }
}

fn print_record(by: &str, record: &TrackRecord) {
    let mean = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let end = |value: Option<f64>| value.map_or_else(|| "unbounded".to_owned(), number);
    let skill = |skill: &Option<Skill>| {
        skill
            .as_ref()
            .map_or_else(|| "–".to_owned(), |s| format!("{} [{}, {}]", number(s.estimate), end(s.lower), end(s.upper)))
    };
    print(&format!(
        "{by}: {} forecasts, {} open; {} probabilities: Brier {}, log score {} nats, skill against the share supported before {}",
        record.n_forecasts,
        record.n_open,
        record.n_probabilities,
        mean(record.brier),
        mean(record.log),
        skill(&record.brier_skill)
    ));
    for coverage in &record.coverage {
        print(&format!(
            "{by}: {} of {} intervals at {} cover [{}, {}]",
            coverage.n_covered,
            coverage.n,
            coverage.level,
            number(coverage.lower),
            number(coverage.upper)
        ));
    }
}
