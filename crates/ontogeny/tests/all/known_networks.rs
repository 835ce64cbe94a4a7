//! Networks of others from one run file: folders, series of them, runs, files of llama2.c.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::{Path, PathBuf};

use crate::common::{TINY, Workplace, assert_same, files};
use safetensors::SafeTensors;
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/tests/fixtures").join(name)
}

fn copy_folder(here: &Workplace, from: &Path, to: &str) {
    for entry in fs_err::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("expected") && !name.starts_with("gradient") {
            here.write(&format!("{to}/{name}"), fs_err::read(&path).unwrap());
        }
    }
}

/// The sequences of a fixture as a file of bytes, and its loss.
fn sequences(here: &Workplace, folder: &Path) -> f64 {
    let bytes = fs_err::read(folder.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids: Vec<u8> = tensors.tensor("tokens").unwrap().data().chunks_exact(4).map(|id| id[0]).collect();
    let length = tensors.tensor("tokens").unwrap().shape()[1];
    here.write(&format!("ids_{}x{length}_u8", ids.len() / length), &ids);
    f64::from(f32::from_le_bytes(tensors.tensor("loss").unwrap().data().try_into().unwrap()))
}

fn run_file(import: &str, data: &str) -> String {
    format!("seed = 1\n[task]\nkind = \"tokens\"\ndata = \"{data}\"\n[import]\n{import}\n[measure.loss]\n")
}

fn loss(here: &Workplace, run: &str) -> Vec<f64> {
    let values = here.show(run)["observables"]["loss"]["values"].as_array().unwrap().clone();
    values.iter().map(|row| row[0].as_f64().unwrap()).collect()
}

#[test]
fn a_folder_of_hugging_face_is_a_network_and_its_checkpoint() {
    for name in ["gpt2", "gpt-neo", "gpt-neox", "llama", "mistral", "qwen2"] {
        let here = Workplace::new();
        let folder = fixture("families").join(name);
        let expected = sequences(&here, &folder);
        copy_folder(&here, &folder, "model");
        here.write("run.toml", run_file("network = \"model\"\nstep = 7", "ids_2x9_u8"));
        here.call(&["run", "run.toml", "--out", "r"]).expect(0, &[]);
        // The bound of `families.rs` in zoo: 1e-4 of the largest.
        let found = loss(&here, "r");
        assert!((found[0] - expected).abs() <= 1e-4 * expected, "{name}: {found:?}, expected {expected}");
        let shown = here.show("r");
        assert_eq!(shown["checkpoints"], json!([7]));
        // What was read is kept: the run is opened without the folder's configuration.
        let manifest = fs_err::read_to_string(here.path("r/run.toml")).unwrap();
        assert!(
            manifest.contains("[configuration.network]") && !manifest.contains("network = \"model\""),
            "{manifest}"
        );
        fs_err::remove_file(here.path("model/config.json")).unwrap();
        assert_eq!(here.show("r"), shown);
    }
}

#[test]
fn a_state_dict_of_transformer_lens_comes_with_its_configuration() {
    for name in ["standard", "rotary", "local", "shortformer", "parallel"] {
        let here = Workplace::new();
        let folder = fixture("transformer_lens").join(name);
        let expected = sequences(&here, &folder);
        copy_folder(&here, &folder, "model");
        let import = "network = \"model/config.json\"\ncheckpoints = \"model/model.pth\"\nstep = 0";
        here.write("run.toml", run_file(import, "ids_2x7_u8"));
        here.call(&["run", "run.toml", "--out", "r"]).expect(0, &[]);
        let found = loss(&here, "r");
        assert!((found[0] - expected).abs() <= 1e-4 * expected, "{name}: {found:?}, expected {expected}");
    }
}

#[test]
fn series_are_folders_globs_lists_and_runs() {
    let here = Workplace::new();
    let folder = fixture("families").join("gpt-neo");
    sequences(&here, &folder);
    for name in ["series/step0", "series/step20", "series/step100", "other/checkpoint-3", "other/readme"] {
        copy_folder(&here, &folder, name);
    }
    fs_err::remove_dir_all(here.path("other/readme")).unwrap();
    here.write("other/readme.md", "no weights");
    let single = fixture("families").join("gpt2/model.safetensors");
    here.write("wrong/model.safetensors", fs_err::read(single).unwrap());
    for (checkpoints, step, steps) in [
        ("\"series\"", "", json!([0, 20, 100])),
        ("\"series/step?0\"", "", json!([20])),
        ("\"series/*\"", "step = \"^step(\\\\d+)$\"", json!([0, 20, 100])),
        ("[\"other\", \"series/step20\", \"series/step1*\"]", "", json!([3, 20, 100])),
        ("\"series/step0\"", "step = 9", json!([9])),
        ("[\"series/step20\", \"series/step0\"]", "step = [5, 6]", json!([5, 6])),
    ] {
        here.write(
            "run.toml",
            run_file(&format!("network = \"series/step0\"\ncheckpoints = {checkpoints}\n{step}"), "ids_2x9_u8"),
        );
        here.call(&["run", "run.toml", "--out", "r"]).expect(0, &[]);
        assert_eq!(here.show("r")["checkpoints"], steps, "{checkpoints}");
        fs_err::remove_dir_all(here.path("r")).unwrap();
    }
    // A changed shard is another checkpoint, though its index is the same.
    here.write("run.toml", run_file("network = \"series/step0\"\ncheckpoints = \"series\"", "ids_2x9_u8"));
    here.call(&["run", "run.toml", "--out", "r"]).expect(0, &[]);
    let before = loss(&here, "r");
    let shard = "series/step20/model-00001-of-00004.safetensors";
    let mut bytes = fs_err::read(here.path(shard)).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    here.write(shard, &bytes);
    here.call(&["run", "run.toml", "--out", "r"]).expect(0, &[]);
    let after = loss(&here, "r");
    assert!(after[0] == before[0] && after[1] != before[1] && after[2] == before[2], "{before:?} {after:?}");

    let state = files(&here.path(""));
    for (import, says) in [
        ("network = \"nowhere\"\nstep = 1", &["in `import`", "nowhere"][..]),
        ("network = \"wrong\"\nstep = 1", &["wrong/config.json"]),
        ("network = \"series\"\nstep = 1", &["series/config.json"]),
        ("network = \"series/step0\"\ncheckpoints = \"other/readme.md\"", &["`readme.md` does not say its step"]),
        ("network = \"series/step0\"\ncheckpoints = []", &["empty list"]),
        ("network = \"series/step0\"\nstep = [1, 2]", &["lists 2 steps", "matches 1 files"]),
        ("hub = \"EleutherAI/pythia-70m\"", &["`hub` and `revisions` belong together"]),
        ("hub = \"EleutherAI/pythia-70m\"\nrevisions = \"step3\"", &["has no revision `step3`", "154"]),
        ("step = 3", &["`checkpoints` is missing"]),
        ("network = \"series/step0\"\nrun = \"r\"", &["several of `network`, `run` and `hub`"]),
        (
            "network = \"series/step0\"\ncheckpoints = \"wrong\"\nstep = 1",
            &["wrong/model.safetensors", "missing `h.0."],
        ),
        ("network = \"series/step0\"\nlayout = \"llama\"", &["`layout` is Llama", "GptNeo"]),
        ("network = \"series/step0\"\nstep = 1\n[network]\nkind = \"mlp\"", &["[network] beside `import.network`"]),
    ] {
        here.write("bad.toml", run_file(import, "ids_2x9_u8"));
        here.call(&["run", "bad.toml", "--out", "bad"]).expect(2, says);
        fs_err::remove_file(here.path("bad.toml")).unwrap();
        assert_same(&files(&here.path("")), &state, import);
    }
    // A series of two networks.
    let path = here.path("series/step100/config.json");
    let text = fs_err::read_to_string(&path).unwrap().replace("\"window_size\": 4", "\"window_size\": 2");
    fs_err::write(&path, text).unwrap();
    let says = ["series/step100/config.json", "another network", "window: 4 here, 2 there"];
    here.call(&["run", "run.toml", "--out", "new"]).expect(2, &says);
}

#[test]
fn a_run_is_imported_with_its_network() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "trained"]).expect(0, &[]);
    let task = &TINY[TINY.find("[task]").unwrap()..TINY.find("[network]").unwrap()];
    let text = |run: &str| format!("seed = 3\n{task}[import]\nrun = \"{run}\"\n[measure.loss]\n[measure.accuracy]\n");
    here.write("again.toml", text("trained"));
    here.call(&["run", "again.toml", "--out", "imported"]).expect(0, &[]);
    here.write("sub/more.toml", text("../imported"));
    here.call(&["run", "sub/more.toml", "--out", "twice"]).expect(0, &[]);
    for part in ["loss", "accuracy"] {
        let of = |run: &str| here.show(run)["observables"][part]["values"].clone();
        assert_eq!(of("imported"), of("trained"), "{part}");
        assert_eq!(of("twice"), of("trained"), "{part}");
    }
    here.write("bad.toml", text("nowhere"));
    here.call(&["run", "bad.toml", "--out", "bad"]).expect(2, &["nowhere"]);
    here.write("bad.toml", text("trained").replace("[import]", "[import]\nstep = 4"));
    here.call(&["run", "bad.toml", "--out", "bad"]).expect(2, &["`run` brings its own"]);
}

/// Skipped where the shared data are not there.
#[test]
fn the_stories_model_gets_a_learning_coefficient_with_a_verdict() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !shared.join("stories260K/stories260K.bin").is_file() {
        println!("skipped: no ../shared/data/stories260K beside the repository");
        return;
    }
    let here = Workplace::new();
    let (model, text) = (shared.join("stories260K"), shared.join("text/tinystories_lower_4.2MB.txt.gz"));
    let file = format!(
        "seed = 1\n[task]\nkind = \"text\"\nsource = \"file\"\nfile = {text:?}\ntokenizer = \"{}/tok512.bin\"\ncontext = 32\n\
         held_examples = 64\ntest_examples = 32\n[import]\nnetwork = \"{}/stories260K.bin\"\nstep = 0\n[measure.loss]\n\
         [measure.llc]\nchains = 2\nburn_in = 5\ndraws = 10\nbatch = 8\nn_beta = 20.0\nstep_size = 1e-5\nlocalization = 100.0\nrefused = \"accept\"\n",
        model.display(),
        model.display(),
    );
    here.write("stories.toml", file);
    here.call(&["run", "stories.toml", "--out", "r"]).expect(0, &[]);
    let shown = here.show("r");
    // On uniform tokens it would be ln 512 = 6.2 and more; capitals are missing from this text, so that it is above its own 1.5.
    let found = loss(&here, "r")[0];
    assert!((1.0..4.0).contains(&found), "{found}");
    assert!(shown["observables"]["llc"]["verdicts"].is_array() || shown["observables"]["llc"].is_object(), "{shown}");
}

/// The published induction model, from one run file. Skipped where it is not beside the project, of which it is no part.
#[test]
fn the_published_induction_model_predicts_what_repeats() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/progress-measures");
    if !shared.join("induction_head_infinite.safetensors").is_file() {
        println!("skipped: no ../shared/data/progress-measures beside the repository");
        return;
    }
    let here = Workplace::new();
    // Sequences of 85 that repeat after 28, from a fixed recurrence (Lehmer), and some that never do.
    let mut number = 1_u64;
    let mut next = || {
        number = number * 48_271 % 2_147_483_647;
        (number % 127) as u8
    };
    let mut sequence = |period: usize| -> Vec<u8> {
        let block: Vec<u8> = (0..period).map(|_| next()).collect();
        (0..85).map(|at| block[at % period]).collect()
    };
    here.write("repeats_50x85_u8", (0..50).flat_map(|_| sequence(28)).collect::<Vec<u8>>());
    here.write("random_50x85_u8", (0..50).flat_map(|_| sequence(85)).collect::<Vec<u8>>());
    let mut found = Vec::new();
    for (data, out) in [("repeats_50x85_u8", "r"), ("random_50x85_u8", "s")] {
        let file = format!(
            "seed = 1\n[task]\nkind = \"tokens\"\ndata = \"{data}\"\nvocabulary = 128\n[import]\ncheckpoints = \
             \"{}/induction_head_infinite.safetensors\"\nstep = 6000\n[network]\nkind = \"transformer\"\nlayers = 2\nd_model = 48\n\
             heads = 4\nattention_only = true\nnormalization = \"none\"\npositions = \"learned\"\n[measure.loss]\n",
            shared.display()
        );
        here.write("run.toml", file);
        here.call(&["run", "run.toml", "--out", out]).expect(0, &[]);
        found.push(loss(&here, out)[0]);
    }
    // Two thirds of the tokens can be known from the first third.
    assert!(found[0] < found[1] - 1.0, "{found:?}");
}
