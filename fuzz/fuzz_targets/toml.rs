//! Run files: parsed, with overrides, at both scales; a file that is accepted must survive its own manifest.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ontogeny_study::{Overrides, RunFile, Scale};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("fuzz.toml");
    // Lines that begin with `#=` are overrides, as `--set` takes them.
    let set = text.lines().filter_map(|line| line.strip_prefix("#=")?.split_once('='));
    let set: Vec<_> = set.take(4).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    for scale in [Scale::Full, Scale::Small] {
        match RunFile::parse(path, text, &Overrides { set: set.clone(), scale }) {
            Err(error) => {
                let message = error.to_string();
                assert!(message.starts_with("fuzz.toml"), "no file name: {message}");
                assert!(error.line.is_none_or(|line| 1 <= line && line <= 1 + text.matches('\n').count()), "{message}");
            }
            Ok(file) => {
                let mut resolved = file.resolved().expect("what TOML could say, it can say again");
                resolved.remove("run_file");
                let text = toml::to_string(&resolved).expect("a table has a text");
                let again = RunFile::parse(path, &text, &Overrides::default()).expect("the manifest can be read back");
                assert_eq!(format!("{again:?}"), format!("{file:?}"));
            }
        }
    }
});
