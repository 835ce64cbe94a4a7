//! The tokenizer files of llama2.c (Karpathy 2023): pieces with scores, merged from single characters, the best first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

use super::TaskError;
use super::data_file::{Mismatch, read_data_file};

/// Pieces of text by their ids, as `tokenizer.bin` of llama2.c has them: 0 stands for what is unknown, 1 and 2 for beginning
/// and end of a text, 3 to 258 for single bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Llama2cTokenizer {
    pieces: Vec<Vec<u8>>,
    scores: Vec<f32>,
    /// The first id of each piece.
    ids: BTreeMap<Vec<u8>, u32>,
}

/// The id that begins a text.
const BEGINNING: i32 = 1;

/// The id of the byte 0.
const FIRST_BYTE: u32 = 3;

/// The ids before the pieces of text: bytes and what is before them.
const N_SPECIAL: usize = 259;

const MAX_VOCABULARY: usize = 1 << 24;

impl Llama2cTokenizer {
    /// Reads a file: the length of the longest piece, then a score, a length and so many bytes for each.
    ///
    /// # Errors
    /// A file that cannot be read, ends within a piece, or has a score that is no number or fewer pieces than bytes need.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TaskError> {
        let path = path.as_ref();
        Ok(Self::parse(&read_data_file(path)?).map_err(|wrong| wrong.of(path))?)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Mismatch> {
        let wrong = |found: String| {
            Mismatch::new(found, "a tokenizer of llama2.c: `python tokenizer.py` writes it as tokenizer.bin")
        };
        let mut rest = bytes;
        let longest = take_four(&mut rest).map(i32::from_le_bytes).filter(|&longest| longest > 0);
        let longest = longest.ok_or_else(|| wrong("no length of the longest piece at its beginning".to_owned()))?;
        let (mut pieces, mut scores) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let number = pieces.len();
            let score = take_four(&mut rest).map(f32::from_le_bytes).filter(|score| score.is_finite());
            let length = take_four(&mut rest).map(i32::from_le_bytes).filter(|n| (0..=longest).contains(n));
            let piece = length.and_then(|n| rest.split_at_checked(n as usize));
            let (Some(score), Some((piece, behind))) = (score, piece) else {
                let found = format!("piece {number} with no finite score, or longer than {longest} bytes or the file");
                return Err(wrong(found));
            };
            rest = behind;
            pieces.push(piece.to_vec());
            scores.push(score);
        }
        if !(N_SPECIAL..=MAX_VOCABULARY).contains(&pieces.len()) {
            return Err(wrong(format!("{} pieces, of which the first {N_SPECIAL} are no text", pieces.len())));
        }
        let mut ids = BTreeMap::new();
        for (id, piece) in (0..).zip(&pieces) {
            ids.entry(piece.clone()).or_insert(id);
        }
        Ok(Self { pieces, scores, ids })
    }

    /// Ids are below this.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// The ids of a text, without one for its beginning: a space is put in front, characters that are no pieces become bytes,
    /// and then the two neighbours whose joint piece has the highest score are joined, the first of equals first, until no two
    /// neighbours make a piece.
    pub fn encode(&self, text: &str) -> Vec<i32> {
        let mut ids = Vec::new();
        let space = (!text.is_empty()).then_some(' ');
        let mut buffer = [0; 4];
        for character in space.into_iter().chain(text.chars()) {
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            match self.ids.get(bytes) {
                Some(&id) => ids.push(id),
                None => ids.extend(bytes.iter().map(|&byte| u32::from(byte) + FIRST_BYTE)),
            }
        }
        self.merge(ids).into_iter().map(|id| id as i32).collect()
    }

    /// The text of ids; of one that begins a text, and the space after it, nothing is left.
    pub fn decode(&self, ids: &[i32]) -> String {
        let mut bytes = Vec::new();
        let mut before = None;
        for &id in ids {
            let piece = usize::try_from(id).ok().and_then(|id| self.pieces.get(id));
            let byte = u32::try_from(id).ok().and_then(|id| u8::try_from(id.checked_sub(FIRST_BYTE)?).ok());
            match (piece, byte) {
                (_, Some(byte)) => bytes.push(byte),
                (Some(piece), None) if id > BEGINNING + 1 => {
                    let is_first = before == Some(BEGINNING);
                    bytes.extend_from_slice(piece.strip_prefix(b" ").filter(|_| is_first).unwrap_or(piece));
                }
                _ => {}
            }
            before = Some(id);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Joins neighbours through a queue of candidates, so that a long text costs little more than its length.
    fn merge(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let n = ids.len();
        let (mut next, mut previous): (Vec<usize>, Vec<usize>) =
            ((1..=n).collect(), (0..n).map(|i| i.wrapping_sub(1)).collect());
        // What has been joined to the one before it.
        let mut is_gone = vec![false; n];
        let mut queue = BinaryHeap::new();
        for left in 0..n.saturating_sub(1) {
            queue.extend(self.candidate(&ids, left, left + 1));
        }
        while let Some(Candidate { left, right, of, id, .. }) = queue.pop() {
            if is_gone[left] || next[left] != right || [ids[left], ids[right]] != of {
                continue;
            }
            (ids[left], is_gone[right], next[left]) = (id, true, next[right]);
            if let Some(after) = previous.get_mut(next[left]) {
                *after = left;
                queue.extend(self.candidate(&ids, left, next[left]));
            }
            if previous[left] < n {
                queue.extend(self.candidate(&ids, previous[left], left));
            }
        }
        (0..n).filter(|&i| !is_gone[i]).map(|i| ids[i]).collect()
    }

    fn candidate(&self, ids: &[u32], left: usize, right: usize) -> Option<Candidate> {
        let of = [ids[left], ids[right]];
        let id = *self.ids.get(&of.map(|id| self.pieces[id as usize].as_slice()).concat())?;
        Some(Candidate { score: self.scores[id as usize], left, right, of, id })
    }
}

/// Two neighbours that make a piece.
#[derive(Debug, PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    of: [u32; 2],
    id: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    /// The greatest is the one of the highest score, the first of equals.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| (other.left, other.right).cmp(&(self.left, self.right)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn take_four(rest: &mut &[u8]) -> Option<[u8; 4]> {
    let (four, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*four)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the special ids and these pieces.
    fn file(pieces: &[(&str, f32)]) -> Vec<u8> {
        let special = (0..N_SPECIAL).map(|id| (format!("<{id}>"), 0.0));
        let all = special.chain(pieces.iter().map(|&(piece, score)| (piece.to_owned(), score)));
        let entries = all.flat_map(|(piece, score)| {
            [&score.to_le_bytes()[..], &(piece.len() as i32).to_le_bytes(), piece.as_bytes()].concat()
        });
        9_i32.to_le_bytes().into_iter().chain(entries).collect()
    }

    const PIECES: [(&str, f32); 10] = [
        (" ", -9.0),
        ("a", -8.0),
        ("b", -8.0),
        ("ab", -3.0),
        ("ba", -2.0),
        (" a", -4.0),
        ("bab", -1.0),
        ("aa", -3.0),
        ("aaa", -1.0),
        ("bb", -3.0),
    ];

    /// Joins as the definition says, one pair after the other over the whole text.
    fn slowly(tokenizer: &Llama2cTokenizer, mut ids: Vec<u32>) -> Vec<u32> {
        loop {
            let mut best: Option<(f32, usize, u32)> = None;
            for at in 0..ids.len().saturating_sub(1) {
                if let Some(found) = tokenizer.candidate(&ids, at, at + 1)
                    && best.is_none_or(|(score, ..)| found.score > score)
                {
                    best = Some((found.score, at, found.id));
                }
            }
            let Some((_, at, id)) = best else { return ids };
            ids.splice(at..at + 2, [id]);
        }
    }

    #[test]
    fn the_queue_joins_what_the_definition_joins() {
        let tokenizer = Llama2cTokenizer::parse(&file(&PIECES)).unwrap();
        let (a, b) = (tokenizer.ids[&b"a"[..]], tokenizer.ids[&b"b"[..]]);
        for length in 0..12_u32 {
            for bits in 0..1_u32 << length {
                let ids: Vec<u32> = (0..length).map(|i| if bits >> i & 1 == 0 { a } else { b }).collect();
                assert_eq!(tokenizer.merge(ids.clone()), slowly(&tokenizer, ids));
            }
        }
    }

    #[test]
    fn texts_come_back_and_unknown_characters_are_bytes() {
        let tokenizer = Llama2cTokenizer::parse(&file(&PIECES)).unwrap();
        assert_eq!(tokenizer.vocabulary(), 269);
        assert_eq!(tokenizer.encode(""), Vec::<i32>::new());
        // "é" is C3 A9.
        assert_eq!(tokenizer.encode("é"), [259, 0xC3 + 3, 0xA9 + 3]);
        for text in ["abba", "b é a", " a  b", "日本"] {
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids), format!(" {text}"), "{ids:?}");
            assert_eq!(tokenizer.decode(&[&[1], ids.as_slice()].concat()), text);
        }
    }

    #[test]
    fn damaged_files_are_told() {
        let good = file(&PIECES);
        for (what, bytes) in [
            ("empty", Vec::new()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("no text", file(&[])[..4 + 8].to_vec()),
            ("a piece as long as memory", [&good[..], &0_f32.to_le_bytes(), &i32::MAX.to_le_bytes()].concat()),
            ("a negative length", [&good[..], &0_f32.to_le_bytes(), &(-1_i32).to_le_bytes()].concat()),
            ("no score", [&good[..], &f32::NAN.to_le_bytes(), &0_i32.to_le_bytes()].concat()),
        ] {
            assert!(Llama2cTokenizer::parse(&bytes).is_err(), "{what}");
        }
    }
}
