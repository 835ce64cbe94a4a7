//! Names that become files, folders and Zarr nodes: what is allowed.

use crate::training_log::TRAINING_LOG;

/// Longest allowed name in bytes; with a suffix it still fits every file system's 255.
const MAX_BYTES: usize = 120;

/// Whether `name` can stand as one path component on every system and as a Zarr node.
///
/// # Errors
/// The reason it cannot, as the end of a sentence that began with the name.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    const FORBIDDEN: &[char] = &['/', '\\', ':', '*', '?', '"', '<', '>', '|'];
    if name.is_empty() {
        Err("is empty")
    } else if name.len() > MAX_BYTES {
        Err("is longer than 120 bytes")
    } else if name.contains(FORBIDDEN) || name.contains(char::is_control) {
        Err("contains a control character or one of / \\ : * ? \" < > |")
    } else if name.starts_with('.') || name.ends_with('.') || name.starts_with("__") {
        Err("begins or ends with a dot, or begins with two underscores")
    } else if name.trim() != name {
        Err("begins or ends with white space")
    } else {
        Ok(())
    }
}

/// As [`check`], without dots: an observable is addressed as `measure.component`.
///
/// # Errors
/// As for [`check`].
pub(crate) fn check_measure(name: &str) -> Result<(), &'static str> {
    check(name)?;
    if name.contains('.') {
        Err("contains a dot, which separates measure and component")
    } else if name == TRAINING_LOG {
        Err("is the name of the training's log")
    } else {
        Ok(())
    }
}

/// The stem `step-00001200` of files that belong to a step.
pub(crate) fn step_stem(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a file named `step-00001200SUFFIX`; `None` for every other name.
pub(crate) fn parse_step(file_name: &str, suffix: &str) -> Option<u64> {
    let step = file_name.strip_prefix("step-")?.strip_suffix(suffix)?.parse().ok()?;
    // Only the canonical spelling: two files must never stand for one step.
    (format!("{}{suffix}", step_stem(step)) == file_name).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_escape_their_folder() {
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/etc",
            "a\\b",
            "..\\x",
            "C:x",
            "a\0",
            "a\n",
            " a",
            "a ",
            "__x",
            ".hidden",
            "a.",
            "a.b",
            &"x".repeat(121),
        ] {
            assert!(check_measure(name).is_err(), "{name:?}");
        }
        for name in ["loss", "llc_unembed", "λ̂", "two words", "-x", &"x".repeat(120)] {
            assert_eq!(check_measure(name), Ok(()), "{name:?}");
        }
        assert_eq!(check("r_hat.full"), Ok(()));
    }

    #[test]
    fn only_the_canonical_spelling_of_a_step_counts() {
        for step in [0, 1, 1200, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(parse_step(&format!("{}.json", step_stem(step)), ".json"), Some(step));
        }
        for name in [
            "step-1.json",
            "step-+0000001.json",
            "step-000000001.json",
            "step-0000000x.json",
            "x.json",
            "step-00000001.json.bak",
        ] {
            assert_eq!(parse_step(name, ".json"), None, "{name}");
        }
    }
}
