//! What so many units can show at all: whether a test supports the clearest data there could be.

use ontogeny_stats::ArrayError;
use ontogeny_stats::hypothesis::{Sided, Verdict};

use crate::bench::is_of_pairs;
use crate::estimate::{Claim, Sample};
use crate::expression::Expression;
use crate::study_file::{Family, Hypothesis, StudyFile, TestKind};
use crate::words::number;

/// Most seeds that are tried.
const MOST_SEEDS: usize = 200;

/// What the seeds of a study cannot show, a sentence for each hypothesis: by Holm's method the smallest of m p-values is held against
/// α/m, and tests by ranks have a least p-value.
pub(crate) fn warnings(study: &StudyFile) -> Vec<String> {
    let m = study.hypotheses.len();
    let mut found = Vec::new();
    for h in &study.hypotheses {
        let Some(family) = family_of(study, h) else { continue };
        let Some(n) = planned(study, family, h) else { continue };
        let claim = Claim::of(h);
        let alpha = h.alpha.unwrap_or(study.alpha);
        let first = alpha / m as f64;
        let reaches = |n: usize, alpha: f64| match sample(family, h, n) {
            Some(sample) => claim.can_support(&sample, alpha),
            None => Ok(true),
        };
        let test = h.test.name();
        match reaches(n, first) {
            Ok(true) => continue,
            Err(error) if !matches!(error, ArrayError::TooFew { .. }) => {
                found.push(format!("`{}`: with {n} units `{test}` cannot be done: {error}", h.id));
                continue;
            }
            _ => {}
        }
        let needed = match (n..=MOST_SEEDS).find(|&n| reaches(n, first) == Ok(true)) {
            Some(needed) => format!("{needed} units would"),
            None => format!("no number up to {MOST_SEEDS} would: is the smallest effect one that it can have?"),
        };
        found.push(if reaches(n, alpha) == Ok(true) {
            format!(
                "`{}`: with {n} units `{test}` supports nothing at α/{m} = {}, as the first of {m} hypotheses has to be \
                 (Holm), only after others are supported; {needed}",
                h.id,
                number(first)
            )
        } else {
            format!("`{}`: with {n} units `{test}` supports nothing at α = {}, whatever the data; {needed}", h.id, number(alpha))
        });
    }
    found
}

impl Claim {
    /// Whether the test supports the claim on data of this size that speak for it as clearly as any, at an error rate. True for tests
    /// of which that is not known.
    ///
    /// # Errors
    /// Data of a size that the test cannot take.
    pub(crate) fn can_support(self, sample: &Sample, alpha: f64) -> Result<bool, ArrayError> {
        let Some(clear) = self.clear(sample) else { return Ok(true) };
        let found = self.estimate(&clear, self.deciding_level(alpha))?;
        Ok(self.verdict(&found, alpha)? == Verdict::Supported)
    }

    /// Data of the same size with an effect that nothing hides.
    fn clear(self, like: &Sample) -> Option<Sample> {
        let sign = if self.sided == Sided::Less { -1.0 } else { 1.0 };
        // Twice the smallest effect, with values that differ a little, as tests of ranks want them.
        let effect = |i: usize| sign * self.smallest_effect * (2.0 + 1e-3 * i as f64);
        Some(match like {
            Sample::One(values) if self.test == TestKind::Proportion => {
                // Of either side the one that is further away.
                let is_below = sign < 0.0 || (self.sided == Sided::Either && self.no_effect > 0.5);
                Sample::One(vec![if is_below { 0.0 } else { 1.0 }; values.len()])
            }
            Sample::One(values) if self.test.is_equivalence() => {
                let near = |i: usize| self.no_effect + 1e-6 * self.smallest_effect * (i as f64 - 0.4);
                Sample::One((0..values.len()).map(near).collect())
            }
            Sample::One(values) => Sample::One((0..values.len()).map(|i| self.no_effect + effect(i)).collect()),
            Sample::Two(first, second) => Sample::Two(
                (0..first.len()).map(effect).collect(),
                (0..second.len()).map(|i| 1e-4 * effect(i) / (2.0 + i as f64)).collect(),
            ),
            Sample::Doses(doses, blocks) => {
                let block = |i: usize| doses.iter().map(|dose| effect(i) * dose).collect();
                Sample::Doses(doses.clone(), (0..blocks.len()).map(block).collect())
            }
            Sample::Groups(doses, groups) => {
                let group = |(dose, group): (&f64, &Vec<f64>)| {
                    (0..group.len()).map(|i| effect(0) * dose + 1e-6 * effect(i)).collect()
                };
                Sample::Groups(doses.clone(), doses.iter().zip(groups).map(group).collect())
            }
            Sample::Pairs(x, _) => {
                let x: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
                let y = x.iter().map(|x| sign * x).collect();
                Sample::Pairs(x, y)
            }
            Sample::Events(..) | Sample::Rows(_) => return None,
        })
    }
}

fn family_of<'a>(study: &'a StudyFile, h: &Hypothesis) -> Option<&'a Family> {
    h.runs.as_ref().or_else(|| study.runs.keys().next()).and_then(|name| study.runs.get(name))
}

/// Units of a hypothesis, if each of them has a value.
fn planned(study: &StudyFile, family: &Family, h: &Hypothesis) -> Option<usize> {
    let seeds = |family: &Family| family.seeds.unwrap_or(study.seeds) as usize;
    let other = h.against.as_ref().and_then(|name| study.runs.get(name));
    Some(match h.test {
        TestKind::Spearman | TestKind::Kendall => seeds(family) * family.conditions().ok()?.len(),
        test if test.is_of_two_samples() => seeds(family).min(other.map_or(usize::MAX, seeds)),
        test if test.is_of_one_sample() && is_of_pairs(&Expression::parse(&h.statistic).ok()?) => seeds(family) / 2,
        _ => seeds(family),
    })
}

/// A sample of `n` units of the kind that the test takes; its values are not used.
fn sample(family: &Family, h: &Hypothesis, n: usize) -> Option<Sample> {
    let blank = vec![0.0; n];
    let n_doses = family.conditions().ok()?.len();
    let doses = || (0..n_doses).map(|i| i as f64).collect();
    Some(match h.test {
        TestKind::Page => Sample::Doses(doses(), vec![vec![0.0; n_doses]; n]),
        TestKind::Jonckheere => Sample::Groups(doses(), vec![blank; n_doses]),
        TestKind::Spearman | TestKind::Kendall => Sample::Pairs(blank.clone(), blank),
        TestKind::Precision | TestKind::Recall => Sample::Events(Vec::new(), 1.0),
        TestKind::Prediction => Sample::Rows(Vec::new()),
        test if test.is_of_two_samples() => Sample::Two(blank.clone(), blank),
        _ => Sample::One(blank),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use ontogeny_study::Scale;

    use super::*;

    fn study(seeds: u32, tests: &[&str]) -> StudyFile {
        study_of(seeds, "preset = \"none\"\n[runs.b]\npreset = \"none\"\nown_seeds = true", tests)
    }

    fn study_of(seeds: u32, family: &str, tests: &[&str]) -> StudyFile {
        let mut text =
            format!("id = \"T\"\nquestion = \"?\"\nsource = \"a test\"\nseeds = {seeds}\n[runs.a]\n{family}\n");
        for (i, test) in tests.iter().enumerate() {
            let _ = write!(
                text,
                "[[hypothesis]]\nid = \"h{i}\"\nclaim = \"c\"\nquantity = \"q\"\nstatistic = \"seed\"\nsmallest_effect = 0.5\n{test}\n"
            );
        }
        StudyFile::parse(Path::new("T.toml"), &text, Scale::Full).unwrap()
    }

    /// By signed ranks n seeds have a least p of 2⁻ⁿ: 6 do for two hypotheses at 0.025, not for four at 0.0125.
    #[test]
    fn as_many_seeds_as_holm_needs() {
        let ranks = "test = \"signed_rank\"";
        assert!(warnings(&study(5, &[ranks])).is_empty());
        assert!(warnings(&study(6, &[ranks; 2])).is_empty());
        let found = warnings(&study(6, &[ranks; 4]));
        assert_eq!(found.len(), 4);
        assert!(found[0].contains("at α/4 = 0.0125") && found[0].contains("; 7 units would"), "{found:?}");
        let never = warnings(&study(4, &[ranks]));
        assert!(never[0].contains("whatever the data; 5 units would"), "{never:?}");
        assert!(warnings(&study(3, &["test = \"t\""])).is_empty());
    }

    #[test]
    fn other_tests_have_their_own_least() {
        for (test, fewest) in [
            ("test = \"sign\"", 5),
            ("test = \"sign_flip\"", 5),
            ("test = \"signed_rank\"\ndirection = \"either\"", 6),
            ("test = \"equivalence_signed_rank\"", 5),
            // 0.5⁵ = 0.031
            ("test = \"proportion\"\nno_effect = 0.5\ndirection = \"greater\"", 5),
            ("test = \"proportion\"\nno_effect = 0.5\ndirection = \"less\"", 5),
            // All misses of 0.9 have 2·0.1ⁿ, all hits are no surprise.
            ("test = \"proportion\"\nno_effect = 0.9\ndirection = \"either\"", 2),
            // 1/C(6, 3) = 0.05, 2/C(8, 4) = 0.029 (docs/hypotheses.md)
            ("test = \"rank_sum\"\nagainst = \"b\"", 3),
            ("test = \"permutation\"\nagainst = \"b\"\ndirection = \"either\"", 4),
            ("test = \"spearman\"\nagainst = \"seed\"", 5),
            ("test = \"bootstrap\"", 20),
        ] {
            assert!(!warnings(&study(fewest - 1, &[test])).is_empty(), "{test}");
            assert_eq!(warnings(&study(fewest, &[test])), Vec::<String>::new(), "{test}");
        }
    }

    #[test]
    fn doses_need_two_seeds_and_may_be_too_many() {
        let page = "preset = \"none\"\nvary = { \"train.rate\" = [1, 2, 3, 4] }";
        let test = "test = \"page\"\nagainst = \"seed\"";
        assert!(!warnings(&study_of(1, page, &[test])).is_empty());
        assert_eq!(warnings(&study_of(2, page, &[test])), Vec::<String>::new());
        let nine = "preset = \"none\"\nvary = { \"train.rate\" = [1, 2, 3, 4, 5, 6, 7, 8, 9] }";
        let found = warnings(&study_of(5, nine, &[test]));
        assert!(found[0].contains("`page` cannot be done"), "{found:?}");
        let own = "preset = \"none\"\nown_seeds = true\nvary = { \"train.rate\" = [1, 2, 3] }";
        let test = "test = \"jonckheere\"\nagainst = \"seed\"";
        assert!(!warnings(&study_of(1, own, &[test])).is_empty());
        assert_eq!(warnings(&study_of(2, own, &[test])), Vec::<String>::new());
        assert!(warnings(&study_of(70, own, &[test]))[0].contains("cannot be done"));
    }

    #[test]
    fn pairs_of_seeds_are_half_as_many_and_some_effects_cannot_be() {
        let text = "test = \"sign\"";
        let mut paired = study(10, &[text]);
        paired.hypotheses[0].statistic = "seed - other.seed".to_owned();
        assert!(warnings(&paired).is_empty());
        paired.seeds = 9;
        assert!(warnings(&paired)[0].contains("with 4 units"));
        // A name that only sounds like it.
        paired.hypotheses[0].statistic = "last(another.loss)".to_owned();
        assert!(warnings(&paired).is_empty());
        let mut impossible = study(9, &["test = \"proportion\"\nno_effect = 0.8"]);
        impossible.hypotheses[0].smallest_effect = 0.3;
        assert!(warnings(&impossible)[0].contains("no number up to 200 would"), "{:?}", warnings(&impossible));
    }
}
