//! The table of functions in `docs/studies.md` is that of the program.

use ontogeny_atlas::expression::functions;

#[test]
fn the_documented_functions_are_those_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/studies.md");
    let docs = fs_err::read_to_string(path).unwrap();
    let table = docs.split("## Functions\n").nth(1).unwrap_or_default();
    let found: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let cell = |text: &str| text.replace('|', "\\|");
    let expected: Vec<String> =
        functions().iter().map(|f| format!("| `{}` | {} |", cell(f.usage), cell(f.doc))).collect();
    assert_eq!(found, expected, "expected in docs/studies.md:\n{}", expected.join("\n"));
}
