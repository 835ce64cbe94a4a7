//! What the tokens of a task read as, and the tokens of a text: for prompts, and for labels of what is shown.

use std::fmt;
use std::sync::Arc;

use super::ioi_prompts;
use super::llama2c_tokenizer::Llama2cTokenizer;

/// The words of a task: text in tokens, and tokens as text.
#[derive(Clone)]
pub struct Words(Kind);

#[derive(Clone)]
enum Kind {
    Bytes,
    /// Sorted; a character's id is its place.
    Characters(Arc<[char]>),
    /// Words between spaces, commas and full stops, which are words of their own, by id; an empty one is no word.
    List(Arc<[&'static str]>),
    Llama2c(Arc<Llama2cTokenizer>),
    #[cfg(feature = "tokenizers")]
    Pairs(Arc<tokenizers::Tokenizer>),
}

/// A text that has no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not in the vocabulary of the task")]
pub struct UnknownWord {
    /// What was found, such as ``the character `é` ``.
    found: String,
}

impl Words {
    pub(super) fn bytes() -> Self {
        Self(Kind::Bytes)
    }

    /// `characters` must be sorted.
    pub(super) fn characters(characters: Vec<char>) -> Self {
        Self(Kind::Characters(characters.into()))
    }

    pub(super) fn list(words: Vec<&'static str>) -> Self {
        Self(Kind::List(words.into()))
    }

    pub(super) fn llama2c(tokenizer: Llama2cTokenizer) -> Self {
        Self(Kind::Llama2c(Arc::new(tokenizer)))
    }

    #[cfg(feature = "tokenizers")]
    pub(super) fn pairs(tokenizer: tokenizers::Tokenizer) -> Self {
        Self(Kind::Pairs(Arc::new(tokenizer)))
    }

    /// The tokens of a text, without one that begins it. Tokenizers of llama2.c put a space in front.
    ///
    /// # Errors
    /// A character, or a word, that the vocabulary does not have.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, UnknownWord> {
        match &self.0 {
            Kind::Bytes => Ok(text.bytes().map(i32::from).collect()),
            Kind::Characters(known) => {
                let id = |c| known.binary_search(&c).map(|at| at as i32);
                text.chars()
                    .map(|c| id(c).map_err(|_| UnknownWord { found: format!("the character `{}`", c.escape_debug()) }))
                    .collect()
            }
            Kind::List(words) => {
                let id = |word: &str| words.iter().position(|own| *own == word).map(|at| at as i32);
                ioi_prompts::words(text)
                    .map(|word| id(word).ok_or_else(|| UnknownWord { found: format!("the word `{word}`") }))
                    .collect()
            }
            Kind::Llama2c(tokenizer) => Ok(tokenizer.encode(text)),
            #[cfg(feature = "tokenizers")]
            Kind::Pairs(tokenizer) => {
                let failed = |why: String| UnknownWord { found: format!("the text `{text}` ({why})") };
                let encoding = tokenizer.encode_fast(text, false).map_err(|error| failed(error.to_string()))?;
                Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
            }
        }
    }

    /// What a token reads as, with the space before it where it has one; its number where it is no text.
    pub fn piece(&self, id: i32) -> String {
        let number = || format!("#{id}");
        let Ok(at) = usize::try_from(id) else { return number() };
        match &self.0 {
            Kind::Bytes => match u8::try_from(at) {
                Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
                _ => format!("0x{at:02x}"),
            },
            Kind::Characters(known) => known.get(at).map_or_else(number, ToString::to_string),
            Kind::List(words) => words.get(at).map_or_else(number, |word| (*word).to_owned()),
            Kind::Llama2c(tokenizer) => {
                let text = tokenizer.decode(&[id]);
                if text.is_empty() { number() } else { text }
            }
            #[cfg(feature = "tokenizers")]
            Kind::Pairs(tokenizer) => tokenizer
                .id_to_token(at as u32)
                .map_or_else(number, |piece| piece.replace(['Ġ', '▁'], " ").replace('Ċ', "\n")),
        }
    }

    /// BLAKE3 hash of what the ids below `vocabulary` read as.
    pub fn content_hash(&self, vocabulary: usize) -> String {
        let mut hasher = blake3::Hasher::new();
        for id in 0..vocabulary {
            let piece = self.piece(id as i32);
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(piece.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Bytes => "Words(bytes)",
            Kind::Characters(_) => "Words(characters)",
            Kind::List(_) => "Words(list)",
            Kind::Llama2c(_) => "Words(llama2.c)",
            #[cfg(feature = "tokenizers")]
            Kind::Pairs(_) => "Words(byte pairs)",
        })
    }
}

/// The same vocabulary.
impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Bytes, Kind::Bytes) => true,
            (Kind::Characters(a), Kind::Characters(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => a == b,
            (Kind::Llama2c(a), Kind::Llama2c(b)) => a == b,
            #[cfg(feature = "tokenizers")]
            (Kind::Pairs(a), Kind::Pairs(b)) => a.get_vocab(true) == b.get_vocab(true),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_their_tokens() {
        let bytes = Words::bytes();
        assert_eq!(bytes.encode("aé").unwrap(), [97, 195, 169]);
        assert_eq!((bytes.piece(97), bytes.piece(195)), ("a".to_owned(), "0xc3".to_owned()));
        let characters = Words::characters(vec!['\n', 'a', 'é']);
        assert_eq!(characters.encode("éa\n").unwrap(), [2, 1, 0]);
        assert_eq!((characters.piece(2), characters.piece(7)), ("é".to_owned(), "#7".to_owned()));
        let error = characters.encode("b").unwrap_err().to_string();
        assert_eq!(error, "the character `b` is not in the vocabulary of the task");
        let list = Words::list(vec!["Mary", "went", ",", ""]);
        assert_eq!(list.encode(" Mary,  went ").unwrap(), [0, 2, 1]);
        assert!(list.encode("John").unwrap_err().to_string().contains("the word `John`"));
        assert_eq!((list.piece(1), list.piece(-1)), ("went".to_owned(), "#-1".to_owned()));
        assert_ne!(list.content_hash(4), list.content_hash(3));
        assert!(bytes == Words::bytes() && bytes != list);
    }
}
