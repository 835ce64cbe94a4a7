//! `ontogeny study`: the atlas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use comfy_table::{Table, presets};
use ontogeny_atlas::audit::{Severity, audit};
use ontogeny_atlas::expression::functions;
use ontogeny_atlas::registry::REGISTRY_FILE;
use ontogeny_atlas::{Study, StudyEvent, StudyOptions, catalog, find, read_verdict, register, run_study};
use ontogeny_stats::benjamini_hochberg;
use ontogeny_store::{Atlas, AtlasRow, JudgedHypothesis, Judgement, Place, StudyVerdict};
use ontogeny_study::Scale;

use super::run::{set_on_interrupt, threads_or_all};
use super::{CommandError, new};
use crate::cli::{ScaleArg, exit};
use crate::study_cli::{
    AuditArgs, Folders, ListArgs, OneArgs, RegisterArgs, StudyArgs, StudyCommand, StudyReportArgs, StudyRunArgs,
};
use crate::sweep_progress::SweepReporter;
use crate::terminal::{print, say};

/// Questions without a study, with reasons, in the folder of the studies.
const LEFT_OUT: &str = "left-out.toml";

/// Page of all studies.
const INDEX: &str = "index.html";

pub(crate) fn study(args: &StudyArgs) -> Result<u8, CommandError> {
    match &args.command {
        StudyCommand::List(args) => list(args),
        StudyCommand::Show(args) => show(args),
        StudyCommand::Register(args) => put_on_record(args),
        StudyCommand::Run(args) => run(args),
        StudyCommand::Functions => {
            for function in functions() {
                print(&format!("{:<40} {}", function.usage, function.doc));
            }
            Ok(exit::DONE)
        }
        StudyCommand::Audit(args) => check(args),
        StudyCommand::Report(args) => report(args),
    }
}

pub(super) fn scale_of(scale: ScaleArg) -> Scale {
    match scale {
        ScaleArg::Small => Scale::Small,
        ScaleArg::Full => Scale::Full,
    }
}

/// The files that are asked for by identifier, or all of them.
fn paths(folders: &Folders, ids: &[String]) -> Result<Vec<PathBuf>, CommandError> {
    if ids.iter().any(|id| id == "all") {
        return Ok(studies(folders)?.into_iter().map(|(_, path)| path).collect());
    }
    ids.iter().map(|id| Ok(find(&folders.studies, id)?)).collect()
}

fn studies(folders: &Folders) -> Result<Vec<(String, PathBuf)>, CommandError> {
    let mut all = catalog(&folders.studies)?;
    all.retain(|(_, path)| path.file_name().is_some_and(|name| name != LEFT_OUT));
    Ok(all)
}

fn list(args: &ListArgs) -> Result<u8, CommandError> {
    let atlas = atlas_of(&args.folders)?;
    if args.json {
        print(&serde_json::to_string(&atlas)?);
        return Ok(exit::DONE);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["study", "verdict", "question"]);
    for row in &atlas.studies {
        let verdict = row.verdict.as_ref().map_or("not run", |verdict| word(verdict.outcome));
        table.add_row([row.id.as_str(), verdict, row.question.as_str()]);
    }
    print(&table.to_string());
    print(&format!("{} studies, {} questions without one (see {LEFT_OUT})", atlas.studies.len(), atlas.left_out.len()));
    Ok(exit::DONE)
}

fn show(args: &OneArgs) -> Result<u8, CommandError> {
    let path = find(&args.folders.studies, &args.id)?;
    let study = Study::read(&path, scale_of(args.scale), &new::text)?;
    let verdict = read_verdict(&args.folders.atlas, &study.file.id, study.scale_name())?;
    if args.json {
        print(&serde_json::to_string(&verdict)?);
        return Ok(exit::DONE);
    }
    let file = &study.file;
    print(&format!("{}  {}\n  source   {}", file.id, file.question, file.source));
    if !file.known.is_empty() {
        print(&format!("  known    {}", file.known));
    }
    for h in &file.hypotheses {
        print(&format!("  {:<8} {}\n           {}", h.id, h.claim, h.statistic));
    }
    warn(&study);
    match verdict {
        Some(verdict) => print_verdict(&verdict),
        None => print(&format!("not run at this scale: ontogeny study run {}", file.id)),
    }
    Ok(exit::DONE)
}

fn put_on_record(args: &RegisterArgs) -> Result<u8, CommandError> {
    for path in paths(&args.folders, &args.ids)? {
        let study = Study::read(&path, Scale::Small, &new::text)?;
        warn(&study);
        let (line, is_new) = register(&study, &args.folders.atlas)?;
        if args.json {
            print(&serde_json::to_string(&line)?);
        } else {
            let when = if is_new { "registered now" } else { "was registered" };
            print(&format!("{:<8} {when}: line {} of the registry, {}", study.file.id, line.index, line.hash));
        }
    }
    Ok(exit::DONE)
}

fn run(args: &StudyRunArgs) -> Result<u8, CommandError> {
    let cancel = set_on_interrupt();
    let threads = threads_or_all(args.threads);
    let atlas = &args.folders.atlas;
    let mut code = exit::DONE;
    for path in paths(&args.folders, &args.ids)? {
        let outcome =
            Study::read(&path, scale_of(args.scale), &new::text).map_err(CommandError::from).and_then(|study| {
                warn(&study);
                let progress = Progress { study: &study, atlas, json: args.json, runs: Mutex::default() };
                let observer = |event: &StudyEvent<'_>| progress.on(event);
                let outcome = run_study(&study, atlas, &StudyOptions { threads, observer: &observer, cancel: &cancel });
                progress.finish();
                Ok(outcome?)
            });
        match outcome {
            Ok(verdict) => {
                let page = write_page(atlas, &verdict)?;
                if args.json {
                    print(&serde_json::to_string(&verdict)?);
                } else {
                    say(&format!("  page     {}", page.display()));
                    print_verdict(&verdict);
                }
            }
            Err(error) if error.exit_code() == exit::INTERRUPTED => return Err(error),
            Err(error) if args.ids.len() == 1 && args.ids[0] != "all" => return Err(error),
            Err(error) => {
                say(&format!("error: {error}"));
                code = error.exit_code();
            }
        }
    }
    write_index(&args.folders)?;
    Ok(code)
}

/// Tells what the study cannot show, before anybody waits for it.
fn warn(study: &Study<'_>) {
    for warning in study.warnings() {
        say(&format!("warning  {}: {warning}", study.file.id));
    }
}

/// The line that a person can quote.
fn print_verdict(verdict: &StudyVerdict) {
    print(&format!("{}  {}   {}", verdict.id, verdict.answer, duration(verdict.seconds)));
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole < 60 { format!("{whole} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}

fn word(outcome: Judgement) -> &'static str {
    match outcome {
        Judgement::Supported => "supported",
        Judgement::Refuted => "refuted",
        Judgement::Undecided => "undecided",
    }
}

fn check(args: &AuditArgs) -> Result<u8, CommandError> {
    let mut files = BTreeMap::new();
    for (id, path) in studies(&args.folders)? {
        let study = Study::read(&path, Scale::Small, &new::text)?;
        files.insert(id, study.files);
    }
    let findings = audit(&args.folders.atlas, &files)?;
    let n_problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    if args.json {
        print(&serde_json::to_string(&findings)?);
    } else {
        for finding in &findings {
            let severity = if finding.severity == Severity::Problem { "problem" } else { "note" };
            print(&format!("{severity:<8} {}: {}\n         {}", finding.subject, finding.found, finding.meaning));
        }
        print(&match n_problems {
            0 => "no problem found: registry, verdicts, runs and study files agree".to_owned(),
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        });
    }
    Ok(if n_problems == 0 { exit::DONE } else { exit::REFUSED })
}

fn report(args: &StudyReportArgs) -> Result<u8, CommandError> {
    let folder = &args.folders.atlas;
    for (id, _) in studies(&args.folders)? {
        for scale in ["small", "full"] {
            if let Some(verdict) = read_verdict(folder, &id, scale)? {
                write_page(folder, &verdict)?;
            }
        }
    }
    let index = write_index(&args.folders)?;
    say(&format!("  atlas    {}", index.display()));
    if let Some(file) = &args.markdown {
        let atlas = atlas_of(&args.folders)?;
        write_markdown(&atlas, folder, file)?;
        say(&format!("  markdown {}", file.display()));
    }
    Ok(exit::DONE)
}

/// The atlas as Markdown; its figures, and the registry that it rests on, in a folder of the same name beside it.
fn write_markdown(atlas: &Atlas, home: &Path, file: &Path) -> Result<(), CommandError> {
    let folder = file.with_extension("");
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    fs_err::create_dir_all(&folder)?;
    let mut figures = BTreeMap::new();
    for verdict in atlas.studies.iter().filter_map(|row| row.verdict.as_ref()) {
        let svg = match verdict.figures.first().filter(|figure| !figure.marks.is_empty()) {
            Some(figure) => ontogeny_web::study_figure_svg(figure),
            None => ontogeny_web::effects_svg(verdict),
        };
        let own = format!("{}.svg", verdict.id);
        Place::local(&folder).write(&own, svg.as_bytes())?;
        figures.insert(verdict.id.clone(), format!("{name}/{own}"));
    }
    let registry = home.join(REGISTRY_FILE);
    if registry.exists() {
        fs_err::copy(registry, folder.join(REGISTRY_FILE))?;
    }
    let text = ontogeny_web::atlas_markdown(atlas, &|id| figures.get(id).cloned());
    fs_err::write(file, text)?;
    Ok(())
}

fn write_page(atlas: &Path, verdict: &StudyVerdict) -> Result<PathBuf, CommandError> {
    let name = format!("{}-{}.html", verdict.id, verdict.scale);
    Place::local(atlas).write(&name, ontogeny_web::study_page(verdict, ".").as_bytes())?;
    Ok(atlas.join(name))
}

fn write_index(folders: &Folders) -> Result<PathBuf, CommandError> {
    let page = ontogeny_web::atlas_page(&atlas_of(folders)?);
    Place::local(&folders.atlas).write(INDEX, page.as_bytes())?;
    Ok(folders.atlas.join(INDEX))
}

/// All studies with their verdicts, those at full scale before small ones, corrected for one another.
fn atlas_of(folders: &Folders) -> Result<Atlas, CommandError> {
    let mut rows = Vec::new();
    for (id, path) in studies(folders)? {
        // One file that cannot be read hides no other.
        let study = match Study::read(&path, Scale::Small, &new::text) {
            Ok(study) => study,
            Err(error) => {
                say(&format!("left out of the atlas: {error}"));
                continue;
            }
        };
        let verdict = match read_verdict(&folders.atlas, &id, "full")? {
            Some(verdict) => Some(verdict),
            None => read_verdict(&folders.atlas, &id, "small")?,
        };
        rows.push(AtlasRow { id, question: study.file.question, verdict, q_values: BTreeMap::new() });
    }
    // One correction for every hypothesis of the atlas that has a p-value.
    let p_of = |row: &AtlasRow| -> Vec<(String, f64)> {
        let p = |h: &JudgedHypothesis| Some((h.id.clone(), h.p_value?));
        row.verdict.iter().flat_map(|verdict| verdict.hypotheses.iter().filter_map(p)).collect()
    };
    let all: Vec<(String, f64)> = rows.iter().flat_map(p_of).collect();
    let p_values: Vec<f64> = all.iter().map(|(_, p)| *p).collect();
    let mut q_values = benjamini_hochberg(&p_values, p_values.len()).into_iter();
    for row in &mut rows {
        let names: Vec<String> = p_of(row).into_iter().map(|(name, _)| name).collect();
        row.q_values = names.into_iter().zip(q_values.by_ref()).collect();
    }
    Ok(Atlas { studies: rows, left_out: left_out(&folders.studies)? })
}

fn left_out(studies: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let path = studies.join(LEFT_OUT);
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    toml::from_str(&text).map_err(|error| {
        CommandError::Arguments(format!(
            "{}: {}; expected lines such as \"N5.35\" = \"why there is no study\"",
            path.display(),
            error.message()
        ))
    })
}

/// What happens, on the terminal.
struct Progress<'a> {
    study: &'a Study<'a>,
    atlas: &'a Path,
    json: bool,
    runs: Mutex<Option<SweepReporter>>,
}

impl Progress<'_> {
    fn on(&self, event: &StudyEvent<'_>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            StudyEvent::Registered { line, is_new } if !self.json => {
                let when = if *is_new { "registered now" } else { "registered" };
                say(&format!(
                    "{}  {}\n  {when}: line {} of the registry, {}…",
                    self.study.file.id,
                    self.study.file.question,
                    line.index,
                    &line.hash[..12]
                ));
            }
            StudyEvent::Runs { names } => {
                if let Some(before) = runs.take() {
                    before.finish();
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                *runs = Some(SweepReporter::new(&self.study.file.id, self.atlas, &names, self.json));
            }
            StudyEvent::Run { at, event } => {
                if let Some(reporter) = runs.as_ref() {
                    reporter.on(*at, event);
                }
            }
            StudyEvent::Judging if !self.json => {
                if let Some(reporter) = runs.as_ref() {
                    reporter.finish();
                }
                say("  testing the hypotheses");
            }
            _ => {}
        }
    }

    fn finish(&self) {
        if let Some(reporter) = self.runs.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            reporter.finish();
        }
    }
}
