//! From text to tokens: bytes, characters, byte pairs, or those of a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::llama2c_tokenizer::Llama2cTokenizer;
use super::{TaskError, Words, wrong};

/// What the tokens of a text are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tokenizer {
    /// The 256 bytes of UTF-8.
    Byte,
    /// The characters of the text, sorted by code point.
    #[default]
    Char,
    /// Byte pairs (Sennrich et al. 2016; on bytes as in GPT-2), as a file has them or learned from the text. Only where
    /// ontogeny was built with the feature `tokenizers`.
    Bpe,
    /// Those of a file, by the name of the file: a `tokenizer.json` of Hugging Face, or GPT-2's `vocab.json` with `merges.txt`
    /// beside it (`encoder.json` with `vocab.bpe`), both with the feature `tokenizers`; a tokenizer of llama2.c, `.bin`.
    File(PathBuf),
}

impl Serialize for Tokenizer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Byte => serializer.serialize_str("byte"),
            Self::Char => serializer.serialize_str("char"),
            Self::Bpe => serializer.serialize_str("bpe"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Tokenizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "byte" => Ok(Self::Byte),
            "char" => Ok(Self::Char),
            "bpe" => Ok(Self::Bpe),
            file if Path::new(file).extension().is_some_and(|end| end == "json" || end == "bin") => {
                Ok(Self::File(PathBuf::from(file)))
            }
            other => Err(de::Error::unknown_variant(
                other,
                &["byte", "char", "bpe", "FOLDER/tokenizer.json", "FOLDER/vocab.json", "FOLDER/tokenizer.bin"],
            )),
        }
    }
}

/// A text in tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tokens {
    pub(super) ids: Vec<i32>,
    /// Ids are below this.
    pub(super) vocabulary: usize,
    /// What they read as.
    pub(super) words: Words,
}

impl Tokenizer {
    /// The words of a tokenizer's file.
    pub(super) fn words_of(path: &Path) -> Result<Words, TaskError> {
        if path.extension().is_some_and(|extension| extension == "bin") {
            return Ok(Words::llama2c(Llama2cTokenizer::read(path)?));
        }
        words_of_pairs(path)
    }

    /// The tokens of a text. `file` and `vocabulary` are settings of `bpe`, and refused beside the others; relative paths start
    /// at `folder`.
    pub(super) fn encode(
        &self,
        text: &str,
        file: Option<&Path>,
        vocabulary: Option<usize>,
        folder: &Path,
    ) -> Result<Tokens, TaskError> {
        if *self == Self::Bpe {
            return encode_pairs(text, file, vocabulary);
        }
        let expected = "nothing, or tokenizer = \"bpe\" beside it";
        if file.is_some() {
            return Err(wrong("tokenizer_file", "given", expected).into());
        }
        if let Some(n) = vocabulary {
            return Err(wrong("vocabulary", n, expected).into());
        }
        match self {
            Self::Byte => Ok(encode_bytes(text)),
            Self::File(path) if path.extension().is_some_and(|extension| extension == "bin") => {
                let tokenizer = Llama2cTokenizer::read(folder.join(path))?;
                let (ids, vocabulary) = (tokenizer.encode(text), tokenizer.vocabulary());
                Ok(Tokens { ids, vocabulary, words: Words::llama2c(tokenizer) })
            }
            Self::File(path) => encode_pairs(text, Some(&folder.join(path)), None),
            Self::Char | Self::Bpe => Ok(encode_characters(text)),
        }
    }
}

fn encode_bytes(text: &str) -> Tokens {
    Tokens { ids: text.bytes().map(i32::from).collect(), vocabulary: 256, words: Words::bytes() }
}

fn encode_characters(text: &str) -> Tokens {
    let mut known: Vec<char> = Vec::new();
    // Few characters make up a text: looking them up as they come keeps the list short.
    for character in text.chars() {
        if let Err(at) = known.binary_search(&character) {
            known.insert(at, character);
        }
    }
    let id = |character| known.binary_search(&character).expect("every character of the text was put there") as i32;
    let ids = text.chars().map(id).collect();
    Tokens { ids, vocabulary: known.len(), words: Words::characters(known) }
}

#[cfg(feature = "tokenizers")]
fn encode_pairs(text: &str, file: Option<&Path>, vocabulary: Option<usize>) -> Result<Tokens, TaskError> {
    use super::byte_pairs;
    match (file, vocabulary) {
        (Some(file), None) => Ok(byte_pairs::encode_with(text, file)?),
        (None, Some(n)) => Ok(byte_pairs::learn_and_encode(text, n)?),
        (Some(_), Some(n)) => Err(wrong("vocabulary", n, "nothing, because tokenizer_file has one").into()),
        (None, None) => {
            let expected = "the number of tokens to learn, or tokenizer_file = \"tokenizer.json\"";
            Err(wrong("vocabulary", "missing", expected).into())
        }
    }
}

#[cfg(feature = "tokenizers")]
fn words_of_pairs(file: &Path) -> Result<Words, TaskError> {
    Ok(super::byte_pairs::words_of(file)?)
}

#[cfg(not(feature = "tokenizers"))]
fn words_of_pairs(_: &Path) -> Result<Words, TaskError> {
    Err(wrong(
        "tokenizer",
        "a file of byte pairs",
        "a .bin of llama2.c, or ontogeny built with `--features tokenizers`",
    )
    .into())
}

#[cfg(not(feature = "tokenizers"))]
fn encode_pairs(_: &str, _: Option<&Path>, _: Option<usize>) -> Result<Tokens, TaskError> {
    Err(wrong("tokenizer", "bpe", "`byte` or `char`, or ontogeny built with `--features tokenizers`").into())
}
