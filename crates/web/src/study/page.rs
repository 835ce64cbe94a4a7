//! The page of a study, to be read like a paper: the answer first, what it rests on after it.

use std::fmt::Write as _;

use ontogeny_store::StudyVerdict;

use super::{STYLE, effects, figure, tables, words};
use crate::number;
use crate::page;
use crate::text::{counted, escape};

/// The verdict of a study as one self-contained HTML page.
///
/// `runs_base` is the relative path from the page to the folder of the atlas; the reports of runs are linked below it.
/// The page loads nothing and needs no script; it is a function of its arguments alone, and all strings are escaped.
/// Values that are not finite count as not defined, and what is not defined is shown with its reason.
pub fn study_page(verdict: &StudyVerdict, runs_base: &str) -> String {
    let mut html = page::opening(&format!("{}: {}", verdict.id, verdict.question), STYLE, " class=\"study\"");
    html.push_str(&header(verdict));
    let mut figures =
        verdict.figures.iter().enumerate().map(|(index, own)| figure::html(own, &format!("figure-{index}")));
    html.push_str(&figures.next().unwrap_or_default());
    html.push_str(&figures.collect::<String>());
    html.push_str(&effects::section(verdict));
    html.push_str(&tables::hypotheses(verdict));
    html.push_str(&tables::attacks(verdict));
    html.push_str(&known(verdict));
    if !verdict.limits.trim().is_empty() {
        let _ = write!(html, "<section><h2>Limits</h2><p>{}</p></section>", escape(&verdict.limits));
    }
    html.push_str(&tables::runs(verdict, runs_base));
    html.push_str(&tables::values(verdict));
    html.push_str(&registration(verdict));
    html.push_str(&page::foot());
    html
}

fn header(verdict: &StudyVerdict) -> String {
    let facts = [
        words::kind(verdict).to_owned(),
        format!("{} scale", verdict.scale),
        counted(words::seeds(verdict), "seed"),
        counted(verdict.runs.len(), "run"),
        format!("{} of work", words::duration(verdict.seconds)),
    ];
    let facts: Vec<String> = facts.iter().map(|fact| format!("<li>{}</li>", escape(fact))).collect();
    let warning = if verdict.confirmatory {
        ""
    } else {
        "<p class=\"note\">Exploratory: not all runs were made with seeds of the registration, so this may suggest an answer but does not test one.</p>"
    };
    format!(
        "<header><p class=\"eyebrow\">{}</p><h1>{}</h1><p class=\"summary\">{} {}</p><ul class=\"facts\">{}</ul>{warning}</header>",
        escape(&verdict.id),
        escape(&verdict.question),
        words::chip(Some(verdict.outcome)),
        escape(&verdict.answer),
        facts.concat()
    )
}

/// What is known of the answer beside what was found.
fn known(verdict: &StudyVerdict) -> String {
    let known = match verdict.known.trim() {
        "" => "The study names no earlier answer.".to_owned(),
        known => escape(known),
    };
    let mut html = format!(
        "<section><h2>What is known</h2><div class=\"beside\"><div><h3>Known</h3><p>{known}</p></div><div><h3>Found here</h3><p>{} {}</p></div></div>",
        words::chip(Some(verdict.outcome)),
        escape(&verdict.answer)
    );
    if !verdict.source.trim().is_empty() {
        let _ = write!(
            html,
            "<p class=\"note\">The question is from {}.</p>",
            escape(verdict.source.trim_end_matches('.'))
        );
    }
    html.push_str("</section>");
    html
}

/// Where and when the study was registered, and what that is worth.
fn registration(verdict: &StudyVerdict) -> String {
    let own = &verdict.registration;
    let chances = match own.earlier {
        0 => "This study had not been registered before: it had one chance.".to_owned(),
        1 => "This study had been registered once before: that was another chance to find what it claims.".to_owned(),
        n => format!(
            "This study had been registered {} times before: each was another chance to find what it claims.",
            number::count(n)
        ),
    };
    let rows = [
        ("hash", own.hash.clone()),
        ("time (UTC)", words::time(own.time)),
        ("place in the registry", format!("{} (from 0)", number::count(own.index))),
        ("earlier registrations", number::count(own.earlier)),
        ("hash of the study's files", own.content.clone()),
        ("length of the registry at the start", number::count(own.chain_length)),
        ("its head at that time", own.chain_head.clone()),
        ("judged (UTC)", words::time(verdict.time)),
        ("ontogeny", verdict.version.clone()),
        ("format", verdict.format.to_string()),
    ];
    let mut html = format!("<section><h2>Registration</h2><p>{chances}</p><dl>");
    for (name, value) in rows {
        let _ = write!(html, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    html.push_str("</dl></section>");
    html
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::Atlas;

    use super::super::{atlas_markdown, atlas_page, effects_svg, sample, study_figure_svg};
    use super::*;

    /// Every page and picture that there is of this study.
    fn everything(study: &StudyVerdict) -> Vec<String> {
        let mut atlas = sample::atlas();
        atlas.studies[0].id.clone_from(&study.id);
        atlas.studies[0].question.clone_from(&study.question);
        atlas.studies[0].verdict = Some(study.clone());
        atlas.left_out = BTreeMap::from([(study.id.clone(), study.limits.clone())]);
        let pictures = study.figures.iter().map(study_figure_svg);
        [study_page(study, "../atlas"), atlas_page(&atlas), effects_svg(study)].into_iter().chain(pictures).collect()
    }

    /// Elements that are open at the end, or closed without being opened; void ones of HTML aside.
    fn unbalanced(markup: &str) -> Vec<String> {
        const VOID: [&str; 5] = ["meta", "link", "br", "wbr", "input"];
        let mut open: Vec<String> = Vec::new();
        // What stands between these is not markup.
        let mut rest = markup;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            let tag = &rest[..rest.find('>').expect("a tag ends")];
            let name: String = tag.chars().take_while(|c| c.is_alphanumeric() || *c == '/').collect();
            if let Some(closed) = name.strip_prefix('/') {
                let last = open.pop();
                if last.as_deref() != Some(closed) {
                    return vec![format!("{closed} closes {last:?}")];
                }
            } else if !tag.starts_with('!') && !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
                if name == "style" || name == "script" {
                    rest = &rest[rest.find(&format!("</{name}>")).expect("it ends") + 1..];
                } else {
                    open.push(name);
                }
            }
        }
        open
    }

    #[test]
    fn hostile_strings_stay_text() {
        let hostile = "</title></style><script>alert(1)</script><img src=x>\" onload='x' & javascript:alert(1)";
        for text in everything(&sample::worded(hostile)) {
            assert!(text.matches("<script").count() <= 1 && !text.contains("alert(1)</script>"));
            for wrong in ["<img", "\" onload", "href=\"javascript", "'x'"] {
                assert!(!text.contains(wrong), "{wrong} in {text}");
            }
            assert_eq!(text.matches("<title>").count(), text.matches("</title>").count());
        }
    }

    #[test]
    fn markup_is_balanced_and_no_number_is_a_word_of_a_program() {
        let mut odd = sample::study();
        odd.seconds = f64::NAN;
        odd.hypotheses[0].values[0].value = Some(f64::INFINITY);
        odd.hypotheses[0].values[1].x = Some(f64::NAN);
        odd.hypotheses[1].p_value = Some(f64::NAN);
        odd.hypotheses[1].power = Some(f64::INFINITY);
        odd.hypotheses[2].smallest_effect = f64::NAN;
        odd.hypotheses[3].no_effect = f64::NEG_INFINITY;
        odd.hypotheses[3].effect.as_mut().unwrap().estimate = f64::NAN;
        odd.figures[0].marks[0].x[0] = f64::NAN;
        odd.figures[0].marks[0].y[1] = Some(f64::INFINITY);
        for study in [sample::study(), odd] {
            for text in everything(&study) {
                assert_eq!(unbalanced(&text), Vec::<String>::new());
                let words = text.split("<script>").next().unwrap();
                for wrong in ["NaN", "inf%", "inf\"", "inf,", ">inf", "-inf", "null", "None", "Some("] {
                    assert!(!words.contains(wrong), "{wrong}: {words}");
                }
            }
        }
    }

    #[test]
    fn the_checker_of_balance_sees_what_is_wrong() {
        assert_eq!(unbalanced("<svg><g></svg></g>"), ["svg closes Some(\"g\")"]);
        assert_eq!(unbalanced("<svg><g/>"), ["svg"]);
        assert_eq!(unbalanced("<p>a<br>b</p><style>a > b</style>"), Vec::<String>::new());
    }

    #[test]
    fn nothing_of_the_verdict_is_left_out() {
        let study = sample::study();
        let html = study_page(&study, "../atlas/");
        let mut expected =
            vec![study.question.clone(), study.answer.clone(), study.known.clone(), study.limits.clone()];
        expected.extend(study.hypotheses.iter().flat_map(|h| [h.id.clone(), h.claim.clone()]));
        expected.extend(study.hypotheses.iter().filter_map(|h| h.why.clone()).map(|why| why[1..].to_owned()));
        expected.extend(study.attacks.iter().flat_map(|a| [a.what.clone(), a.kind.replace('_', " ")]));
        expected.extend(study.runs.iter().map(|run| format!("href=\"../atlas/{}/report.html\"", run.directory)));
        expected.extend(study.figures.iter().map(|figure| figure.title.clone()));
        let own = &study.registration;
        expected.extend([&own.hash, &own.content, &own.chain_head].map(Clone::clone));
        expected
            .extend(["2026-11-29T16:00:00Z", "registered 2 times before", "fell", "could not tell"].map(String::from));
        for words in expected {
            assert!(html.contains(&escape(&words)) || html.contains(&words), "{words}");
        }
        // In the table of values stands every unit of every claim and attack; what is not defined, with its reason.
        let table = html.split("<details>").nth(1).unwrap().split("</details>").next().unwrap();
        let all = study.hypotheses.iter().chain(study.attacks.iter().map(|attack| &attack.found));
        let (n, n_undefined) =
            all.fold((0, 0), |(n, m), h| (n + h.values.len(), m + h.values.len() - words::n_defined(h)));
        assert_eq!(table.matches("<tr><td").count(), n);
        let reasons = table.matches("loss.test has no transition").count() + table.matches("the run diverged").count();
        assert_eq!(reasons, n_undefined);
    }

    #[test]
    fn the_answer_stands_before_the_figure_and_the_figure_before_all_else() {
        let html = study_page(&sample::study(), "");
        let body = html.split("<main").nth(1).unwrap();
        let at = |words: &str| body.find(words).unwrap_or_else(|| panic!("{words}"));
        let order = [
            "<h1>",
            "0.31 nats of step sooner",
            "id=\"figure-0\"",
            "id=\"figure-2\"",
            "Effects",
            "<h2>Hypotheses",
            "<h2>Attacks",
            "<h2>What is known",
            "<h2>Limits",
            "<h2>Runs",
            "<h2>Values",
            "<h2>Registration",
        ]
        .map(at);
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn the_same_verdict_gives_the_same_bytes_also_through_json() {
        let atlas = sample::atlas();
        let again: Atlas = serde_json::from_str(&serde_json::to_string(&atlas).unwrap()).unwrap();
        assert_eq!(atlas_page(&atlas), atlas_page(&again));
        let none = |_: &str| None;
        assert_eq!(atlas_markdown(&atlas, &none), atlas_markdown(&again, &none));
        let [a, b] = [&atlas, &again].map(|atlas| everything(atlas.studies[0].verdict.as_ref().unwrap()));
        assert_eq!(a, b);
    }

    #[test]
    fn exploratory_and_empty_studies_say_so() {
        let mut study = sample::study();
        study.confirmatory = false;
        for list in [&mut study.known, &mut study.limits] {
            list.clear();
        }
        study.hypotheses.clear();
        study.attacks.clear();
        study.figures.clear();
        study.runs.clear();
        study.registration.earlier = 0;
        let html = study_page(&study, "");
        for words in
            ["exploratory", "does not test one", "No attack", "no run", "no earlier answer", "it had one chance"]
        {
            assert!(html.contains(words), "{words}");
        }
        assert!(!html.contains("<h2>Limits") && unbalanced(&html).is_empty());
        assert!(effects_svg(&study).contains("</svg>"));
    }

    #[test]
    fn nothing_is_fetched_and_ids_are_unique() {
        let html = study_page(&sample::study(), "");
        for fetched in ["src=", "@import", "url(", "http://", "https://"] {
            assert!(!html.contains(fetched), "{fetched}");
        }
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let n = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), n);
    }

    #[test]
    fn pictures_stand_alone() {
        let study = sample::study();
        for svg in study.figures.iter().map(study_figure_svg).chain([effects_svg(&study)]) {
            assert!(!svg.contains("var(--") && !svg.contains("href") && svg.contains("prefers-color-scheme: dark"));
            assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        }
    }
}
