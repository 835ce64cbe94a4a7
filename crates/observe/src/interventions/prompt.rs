//! One prompt and its answer, as pairs: the behaviour that somebody asks about.

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use ontogeny_zoo::{Interface, Model, Read};

use super::Pairs;
use crate::ObserveError;

/// A prompt with the token that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// The tokens.
    pub prompt: Vec<i32>,
    /// The answer that is asked about.
    pub target: i32,
    /// The answer it is compared with; unless given, what follows the other prompts.
    pub foil: Option<i32>,
    /// The prompt it is compared with, of the same length; examples of the data unless given.
    pub against: Option<Vec<i32>>,
}

impl Behaviour {
    /// The prompt in pairs with `against`, or with at most `n` different examples of `data`, cut to its length, which go on
    /// otherwise. The clean example is the same in all.
    ///
    /// # Errors
    /// A network that reads no tokens, a prompt of a length after which it predicts nothing, tokens beyond its vocabulary, or no
    /// example that goes on otherwise.
    pub fn pairs(&self, model: &Model, data: &DataSet, n: usize, seed: u32) -> Result<Pairs, ObserveError> {
        let Interface::Tokens { vocabulary, length, read } = model.interface() else {
            return Err(ObserveError::Setting(
                "the network reads no tokens; expected one that does, to ask about a prompt and its answer".to_owned(),
            ));
        };
        let place = Place::of(read, length, self.prompt.len())?;
        let classes = if let Read::LastPosition { classes } = read { classes } else { vocabulary };
        self.check(vocabulary, classes)?;
        let others = match &self.against {
            Some(against) => {
                let foil = self.foil.ok_or_else(|| {
                    ObserveError::Setting(
                        "a prompt to compare with needs the answer to compare with: give the foil".to_owned(),
                    )
                })?;
                vec![(against.clone(), foil)]
            }
            None => self.others(&place, data, length, n, seed)?,
        };
        let n = others.len();
        let n_answers = model.interface().answers();
        let mut target = vec![0; n * n_answers];
        let mut foil = target.clone();
        for (i, (_, own)) in others.iter().enumerate() {
            target[i * n_answers + place.answer] = self.target;
            foil[i * n_answers + place.answer] = *own;
        }
        let row = |prompt: &[i32]| {
            let mut row = prompt.to_vec();
            // Nothing before it reads what follows: attention looks back.
            row.resize(length, self.target);
            row
        };
        let clean: Vec<i32> = (0..n).flat_map(|_| row(&self.prompt)).collect();
        let corrupted: Vec<i32> = others.iter().flat_map(|(prompt, _)| row(prompt)).collect();
        Pairs::new(
            &place.data(clean, read, n, self.target)?,
            &place.data(corrupted, read, n, self.target)?,
            (target, foil),
            n_answers,
        )
    }

    fn check(&self, vocabulary: usize, classes: usize) -> Result<(), ObserveError> {
        let beyond = |id: i32, end: usize| usize::try_from(id).map_or(true, |id| id >= end);
        let tokens = self.prompt.iter().chain(self.against.iter().flatten());
        if let Some(id) = tokens.copied().find(|&id| beyond(id, vocabulary)) {
            return Err(ObserveError::Setting(format!(
                "the token {id} in the prompt; expected ids below {vocabulary}"
            )));
        }
        if let Some(id) = [self.target].into_iter().chain(self.foil).find(|&id| beyond(id, classes)) {
            return Err(ObserveError::Setting(format!("the answer {id}; expected an id below {classes}")));
        }
        if let Some(against) = self.against.as_ref().filter(|against| against.len() != self.prompt.len()) {
            return Err(ObserveError::Setting(format!(
                "a prompt of {} tokens to compare with; expected {}, as many as the prompt itself has",
                against.len(),
                self.prompt.len()
            )));
        }
        if self.against.as_ref() == Some(&self.prompt) {
            return Err(ObserveError::Setting(
                "the prompt to compare with is the prompt itself; expected another one".to_owned(),
            ));
        }
        if self.foil == Some(self.target) {
            return Err(ObserveError::Setting("the foil is the answer itself; expected another one".to_owned()));
        }
        Ok(())
    }

    /// Prompts of the data, each with what it is followed by.
    fn others(
        &self,
        place: &Place,
        data: &DataSet,
        length: usize,
        n: usize,
        seed: u32,
    ) -> Result<Vec<(Vec<i32>, i32)>, ObserveError> {
        let ids = |name: &str| crate::evaluate::ids(data, name);
        let tokens = ids("tokens").unwrap_or_default();
        let weights = crate::evaluate::floats(data, "weights");
        let n_answers = weights.map_or(1, |weights| weights.len() / data.len().max(1));
        let order = Stream::new(seed, Purpose::Probe, 0).permutation(data.len(), 0);
        let mut others: Vec<(Vec<i32>, i32)> = Vec::new();
        for example in order {
            let row = &tokens[example * length..(example + 1) * length];
            let follows = if place.is_last {
                ids("targets").map(|targets| targets[example])
            } else {
                row.get(self.prompt.len()).copied()
            };
            let has_weight = weights.is_none_or(|weights| weights[example * n_answers + place.answer] > 0.0);
            let Some(own) = follows.filter(|&own| own != self.target && has_weight) else { continue };
            let prompt = row[..self.prompt.len()].to_vec();
            if prompt != self.prompt && !others.iter().any(|(known, _)| *known == prompt) {
                others.push((prompt, self.foil.unwrap_or(own)));
            }
            if others.len() == n {
                break;
            }
        }
        if others.is_empty() {
            return Err(ObserveError::Setting(format!(
                "none of the {} examples goes on otherwise than with {}; expected some to compare with: give another split, or a prompt to \
                 compare with and a foil",
                data.len(),
                self.target
            )));
        }
        Ok(others)
    }
}

/// Where the answer after a prompt stands.
struct Place {
    /// Its number among the answers of a sequence.
    answer: usize,
    is_last: bool,
}

impl Place {
    fn of(read: Read, length: usize, prompt: usize) -> Result<Self, ObserveError> {
        match read {
            Read::LastPosition { .. } if prompt == length => Ok(Self { answer: 0, is_last: true }),
            Read::LastPosition { .. } => Err(ObserveError::Setting(format!(
                "a prompt of {prompt} tokens; expected {length}, after which the network answers"
            ))),
            Read::Tokens { from, every, .. } => {
                let answer = prompt.checked_sub(from).filter(|beyond| beyond % every == 0 && prompt < length);
                let answer = answer.ok_or_else(|| {
                    let steps = if every == 1 { String::new() } else { format!(", in steps of {every}") };
                    ObserveError::Setting(format!(
                        "a prompt of {prompt} tokens; expected {from} to {}{steps}, after which the network predicts the next",
                        length - 1
                    ))
                })?;
                Ok(Self { answer: answer / every, is_last: false })
            }
        }
    }

    /// The columns that the task's data have.
    fn data(&self, tokens: Vec<i32>, read: Read, n: usize, target: i32) -> Result<DataSet, ObserveError> {
        let column = |name: &str, width, data| Column { name: name.to_owned(), width, data };
        let length = tokens.len() / n;
        let mut columns = vec![column("tokens", length, ColumnData::Ids(tokens))];
        match read {
            Read::LastPosition { .. } => columns.push(column("targets", 1, ColumnData::Ids(vec![target; n]))),
            Read::Tokens { from, every, is_weighted: true } => {
                let width = (length - from).div_ceil(every);
                let weights = (0..n * width).map(|at| if at % width == self.answer { 1.0 } else { 0.0 }).collect();
                columns.push(column("weights", width, ColumnData::Float(weights)));
            }
            Read::Tokens { .. } => {}
        }
        DataSet::new(n, columns).map_err(|error| ObserveError::Setting(error.to_string()))
    }
}
