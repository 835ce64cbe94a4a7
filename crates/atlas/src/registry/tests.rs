//! Damage of every kind, torn ends, and many at once.

use std::collections::BTreeMap;

use ontogeny_store::Judgement;

use super::*;

fn registration(study: &str) -> Entry {
    Entry::Registration {
        study: study.to_owned(),
        content: "ab".repeat(32),
        files: BTreeMap::from([("b.toml".to_owned(), "cd".repeat(32)), ("a “ü”\n.toml".to_owned(), "ef".repeat(32))]),
        version: "0.1.0".to_owned(),
        engine: 7,
        earlier: 0,
    }
}

fn verdict(study: &str, registration: &str, p: f64) -> Entry {
    Entry::Verdict {
        study: study.to_owned(),
        scale: "small".to_owned(),
        registration: registration.to_owned(),
        content: "01".repeat(32),
        outcome: Judgement::Supported,
        p_values: BTreeMap::from([("H1".to_owned(), p), ("H2".to_owned(), 1e-5)]),
    }
}

fn forecast(statement: Prediction) -> Entry {
    Entry::Forecast {
        id: "F1".to_owned(),
        study: "S1".to_owned(),
        hypothesis: "H1".to_owned(),
        scale: "small".to_owned(),
        by: "someone".to_owned(),
        statement,
        note: "a \"quoted\" note".to_owned(),
    }
}

/// A chain of every kind of entry.
fn chain(atlas: &Path) -> Registry {
    let mut registry = Registry::open(atlas).unwrap();
    let first = registry.append(registration("S1"), 1_000).unwrap();
    registry.append(forecast(Prediction::Probability { supported: 0.3 }), 1_001).unwrap();
    registry.append(forecast(Prediction::Interval { lower: -0.1, upper: 1e16, level: 0.9 }), 1_001).unwrap();
    registry.append(registration("S2"), 1_002).unwrap();
    registry.append(verdict("S1", &first.hash, 0.1 + 0.2), 1_003).unwrap();
    registry
}

fn bytes_of(registry: &Registry) -> Vec<u8> {
    fs_err::read(registry.path()).unwrap()
}

/// What `verify` says of other bytes.
fn found_in(bytes: &[u8]) -> RegistryError {
    verify(Path::new("registry.jsonl"), bytes).unwrap_err()
}

fn damaged_line(bytes: &[u8]) -> u64 {
    match found_in(bytes) {
        RegistryError::Damaged { line, .. } => line,
        other => panic!("{other}"),
    }
}

#[test]
fn a_chain_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let atlas = folder.path().join("new/atlas");
    let empty = Registry::open(&atlas).unwrap();
    assert_eq!((empty.length(), empty.head()), (0, &*"0".repeat(64)));
    assert!(!atlas.exists(), "opening writes nothing");

    let written = chain(&atlas);
    let read = Registry::open(&atlas).unwrap();
    assert_eq!(read.lines(), written.lines());
    assert_eq!((read.length(), read.torn_bytes()), (5, 0));
    assert_eq!(read.head(), read.lines()[4].hash);
    assert_eq!(read.registration("S1").unwrap().index, 0);
    assert_eq!(read.verdict("S1", "small").unwrap().index, 4);
    assert!(read.verdict("S1", "full").is_none() && read.registration("S3").is_none());
    assert!(read.contains(0, &"0".repeat(64)) && !read.contains(0, read.head()));
    assert!(read.contains(2, &read.lines()[1].hash) && read.contains(5, read.head()));
    assert!(!read.contains(2, read.head()) && !read.contains(6, read.head()) && !read.contains(u64::MAX, "x"));
    assert!(empty.contains(0, empty.head()) && !empty.contains(1, empty.head()));
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let registry = chain(folder.path());
    let text = String::from_utf8(bytes_of(&registry)).unwrap();
    let line = text.lines().nth(1).unwrap();
    let body = format!(
        "{{\"index\":1,\"time\":1001,\"previous\":\"{}\",\"entry\":{{\"by\":\"someone\",\"hypothesis\":\"H1\",\"id\":\"F1\",\"kind\":\
         \"forecast\",\"note\":\"a \\\"quoted\\\" note\",\"scale\":\"small\",\"statement\":{{\"probability\":{{\"supported\":0.3}}}},\
         \"study\":\"S1\"}}",
        registry.lines()[0].hash
    );
    let hash = blake3::hash(format!("ontogeny registry 1\n{body}").as_bytes()).to_hex();
    assert_eq!(line, format!("{body},\"hash\":\"{hash}\"}}"));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&chain(folder.path()));
    assert!(bytes.len() > 1_500);
    // With and without a torn end behind it.
    for tail in [&b""[..], b"{\"index\":5,\"time\":10"] {
        let n_whole = bytes.len();
        let mut bytes = bytes.clone();
        bytes.extend_from_slice(tail);
        assert!(verify(Path::new("x"), &bytes).is_ok());
        for at in 0..n_whole {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(verify(Path::new("x"), &bytes).is_err(), "bit {bit} of byte {at} unnoticed");
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn every_byte_removed_put_in_or_replaced_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&chain(folder.path()));
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other.remove(at);
        // Without its line break the last line counts as torn, and is no line any more.
        let is_last = at + 1 == bytes.len();
        match verify(Path::new("x"), &other) {
            Ok((lines, _)) => assert!(is_last && lines.len() == 4),
            Err(_) => assert!(!is_last, "byte {at}"),
        }
        for byte in [b' ', b'\n', b'0', 0] {
            let mut other = bytes.clone();
            other.insert(at, byte);
            assert!(verify(Path::new("x"), &other).is_err(), "byte {byte} before {at}");
            if bytes[at] != byte {
                other = bytes.clone();
                other[at] = byte;
                assert!(verify(Path::new("x"), &other).is_err(), "byte {byte} at {at}");
            }
        }
    }
}

#[test]
fn edited_removed_moved_and_repeated_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = String::from_utf8(bytes_of(&chain(folder.path()))).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let of = |order: &[usize]| order.iter().map(|i| lines[*i]).collect::<String>();
    assert_eq!(damaged_line(of(&[0, 2, 3, 4]).as_bytes()), 2);
    assert_eq!(damaged_line(of(&[1, 2, 3, 4]).as_bytes()), 1);
    assert_eq!(damaged_line(of(&[0, 2, 1, 3, 4]).as_bytes()), 2);
    assert_eq!(damaged_line(of(&[0, 1, 1, 2, 3, 4]).as_bytes()), 3);
    assert_eq!(damaged_line(format!("{}\n{text}", "").as_bytes()), 1);
    assert_eq!(damaged_line(text.replacen("supported\":0.3", "supported\":0.9", 1).as_bytes()), 2);
    // A cut at a line is no damage: runs and verdicts must tell.
    assert_eq!(verify(Path::new("x"), of(&[0, 1]).as_bytes()).unwrap().0.len(), 2);
    let message = found_in(text.replace("someone", "anybody").as_bytes()).to_string();
    for part in ["registry.jsonl", "line 2", "found", "expected", "restore"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_edited_line_with_a_new_hash_breaks_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let registry = chain(folder.path());
    let (_, forged) = Line::new(0, 1_000, NO_HEAD, registration("S9"));
    let text = String::from_utf8(bytes_of(&registry)).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    assert_eq!(damaged_line(format!("{forged}\n{rest}").as_bytes()), 2);
}

#[test]
fn another_spelling_with_a_right_hash_is_refused() {
    // Whoever can hash can also write the same in other bytes; one entry must have one hash.
    let (line, text) = Line::new(0, 7, NO_HEAD, registration("S1"));
    for (from, to) in [("\"index\":0,", "\"index\": 0,"), ("\"engine\":7", "\"engine\":7,\"extra\":1")] {
        let body = text.rsplit_once(",\"hash\"").unwrap().0.replacen(from, to, 1);
        let hash = blake3::hash(format!("ontogeny registry 1\n{body}").as_bytes()).to_hex();
        let error = found_in(format!("{body},\"hash\":\"{hash}\"}}\n").as_bytes());
        assert!(matches!(error, RegistryError::Damaged { line: 1, .. } | RegistryError::Unknown { line: 1, .. }));
    }
    assert_eq!(Line::decode(text.as_bytes()).unwrap(), line);
    // A kind of a later version: the hash holds, so it is no damage.
    let body = text.rsplit_once(",\"hash\"").unwrap().0.replacen("registration", "retraction", 1);
    let hash = blake3::hash(format!("ontogeny registry 1\n{body}").as_bytes()).to_hex();
    let error = found_in(format!("{body},\"hash\":\"{hash}\"}}\n").as_bytes());
    assert!(matches!(error, RegistryError::Unknown { line: 1, .. }), "{error}");
}

#[test]
fn a_line_torn_at_any_byte_never_counted() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&chain(folder.path()));
    let n_before = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let torn = tempfile::tempdir().unwrap();
    let path = torn.path().join(REGISTRY_FILE);
    for length in n_before..bytes.len() {
        fs_err::write(&path, &bytes[..length]).unwrap();
        let mut registry = Registry::open(torn.path()).unwrap();
        assert_eq!((registry.length(), registry.torn_bytes()), (4, (length - n_before) as u64));
        // A shorter line than the torn one: nothing of that may stay behind it.
        registry.append(forecast(Prediction::Probability { supported: 0.5 }), 1_004).unwrap();
        assert_eq!(registry.torn_bytes(), 0);
        let again = Registry::open(torn.path()).unwrap();
        assert_eq!((again.length(), again.torn_bytes()), (5, 0));
        assert_eq!(again.lines(), registry.lines());
    }
}

#[test]
fn what_no_append_can_leave_is_not_taken_for_torn() {
    // The file of somebody else is not overwritten.
    assert_eq!(damaged_line(b"hello"), 1);
    assert_eq!(damaged_line(b"{\"index\":1"), 1);
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join(REGISTRY_FILE), "my notes").unwrap();
    assert!(matches!(Registry::open(folder.path()), Err(RegistryError::Damaged { line: 1, .. })));
    assert_eq!(fs_err::read_to_string(folder.path().join(REGISTRY_FILE)).unwrap(), "my notes");
}

#[test]
fn two_at_once_both_end_up_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for name in ["A", "B"] {
            let atlas = folder.path();
            scope.spawn(move || {
                let mut registry = Registry::open(atlas).unwrap();
                for i in 0..50 {
                    // Times that do not agree between the two, as those of two clocks.
                    let line = registry.append(registration(&format!("{name}{i}")), 1_000 + i % 7).unwrap();
                    assert_eq!(registry.lines()[line.index as usize], line);
                }
            });
        }
    });
    let registry = Registry::open(folder.path()).unwrap();
    assert_eq!(registry.length(), 100);
    for name in ["A", "B"] {
        let of: Vec<&str> = registry.lines().iter().map(|l| l.entry.study()).filter(|s| s.starts_with(name)).collect();
        assert_eq!(of, (0..50).map(|i| format!("{name}{i}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_clock_that_is_behind_is_refused_and_a_little_late_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = chain(folder.path());
    let before = bytes_of(&registry);
    let error = registry.append(registration("S3"), 1_003 - 61).unwrap_err();
    assert!(matches!(error, RegistryError::ClockBehind { found: 942, expected: 1_003, .. }), "{error}");
    assert_eq!(bytes_of(&registry), before);
    assert_eq!(registry.append(registration("S3"), 1_003 - 60).unwrap().time, 1_003);
    // Written by hand, a time that goes back is damage.
    let (_, text) = Line::new(6, 1_002, registry.head(), registration("S4"));
    let mut bytes = bytes_of(&registry);
    bytes.extend_from_slice(format!("{text}\n").as_bytes());
    assert_eq!(damaged_line(&bytes), 7);
}

#[test]
fn numbers_that_would_not_come_back_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = chain(folder.path());
    let before = bytes_of(&registry);
    for p in [f64::NAN, f64::INFINITY] {
        let hash = registry.lines()[0].hash.clone();
        let error = registry.append(verdict("S1", &hash, p), 2_000).unwrap_err();
        assert!(matches!(error, RegistryError::NotWritable { .. }), "{error}");
    }
    assert_eq!(bytes_of(&registry), before);
    for p in [f64::MIN_POSITIVE, 5e-324, 1.0 - f64::EPSILON / 2.0, 0.1] {
        let hash = registry.lines()[0].hash.clone();
        registry.append(verdict("S1", &hash, p), 2_000).unwrap();
    }
    assert_eq!(Registry::open(folder.path()).unwrap().lines(), registry.lines());
}

#[test]
fn a_chain_replaced_while_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = chain(folder.path());
    let other = tempfile::tempdir().unwrap();
    let mut replacement = Registry::open(other.path()).unwrap();
    for i in 0..9 {
        replacement.append(registration(&format!("R{i}")), 1_000).unwrap();
    }
    fs_err::copy(replacement.path(), registry.path()).unwrap();
    let error = registry.append(registration("S5"), 3_000).unwrap_err();
    assert!(matches!(error, RegistryError::Replaced { found: 9, expected: 5, .. }), "{error}");
    // Cut while it was open.
    let text = fs_err::read_to_string(replacement.path()).unwrap();
    let (first, _) = text.split_once('\n').unwrap();
    fs_err::write(replacement.path(), format!("{first}\n")).unwrap();
    assert!(matches!(replacement.append(registration("S5"), 3_000), Err(RegistryError::Replaced { found: 1, .. })));
}
