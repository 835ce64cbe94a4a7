//! Numbers as people read them: significant digits chosen from the error, thousands grouped, powers of ten written out.
//!
//! `script.js` holds the same rules for the read-out of the cursor; the browser test compares the two.

/// Significant digits of a number that comes without an error.
const DIGITS: i32 = 4;

/// `3,000`.
pub(crate) fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A step that need not be a whole number: whole from 100 on, one decimal below, two digits below 1.
pub(crate) fn step(step: f64) -> String {
    if step.abs() >= 100.0 || step.fract() == 0.0 {
        group(&format!("{step:.0}"))
    } else if step.abs() < 1.0 {
        significant(step, 2)
    } else {
        trim(&format!("{step:.1}"))
    }
}

/// A number without an error, to four significant digits: `0.996`, `1,234`, `3.1 × 10⁻⁷`.
pub(crate) fn value(x: f64) -> String {
    significant(x, DIGITS)
}

/// A number to so many significant digits, without zeros at the end of its decimals.
pub(crate) fn significant(x: f64, digits: i32) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let (mantissa, exponent) = scientific(x, digits - 1);
    if (-3..6).contains(&exponent) {
        let decimals = (digits - 1 - exponent).max(0) as usize;
        trim(&group(&minus(&format!("{x:.decimals$}"))))
    } else {
        format!("{} × {}", trim(&minus(&mantissa)), power_of_ten(exponent))
    }
}

/// An estimate with its standard error, rounded to two significant digits of the error: `12.34 ± 0.56`.
pub(crate) fn estimate(x: f64, standard_error: Option<f64>) -> String {
    let Some(se) = standard_error.filter(|se| se.is_finite() && *se > 0.0) else {
        return value(x);
    };
    if !x.is_finite() {
        return value(x);
    }
    let (_, se_exponent) = scientific(se, 1);
    let (_, x_exponent) = scientific(x, 1);
    let largest = if x == 0.0 { se_exponent } else { se_exponent.max(x_exponent) };
    if (-3..6).contains(&largest) && se_exponent >= -5 {
        let decimals = (1 - se_exponent).max(0) as usize;
        format!("{} ± {}", group(&minus(&format!("{x:.decimals$}"))), group(&format!("{se:.decimals$}")))
    } else {
        let decimals = (1 - se_exponent + largest).max(0) as usize;
        let unit = 10f64.powi(largest);
        let (x, se) = (x / unit, se / unit);
        format!("({} ± {se:.decimals$}) × {}", minus(&format!("{x:.decimals$}")), power_of_ten(largest))
    }
}

/// A label of an axis whose labels are `interval` apart, with the decimals that tell neighbours apart.
pub(crate) fn tick(x: f64, interval: f64) -> String {
    let (_, exponent) = scientific(interval, 0);
    let decimals = (-exponent).max(0) as usize;
    if x == 0.0 { "0".to_owned() } else { group(&minus(&format!("{x:.decimals$}"))) }
}

/// A signed change: `−3.9`, `+0.8`.
pub(crate) fn change(x: f64) -> String {
    let sign = if x > 0.0 { "+" } else { "" };
    format!("{sign}{}", value(x))
}

/// A p-value: two digits, and a bound instead of zeros.
pub(crate) fn p_value(p: f64) -> String {
    if !p.is_finite() {
        "–".to_owned()
    } else if p < 1e-4 {
        "< 0.0001".to_owned()
    } else if p < 0.01 {
        trim(&format!("{p:.4}"))
    } else {
        trim(&format!("{p:.2}"))
    }
}

/// `10⁻³`.
pub(crate) fn power_of_ten(exponent: i32) -> String {
    let superscript: String = exponent
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '0' => '⁰',
            digit => char::from_u32(0x2070 + digit as u32 - '0' as u32).expect("4 to 9 stand at U+2074 to U+2079"),
        })
        .collect();
    format!("10{superscript}")
}

/// Mantissa and exponent of `x` rounded to `decimals` decimals of the mantissa.
fn scientific(x: f64, decimals: i32) -> (String, i32) {
    let text = format!("{:.*e}", decimals.max(0) as usize, x);
    let (mantissa, exponent) = text.split_once('e').expect("the exponent format has an e");
    (mantissa.to_owned(), exponent.parse().expect("the exponent is a small whole number"))
}

/// The typographic minus sign instead of a hyphen.
fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

/// Without the zeros that end a decimal fraction.
fn trim(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

/// Commas between groups of three digits of the whole part.
fn group(text: &str) -> String {
    let whole_end = text.find('.').unwrap_or(text.len());
    let digits_start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let mut grouped = String::with_capacity(text.len() + 4);
    for (at, c) in text.char_indices() {
        if at > digits_start && at < whole_end && (whole_end - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits_and_read_well() {
        let cases = [
            (0.0, "0"),
            (0.996, "0.996"),
            (12.3456, "12.35"),
            (1234.56, "1,235"),
            (-123_456.0, "−123,456"),
            (9_999_999.0, "1 × 10⁷"),
            (3.1e-7, "3.1 × 10⁻⁷"),
            (-9.202e-9, "−9.202 × 10⁻⁹"),
            (0.001, "0.001"),
            (f64::NAN, "–"),
        ];
        for (x, expected) in cases {
            assert_eq!(value(x), expected);
        }
        assert_eq!(
            [significant(0.9972, 2), significant(0.512, 2), significant(1.23e-9, 2)],
            ["1", "0.51", "1.2 × 10⁻⁹"]
        );
        assert_eq!([count(7), count(3000), count(1_234_567)], ["7", "3,000", "1,234,567"]);
        assert_eq!([step(89.6), step(1900.4), step(3.0), step(0.053)], ["89.6", "1,900", "3", "0.053"]);
        assert_eq!([p_value(1e-9), p_value(0.0031), p_value(0.25)], ["< 0.0001", "0.0031", "0.25"]);
        assert_eq!([change(3.9), change(-3.9)], ["+3.9", "−3.9"]);
    }

    #[test]
    fn neighbouring_ticks_differ() {
        let cases = [
            ((0.0, 0.2), "0"),
            ((0.2, 0.2), "0.2"),
            ((4.02, 0.02), "4.02"),
            ((-1500.0, 500.0), "−1,500"),
            ((1.234_567_8, 2e-7), "1.2345678"),
        ];
        for ((x, interval), expected) in cases {
            assert_eq!(tick(x, interval), expected);
        }
    }

    #[test]
    fn the_error_decides_the_digits_of_an_estimate() {
        let cases = [
            (12.3456, Some(0.563), "12.35 ± 0.56"),
            (1234.5, Some(123.0), "1,234 ± 123"),
            (-3.0, Some(0.05), "−3.000 ± 0.050"),
            (3.1e-7, Some(2e-9), "(3.100 ± 0.020) × 10⁻⁷"),
            (0.0, Some(0.5), "0.00 ± 0.50"),
            (2.5, None, "2.5"),
            (2.5, Some(f64::NAN), "2.5"),
        ];
        for (x, se, expected) in cases {
            assert_eq!(estimate(x, se), expected);
        }
    }
}
