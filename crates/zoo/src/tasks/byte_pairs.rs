//! Byte-pair tokens by the crate `tokenizers`: as a `tokenizer.json` has them, or learned from the text itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::data_file::{DataFileError, Mismatch, read_data_file};
use super::tokenizer::Tokens;
use super::{Words, wrong};
use crate::SettingError;

/// Most tokens to learn: beyond the vocabularies of today's language models.
const MAX_VOCABULARY: usize = 1 << 19;

/// The tokens of a text under a `tokenizer.json`, without the special tokens of documents.
pub(super) fn encode_with(text: &str, file: &Path) -> Result<Tokens, DataFileError> {
    encode(read(file)?, text).map_err(|error| unusable(&error).of(file))
}

/// The words of a file of byte pairs.
pub(super) fn words_of(file: &Path) -> Result<Words, DataFileError> {
    Ok(Words::pairs(read(file)?))
}

fn read(file: &Path) -> Result<Tokenizer, DataFileError> {
    match merges_beside(file) {
        Some(merges) => gpt2(file, &merges),
        None => Tokenizer::from_bytes(read_data_file(file)?).map_err(|error| unusable(&error).of(file)),
    }
}

fn unusable(error: &tokenizers::Error) -> Mismatch {
    let expected = "a tokenizer.json as the library `tokenizers` of Hugging Face writes it";
    Mismatch::new(format!("no tokenizer that can be used ({error})"), expected)
}

/// GPT-2's own format: the ids of all tokens in one file, and beside it the pairs in the order in which they are joined.
fn merges_beside(vocabulary: &Path) -> Option<PathBuf> {
    let merges = match vocabulary.file_name()?.to_str()? {
        "vocab.json" => "merges.txt",
        "encoder.json" => "vocab.bpe",
        _ => return None,
    };
    Some(vocabulary.with_file_name(merges))
}

fn gpt2(vocabulary: &Path, merges: &Path) -> Result<Tokenizer, DataFileError> {
    let wrong = |file: &Path, found: String| {
        Mismatch::new(found, "GPT-2's encoder.json or vocab.json, with vocab.bpe or merges.txt beside it").of(file)
    };
    let ids: HashMap<String, u32> = serde_json::from_slice(&read_data_file(vocabulary)?)
        .map_err(|error| wrong(vocabulary, format!("no ids of tokens ({error})")))?;
    let text = String::from_utf8(read_data_file(merges)?).map_err(|error| wrong(merges, error.to_string()))?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"))
    {
        let pair = line.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '));
        let (a, b) = pair.ok_or_else(|| wrong(merges, format!("`{line}` in line {}, which is no pair", number + 1)))?;
        pairs.push((a.to_owned(), b.to_owned()));
    }
    let pieces = BPE::builder()
        .vocab_and_merges(ids.into_iter().collect::<Vocab>(), pairs)
        .build()
        .map_err(|error| wrong(vocabulary, error.to_string()))?;
    let mut tokenizer = Tokenizer::new(pieces);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    Ok(tokenizer)
}

/// The tokens of a text under byte pairs learned from it: text is cut into words as in GPT-2, the 256 bytes come first, and
/// then the most frequent pair of neighbours within words becomes a token, until there are `vocabulary` of them. Of pairs
/// as frequent as each other the one of the earlier tokens goes first, so that the same text gives the same tokens.
pub(super) fn learn_and_encode(text: &str, vocabulary: usize) -> Result<Tokens, SettingError> {
    if !(256..=MAX_VOCABULARY).contains(&vocabulary) {
        return Err(wrong("vocabulary", vocabulary, &format!("256, the bytes, to {MAX_VOCABULARY}")));
    }
    let failed = |error: tokenizers::Error| {
        wrong("tokenizer", "bpe", &format!("a text that byte pairs can be learned from ({error})"))
    };
    let tokenizer = learn(text, vocabulary).map_err(failed)?;
    let learned = tokenizer.get_vocab_size(true);
    if learned < vocabulary {
        let expected = format!("at most {learned}, all that this text gives");
        return Err(wrong("vocabulary", vocabulary, &expected));
    }
    encode(tokenizer, text).map_err(failed)
}

fn learn(text: &str, vocabulary: usize) -> Result<Tokenizer, tokenizers::Error> {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocabulary)
        // A pair that stands once tells nothing about the language.
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), std::iter::once(text))?;
    Ok(tokenizer)
}

fn encode(tokenizer: Tokenizer, text: &str) -> Result<Tokens, tokenizers::Error> {
    let encoding = tokenizer.encode_fast(text, false)?;
    let ids: Vec<i32> = encoding.get_ids().iter().map(|&id| i32::try_from(id)).collect::<Result<_, _>>()?;
    let highest = ids.iter().max().map_or(0, |&id| id as usize + 1);
    let vocabulary = tokenizer.get_vocab_size(true).max(highest);
    Ok(Tokens { ids, vocabulary, words: Words::pairs(tokenizer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "low low low low low lower lower newest newest newest newest newest newest widest widest widest";

    #[test]
    fn pairs_are_learned_by_frequency_and_the_same_each_time() {
        // Sennrich et al. (2016), figure 1's words, with a space before each but the first. Words of GPT-2 carry the space.
        let tokenizer = learn(TEXT, 260).unwrap();
        let vocabulary = tokenizer.get_vocab(true);
        let of_rank = |id: u32| vocabulary.iter().find(|(_, v)| **v == id).map(|(token, _)| token.as_str());
        // e-s and s-t stand nine times each, and all of the same words; `e` is the earlier token.
        assert_eq!((of_rank(256), of_rank(257)), (Some("es"), Some("est")));
        let first = learn_and_encode(TEXT, 264).unwrap();
        for _ in 0..5 {
            assert_eq!(learn_and_encode(TEXT, 264).unwrap(), first);
        }
        assert_eq!(first.vocabulary, 264);
        let decoded = learn(TEXT, 264).unwrap();
        let pieces: Vec<String> =
            first.ids.iter().map(|&id| decoded.id_to_token(id as u32).unwrap().replace('Ġ', " ")).collect();
        assert_eq!(pieces.concat(), TEXT);
        assert!(pieces.len() < TEXT.len() / 2, "{pieces:?}");
    }

    #[test]
    fn vocabularies_that_a_text_cannot_give_are_refused() {
        let most = learn(TEXT, 5000).unwrap().get_vocab_size(true);
        for (vocabulary, expected) in
            [(255, "256, the bytes, to 524288".to_owned()), (5000, format!("at most {most}, all that this text gives"))]
        {
            let error = learn_and_encode(TEXT, vocabulary).unwrap_err();
            assert_eq!(error.to_string(), format!("task.vocabulary is {vocabulary}; expected {expected}"));
        }
        assert_eq!(learn_and_encode(TEXT, most).unwrap().vocabulary, most);
    }
}
