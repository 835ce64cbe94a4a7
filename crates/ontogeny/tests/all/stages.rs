//! `ontogeny stages`: the same findings from every format, from files and from runs, and mistakes that name their place.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::common::Workplace;
use serde_json::Value;

/// 120 points of a curve that falls by 4 at step 300 and of one that rises by 1 at step 900, with noise that repeats.
struct Curves {
    steps: Vec<f64>,
    loss: Vec<f64>,
    score: Vec<f64>,
}

fn curves() -> Curves {
    let steps: Vec<f64> = (0..120).map(|i| (10.0 * 1.045_f64.powi(i)).round() + f64::from(i)).collect();
    // A quadratic residue sequence is as good as noise here, and needs no generator.
    let noise = |i: usize, scale: f64| scale * ((i * i * 7919 % 1009) as f64 / 1009.0 - 0.5);
    let curve = |f: &dyn Fn(f64) -> f64, scale: f64| -> Vec<f64> {
        steps.iter().enumerate().map(|(i, &t)| f(t) + noise(i, scale)).collect()
    };
    let loss = curve(&|t| 4.0 / (1.0 + (t / 300.0).powi(6)), 0.1);
    let score = curve(&|t| 1.0 / (1.0 + (t / 900.0).powi(-8)), 0.02);
    Curves { steps, loss, score }
}

fn table(c: &Curves, separator: &str) -> String {
    let mut text = ["step", "loss", "score"].join(separator) + "\n";
    for i in 0..c.steps.len() {
        writeln!(text, "{}", [c.steps[i], c.loss[i], c.score[i]].map(|x| format!("{x:?}")).join(separator)).unwrap();
    }
    text
}

/// An `.npy` file of doubles (NumPy Enhancement Proposal 1).
fn npy(shape: &str, fortran_order: &str, descr: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn little(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn big(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_be_bytes()).collect()
}

fn json(outcome: &crate::common::Outcome) -> Value {
    outcome.expect(0, &[]);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn every_format_gives_the_same_findings_on_any_number_of_threads() {
    let here = Workplace::new();
    let c = curves();
    here.write("a.csv", table(&c, ","));
    here.write("b.tsv", table(&c, "\t"));
    here.write("c.csv", format!("\u{feff}{}", table(&c, ";").replace('\n', "\r\n").replace('.', ",")));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(table(&c, ",").as_bytes()).unwrap();
    here.write("d.csv.gz", gz.finish().unwrap());
    let n = c.steps.len();
    let both: Vec<f64> = c.loss.iter().chain(&c.score).copied().collect();
    let shape = format!("({n},)");
    here.write(
        "e.npz",
        npz(&[
            ("step", npy(&shape, "False", "<f8", &little(&c.steps))),
            ("loss", npy(&shape, "False", ">f8", &big(&c.loss))),
            ("score", npy(&shape, "True", "<f8", &little(&c.score))),
        ]),
    );
    here.write("f.json", serde_json::json!({ "step": c.steps, "loss": c.loss, "score": c.score }).to_string());
    let record = |i: usize| serde_json::json!({ "step": c.steps[i], "loss": c.loss[i], "score": c.score[i] });
    here.write("g.json", Value::Array((0..n).map(record).collect()).to_string());
    // A log: the two values of a step on lines of their own.
    let lines = (0..n).map(|i| {
        let (t, loss, score) = (c.steps[i], c.loss[i], c.score[i]);
        format!("{{\"step\":{t:?},\"loss\":{loss:?}}}\n{{\"score\":{score:?},\"step\":{t:?}}}\n")
    });
    here.write("h.jsonl", lines.collect::<String>());

    let expected = json(&here.call(&["stages", "a.csv", "--json", "--threads", "1"]));
    let keys: Vec<&String> = expected.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["series", "transitions", "stages", "intervals"]);
    for (name, at, size) in [("loss", 300.0, -4.0), ("score", 900.0, 1.0)] {
        let own = &expected["series"][name];
        let [only] = own["transitions"].as_array().unwrap().as_slice() else { panic!("{own}") };
        let number = |key: &str| only[key].as_f64().unwrap();
        assert!(number("lower") <= at && at <= number("upper"), "{only}");
        assert!((number("size") / size - 1.0).abs() < 0.1 && number("p_value") <= 0.05, "{only}");
        assert!(number("width_decades") > 0.0 && own["stages"].is_array());
    }
    let all = expected["transitions"].as_array().unwrap();
    assert_eq!(all.iter().map(|t| t["series"].as_str().unwrap()).collect::<Vec<_>>(), ["loss", "score"]);
    assert!(all.iter().all(|t| t["series"] == t["observable"]));
    for file in ["a.csv", "b.tsv", "c.csv", "d.csv.gz", "e.npz", "f.json", "g.json", "h.jsonl"] {
        let found = here.call(&["stages", file, "--json", "--threads", "3"]);
        assert_eq!(found.stderr, "", "{file}");
        assert_eq!(json(&found), expected, "{file}");
    }

    // One array with two columns, in either order of memory, and its steps by --every.
    here.write("rows.npy", npy(&format!("(2, {n})"), "False", "<f8", &little(&both)));
    here.write("columns.npy", npy(&format!("({n}, 2)"), "True", ">f8", &big(&both)));
    let rows = json(&here.call(&["stages", "rows.npy", "--every", "10", "--json"]));
    let columns = json(&here.call(&["stages", "columns.npy", "--every", "col*=10", "--json"]));
    assert_eq!(
        rows["series"]["rows[1]"]["transitions"][0]["step"],
        columns["series"]["columns[1]"]["transitions"][0]["step"]
    );
    let every_one = json(&here.call(&["stages", "rows.npy", "--json", "--series", "rows[1]"]));
    assert_eq!(every_one["series"].as_object().unwrap().len(), 1);
}

#[test]
fn the_table_is_data_and_the_notices_are_talk() {
    let here = Workplace::new();
    let c = curves();
    let mut lines: Vec<String> = table(&c, ",").lines().map(|line| format!("{line},note,1")).collect();
    lines[0] = "step,loss,score,remark,flat".to_owned();
    lines[5] = lines[5].replacen(&format!("{:?}", c.score[4]), "", 1);
    here.write("a.csv", lines.join("\n"));
    let found = here.call(&["stages", "a.csv"]);
    found.expect(0, &["column `remark` is skipped: line 2 holds the text `note`", "`score`: 1 of 120 values"]);
    for words in ["loss", "transition", "flat", "nothing found", "95 % interval"] {
        assert!(found.stdout.contains(words), "{words}: {}", found.stdout);
    }
    assert!(!found.stdout.contains("note:"), "{}", found.stdout);
}

#[test]
fn a_run_gives_what_its_own_analysis_gave() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "r"]).expect(0, &[]);
    let shown = here.show("r");
    let found = json(&here.call(&["stages", "r", "--json"]));
    let mut transitions = found["transitions"].clone();
    for t in transitions.as_array_mut().unwrap() {
        t.as_object_mut().unwrap().remove("series");
    }
    assert_eq!(transitions, shown["transitions"]);
    assert!(found["series"]["llc.full"].is_object() && !found["series"].as_object().unwrap().contains_key("loss.all"));
    let chosen = json(&here.call(&["stages", "r", "--series", "loss.a*", "--json"]));
    assert_eq!(chosen["series"].as_object().unwrap().keys().collect::<Vec<_>>(), ["loss.all"]);
    here.call(&["stages", "r", "--every", "2"]).expect(2, &["is a run, whose steps are known"]);
    here.call(&["stages", "r", "--series", "los.test"]).expect(2, &["did you mean `loss.test`?"]);
}

#[test]
fn plots_are_whole_pages_and_whole_pictures() {
    let here = Workplace::new();
    here.write("a.csv", table(&curves(), ","));
    here.call(&["stages", "a.csv", "--plot", "a.html"]).expect(0, &["a.html"]);
    let page = fs_err::read_to_string(here.path("a.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<figure").count(), 3);
    here.call(&["stages", "a.csv", "--plot", "a.svg", "--json"]).expect(0, &[]);
    let svg = fs_err::read_to_string(here.path("a.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n") && !svg.contains("var(--"));
    here.call(&["stages", "a.csv", "--plot", "a.png"]).expect(2, &["a.png", ".html or .svg"]);
    let wide = (0..30).map(|i| vec![i.to_string(); 201].join(",") + "\n").collect::<String>();
    here.write("wide.csv", wide);
    here.call(&["stages", "wide.csv", "--plot", "w.svg"]).expect(2, &["at most 200 series, found 201"]);
    assert!(!here.path("w.svg").exists());
}

#[test]
fn mistakes_end_with_two_and_name_their_place() {
    let here = Workplace::new();
    let c = curves();
    let whole = table(&c, ",");
    let n = c.steps.len();
    let array = npy(&format!("({n},)"), "False", "<f8", &little(&c.loss));
    let good = npz(&[("loss", array.clone())]);
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let packed = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("ragged.csv", text(&whole.replacen("\n11", ",9\n11", 1)), &["line 2 has 4 cells, the header has 3"]),
        (
            "twice.csv",
            text(&(whole.clone() + "10,1,1\n")),
            &["`loss` has two values at `step` 10: line 2 and line 122"],
        ),
        ("head.csv", text("step,loss\n"), &["a header and no rows"]),
        ("long.csv", text("step,run,v\n1,a,2\n1,b,3\n"), &["`v` has two values", "long table"]),
        ("empty.csv", vec![], &["is empty"]),
        ("blank.json", text(" \n"), &["is empty"]),
        ("bytes.csv", vec![b's', 0xfe, 0xff], &["byte 1 is no UTF-8"]),
        ("wide.csv", vec![0xff, 0xfe, b's', 0], &["is UTF-16"]),
        ("cut.csv.gz", cut(&packed(whole.as_bytes())), &["cut.csv.gz", "cannot be unpacked"]),
        ("npz.gz", packed(&good), &["a packed .npz", "unpack it first"]),
        ("cut.npz", cut(&good), &["cut.npz is damaged"]),
        ("cut.npy", cut(&array), &["cut.npy", "needs 960 bytes"]),
        (
            "huge.npy",
            npy("(1152921504606846976, 8)", "False", "<f8", &[]),
            &["huge.npy", "beyond what memory can hold"],
        ),
        ("bomb.npy", npy("(1000000000,)", "False", "<f8", &[0; 64]), &["bomb.npy", "needs 8000000000 bytes, found 64"]),
        ("none.npz", text("not an archive"), &["none.npz"]),
        (
            "objects.npz",
            npz(&[("o", npy("(2,)", "False", "|O", b"xx"))]),
            &["`o` is skipped: an array of Python objects"],
        ),
        ("text.npz", npz(&[("u", npy("(1,)", "False", "<U2", &[0; 8]))]), &["`<U2` is not a plain number"]),
        ("short.json", text("{\"a\":[1,2,3]}"), &["no series of at least 20 points", "`a` (3)"]),
        ("cut.json", text("{\"a\":[1,2"), &["cut.json", "is no JSON"]),
        ("ragged.json", text("{\"a\":[[1,2],[3]]}"), &["`a` is ragged"]),
    ];
    for (name, bytes, says) in cases {
        here.write(name, bytes);
        let refused = here.call(&["stages", name, "--json"]);
        refused.expect(2, says);
        assert_eq!(refused.stdout, "", "{name}");
    }
    here.call(&["stages", "absent.csv"]).expect(2, &["absent.csv"]);
    here.call(&["stages", "."]).expect(2, &["."]);
    here.write("good.csv", whole);
    here.call(&["stages", "good.csv", "--log-values", "--series", "loss"]).expect(2, &["`loss` is", "no logarithm"]);
    here.call(&["stages", "good.csv", "--every", "0"]).expect(2, &["`0` is no number above 0"]);
    here.call(&["stages", "good.csv", "--every", "5"])
        .expect(0, &["--every is not used: the steps are those of `step`"]);
}

/// Files of other people: that they are read, not what is found in them.
#[test]
fn published_files_are_read_or_refused_for_a_reason() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let here = Workplace::new();
    let cases: [(&str, &[&str], i32, &[&str]); 6] = [
        ("progress-measures/loss_curves.npz", &["--series", "5_digit_addition_infinite_per_token"], 0, &[]),
        ("timaeus-icl/lm_L1-llc-mean.csv.gz", &[], 0, &[]),
        ("timaeus-icl/lm_metrics_over_501_checkpoints.npz", &["--series", "L1_n_grams*"], 0, &["`L1_n_grams__keys`"]),
        ("changepoint-nile/nile.csv", &[], 0, &["`year` only rises: if it is the axis, call it `step`"]),
        ("grokking-squared-phase/toy_results.csv", &[], 0, &["column `path` is skipped"]),
        ("pythia-evals/pythia_v1_evals_by_step.csv.gz", &[], 2, &["long table"]),
    ];
    for (name, args, code, says) in cases {
        let path = data.join(name);
        if !path.exists() {
            println!("skipped: no ../shared/data/{name} beside the repository");
            continue;
        }
        let mut call = vec!["stages", path.to_str().unwrap(), "--json"];
        call.extend(args);
        let found = here.call(&call);
        found.expect(code, says);
        if name.contains("loss_curves") {
            assert_eq!(json(&found)["series"].as_object().unwrap().len(), 6, "3000 × 6: time is the longer axis");
        }
    }
}

#[test]
fn warnings_of_slowing_down_and_nothing_after_their_moment() {
    let here = Workplace::new();
    // Noise that repeats, remembered more and more.
    let (mut slow, mut steady) = (0.0, 0.0);
    let mut rows = "step,slow,steady\n".to_owned();
    for i in 0..1200_usize {
        let noise = (i * i * 7919 % 10_007) as f64 / 10_007.0 - 0.5;
        let other = (i * i * 104_729 % 9973) as f64 / 9973.0 - 0.5;
        slow = (0.1 + 0.88 * i as f64 / 1200.0) * slow + noise;
        steady = 0.1 * steady + other;
        writeln!(rows, "{},{slow:?},{steady:?}", 10 * (i + 1)).unwrap();
    }
    here.write("w.csv", &rows);
    let found = json(&here.call(&["stages", "w.csv", "--warnings", "--json"]));
    let [slow, steady] = found["series"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((slow["name"].as_str(), slow["n_values"].as_u64()), (Some("slow"), Some(1200)));
    let p = |own: &Value| own["autocorrelation_p"].as_f64().unwrap();
    assert!(p(slow) < 0.05 && p(steady) > 0.05, "{found}");
    assert_eq!(found["together"]["units"].as_array().unwrap().len(), 2);

    let early = here.call(&["stages", "w.csv", "--warnings", "--until", "2000", "--json"]);
    assert_eq!(json(&early)["series"][0]["n_values"], 200);
    let cut: Vec<&str> = rows.lines().take(201).chain(["2010,1e9,1e9"]).collect();
    here.write("w.csv", cut.join("\n"));
    let later = here.call(&["stages", "w.csv", "--warnings", "--until", "2000", "--json"]);
    assert_eq!(later.stdout, early.stdout, "what comes after the moment changes nothing");

    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["until", "series", "together", "left_out"]);
    let own: Vec<&String> = slow.as_object().unwrap().keys().collect();
    let trends = ["variance_tau", "variance_p", "autocorrelation_tau", "autocorrelation_p", "variance_ratio"];
    assert_eq!(own, [&["name", "unit", "n_values"][..], &trends, &["autocorrelation", "indicators"]].concat());
    assert_eq!(slow["indicators"]["steps"].as_array().unwrap().len(), 200);
    here.call(&["stages", "w.csv", "--warnings"]).expect(0, &[]);
    here.call(&["stages", "w.csv", "--warnings", "--plot", "w.html"]).expect(0, &["w.html"]);
    let page = fs_err::read_to_string(here.path("w.html")).unwrap();
    assert!(
        page.contains("<h2>Early warnings</h2>") && page.contains("Variance of slow") && !page.contains("id=\"life\"")
    );
    here.call(&["stages", "w.csv", "--warnings", "--plot", "w.svg"]).expect(0, &["w.svg"]);
    let picture = fs_err::read_to_string(here.path("w.svg")).unwrap();
    assert!(picture.contains("Autocorrelation of slow") && !picture.contains("var(--"));
    here.call(&["stages", "w.csv", "--until", "2000"]).expect(2, &["--warnings"]);
}

#[test]
fn change_points_are_found_told_and_drawn() {
    let here = Workplace::new();
    here.write("a.csv", table(&curves(), ","));
    let found = json(&here.call(&["stages", "a.csv", "--change-points", "linear", "--json"]));
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["shape", "time", "criterion", "quantity", "series"]);
    assert_eq!((found["shape"].as_str(), found["time"].as_str()), (Some("linear"), Some("log")));
    let own: Vec<&String> = found["series"][0].as_object().unwrap().keys().collect();
    let expected =
        ["observable", "unit", "quantity_unit", "n_points", "averaged", "noise", "autocorrelation", "changes", "path"];
    assert_eq!(own, expected);
    let change: Vec<&String> = found["series"][0]["changes"][0].as_object().unwrap().keys().collect();
    assert_eq!(change, ["step", "lower", "upper", "before", "after", "jump", "holds_to"]);
    let path: Vec<&String> = found["series"][0]["path"][0].as_object().unwrap().keys().collect();
    assert_eq!(path, ["n_changes", "from", "to"]);
    // A sigmoid is a steep line between two flat ones.
    let loss = found["series"][0]["changes"].as_array().unwrap();
    let steepest = loss.iter().filter_map(|c| c["before"].as_f64()).fold(0.0, f64::min);
    assert!(steepest < -8.0 && loss.len() >= 2, "{found}");
    let other_time = json(&here.call(&["stages", "a.csv", "--change-points", "linear", "--time", "linear", "--json"]));
    assert_eq!(other_time["series"][0]["quantity_unit"], "/step");

    let bare = here.call(&["stages", "a.csv", "--change-points"]);
    bare.expect(0, &[]);
    for words in ["shape l2", "mBIC", "mean before", "95 % interval", "holds to", "number of changes at other prices"] {
        assert!(bare.stdout.contains(words), "{words}: {}", bare.stdout);
    }
    here.call(&["stages", "a.csv", "--change-points", "l1", "--plot", "c.html"]).expect(0, &["c.html"]);
    let page = fs_err::read_to_string(here.path("c.html")).unwrap();
    assert!(
        page.contains("<h2>Change points</h2>")
            && page.contains("class=\"change c1\"")
            && !page.contains("id=\"life\"")
    );
    here.call(&["stages", "a.csv", "--change-points", "mean"]).expect(2, &["no shape is named `mean`", "l2, normal"]);
    here.call(&["stages", "a.csv", "--time", "log"]).expect(2, &["--change-points"]);
    here.call(&["stages", "a.csv", "--change-points", "--warnings"]).expect(2, &["cannot be used with"]);
}

#[test]
fn a_mean_curve_is_taken_apart() {
    let here = Workplace::new();
    let mut rows = "step,loss,task_1,task_2,task_3,other\n".to_owned();
    for i in 0..150 {
        let t = (1.06_f64.powi(i) - 1.0).round() + f64::from(i);
        let fall = |half: f64| 1.0 / (1.0 + ((t + 1.0) / half).powi(12));
        let parts = [fall(30.0), fall(300.0), fall(3000.0)];
        let loss = parts.iter().sum::<f64>() / 3.0;
        writeln!(rows, "{t},{loss:?},{:?},{:?},{:?},{}", parts[0], parts[1], parts[2], i % 7).unwrap();
    }
    here.write("t.csv", rows);
    let found = json(&here.call(&["stages", "t.csv", "--parts", "loss", "--series", "task_*", "--json"]));
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    let expected = ["mean", "unit", "explained", "steps", "values", "components", "sigmoids", "explained_by_sigmoids"];
    assert_eq!(keys, [&expected[..], &["learning_times"]].concat());
    let part: Vec<&String> = found["components"][0].as_object().unwrap().keys().collect();
    assert_eq!(part, ["name", "weight", "share", "half_time", "sharpness", "is_learned", "contribution"]);
    assert!((found["explained"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    for (at, half) in [29.0, 299.0, 2999.0].into_iter().enumerate() {
        let time = found["components"][at]["half_time"].as_f64().unwrap();
        assert!((time / half - 1.0).abs() < 0.05, "{found}");
        assert_eq!(found["sigmoids"][at]["components"], serde_json::json!([format!("task_{}", at + 1)]));
    }
    let told = here.call(&["stages", "t.csv", "--parts", "loss", "--series", "task_*", "--plot", "t.html"]);
    told.expect(0, &["t.html"]);
    for words in ["loss as the mean of 3 components", "100.0 %", "half time", "3 sigmoids explain"] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
    let page = fs_err::read_to_string(here.path("t.html")).unwrap();
    assert!(page.contains("Sum of parts: loss") && page.contains("class=\"area c3\""));
    here.call(&["stages", "t.csv", "--parts", "los", "--series", "task_*"]).expect(2, &["los"]);
    here.call(&["stages", "t.csv", "--parts", "los"]).expect(2, &["found no series of this name", "loss, task_1"]);
    here.call(&["stages", "t.csv", "--parts", "loss", "--warnings"]).expect(2, &["cannot be used with"]);
}
