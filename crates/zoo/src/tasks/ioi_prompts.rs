//! Prompts of indirect object identification, from the templates and names of Wang et al. 2023.

use std::sync::LazyLock;

use ontogeny_graph::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::sampled::Numbers;

/// Which names stand where in a prompt; A is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoiOrder {
    /// "When A and B …, B gave … to": A.
    Abba,
    /// "When B and A …, B gave … to": A.
    Baba,
    /// Three different names, in either order of the first two: nothing tells the answer. For ablations by the mean.
    Abc,
}

/// A prompt in words; commas and full stops are words of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoiPrompt {
    /// Number of its template, 0 to 14.
    pub template: usize,
    /// The words up to the answer.
    pub words: Vec<&'static str>,
    /// A, the indirect object.
    pub answer: &'static str,
    /// B, the subject (its second place in `Abc` holds another name).
    pub subject: &'static str,
    /// Where A stands in `words`.
    pub answer_at: usize,
    /// Where B stands first and where the subject's name stands the second time.
    pub subject_at: [usize; 2],
}

impl IoiPrompt {
    /// The prompt as it is written, without a space at its end.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 && !matches!(*word, "," | ".") {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }
}

/// `n` random prompts of that order: templates, names, places and objects are uniform, names all different.
pub fn ioi_prompts(order: IoiOrder, n: usize, seed: u32) -> Vec<IoiPrompt> {
    let prompt = |number| {
        let stream = Stream::new(seed, Purpose::Data, u64::MAX - number);
        draw(order, &mut Numbers::new(stream, number))
    };
    (0..n as u64).map(prompt).collect()
}

/// What the file of templates has to do with us.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct IoiFile {
    names: Vec<String>,
    places: Vec<String>,
    objects: Vec<String>,
    baba_templates: Vec<String>,
}

/// A word of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Word(&'static str),
    Answer,
    Subject,
    Place,
    Object,
}

struct Material {
    names: Vec<&'static str>,
    places: Vec<&'static str>,
    objects: Vec<&'static str>,
    /// Without the answer at the end.
    templates: Vec<Vec<Slot>>,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| {
    let file: &'static IoiFile = Box::leak(Box::new(
        serde_json::from_str(include_str!("../../data/ioi/ioi_templates_names.json"))
            .expect("the file is a part of the program, and tests read it"),
    ));
    let all = |list: &'static [String]| list.iter().map(String::as_str).collect();
    let template = |text: &'static str| {
        let mut slots: Vec<Slot> = words(text).map(slot).collect();
        slots.pop();
        slots
    };
    Material {
        names: all(&file.names),
        places: all(&file.places),
        objects: all(&file.objects),
        templates: file.baba_templates.iter().map(|text| template(text)).collect(),
    }
});

/// Words, with commas and full stops apart.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty()).flat_map(|word| {
        let bare = word.trim_end_matches([',', '.']);
        [bare, &word[bare.len()..]].into_iter().filter(|part| !part.is_empty())
    })
}

fn slot(word: &'static str) -> Slot {
    match word {
        "[A]" => Slot::Answer,
        "[B]" => Slot::Subject,
        "[PLACE]" => Slot::Place,
        "[OBJECT]" => Slot::Object,
        other => Slot::Word(other),
    }
}

/// All words of all prompts: the names first, as many as the second value says, then the others in alphabetical order.
pub(super) fn vocabulary() -> (Vec<&'static str>, usize) {
    let material = &*MATERIAL;
    let fixed = material.templates.iter().flatten().filter_map(|slot| match slot {
        Slot::Word(word) => Some(*word),
        _ => None,
    });
    let mut others: Vec<&str> =
        fixed.chain(material.places.iter().copied()).chain(material.objects.iter().copied()).collect();
    others.sort_unstable();
    others.dedup();
    let mut all = material.names.clone();
    all.extend(others);
    (all, material.names.len())
}

/// Words of the longest prompt.
pub(super) fn longest() -> usize {
    MATERIAL.templates.iter().map(Vec::len).max().unwrap_or(0)
}

/// A random prompt.
pub(super) fn draw(order: IoiOrder, numbers: &mut Numbers) -> IoiPrompt {
    let material = &*MATERIAL;
    let template = numbers.below(material.templates.len());
    let place = material.places[numbers.below(material.places.len())];
    let object = material.objects[numbers.below(material.objects.len())];
    let names = numbers.distinct(3, material.names.len());
    let [answer, subject, other] = [0, 1, 2].map(|i| material.names[names[i]]);
    let answer_is_first = match order {
        IoiOrder::Abba => true,
        IoiOrder::Baba => false,
        IoiOrder::Abc => numbers.below(2) == 0,
    };
    let mut prompt = IoiPrompt { template, words: Vec::new(), answer, subject, answer_at: 0, subject_at: [0, 0] };
    let mut n_subjects = 0;
    for slot in &material.templates[template] {
        let at = prompt.words.len();
        // Templates begin with B and A; the order of these two may be turned.
        let is_answer = match slot {
            Slot::Answer => Some(!answer_is_first),
            Slot::Subject => Some(answer_is_first && n_subjects == 0),
            _ => None,
        };
        n_subjects += usize::from(*slot == Slot::Subject);
        prompt.words.push(match (slot, is_answer) {
            (_, Some(true)) => {
                prompt.answer_at = at;
                answer
            }
            (Slot::Subject, _) if n_subjects == 2 => {
                prompt.subject_at[1] = at;
                if order == IoiOrder::Abc { other } else { subject }
            }
            (_, Some(false)) => {
                prompt.subject_at[0] = at;
                subject
            }
            (Slot::Place, _) => place,
            (Slot::Object, _) => object,
            (Slot::Word(word), _) => word,
            (Slot::Answer | Slot::Subject, None) => unreachable!("names are told above"),
        });
    }
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_file_has_what_prompts_need() {
        let material = &*MATERIAL;
        assert_eq!((material.names.len(), material.places.len(), material.objects.len()), (99, 8, 8));
        assert_eq!(material.templates.len(), 15);
        for template in &material.templates {
            let count = |slot| template.iter().filter(|&&s| s == slot).count();
            assert_eq!((count(Slot::Subject), count(Slot::Answer)), (2, 1), "{template:?}");
            let first = |slot| template.iter().position(|&s| s == slot);
            assert!(first(Slot::Subject) < first(Slot::Answer));
            assert!(!template.iter().any(|slot| matches!(slot, Slot::Word(word) if word.contains('['))));
        }
        let (words, n_names) = vocabulary();
        assert_eq!(n_names, 99);
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
    }

    #[test]
    fn prompts_read_as_written() {
        let mut seen = BTreeSet::new();
        for order in [IoiOrder::Abba, IoiOrder::Baba] {
            for prompt in ioi_prompts(order, 500, 1) {
                let [first, second] = prompt.subject_at;
                let names: Vec<&str> =
                    prompt.words.iter().copied().filter(|word| MATERIAL.names.contains(word)).collect();
                let (a, b) = (prompt.answer, prompt.subject);
                assert_ne!(a, b);
                assert_eq!(names, if order == IoiOrder::Abba { [a, b, b] } else { [b, a, b] });
                assert_eq!([prompt.words[first], prompt.words[second], prompt.words[prompt.answer_at]], [b, b, a]);
                assert_eq!(first < prompt.answer_at, order == IoiOrder::Baba);
                let text = prompt.text();
                assert!(text.ends_with(" to") && !text.contains(" ,") && !text.contains("  "), "{text}");
                if prompt.template == 5 {
                    let [x, y] = if order == IoiOrder::Abba { [a, b] } else { [b, a] };
                    assert!(text.starts_with(&format!("After {x} and {y} went to the ")), "{text}");
                    assert!(text.contains(&format!(", {b} gave a ")), "{text}");
                }
                seen.insert(prompt.template);
            }
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn three_names_tell_nothing() {
        let mut n_answer_first = 0;
        for prompt in ioi_prompts(IoiOrder::Abc, 1000, 2) {
            let names: BTreeSet<&str> =
                prompt.words.iter().copied().filter(|word| MATERIAL.names.contains(word)).collect();
            assert_eq!(names.len(), 3);
            n_answer_first += i32::from(prompt.answer_at < prompt.subject_at[0]);
        }
        // A fair coin: 500 with the deviation 15.8.
        assert!((n_answer_first - 500).abs() < 64, "{n_answer_first}");
    }
}
