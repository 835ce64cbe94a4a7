//! `ontogeny explain` on networks whose parts are known: programs compiled to weights.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeSet;

use crate::common::Workplace;
use ontogeny::zoo::{CompiledConfig, NetworkConfig, Place};
use serde_json::Value;

const PROGRAMS: [(&str, &str); 6] = [
    ("previous_token", "length = 7\nsymbols = 6\n"),
    ("induction", "length = 6\nsymbols = 8\n"),
    ("reverse", "length = 5\nsymbols = 6\n"),
    ("sort", "length = 5\nsymbols = 6\n"),
    ("histogram", "length = 6\nsymbols = 6\n"),
    ("balanced", "length = 8\n"),
];

/// A run of a compiled program that learns nothing more, and the parts that the program is made of.
fn compiled(here: &Workplace, program: &str, sizes: &str) -> BTreeSet<String> {
    let task = format!("kind = \"compiled\"\nprogram = \"{program}\"\n{sizes}");
    let mut table: toml::Table = toml::from_str(&task).unwrap();
    table.remove("kind");
    let compiled = table.try_into::<CompiledConfig>().unwrap().compile().unwrap();
    let NetworkConfig::Transformer(network) = compiled.model.network() else { panic!("programs are transformers") };
    let mut network = toml::Table::try_from(network).unwrap();
    network.remove("norm_eps");
    here.write(
        &format!("{program}.toml"),
        format!(
            "title = \"A program\"\nseed = 1\n[task]\n{task}[network]\nkind = \"transformer\"\n{network}\n[start]\ncompiled = true\n\
             [train]\noptimizer = \"sgd\"\nlearning_rate = 1e-6\nbatch = 8\nsteps = 2\ncheckpoints = [0, 2]\n[measure.loss]\n"
        ),
    );
    here.call(&["run", &format!("{program}.toml"), "--out", program]).expect(0, &[]);
    let part = |place: &Place| match *place {
        Place::Embedding => None,
        Place::Head { layer, head } => Some(format!("l{layer}h{head}")),
        Place::Neurons { layer, .. } => Some(format!("l{layer} mlp")),
    };
    compiled.places.iter().filter_map(part).collect()
}

fn explained(here: &Workplace, args: &[&str]) -> Value {
    let called = here.call(&[&["explain"][..], args, &["--json"]].concat());
    called.expect(0, &[]);
    serde_json::from_str(&called.stdout).unwrap()
}

fn responsible(found: &Value) -> BTreeSet<String> {
    let parts = found["parts"].as_array().unwrap().iter();
    parts.filter(|part| part["is_responsible"] == true).map(|part| part["part"].as_str().unwrap().to_owned()).collect()
}

/// A prompt of the program with its answer, and the foil where other prompts could go on alike.
const BEHAVIOURS: [(&str, &str); 6] = [
    ("previous_token", "0 1 0 1 0,1"),
    ("induction", "0 1 2 3 4 2,3"),
    ("reverse", "0 1 2 3 4 6,4"),
    ("sort", "4 1 2 0 3 6,0"),
    ("histogram", "1 1 1 2 2 3 7,3"),
    ("balanced", "0 1 0 1 0 1 0 1 2,1"),
];

/// Precision and recall of 1 on six programs.
#[test]
fn the_parts_of_compiled_programs_are_found_and_no_others() {
    let here = Workplace::new();
    for (program, sizes) in PROGRAMS {
        let expected = compiled(&here, program, sizes);
        let (_, behaviour) = BEHAVIOURS.iter().find(|(own, _)| *own == program).unwrap();
        let found = explained(&here, &[program, "--behaviour", behaviour]);
        assert_eq!(responsible(&found), expected, "{program}: {found:#}");
        // The first of the list are those.
        let first = found["parts"].as_array().unwrap()[..expected.len()].iter();
        let first: BTreeSet<String> = first.map(|part| part["part"].as_str().unwrap().to_owned()).collect();
        assert_eq!(first, expected, "{program}");
        assert!((found["clean"].as_f64().unwrap() - 32.0).abs() < 1.0, "{program}: {found:#}");
    }
}

#[test]
fn a_budget_is_kept_and_what_was_left_out_is_said() {
    let here = Workplace::new();
    compiled(&here, "induction", "length = 6\nsymbols = 8\n");
    let few = explained(&here, &["induction", "--behaviour", "0 1 2 3 4 2,3", "--budget-prompts", "5"]);
    assert_eq!(few["prompts"], 5);
    // Attribution: clean and corrupted runs and the gradient; each way both runs, then each part; two runs for the shares.
    assert_eq!(few["n_forward"], 5 * (2 + 1 + 2 * (2 + 2) + 2));
    let short = explained(&here, &["induction", "--behaviour", "0 1 2 3 4 2,3", "--budget-seconds", "1e-9"]);
    assert!(short["left_out"][0].as_str().unwrap().contains("2 of 2 parts"), "{short:#}");
    assert!(short["parts"][0]["needed"].is_null() && short["parts"][0]["attribution"]["mean"].is_number());
    // A single pair has no error, so that nobody is told from anybody.
    let one = ["induction", "--behaviour", "0 1 2 3 4 2,3", "--against", "0 1 2 3 4 1", "--foil", "2"];
    let one = explained(&here, &one);
    assert!(responsible(&one).is_empty() && one["prompts"] == 1, "{one:#}");
    assert!(one["parts"][0]["needed"]["standard_error"].is_null());
    assert!(one["left_out"][0].as_str().unwrap().contains("a single pair"), "{one:#}");
    let told = here.call(&["explain", "induction", "--behaviour", "0 1 2 3 4 2,3"]);
    told.expect(0, &["examples forward"]);
    assert!(
        told.stdout.contains("the answer `3` after `0 1 2 3 4 2`") && told.stdout.contains("responsible: l"),
        "{}",
        told.stdout
    );
}

#[test]
fn what_cannot_be_asked_says_why() {
    let here = Workplace::new();
    compiled(&here, "induction", "length = 6\nsymbols = 8\n");
    for (args, said) in [
        (&["--transition", "1"][..], "no transition 1; found 0"),
        (&["--transition", "0"], "no transition 0"),
        (&[], "expected --transition K, or --behaviour INPUT,TARGET"),
        (&["--behaviour", "1 2 3"], "a prompt and its answer with a comma between them"),
        (&["--behaviour", "1 two 3 4 5,7"], "`two` in `1 two 3 4 5`; expected ids of tokens"),
        (&["--behaviour", "1 2 3,4"], "a prompt of 3 tokens; expected 6 to 11"),
        (&["--behaviour", "0 1 2 3 4 9,3"], "the token 9 in the prompt; expected ids below 8"),
        (&["--behaviour", "0 1 2 3 4 2,8"], "the answer 8; expected an id below 8"),
        (&["--behaviour", "0 1 2 3 4 2,3 4"], "the answer `3 4` is 2 tokens; expected one"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--foil", "3"], "the foil is the answer itself"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--against", "0 1 2 3 4 1"], "give the foil"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--against", "1 1", "--foil", "1"], "a prompt of 2 tokens to compare with"),
        (
            &["--behaviour", "0 1 2 3 4 2,3", "--against", "0 1 2 3 4 2", "--foil", "1"],
            "the prompt to compare with is the prompt itself",
        ),
        (&["--behaviour", "0 1 2 3 4 2,3", "--parts", "embed.W_E"], "`embed.W_E`"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--step", "1"], "no checkpoint at step 1; it has 0, 2"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--parts", "l9h0"], "`l9h0`"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--budget-prompts", "0"], "at least 1 prompt"),
        (&["--behaviour", "0 1 2 3 4 2,3", "--budget-seconds", "nan"], "seconds above 0"),
    ] {
        here.call(&[&["explain", "induction"][..], args].concat()).expect(2, &[said]);
    }
    here.call(&["explain", "nowhere", "--transition", "1"]).expect(2, &["nowhere"]);
}

/// Where a network learns what is known, the transition is explained by what moved.
#[test]
fn a_transition_is_explained_by_its_checkpoints() {
    let here = Workplace::new();
    let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/presets/induction.toml")).unwrap();
    let (head, rest) = text.split_once("[measure.head_scores]").unwrap();
    let (_, rest) = rest.split_once("[stages]").unwrap();
    here.write("run.toml", format!("{head}[stages]{rest}"));
    here.call(&["run", "run.toml", "--out", "r", "--scale", "small"]).expect(0, &[]);
    let found = explained(&here, &["r", "--transition", "1"]);
    let (before, after) = (found["before"].as_u64().unwrap(), found["step"].as_u64().unwrap());
    assert!(before < after);
    let parts = found["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 8);
    // Induction heads carry more than those that they read from, and attribution misses what is behind a softmax that has decided.
    let mean = |part: &Value, of: &str| part[of]["mean"].as_f64().unwrap();
    let first: Vec<bool> = parts[..3].iter().map(|part| part["part"].as_str().unwrap().starts_with("l1")).collect();
    assert_eq!(first, [true; 3], "{found:#}");
    for part in parts {
        assert!(
            part["is_responsible"] == true && mean(part, "ablation") > 0.0 && part["rewind"].as_f64().unwrap() > 0.0
        );
        assert!(part["moved"].as_f64().unwrap() > 0.1, "{part:#}");
    }
}
