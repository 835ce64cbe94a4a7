//! Settings of `observable = "susceptibility"`, `"influence"` and `"relative_variance"` in a run file: the chains of an LLC, and
//! what their draws are asked.

use std::collections::BTreeSet;

use ontogeny_posterior::Restriction;
use serde::{Deserialize, Serialize};

use crate::llc_config::{LlcConfig, SAMPLING_KEYS};
use crate::sections::Parts;
use crate::toml_source::{RunFileError, Section};

/// Settings of `observable = "susceptibility"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SusceptibilityConfig {
    /// How the chains of every part move.
    pub chains: LlcConfig,
    /// The parts beside the whole network, each sampled by itself; none twice, and never `full`.
    pub components: Vec<String>,
    /// Splits of the task that the data move towards.
    pub probes: Vec<String>,
    /// Examples of each probe, evenly spaced over its split; all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_examples: Option<usize>,
}

/// Settings of `observable = "influence"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InfluenceConfig {
    /// How the chains move, `restrict` included.
    pub chains: LlcConfig,
    /// Training examples, evenly spaced over their split; 100, or all where there are fewer, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// The split whose examples they are held against; `train` for the same examples once more.
    pub queries: String,
    /// Examples of that split, evenly spaced; 20, or all where there are fewer, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_examples: Option<usize>,
    /// Pairs that stand out, told one by one.
    pub pairs: usize,
}

/// Settings of `observable = "relative_variance"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RelativeVarianceConfig {
    /// How the chains move at the first temperature, `restrict` included.
    pub chains: LlcConfig,
    /// Inverse temperatures nβ, at least two, ascending.
    pub n_betas: Vec<f64>,
    /// Whose distribution the answers have.
    pub truth: Truth,
    /// Training examples, evenly spaced over their split; all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
}

/// `truth` of a relative variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// That of the examples: their own answers.
    #[default]
    Data,
    /// That of the checkpoint: it holds the truth by construction.
    Model,
}

impl RelativeVarianceConfig {
    pub(crate) fn read(name: &str, mut section: Section<'_>) -> Result<Self, RunFileError> {
        let barred = ["n_beta", "calibrate"];
        for key in barred {
            if let Some(place) = section.place_of(key) {
                let message = format!("`measure.{name}.{key}` has no place here");
                let hint = "`n_betas` lists the inverse temperatures of the chains".to_owned();
                return Err(section.error_at(Some(place), message, Some(hint)));
            }
        }
        check_keys(&section, name, &["restrict", "n_betas", "truth", "examples"], &barred)?;
        let place = section.place_of("n_betas");
        let n_betas: Vec<f64> =
            section.require("n_betas", "ascending inverse temperatures, such as [100, 1000, 10000]")?;
        let are_fit =
            n_betas.iter().all(|n_beta| n_beta.is_finite() && *n_beta > 0.0) && n_betas.is_sorted_by(|a, b| a < b);
        if n_betas.len() < 2 || !are_fit {
            let message = format!(
                "`measure.{name}.n_betas` is {n_betas:?}; expected at least two finite numbers above 0, in ascending order"
            );
            return Err(section.error_at(place, message, None));
        }
        let truth = section.take("truth")?.unwrap_or_default();
        let place = section.place_of("examples");
        let examples = section.take("examples")?;
        if examples.is_some_and(|n: usize| n < 2) {
            let message = format!("`measure.{name}.examples` is {}; expected at least 2", examples.unwrap_or(0));
            return Err(section.error_at(place, message, Some("leave it out to take all of `train`".to_owned())));
        }
        let mut chains = section.read(LlcConfig::deserialize)?;
        chains.n_beta = n_betas.first().copied();
        Ok(Self { chains, n_betas, truth, examples })
    }

    /// The settings as they are written in a run file.
    pub(crate) fn resolved(&self) -> Result<toml::Table, toml::ser::Error> {
        let mut table = toml::Table::try_from(&self.chains)?;
        table.remove("n_beta");
        table.insert("n_betas".to_owned(), toml::Value::try_from(&self.n_betas)?);
        table.insert("truth".to_owned(), toml::Value::try_from(self.truth)?);
        if let Some(n) = self.examples {
            table.insert("examples".to_owned(), toml::Value::try_from(n)?);
        }
        Ok(table)
    }
}

impl InfluenceConfig {
    /// Pairs that are told unless the file says how many.
    const PAIRS: usize = 20;

    pub(crate) fn read(name: &str, mut section: Section<'_>) -> Result<Self, RunFileError> {
        check_keys(&section, name, &["restrict", "examples", "queries", "query_examples", "pairs"], &[])?;
        let of_queries = section.place_of("query_examples");
        let mut count = |key: &str, hint: &str| -> Result<Option<usize>, RunFileError> {
            let place = section.place_of(key);
            let found: Option<usize> = section.take(key)?;
            if found == Some(0) {
                let message = format!("`measure.{name}.{key}` is 0; expected at least 1");
                return Err(section.error_at(place, message, Some(hint.to_owned())));
            }
            Ok(found)
        };
        let examples = count("examples", "leave it out for 100")?;
        let query_examples = count("query_examples", "leave it out for 20")?;
        let pairs = count("pairs", "leave it out for 20")?.unwrap_or(Self::PAIRS);
        let queries: String = section.require("queries", "a split of the task, such as \"test\"")?;
        if queries == "train" && query_examples.is_some() {
            let message = format!(
                "`measure.{name}.query_examples` is given, and `queries` names `train`: those are the `examples` themselves"
            );
            return Err(section.error_at(of_queries, message, Some("leave it out".to_owned())));
        }
        Ok(Self { chains: section.read(LlcConfig::deserialize)?, examples, queries, query_examples, pairs })
    }

    /// The settings as they are written in a run file.
    pub(crate) fn resolved(&self) -> Result<toml::Table, toml::ser::Error> {
        let mut table = toml::Table::try_from(&self.chains)?;
        table.insert("queries".to_owned(), self.queries.clone().into());
        let counts =
            [("examples", self.examples), ("query_examples", self.query_examples), ("pairs", Some(self.pairs))];
        for (key, n) in counts {
            if let Some(n) = n {
                table.insert(key.to_owned(), toml::Value::try_from(n)?);
            }
        }
        Ok(table)
    }
}

impl SusceptibilityConfig {
    pub(crate) fn read(name: &str, mut section: Section<'_>) -> Result<Self, RunFileError> {
        check_keys(&section, name, &["components", "probes", "probe_examples"], &[])?;
        let place = section.place_of("components");
        let Parts(mut components) = section.take("components")?.unwrap_or(Parts(Vec::new()));
        for component in &components {
            if let Err(error) = component.parse::<Restriction>() {
                return Err(section.error_at(place, format!("in `measure.{name}.components`: {error}"), None));
            }
        }
        // The whole network is always among them, and the first.
        components.retain(|component| component != "full");
        if let Some(twice) = first_twice(&components) {
            let message = format!("`measure.{name}.components` lists `{twice}` twice; expected each part once");
            return Err(section.error_at(place, message, Some("remove one of them".to_owned())));
        }
        let place = section.place_of("probes");
        let probes: Vec<String> = section.require("probes", "a list of splits of the task, such as [\"test\"]")?;
        let mistake = match first_twice(&probes) {
            Some(twice) => Some(format!("lists `{twice}` twice; expected each split once")),
            None if probes.is_empty() => {
                Some("is an empty list; expected splits of the task, such as [\"test\"]".to_owned())
            }
            None => None,
        };
        if let Some(mistake) = mistake {
            return Err(section.error_at(place, format!("`measure.{name}.probes` {mistake}"), None));
        }
        let place = section.place_of("probe_examples");
        let probe_examples = section.take("probe_examples")?;
        if probe_examples == Some(0) {
            let message = format!("`measure.{name}.probe_examples` is 0; expected at least 1");
            return Err(section.error_at(place, message, Some("leave it out to take all of each split".to_owned())));
        }
        Ok(Self { chains: section.read(LlcConfig::deserialize)?, components, probes, probe_examples })
    }

    /// The settings as they are written in a run file.
    pub(crate) fn resolved(&self) -> Result<toml::Table, toml::ser::Error> {
        let mut table = toml::Table::try_from(&self.chains)?;
        table.remove("restrict");
        table.insert("components".to_owned(), self.components.clone().into());
        table.insert("probes".to_owned(), self.probes.clone().into());
        if let Some(n) = self.probe_examples {
            table.insert("probe_examples".to_owned(), toml::Value::try_from(n)?);
        }
        Ok(table)
    }

    /// Names of the parts, the whole network first.
    pub(crate) fn labels(&self) -> Vec<String> {
        std::iter::once("full".to_owned()).chain(self.components.clone()).collect()
    }
}

/// Checks the keys of an observable made of draws: those of the chains but for the barred ones, and its own.
fn check_keys(section: &Section<'_>, name: &str, own: &[&str], barred: &[&str]) -> Result<(), RunFileError> {
    for (key, instead) in [
        ("restrict", "every part is sampled by itself: list it in `components`"),
        ("keep_losses", "a measurement of `observable = \"llc\"` keeps the losses of single examples"),
        ("keep_examples", "a measurement of `observable = \"llc\"` keeps the losses of single examples"),
    ] {
        if let (Some(place), false) = (section.place_of(key), own.contains(&key)) {
            let message = format!("`measure.{name}.{key}` has no place here");
            return Err(section.error_at(Some(place), message, Some(instead.to_owned())));
        }
    }
    let of_chains = SAMPLING_KEYS.iter().chain(&["calibrate"]).filter(|key| !barred.contains(*key));
    let known: Vec<&str> = own.iter().chain(of_chains).copied().collect();
    section.check_keys(&known)
}

fn first_twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of an LLC is one of chains, or one that this file knows to be none.
    #[test]
    fn the_keys_of_chains_are_those_of_an_llc() {
        let table: toml::Table = toml::from_str("nokey = 1").unwrap();
        let error = LlcConfig::deserialize(table).unwrap_err().to_string();
        let listed: BTreeSet<&str> = error.split("expected").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        let others = ["restrict", "keep_losses", "keep_examples", "calibrate"];
        assert_eq!(listed, SAMPLING_KEYS.into_iter().chain(others).collect());
    }
}
