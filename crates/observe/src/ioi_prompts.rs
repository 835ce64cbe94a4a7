//! Prompts of indirect object identification for a network: from its task, in words of its tokenizer, or from templates of token ids.

use ontogeny_graph::{Purpose, Stream};
use ontogeny_zoo::{Interface, IoiOrder, IoiPrompt, Read, Task, ioi_prompts};

use crate::ObserveError;
use crate::ioi::{IoiSettings, OBSERVABLE};
use crate::sequences::{beginning, not_defined, split_of, tokens_of};

/// A prompt in tokens, and where things stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Up to the answer.
    pub(crate) tokens: Vec<i32>,
    /// The indirect object: the answer.
    pub(crate) answer: i32,
    /// The subject: the name that comes twice.
    pub(crate) subject: i32,
    pub(crate) answer_at: usize,
    pub(crate) subject_at: [usize; 2],
}

/// The prompts that the settings ask for: at least one.
///
/// # Errors
/// What is missing.
pub(crate) fn prompts(
    settings: &IoiSettings,
    task: &Task,
    interface: Interface,
    seed: u32,
) -> Result<Vec<Prompt>, ObserveError> {
    let Interface::Tokens { vocabulary, length, read } = interface else {
        return Err(not_defined(OBSERVABLE, "a network that reads sequences of tokens", "other inputs"));
    };
    if settings.prompts == 0 {
        return Err(ObserveError::Setting("`prompts` is 0; expected at least 1".to_owned()));
    }
    let found = match (&settings.templates[..], &settings.names[..], read, &task.words) {
        ([], [], Read::LastPosition { classes }, _) => of_task(settings, task, length, classes)?,
        ([], [], Read::Tokens { .. }, Some(_)) => of_words(settings, task, length, seed)?,
        ([], [], Read::Tokens { .. }, None) => {
            let needs = "prompts: a task whose tokens are words (`text`, or `tokens` with a `tokenizer`), `ioi` or `toy_ioi`, or \
                         `names` and `templates` of token ids";
            return Err(not_defined(OBSERVABLE, needs, "token ids without words"));
        }
        _ => {
            let n_logits = match read {
                Read::LastPosition { classes } => classes.min(vocabulary),
                Read::Tokens { .. } => vocabulary,
            };
            of_templates(settings, length, [vocabulary, n_logits], seed)?
        }
    };
    // Whoever predicts the last position alone must be given whole sequences.
    let is_whole = |prompt: &Prompt| prompt.tokens.len() == length;
    if matches!(read, Read::LastPosition { .. }) && !found.iter().all(is_whole) {
        let found = "the network predicts the last position alone, and templates are shorter".to_owned();
        return Err(ObserveError::Setting(format!("{found}; expected {length} tokens each")));
    }
    Ok(found)
}

/// Examples of a split in which two names stand, the one twice: `A B B` or `B A B`, with the target A.
fn of_task(settings: &IoiSettings, task: &Task, length: usize, classes: usize) -> Result<Vec<Prompt>, ObserveError> {
    let split = split_of(task, settings.split.as_deref())?;
    let targets = crate::evaluate::ids(&split.data, "targets").unwrap_or_default();
    let prompt = |(tokens, &answer): (&[i32], &i32)| {
        let is_name = |at: &usize| usize::try_from(tokens[*at]).is_ok_and(|id| id < classes);
        let names: Vec<usize> = (0..tokens.len()).filter(is_name).collect();
        let [x, y, z] = names[..] else { return None };
        let (answer_at, first) = if tokens[x] == answer { (x, y) } else { (y, x) };
        let is_ioi = tokens[answer_at] == answer && tokens[first] == tokens[z] && tokens[z] != answer;
        let subject = tokens[z];
        is_ioi.then(|| Prompt { tokens: tokens.to_vec(), answer, subject, answer_at, subject_at: [first, z] })
    };
    let rows = tokens_of(split).unwrap_or_default().chunks_exact(length).zip(targets);
    let found: Vec<Prompt> = rows.filter_map(prompt).take(settings.prompts).collect();
    if found.is_empty() {
        let needs = "examples with three names of which two are the same, and the third for answer, as `ioi` and `toy_ioi` have";
        return Err(not_defined(OBSERVABLE, needs, format!("a split `{}` without", split.name)));
    }
    Ok(found)
}

/// Of so many drawn prompts for each that is wanted.
const TRIES: usize = 20;

/// Prompts in words, half of each order, as far as their names are single tokens.
fn of_words(settings: &IoiSettings, task: &Task, length: usize, seed: u32) -> Result<Vec<Prompt>, ObserveError> {
    let front: Vec<i32> = beginning(task, length).into_iter().collect();
    let n_half = settings.prompts.div_ceil(2);
    let mut found = Vec::new();
    for (order, n) in [(IoiOrder::Abba, n_half), (IoiOrder::Baba, settings.prompts - n_half)] {
        let drawn = ioi_prompts(order, TRIES * n, seed);
        found.extend(drawn.iter().filter_map(|prompt| in_tokens(prompt, task, &front, length)).take(n));
    }
    if found.is_empty() {
        let needs = format!(
            "a tokenizer in which names are single tokens, and at least {} tokens of context",
            front.len() + 20
        );
        let found = format!("{length} tokens, and one in which no prompt of {} fits", TRIES * settings.prompts);
        return Err(not_defined(OBSERVABLE, needs, found));
    }
    Ok(found)
}

/// The prompt in tokens: none where a name is not one token, or where there is no room.
fn in_tokens(prompt: &IoiPrompt, task: &Task, front: &[i32], length: usize) -> Option<Prompt> {
    let words = task.words.as_ref()?;
    let encoded = |n_words: usize, more: Option<&'static str>| {
        let own = prompt.words[..n_words].iter().copied().chain(more).collect();
        words.encode(&IoiPrompt { words: own, ..prompt.clone() }.text()).ok()
    };
    let whole = encoded(prompt.words.len(), None)?;
    // Where a word begins is where its text parts from what stands before it.
    let single = |word: usize| {
        let [before, with] = [encoded(word, None)?, encoded(word + 1, None)?];
        let is_one = with.len() == before.len() + 1 && whole.starts_with(&with);
        is_one.then_some((front.len() + before.len(), with[before.len()]))
    };
    let (answer_at, answer) = single(prompt.answer_at)?;
    let [(first, subject), (second, again)] = [single(prompt.subject_at[0])?, single(prompt.subject_at[1])?];
    let answered = encoded(prompt.words.len(), Some(prompt.answer))?;
    let is_asked = answered.len() == whole.len() + 1 && answered.last() == Some(&answer);
    let tokens = [front, &whole].concat();
    let fits = tokens.len() <= length && subject == again && subject != answer;
    (is_asked && fits).then_some(Prompt { tokens, answer, subject, answer_at, subject_at: [first, second] })
}

/// Templates of ids with A, the answer, once and B, the subject, twice; in half of the prompts the first two change places.
fn of_templates(
    settings: &IoiSettings,
    length: usize,
    [vocabulary, n_logits]: [usize; 2],
    seed: u32,
) -> Result<Vec<Prompt>, ObserveError> {
    let wrong = |message: String| Err(ObserveError::Setting(message));
    let is_token = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < vocabulary);
    let mut names = settings.names.clone();
    names.sort_unstable();
    names.dedup();
    let has_logit = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < n_logits);
    if names.len() < 2 || !names.iter().all(has_logit) {
        return wrong(format!(
            "`names` is {:?}; expected at least two different token ids from 0 to {}",
            settings.names,
            n_logits.saturating_sub(1)
        ));
    }
    if settings.templates.is_empty() {
        return wrong("`templates` is missing beside `names`; expected such as [\"B 7 A 8 B 9\"]".to_owned());
    }
    let mut templates = Vec::new();
    for template in &settings.templates {
        let slots: Option<Vec<Slot>> = template.split_whitespace().map(Slot::read).collect();
        let count = |slots: &[Slot], of: Slot| slots.iter().filter(|&&slot| slot == of).count();
        let good = slots.filter(|slots| {
            let second = slots.iter().rposition(|&slot| slot == Slot::Subject);
            let answer = slots.iter().position(|&slot| slot == Slot::Answer);
            let are_tokens = slots.iter().all(|slot| !matches!(slot, Slot::Token(id) if !is_token(id)));
            let is_ioi = count(slots, Slot::Answer) == 1 && count(slots, Slot::Subject) == 2 && answer < second;
            is_ioi && are_tokens && slots.len() <= length
        });
        match good {
            Some(slots) => templates.push(slots),
            None => {
                return wrong(format!(
                    "the template \"{template}\"; expected token ids below {vocabulary}, one A and two B, the A before the last B, \
                     and at most {length} of all together"
                ));
            }
        }
    }
    let prompt = |number: usize| {
        let stream = Stream::new(seed, Purpose::Probe, (2 << 32) + number as u64);
        let order = stream.permutation(names.len(), 0);
        let (answer, subject) = (names[order[0]], names[order[1]]);
        let slots = &templates[number / 2 % templates.len()];
        let places = |of: Slot| (0..slots.len()).filter(move |&at| slots[at] == of);
        let (mut answer_at, mut first) = (places(Slot::Answer).next()?, places(Slot::Subject).next()?);
        let second = places(Slot::Subject).next_back()?;
        if number % 2 == 1 {
            (answer_at, first) = (first, answer_at);
        }
        let token = |(at, slot): (usize, &Slot)| match slot {
            Slot::Token(id) => *id,
            _ if at == answer_at => answer,
            _ => subject,
        };
        let tokens = slots.iter().enumerate().map(token).collect();
        Some(Prompt { tokens, answer, subject, answer_at, subject_at: [first, second] })
    };
    Ok((0..settings.prompts).filter_map(prompt).collect())
}

/// A place of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Answer,
    Subject,
    Token(i32),
}

impl Slot {
    fn read(text: &str) -> Option<Self> {
        match text {
            "A" => Some(Self::Answer),
            "B" => Some(Self::Subject),
            id => id.parse().ok().map(Self::Token),
        }
    }
}
