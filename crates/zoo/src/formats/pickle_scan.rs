//! Reads the opcodes of a pickle as text, without executing one, and refuses what is not plain data.
//!
//! A pickle is a program for a small stack machine, and its `GLOBAL` family of opcodes can name any function that is
//! importable. The scanner walks the program with a stack that knows of each item only whether it is a string and
//! where that string stands, which is what the two operands of `STACK_GLOBAL` need. The opcodes are those of
//! Python's `pickletools` (protocols 0 to 5).

use std::collections::HashMap;

use super::pickle_globals::is_data;

/// Scans the pickle that begins at `start` of `bytes` and returns the offset just after its `STOP`.
///
/// Nothing is executed. Every global that the pickle names (`GLOBAL`, `INST`, `STACK_GLOBAL`, also through memoised
/// strings) must be on a short allow-list: what PyTorch and NumPy need to describe tensors, and the builtin
/// containers. The work and the memory are bounded by a constant times the number of bytes.
///
/// # Errors
///
/// [`PickleScanError`], with the offset in `bytes`, for a global outside the list, one whose name cannot be told, an
/// extension code, or a malformed or truncated pickle.
pub fn scan_pickle(bytes: &[u8], start: usize) -> Result<usize, PickleScanError> {
    let mut scanner =
        Scanner { bytes, at: start, opcode_at: start, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while !scanner.step()? {}
    Ok(scanner.at)
}

/// Why a pickle was refused; offsets are in bytes from the start of the scanned buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleScanError {
    /// It names a function or class that is not known to be plain data.
    #[error(
        "the pickle names `{module}.{name}` at byte {offset}; a pickle is data, and only tensors and plain containers are read from it (save the state_dict alone, or convert to safetensors)"
    )]
    ForbiddenGlobal {
        /// Offset of the opcode.
        offset: usize,
        /// Python module.
        module: String,
        /// Name in that module.
        name: String,
    },
    /// It names a global by values that are not plain strings.
    #[error("the pickle names a global at byte {offset} by something other than two plain strings")]
    UnresolvedGlobal {
        /// Offset of the opcode.
        offset: usize,
    },
    /// It uses a numbered extension of Python's `copyreg`, which can stand for any function.
    #[error("the pickle uses extension code {code} at byte {offset}, which can stand for any function")]
    Extension {
        /// Offset of the opcode.
        offset: usize,
        /// The code.
        code: u32,
    },
    /// A byte that is no opcode of protocols 0 to 5, or one that needs data from outside the pickle.
    #[error("byte {offset} of the pickle is {opcode:#04x}, not an opcode that can be read")]
    UnknownOpcode {
        /// Offset of the byte.
        offset: usize,
        /// The byte.
        opcode: u8,
    },
    /// It ends inside an opcode, or without `STOP`.
    #[error("the pickle ends at byte {end}, inside what begins at byte {offset}")]
    Truncated {
        /// Offset of the last opcode begun.
        offset: usize,
        /// Number of bytes there are.
        end: usize,
    },
    /// An opcode's operands are missing or malformed.
    #[error("the pickle is malformed at byte {offset}: {reason}")]
    Malformed {
        /// Offset of the opcode.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Deepest stack and largest memo followed. A checkpoint of 100,000 tensors stays below both; together they keep the
/// scanner under about 150 MB whatever the pickle says.
const MAX_STACK: usize = 1 << 20;
const MAX_MEMO: usize = 1 << 21;

/// What is known of an item on the stack.
#[derive(Clone, Copy)]
enum Item {
    /// A string: the bytes `start..end` of the pickle, unescaped.
    Text { start: u32, end: u32 },
    /// Anything else.
    Other,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    opcode_at: usize,
    stack: Vec<Item>,
    /// Stack heights at which a `MARK` stands; items below the last one are out of reach until it is popped.
    marks: Vec<usize>,
    memo: HashMap<u64, Item>,
}

impl Scanner<'_> {
    /// Follows one opcode; true after `STOP`.
    fn step(&mut self) -> Result<bool, PickleScanError> {
        self.opcode_at = self.at;
        let opcode = self.take(1)?[0];
        match opcode {
            // Frames and the protocol number say nothing about the data.
            0x80 => {
                if self.take(1)?[0] > 5 {
                    return Err(self.malformed("a protocol above 5"));
                }
            }
            0x95 => {
                self.take(8)?;
            }

            // Plain values, and references to storages outside the pickle.
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.push(Item::Other)?,
            b'K' => self.push_after(1)?,
            b'M' => self.push_after(2)?,
            b'J' => self.push_after(4)?,
            b'G' => self.push_after(8)?,
            b'I' | b'L' | b'F' | b'P' => {
                self.line()?;
                self.push(Item::Other)?;
            }
            0x8a | b'C' => {
                let n = self.length(1)?;
                self.push_after(n)?;
            }
            0x8b | b'B' => {
                let n = self.length(4)?;
                self.push_after(n)?;
            }
            0x8e | 0x96 => {
                let n = self.length(8)?;
                self.push_after(n)?;
            }

            // Strings.
            b'U' | 0x8c => self.text(1)?,
            b'T' | b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'S' => {
                let (start, end) = self.line()?;
                let quoted = end - start >= 2
                    && matches!(self.bytes[start], b'\'' | b'"')
                    && self.bytes[start] == self.bytes[end - 1];
                if !quoted {
                    return Err(self.malformed("a string without its quotes"));
                }
                self.push_unescaped(start + 1, end - 1)?;
            }
            b'V' => {
                let (start, end) = self.line()?;
                self.push_unescaped(start, end)?;
            }

            // The stack and its marks.
            b'(' => {
                if self.marks.len() >= MAX_STACK {
                    return Err(self.malformed("more marks than any checkpoint has"));
                }
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop(1)?;
                }
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }

            // Containers, and calls: what is called came from a name that was checked when it was met.
            0x85 | b'Q' => self.replace(1)?,
            0x86 | b'R' | 0x81 => self.replace(2)?,
            0x87 | 0x92 => self.replace(3)?,
            b't' | b'l' | 0x91 => {
                self.pop_to_mark()?;
                self.push(Item::Other)?;
            }
            b'd' => {
                if self.pop_to_mark()? % 2 != 0 {
                    return Err(self.malformed("a dictionary with a key but no value"));
                }
                self.push(Item::Other)?;
            }
            b'e' | 0x90 => {
                self.pop_to_mark()?;
                self.top()?;
            }
            b'u' => {
                if self.pop_to_mark()? % 2 != 0 {
                    return Err(self.malformed("a dictionary with a key but no value"));
                }
                self.top()?;
            }
            b'a' | b'b' => {
                self.pop(1)?;
                self.top()?;
            }
            b's' => {
                self.pop(2)?;
                self.top()?;
            }

            // The memo.
            b'g' => {
                let key = self.decimal_line()?;
                self.get(key)?;
            }
            b'h' => {
                let key = self.length(1)? as u64;
                self.get(key)?;
            }
            b'j' => {
                let key = self.length(4)? as u64;
                self.get(key)?;
            }
            b'p' => {
                let key = self.decimal_line()?;
                self.put(key)?;
            }
            b'q' => {
                let key = self.length(1)? as u64;
                self.put(key)?;
            }
            b'r' => {
                let key = self.length(4)? as u64;
                self.put(key)?;
            }
            0x94 => {
                let key = self.memo.len() as u64;
                self.put(key)?;
            }

            // Names of functions and classes.
            b'c' => {
                self.global_lines()?;
                self.push(Item::Other)?;
            }
            b'i' => {
                self.global_lines()?;
                self.pop_to_mark()?;
                self.push(Item::Other)?;
            }
            0x93 => {
                let name = self.top()?;
                self.pop(1)?;
                let module = self.top()?;
                self.pop(1)?;
                let (Item::Text { start: m0, end: m1 }, Item::Text { start: n0, end: n1 }) = (module, name) else {
                    return Err(PickleScanError::UnresolvedGlobal { offset: self.opcode_at });
                };
                self.allow((m0 as usize, m1 as usize), (n0 as usize, n1 as usize))?;
                self.push(Item::Other)?;
            }
            0x82 => return Err(self.extension(1)?),
            0x83 => return Err(self.extension(2)?),
            0x84 => return Err(self.extension(4)?),

            b'o' => {
                if self.pop_to_mark()? == 0 {
                    return Err(self.malformed("an object without a class"));
                }
                self.push(Item::Other)?;
            }

            b'.' => {
                self.pop(1)?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return Err(self.malformed("items left over at its end"));
                }
                return Ok(true);
            }
            opcode => {
                return Err(PickleScanError::UnknownOpcode { offset: self.opcode_at, opcode });
            }
        }
        Ok(false)
    }

    fn malformed(&self, reason: &'static str) -> PickleScanError {
        PickleScanError::Malformed { offset: self.opcode_at, reason }
    }

    fn take(&mut self, n: usize) -> Result<&[u8], PickleScanError> {
        let truncated = PickleScanError::Truncated { offset: self.opcode_at, end: self.bytes.len() };
        let end = self.at.checked_add(n).ok_or_else(|| truncated.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// A little-endian count of `width` bytes. Counts beyond the address range become a length that cannot be met.
    fn length(&mut self, width: usize) -> Result<usize, PickleScanError> {
        let mut buffer = [0; 8];
        buffer[..width].copy_from_slice(self.take(width)?);
        Ok(usize::try_from(u64::from_le_bytes(buffer)).unwrap_or(usize::MAX))
    }

    /// The range of the text up to the next line feed, which is consumed.
    fn line(&mut self) -> Result<(usize, usize), PickleScanError> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let Some(n) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(PickleScanError::Truncated { offset: self.opcode_at, end: self.bytes.len() });
        };
        self.at = start + n + 1;
        let end = if rest[..n].ends_with(b"\r") { start + n - 1 } else { start + n };
        Ok((start, end))
    }

    fn decimal_line(&mut self) -> Result<u64, PickleScanError> {
        let (start, end) = self.line()?;
        std::str::from_utf8(&self.bytes[start..end])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.malformed("a memo index that is not a number"))
    }

    fn push(&mut self, item: Item) -> Result<(), PickleScanError> {
        if self.stack.len() >= MAX_STACK {
            return Err(self.malformed("a deeper stack than any checkpoint has"));
        }
        self.stack.push(item);
        Ok(())
    }

    fn push_after(&mut self, n: usize) -> Result<(), PickleScanError> {
        self.take(n)?;
        self.push(Item::Other)
    }

    fn push_text(&mut self, start: usize, end: usize) -> Result<(), PickleScanError> {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => self.push(Item::Text { start, end }),
            _ => Err(self.malformed("a pickle beyond 4 GiB")),
        }
    }

    /// A string that may hold escapes; with any, it names no global that is allowed, so its text is not needed.
    fn push_unescaped(&mut self, start: usize, end: usize) -> Result<(), PickleScanError> {
        if self.bytes[start..end].contains(&b'\\') { self.push(Item::Other) } else { self.push_text(start, end) }
    }

    fn text(&mut self, width: usize) -> Result<(), PickleScanError> {
        let n = self.length(width)?;
        let start = self.at;
        self.take(n)?;
        self.push_text(start, self.at)
    }

    /// Number of items above the last mark.
    fn reachable(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Item, PickleScanError> {
        match self.stack.last() {
            Some(&item) if self.reachable() > 0 => Ok(item),
            _ => Err(self.malformed("an operand is missing from the stack")),
        }
    }

    fn pop(&mut self, n: usize) -> Result<(), PickleScanError> {
        if self.reachable() < n {
            return Err(self.malformed("an operand is missing from the stack"));
        }
        self.stack.truncate(self.stack.len() - n);
        Ok(())
    }

    fn replace(&mut self, n: usize) -> Result<(), PickleScanError> {
        self.pop(n)?;
        self.push(Item::Other)
    }

    fn pop_to_mark(&mut self) -> Result<usize, PickleScanError> {
        let Some(height) = self.marks.pop() else {
            return Err(self.malformed("a mark is missing from the stack"));
        };
        let n = self.stack.len() - height;
        self.stack.truncate(height);
        Ok(n)
    }

    fn get(&mut self, key: u64) -> Result<(), PickleScanError> {
        match self.memo.get(&key) {
            Some(&item) => self.push(item),
            None => Err(self.malformed("a memo entry that was never written")),
        }
    }

    fn put(&mut self, key: u64) -> Result<(), PickleScanError> {
        let item = self.top()?;
        if self.memo.len() >= MAX_MEMO {
            return Err(self.malformed("a larger memo than any checkpoint has"));
        }
        self.memo.insert(key, item);
        Ok(())
    }

    fn global_lines(&mut self) -> Result<(), PickleScanError> {
        let module = self.line()?;
        let name = self.line()?;
        self.allow(module, name)
    }

    fn allow(&self, module: (usize, usize), name: (usize, usize)) -> Result<(), PickleScanError> {
        let text = |(start, end): (usize, usize)| String::from_utf8_lossy(&self.bytes[start..end]);
        let (module, name) = (text(module), text(name));
        if is_data(&module, &name) {
            return Ok(());
        }
        Err(PickleScanError::ForbiddenGlobal {
            offset: self.opcode_at,
            module: shortened(&module),
            name: shortened(&name),
        })
    }

    fn extension(&mut self, width: usize) -> Result<PickleScanError, PickleScanError> {
        let code = self.length(width)? as u32;
        Ok(PickleScanError::Extension { offset: self.opcode_at, code })
    }
}

/// A name fit for an error message, however long or strange the file made it.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut short: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}
