//! Tables of a run file whose `kind` is read first: mistakes keep their line and get the right candidates.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use ontogeny_zoo::{NetworkConfig, TaskConfig, TrainConfig};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

const TEXT: &str = r#"[task]
kind = "modular_arithmetic"
p = 7
operation = "add"
train_fraction = 0.5

[network]
kind = "mlp"
sizes = [3, 2]
activation = "relu"

[train]
optimizer = "sgd"
learning_rate = 0.1
batch = "full"
steps = 10
checkpoints = { log = 2 }
"#;

/// Reads all three tables as a study does; the message as a user sees it.
fn read(text: &str) -> Result<(), String> {
    let read = || {
        let mut root = DeTable::parse(text)?;
        let mut take = |key: &str| root.get_mut().remove(key).unwrap();
        let (mut task, mut network, train) = (take("task"), take("network"), take("train"));
        TaskConfig::deserialize_kind(&kind(&mut task), ValueDeserializer::from(task))?;
        NetworkConfig::deserialize_kind(&kind(&mut network), ValueDeserializer::from(network))?;
        TrainConfig::deserialize(ValueDeserializer::from(train))
    };
    read().map(drop).map_err(|mut error: toml::de::Error| {
        error.set_input(Some(text));
        error.to_string()
    })
}

fn kind(table: &mut Spanned<DeValue<'_>>) -> String {
    let DeValue::Table(table) = table.get_mut() else { panic!("not a table") };
    let kind = table.remove("kind").unwrap();
    kind.get_ref().as_str().unwrap().to_owned()
}

#[test]
fn mistakes_keep_their_line() {
    read(TEXT).unwrap();
    for (right, wrong, parts) in [
        ("p = 7", "q = 7", ["line 3", "unknown field `q`", "`train_fraction`"]),
        ("\"add\"", "\"plus\"", ["line 4", "unknown variant `plus`", "`x2_xy_y2`"]),
        ("[3, 2]", "[3, 2.5]", ["line 9", "invalid type: floating point", "usize"]),
        ("\"relu\"", "\"rleu\"", ["line 10", "unknown variant `rleu`", "`relu`"]),
        ("\"full\"", "\"half\"", ["line 15", "\"half\"", "expected \"full\" or a number"]),
        ("{ log = 2 }", "{ lag = 2 }", ["line 17", "unknown field `lag`", "`log` or `linear`"]),
        ("{ log = 2 }", "true", ["line 17", "invalid type: boolean", "a list of steps"]),
    ] {
        let error = read(&TEXT.replace(right, wrong)).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{wrong}: no {part} in\n{error}");
        }
    }
    let error = read(&TEXT.replace("\"mlp\"", "\"rnn\"")).unwrap_err();
    assert!(error.contains("unknown variant `rnn`, expected one of `transformer`, `mlp`, `autoencoder`"), "{error}");
}
