//! The style of a picture that stands alone: the rules of drawings with the colours written into them.

const PALETTE: &str = include_str!("palette.css");

/// The rules of drawings and `more` of them, for light and for dark surroundings, without variables.
pub(crate) fn style(more: &str) -> String {
    const OWN: &str =
        ".paper { fill: var(--paper); } .title { fill: var(--ink); font-size: 14px; font-weight: 600; }\n";
    let rules = |palette: &str| {
        let mut css = format!("{OWN}{}{more}", include_str!("figure.css"));
        for declaration in palette.split(['{', '}', ';']) {
            if let Some((name, colour)) = declaration.trim().strip_prefix("--").and_then(|d| d.split_once(':')) {
                css = css.replace(&format!("var(--{name})"), colour.trim());
            }
        }
        css
    };
    let (light, dark) = PALETTE.split_once("@media").unwrap_or((PALETTE, PALETTE));
    format!(
        "svg {{ font-family: system-ui, -apple-system, \"Segoe UI\", \"Liberation Sans\", Arial, sans-serif; }}\n{}@media screen and (prefers-color-scheme: dark) {{\n{}}}\n",
        rules(light),
        rules(dark)
    )
}
