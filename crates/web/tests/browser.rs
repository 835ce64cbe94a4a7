//! The report in a real browser: Chromium opens it without a network, at phone width, and moves its cursor.
//!
//! A wrapper page holds the report in a frame, drives it with events as a reader would, and writes what it saw into its
//! own title, which Chromium prints with the rest of the page. Without Chromium the tests say so and pass.

#[path = "../src/sample.rs"]
mod sample;
#[path = "../src/study/sample.rs"]
mod studies;

use std::path::{Path, PathBuf};
use std::process::Command;

use ontogeny_store::Status;
use ontogeny_web::{
    Curve, Curves, atlas_page, curves_page, curves_svg, effects_svg, report, study_figure_svg, study_page,
};

/// Waits for the frame, then for one more turn of the event loop, and reports the result of `check` or its error.
const WRAPPER: &str = r#"<!doctype html><meta charset="utf-8"><title>waiting</title>
<iframe id="page" style="width:WIDTHpx;height:900px;border:0" src="report.html"></iframe>
<pre id="seen"></pre>
<script>
const page = document.getElementById("page");
const errors = [];
page.addEventListener("load", () => {
  try {
    const doc = page.contentDocument;
    const win = page.contentWindow;
    win.addEventListener("error", (event) => errors.push(event.message));
    const check = () => { CHECK };
    document.getElementById("seen").textContent = JSON.stringify({ result: check(), errors });
  } catch (error) {
    document.getElementById("seen").textContent = JSON.stringify({ result: null, errors: [String(error)] });
  }
});
</script>"#;

fn chromium() -> Option<PathBuf> {
    let candidates = ["chromium", "chromium-browser", "google-chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .flat_map(|folder| candidates.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

/// Opens `page` in a frame of this width and returns what `check` (JavaScript statements) returned.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn in_browser(page: &str, width: u32, check: &str) -> Option<serde_json::Value> {
    let Some(browser) = chromium() else {
        println!("skipped: no Chromium on the PATH");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder for the pages");
    fs_err::write(folder.path().join("report.html"), page).expect("the report can be written");
    let wrapper = WRAPPER.replace("WIDTH", &width.to_string()).replace("CHECK", check);
    fs_err::write(folder.path().join("wrapper.html"), wrapper).expect("the wrapper can be written");
    let dom = dump_dom(&browser, folder.path());
    let seen = dom.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or_default();
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let seen: serde_json::Value =
        serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen:?} in {dom}"));
    assert_eq!(seen["errors"], serde_json::json!([]));
    Some(seen["result"].clone())
}

fn dump_dom(browser: &Path, folder: &Path) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // Files may read each other: the wrapper looks into the frame.
        .args(["--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom", "--window-size=1400,1000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", folder.join("wrapper.html").display()))
        .output()
        .expect("Chromium starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("Chromium prints UTF-8")
}

#[test]
fn no_page_is_wider_than_its_window() {
    for (width, n_checkpoints, n_refused) in [(360, 24, 3), (360, 1, 1), (800, 24, 0), (1280, 24, 24)] {
        let mut view = sample::grokking(n_checkpoints, n_refused);
        view.run.directory = "a-folder-with-a-very-long-name-and-no-place-to-break-".repeat(4);
        view.run.command = format!("ontogeny run {}", "x".repeat(300));
        view.run.title = "Ü".repeat(120);
        let check = "return { page: doc.documentElement.scrollWidth, window: doc.documentElement.clientWidth, letters: Math.min(...[...doc.querySelectorAll('text')].map((t) => parseFloat(win.getComputedStyle(t).fontSize))) };";
        let Some(seen) = in_browser(&report(&view), width, check) else {
            return;
        };
        assert!(seen["page"].as_u64() <= seen["window"].as_u64(), "{width} px, {n_checkpoints} checkpoints: {seen}");
        // Letters keep their size on a phone; below 11 px they could not be read.
        assert!(seen["letters"].as_f64() >= Some(11.0), "{seen}");
    }
}

#[test]
fn the_cursor_moves_on_all_figures_and_reads_the_data() {
    let view = sample::grokking(24, 3);
    let check = r##"
        const readings = () => Object.fromEntries([...doc.querySelectorAll("figure")].filter((f) => f.querySelector(".key")).map((f) =>
            [f.id, [...f.querySelectorAll("output")].map((o) => o.textContent)]));
        const cursors = () => [...new Set([...doc.querySelectorAll(".cursor")].map((c) => c.getAttribute("x1")))];
        const steps = () => [...new Set([...doc.querySelectorAll(".key .at b")].map((b) => b.textContent))];
        const drawn = readings();
        const plot = doc.querySelector("#loss .plot");
        const key = (name) => plot.dispatchEvent(new win.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
        key("End");
        const end = { readings: readings(), cursors: cursors(), steps: steps() };
        key("Home");
        const home = { readings: readings(), cursors: cursors(), steps: steps(), spoken: doc.getElementById("spoken").textContent };
        const box = doc.querySelector("#llc .frame.only .chart").getBoundingClientRect();
        doc.querySelector("#llc .plot").dispatchEvent(new win.PointerEvent("pointermove", { clientX: box.left + box.width * 0.5, clientY: box.top + 9, bubbles: true }));
        return { drawn, end, home, middle: { cursors: cursors(), steps: steps() } };"##;
    let Some(seen) = in_browser(&report(&view), 800, check) else {
        return;
    };
    assert_eq!(seen["drawn"], seen["end"]["readings"], "the script and the drawn page must write numbers alike");
    assert_eq!(seen["end"]["steps"], serde_json::json!(["3,000"]));
    assert_eq!(seen["end"]["cursors"], serde_json::json!(["99%"]));
    assert_eq!(seen["home"]["cursors"], serde_json::json!(["1%"]));
    assert_eq!(seen["home"]["readings"]["llc"][0], "refused");
    assert!(seen["home"]["spoken"].as_str().unwrap().starts_with("step 0 train"), "{}", seen["home"]["spoken"]);
    // Half of the axis: ln(t + 1) is half of ln 3001 at t = 54; the nearest checkpoint stands there on all figures.
    let middle: f64 = seen["middle"]["steps"][0].as_str().unwrap().parse().unwrap();
    let distance = |step: f64| ((step + 1.0).ln() - 0.5 * 3001f64.ln()).abs();
    assert!(view.checkpoints.iter().all(|step| distance(*step as f64) >= distance(middle)), "{middle}");
    assert_eq!(seen["middle"]["steps"].as_array().unwrap().len(), 1);
    assert_eq!(seen["middle"]["cursors"].as_array().unwrap().len(), 1);
}

/// Statements that collect what a reader cannot read: words outside the window, and words of one drawing on each other.
const UNREADABLE: &str = r#"
    const wrong = [];
    for (const svg of doc.querySelectorAll("svg.chart")) {
        const boxes = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]).filter(([, b]) => b.width > 0);
        for (const [text, b] of boxes) {
            if (b.left < 0 || b.right > doc.documentElement.clientWidth) wrong.push(`outside: ${text} ${b.left} to ${b.right}`);
            for (const [other, o] of boxes) {
                const common = Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top);
                // Boxes of lines are higher than their letters.
                if (b !== o && b.left < o.right && o.left < b.right && common > 5) wrong.push(`overlap: ${text} and ${other}`);
            }
        }
    }
    if (doc.documentElement.scrollWidth > doc.documentElement.clientWidth) wrong.push("wider than the window");
    for (const table of doc.querySelectorAll(".scroll")) {
        // A phone scrolls its tables sideways; a page of full width shows them whole.
        if (win.innerWidth > 800 && table.scrollWidth > table.clientWidth) wrong.push(`cut: ${table.getAttribute("aria-label")}`);
    }
    return wrong;"#;

#[test]
fn no_words_stand_outside_the_window_or_on_other_words() {
    let transition = |label: &str, lower: f64, step: f64, upper: f64| {
        let label = Some(label.to_owned());
        ontogeny_store::Transition { label, lower, step, upper, ..sample::grokking(24, 0).transitions[0].clone() }
    };
    let mut wide = sample::grokking(24, 3);
    // Intervals that leave no room for words on either side, and names longer than the page.
    wide.transitions = vec![
        transition("memorisation", 0.0, 60.0, 3000.0),
        transition("a rather long name of a transition", 2.0, 150.0, 1500.0),
        transition("a rather long name of a transition", 30.0, 41.0, 52.0),
        transition(&"x".repeat(300), 2900.0, 3000.0, 3000.0),
        transition(&"induction_head_".repeat(20), 0.0, 0.0, 1.0),
    ];
    let mut many = sample::grokking(24, 24);
    many.transitions =
        (0..60).map(|i| 5.0 * 1.1_f64.powi(i)).map(|s| transition("induction", 0.9 * s, s, 1.1 * s)).collect();
    many.stages = (0..25)
        .map(|i| ontogeny_store::Boundary {
            step: 10.0 * 1.22_f64.powi(i),
            ..sample::grokking(24, 0).stages[0].clone()
        })
        .collect();
    let values =
        [[4e-7, 4.6e-7], [-1.5e9, 2e-7], [40.0, 1e-7], [1_234_567.0, 1_234_568.0], [-3e-12, -2e-12], [0.0, 0.0]];
    let curve = |(at, ends): (usize, &[f64; 2])| Curve {
        name: format!("blocks.{at}.a_very_long_name_of_a_series_that_does_not_end_soon"),
        unit: String::new(),
        steps: vec![0.0, 1e6],
        values: ends.to_vec(),
        standard_errors: None,
    };
    let small =
        Curves { title: "x".repeat(200), curves: values.iter().enumerate().map(curve).collect(), ..Curves::default() };
    let pages = [report(&wide), report(&many), report(&sample::grokking(1, 1)), curves_page(&small)];
    for (at, page) in pages.iter().enumerate() {
        for width in [360, 860] {
            let Some(seen) = in_browser(page, width, UNREADABLE) else {
                return;
            };
            assert_eq!(seen, serde_json::json!([]), "page {at} at {width} px");
        }
    }
}

#[test]
fn a_picture_shows_all_of_its_words() {
    let curve = |name: String, values: [f64; 2]| Curve {
        name,
        unit: "nats".to_owned(),
        steps: vec![0.0, 1e6],
        values: values.to_vec(),
        standard_errors: None,
    };
    let picture = curves_svg(&Curves {
        title: "blocks.0.attn.head.1.hook_z/".repeat(9),
        curves: vec![curve("blocks.0.a_long_name_".repeat(9), [3e-7, 4.5e-7]), curve("loss".into(), [1e-7, 40.0])],
        ..Curves::default()
    });
    let check = r#"
        const box = doc.querySelector("svg").getBoundingClientRect();
        return [...doc.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()])
            .filter(([, b]) => b.left < box.left || b.right > box.right).map(([text, b]) => `${text}: ${b.left} to ${b.right}`);"#;
    let Some(seen) = in_browser(&format!("<!doctype html><body style=\"margin:9px\">{picture}"), 800, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!([]));
}

#[test]
fn paper_is_white_and_nothing_on_it_is_cut() {
    let mut view = sample::grokking(500, 30);
    view.run.command = "x".repeat(300);
    // The rules for paper in place of those for screens, at the width of A4 less its margins.
    let page = report(&view).replace("@media print", "@media all").replace("@media screen", "@media not all");
    let check = r#"
        const style = (e) => win.getComputedStyle(e);
        const all = (selector) => [...doc.querySelectorAll(selector)];
        return {
            paper: style(doc.documentElement).backgroundColor,
            scrolls: all(".scroll, pre").filter((e) => e.scrollHeight > e.clientHeight + 1 || style(e).overflowY !== "visible").length,
            wide: all("main *").filter((e) => e.id !== "spoken" && e.getBoundingClientRect().right > doc.documentElement.clientWidth).length,
            // A figure that may not break must fit a sheet: letter is 247 mm high within its margins.
            tall: all("figure").filter((e) => style(e).breakInside !== "avoid" || e.getBoundingClientRect().height > 247 * 96 / 25.4).map((e) => e.id),
            links: all("a, input").filter((e) => e.getBoundingClientRect().height > 0).length,
            reasons: all("td").filter((e) => e.textContent === "R̂ 1.31 is above 1.05").length,
        };"#;
    let Some(seen) = in_browser(&page, 680, check) else {
        return;
    };
    let expected = serde_json::json!({ "paper": "rgb(255, 255, 255)", "scrolls": 0, "wide": 0, "tall": [], "links": 0, "reasons": 30 });
    assert_eq!(seen, expected);
}

#[test]
fn curves_with_long_names_over_fractions_of_a_step_fit_a_phone() {
    let name = |at: usize| format!("a_very_long_name_with_no_place_to_break_in_it_{at}");
    let curve = |at: usize| Curve {
        name: name(at),
        unit: String::new(),
        // Whole steps, steps below 1 and steps between.
        steps: (0..40).map(|i| f64::from(i) * [1.0, 0.01, 2.5][at]).collect(),
        values: (0..40).map(f64::from).collect(),
        standard_errors: None,
    };
    let transition = |i: usize| ontogeny_store::Transition {
        observable: name(i % 3),
        step: 0.1 * 2_f64.powi(i as i32),
        ..sample::grokking(24, 0).transitions[0].clone()
    };
    let page = curves_page(&Curves {
        title: "curves.npz".to_owned(),
        curves: (0..3).map(curve).collect(),
        transitions: (0..9).map(transition).collect(),
        ..Curves::default()
    });
    let check = r##"
        const fits = () => doc.documentElement.scrollWidth <= doc.documentElement.clientWidth;
        const key = (name) => doc.querySelector("#curve-0 .plot").dispatchEvent(new win.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
        const at = () => [...new Set([...doc.querySelectorAll(".key .at b")].map((b) => b.textContent))];
        const seen = [fits()];
        for (const move of ["Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft"]) { key(move); seen.push(...at()); }
        return seen;"##;
    let Some(seen) = in_browser(&page, 360, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!([true, "0", "0.01", "0.02", "97.5", "95"]));
}

#[test]
fn the_axis_box_switches_between_logarithmic_and_linear() {
    let check = r##"
        const shown = () => [...doc.querySelectorAll("#loss .frame")].filter((f) => f.getBoundingClientRect().height > 0).map((f) => f.classList.contains("log"));
        const before = shown();
        doc.getElementById("loss-linear").click();
        return { before, after: shown() };"##;
    let Some(seen) = in_browser(&report(&sample::grokking(24, 0)), 360, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!({ "before": [true], "after": [false] }));
}

#[test]
fn the_reason_of_a_refusal_opens_inside_the_window() {
    // Refused at every step: each tip is opened in turn, at phone width.
    let check = r#"
        const overflow = [];
        for (const mark of doc.querySelectorAll(".refused")) {
            mark.focus();
            if (win.getComputedStyle(mark, "::after").content === "none") overflow.push("no tip");
            if (doc.documentElement.scrollWidth > doc.documentElement.clientWidth) overflow.push(mark.style.left);
        }
        return overflow;"#;
    let Some(seen) = in_browser(&report(&sample::grokking(24, 24)), 360, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!([]));
}

#[test]
fn every_link_saves_its_data_and_every_figure_has_words() {
    let view = sample::grokking(24, 2);
    let check = r##"
        const csv = decodeURIComponent(doc.querySelector("#loss a.csv").getAttribute("href").replace(/^[^,]*,/, ""));
        const figures = [...doc.querySelectorAll("figure")];
        return {
            rows: csv.trim().split("\n").map((row) => row.split(",")),
            without_csv: figures.filter((f) => !f.querySelector("a.csv[download]")).map((f) => f.id),
            without_words: [...doc.querySelectorAll("svg.chart")].filter((s) => s.getAttribute("role") !== "img" || s.getAttribute("aria-label").length < 20).length,
            unreachable: [...doc.querySelectorAll(".scroll, .plot, .refused, pre")].filter((e) => e.tabIndex < 0).length,
            reason: doc.querySelector("#llc .refused").getAttribute("aria-label"),
        };"##;
    let Some(seen) = in_browser(&report(&view), 800, check) else {
        return;
    };
    let rows = seen["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1 + view.checkpoints.len());
    for (row, (step, values)) in
        rows[1..].iter().zip(view.checkpoints.iter().zip(view.observables["loss"].values.values.chunks(3)))
    {
        let cells: Vec<f64> =
            row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(cells[0], *step as f64);
        assert_eq!(cells[1..].iter().copied().map(Some).collect::<Vec<_>>(), values);
    }
    assert_eq!(seen["without_csv"], serde_json::json!([]));
    assert_eq!([&seen["without_words"], &seen["unreachable"]], [&serde_json::json!(0), &serde_json::json!(0)]);
    assert_eq!(seen["reason"], "llc at step 0 refused: not converged, R̂ 1.31 is above 1.05");
}

#[test]
fn hostile_words_run_nothing() {
    let mut view = sample::grokking(8, 1);
    let hostile =
        "\"><img src=x onerror=\"parent.document.title='broken'\"><script>parent.document.title='broken'</script>";
    view.run.title = hostile.to_owned();
    view.run.configuration = hostile.to_owned();
    let llc = view.observables.get_mut("llc").unwrap();
    llc.unit = hostile.to_owned();
    llc.status[0] = Status::Refused { verdict: hostile.to_owned(), reason: String::new() };
    let check = "return { images: doc.images.length, scripts: doc.scripts.length, heading: doc.querySelector('h1').textContent, title: document.title };";
    let Some(seen) = in_browser(&report(&view), 800, check) else {
        return;
    };
    assert_eq!(seen["heading"], hostile);
    assert_eq!([&seen["images"], &seen["scripts"]], [&serde_json::json!(0), &serde_json::json!(1)]);
    assert_eq!(seen["title"], "waiting");
}

/// The viewer of attention patterns, driven as a reader would: what the page has drawn, what the script draws anew, and what follows
/// the slider, the prompt, the head, the keys and the cursor of the other figures.
#[test]
fn attention_patterns_follow_slider_prompt_and_head() {
    let mut view = sample::grokking(24, 0);
    sample::add_attention(&mut view, 3, 12, 4);
    let check = r##"
        const viewer = doc.querySelector(".viewer");
        const of = (svg) => [svg.getAttribute("viewBox"), [...svg.querySelectorAll("path:not(.row)")].map((p) => [p.getAttribute("class"), p.getAttribute("d")])];
        const small = () => [...viewer.querySelectorAll(".heads svg")].map(of);
        const large = () => of(viewer.querySelector(".large .cells"));
        const tokens = () => [...viewer.querySelectorAll(".tokens span")].map((s) => [s.textContent, s.className]);
        const [select, slider, output] = ["select", "input", "output"].map((name) => viewer.querySelector(name));
        const change = (element, value, type) => { element.value = value; element.dispatchEvent(new win.Event(type, { bubbles: true })); };
        const at = () => doc.querySelector("#loss .key .at b").textContent;
        const drawn = { small: small(), large: large(), tokens: tokens() };
        change(slider, 0, "input");
        const first = { small: small(), step: output.textContent, cursor: at(), said: slider.getAttribute("aria-valuetext") };
        change(slider, slider.max, "input");
        const again = { small: small(), large: large(), tokens: tokens() };
        viewer.querySelectorAll(".heads button")[3].click();
        const chosen = { large: large(), pressed: [...viewer.querySelectorAll(".heads button")].map((b) => b.getAttribute("aria-pressed")), reading: viewer.querySelector(".reading").textContent };
        const line = viewer.querySelector(".tokens");
        const key = (name) => line.dispatchEvent(new win.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
        key("Home"); key("ArrowRight"); key("ArrowRight");
        const second = viewer.querySelector(".reading").textContent;
        change(select, 1, "change");
        const other = { tokens: tokens().map(([text]) => text), box: large()[0] };
        const plot = doc.querySelector("#loss .plot");
        plot.dispatchEvent(new win.KeyboardEvent("keydown", { key: "Home", bubbles: true, cancelable: true }));
        return { drawn, first, again, chosen, second, other, followed: output.textContent };"##;
    let Some(seen) = in_browser(&report(&view), 800, check) else {
        return;
    };
    assert_eq!(seen["drawn"], seen["again"], "the script and the page must draw alike");
    // Before anything is learned all heads look evenly; at the end the last looks at the token before.
    assert_eq!(seen["first"]["small"][0], seen["first"]["small"][3]);
    assert_ne!(seen["again"]["small"][0], seen["again"]["small"][3]);
    assert_eq!(
        (&seen["first"]["step"], &seen["first"]["cursor"], &seen["first"]["said"]),
        (&serde_json::json!("0"), &serde_json::json!("0"), &serde_json::json!("step 0"))
    );
    assert_eq!(seen["chosen"]["large"], seen["again"]["small"][3]);
    assert_eq!(seen["chosen"]["pressed"], serde_json::json!(["false", "false", "false", "true"]));
    let reading = seen["chosen"]["reading"].as_str().unwrap();
    assert!(reading.starts_with("l0h3 from “·cat” (11): “The” (10) 0."), "{reading}");
    let second = seen["second"].as_str().unwrap();
    assert!(second.starts_with("l0h3 from “·sat” (2): “·cat” (1) 0."), "{second}");
    // The second prompt is one token shorter, and begins with the next word.
    assert_eq!(seen["other"]["box"], "0 0 11 11");
    assert_eq!(seen["other"]["tokens"][0], "·cat");
    assert_eq!(seen["followed"], "0");
}

#[test]
fn attention_patterns_fit_every_window_and_sheet() {
    let mut view = sample::grokking(8, 0);
    sample::add_attention(&mut view, 2, 64, 12);
    let page = report(&view);
    for width in [360, 860] {
        let Some(seen) = in_browser(&page, width, UNREADABLE) else {
            return;
        };
        assert_eq!(seen, serde_json::json!([]), "{width} px");
    }
    let paper = page.replace("@media print", "@media all").replace("@media screen", "@media not all");
    let check = r#"
        const height = (e) => e.getBoundingClientRect().height;
        return {
            wide: [...doc.querySelectorAll(".viewer *")].filter((e) => e.getBoundingClientRect().right > doc.documentElement.clientWidth).length,
            controls: height(doc.querySelector(".viewer .controls")),
            tall: [...doc.querySelectorAll(".viewer > div")].filter((e) => height(e) > 247 * 96 / 25.4).length,
        };"#;
    let Some(seen) = in_browser(&paper, 680, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!({ "wide": 0, "controls": 0, "tall": 0 }));
}

/// Studies to be read: as they may be, with words that do not end, and with values that leave no room.
fn hard_studies() -> Vec<ontogeny_store::StudyVerdict> {
    let mut wide = studies::study();
    for (hypothesis, factor) in wide.hypotheses.iter_mut().zip([1e-9, -1e7, 1e12, 1.0, 1e5]) {
        hypothesis.values.iter_mut().for_each(|unit| unit.value = unit.value.map(|x| 1.0 + factor * x));
        hypothesis.no_effect = 1.0;
    }
    wide.runs.extend(wide.runs.clone());
    vec![
        studies::study(),
        studies::worded(&"a_name_that_does_not_end_".repeat(12)),
        studies::worded(&"Ü".repeat(200)),
        wide,
    ]
}

#[test]
fn pages_of_studies_can_be_read_on_a_phone_and_on_a_desk() {
    let mut pages: Vec<String> = Vec::new();
    for study in hard_studies() {
        let mut atlas = studies::atlas();
        (atlas.studies[0].id, atlas.studies[0].question) = (study.id.clone(), study.question.clone());
        atlas.left_out.insert(study.id.clone(), study.limits.clone());
        pages.push(study_page(&study, "../atlas").replace("<details>", "<details open>"));
        atlas.studies[0].verdict = Some(study);
        pages.push(atlas_page(&atlas));
    }
    for (at, page) in pages.iter().enumerate() {
        for width in [360, 1240] {
            let Some(seen) = in_browser(page, width, UNREADABLE) else {
                return;
            };
            assert_eq!(seen, serde_json::json!([]), "page {at} at {width} px");
        }
    }
}

#[test]
fn pictures_of_studies_show_all_of_their_words() {
    let check = r#"
        const wrong = [];
        for (const svg of doc.querySelectorAll("body > svg")) {
            const box = svg.getBoundingClientRect();
            const boxes = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
            for (const [text, b] of boxes) {
                if (b.left < box.left || b.right > box.right || b.top < box.top || b.bottom > box.bottom) wrong.push(`outside: ${text}: ${b.left} to ${b.right}`);
                for (const [other, o] of boxes) {
                    const common = Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top);
                    if (b !== o && b.left < o.right && o.left < b.right && common > 5) wrong.push(`overlap: ${text} and ${other}`);
                }
            }
        }
        return wrong;"#;
    for (at, study) in hard_studies().iter().enumerate() {
        let pictures: String = study.figures.iter().map(study_figure_svg).chain([effects_svg(study)]).collect();
        let Some(seen) = in_browser(&format!("<!doctype html><body style=\"margin:9px\">{pictures}"), 800, check)
        else {
            return;
        };
        assert_eq!(seen, serde_json::json!([]), "study {at}");
    }
}

#[test]
fn on_paper_a_study_loses_nothing_but_its_links_to_data() {
    let page = study_page(&studies::study(), "")
        .replace("@media print", "@media all")
        .replace("@media screen", "@media not all");
    let check = r#"
        const style = (e) => win.getComputedStyle(e);
        const all = (selector) => [...doc.querySelectorAll(selector)];
        return {
            paper: style(doc.documentElement).backgroundColor,
            wide: all("main *").filter((e) => e.id !== "spoken" && !e.closest("svg") && e.getBoundingClientRect().right > doc.documentElement.clientWidth).map((e) => e.textContent),
            tall: all("figure").filter((e) => style(e).breakInside !== "avoid" || e.getBoundingClientRect().height > 247 * 96 / 25.4).map((e) => e.id),
        };"#;
    let Some(seen) = in_browser(&page, 680, check) else {
        return;
    };
    assert_eq!(seen, serde_json::json!({ "paper": "rgb(255, 255, 255)", "wide": [], "tall": [] }));
}
