//! The colours of the report, checked by arithmetic: told apart by every kind of colour vision, and visible on the page.

const STYLE: &str =
    concat!(include_str!("../src/palette.css"), include_str!("../src/figure.css"), include_str!("../src/style.css"));

/// Linear RGB as it reaches eyes of each kind: normal, protan, deutan, tritan at full severity
/// (Machado, Oliveira and Fernandes 2009, table 1).
const VISION: [[[f64; 3]; 3]; 4] = [
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
    [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
    [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
];

type Colour = [f64; 3];

/// The custom properties `--PREFIX0`, `--PREFIX1`, … of one theme, from `first` on, in linear RGB.
fn colours(theme: &str, prefix: &str, first: usize) -> Vec<Colour> {
    let value = |name: &str| theme.split(&format!("--{name}: #")).nth(1).map(|rest| linear(&rest[..6]));
    (first..).map_while(|index| value(&format!("{prefix}{index}"))).collect()
}

fn hex<'a>(theme: &'a str, name: &str) -> &'a str {
    let rest = theme.split(&format!("--{name}: #")).nth(1).unwrap_or_else(|| panic!("each theme has --{name}"));
    &rest[..6]
}

fn paper(theme: &str) -> Colour {
    linear(hex(theme, "paper"))
}

/// One colour over another with this opacity, mixed as browsers do, in sRGB.
fn over(top: &str, opacity: f64, below: &str) -> String {
    let channel = |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"));
    [0, 2, 4]
        .map(|at| (opacity * channel(top, at) + (1.0 - opacity) * channel(below, at)).round() as u8)
        .map(|c| format!("{c:02x}"))
        .concat()
}

/// The rules of the light and of the dark theme.
fn themes() -> [&'static str; 2] {
    let (light, rest) = STYLE.split_once("@media screen").expect("the dark theme follows the light one");
    [light, rest.split_once("* {").expect("rules follow the themes").0]
}

/// sRGB to linear RGB (IEC 61966-2-1).
fn linear(hex: &str) -> Colour {
    [0, 2, 4].map(|at| {
        let c = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("six hexadecimal digits")) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    })
}

fn apply(matrix: &[[f64; 3]; 3], colour: Colour) -> Colour {
    [0, 1, 2].map(|row: usize| matrix[row].iter().zip(colour).map(|(m, c)| m * c).sum())
}

/// OKLab (Ottosson 2020), in which distance is roughly perceived difference.
fn oklab(rgb: Colour) -> Colour {
    let cones = apply(
        &[
            [0.412_221_470_8, 0.536_332_536_3, 0.051_445_992_9],
            [0.211_903_498_2, 0.680_699_545_1, 0.107_396_956_6],
            [0.088_302_461_9, 0.281_718_837_6, 0.629_978_700_5],
        ],
        rgb,
    );
    apply(
        &[
            [0.210_454_255_3, 0.793_617_785_0, -0.004_072_046_8],
            [1.977_998_495_1, -2.428_592_205_0, 0.450_593_709_9],
            [0.025_904_037_1, 0.782_771_766_2, -0.808_675_766_0],
        ],
        cones.map(|c| c.max(0.0).cbrt()),
    )
}

fn distance(a: Colour, b: Colour) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}

fn luminance(rgb: Colour) -> f64 {
    0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]
}

#[test]
fn series_are_told_apart_by_every_kind_of_colour_vision() {
    for theme in themes() {
        let series = colours(theme, "s", 1);
        assert_eq!(series.len(), 7);
        for vision in &VISION {
            for (i, a) in series.iter().enumerate() {
                for b in &series[..i] {
                    let seen = distance(oklab(apply(vision, *a)), oklab(apply(vision, *b)));
                    // Four times the just noticeable difference of about 0.02.
                    assert!(seen > 0.08, "{a:?} and {b:?}: {seen}");
                }
            }
        }
    }
}

#[test]
fn lines_have_the_contrast_that_graphics_need() {
    for theme in themes() {
        let paper = luminance(paper(theme));
        for colour in colours(theme, "s", 1) {
            let ink = luminance(colour);
            let contrast = (ink.max(paper) + 0.05) / (ink.min(paper) + 0.05);
            // WCAG 2.2, criterion 1.4.11: graphical objects, 3 to 1.
            assert!(contrast >= 3.0, "{colour:?}: {contrast}");
        }
    }
}

#[test]
fn text_is_legible_on_everything_it_stands_on() {
    for theme in themes() {
        let [ink, quiet, link, paper, band, well] =
            ["ink", "quiet", "link", "paper", "band", "well"].map(|n| hex(theme, n));
        // The interval of a boundary lies over paper and bands, under the numbers of stages; figure.css has its opacity.
        assert!(STYLE.contains(".boundary-interval { fill: var(--quiet); opacity: .11; }"));
        let shaded = [over(quiet, 0.11, paper), over(quiet, 0.11, band)];
        let grounds = [paper, band, well].into_iter().chain(shaded.iter().map(String::as_str));
        for ground in grounds {
            for text in [ink, quiet, link] {
                let (a, b) = (luminance(linear(text)), luminance(linear(ground)));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                // WCAG 2.2, criterion 1.4.3: text, 4.5 to 1.
                assert!(contrast >= 4.5, "#{text} on #{ground}: {contrast}");
            }
        }
    }
}

#[test]
fn heat_map_colours_are_ordered_by_lightness() {
    for (theme, grows) in themes().into_iter().zip([false, true]) {
        let shades: Vec<f64> = colours(theme, "h", 0).into_iter().map(|c| oklab(c)[0]).collect();
        assert_eq!(shades.len(), 16);
        for pair in shades.windows(2) {
            // At least a visible step from shade to shade, all in one direction.
            let step = if grows { pair[1] - pair[0] } else { pair[0] - pair[1] };
            assert!(step > 0.015, "{pair:?}");
        }
    }
}
