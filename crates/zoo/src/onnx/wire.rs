//! The wire format of protocol buffers: fields of a message, one after another, out of bytes that may lie.
//!
//! <https://protobuf.dev/programming-guides/encoding/>. Nothing is copied: a field of bytes is a part of the file.

/// Fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes` in the file, for messages.
    at: usize,
}

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A string, a message, or packed numbers.
    Bytes(Fields<'a>),
}

/// What is wrong, and at which byte of the file.
#[derive(Debug)]
pub(super) struct WireError {
    pub(super) at: usize,
    pub(super) found: String,
    pub(super) expected: &'static str,
}

type Found<T> = Result<T, WireError>;

impl<'a> Fields<'a> {
    pub(super) fn of_file(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn text(self) -> Found<String> {
        match std::str::from_utf8(self.bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(WireError {
                at: self.at + error.valid_up_to(),
                found: "a name that is no UTF-8".to_owned(),
                expected: "text",
            }),
        }
    }

    /// The next field with its number, or `None` at the end.
    pub(super) fn next(&mut self) -> Found<Option<(u64, Field<'a>)>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let key = self.varint()?;
        let (number, kind) = (key >> 3, key & 7);
        if number == 0 {
            return Err(WireError { at, found: "field number 0".to_owned(), expected: "1 or more" });
        }
        let value = match kind {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed()?),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Field::Fixed32(self.fixed()?),
            other => {
                let found = format!("wire type {other}");
                return Err(WireError { at, found, expected: "0, 1, 2 or 5, as in every ONNX file" });
            }
        };
        Ok(Some((number, value)))
    }

    /// A number of at most 64 bits, seven to a byte.
    pub(super) fn varint(&mut self) -> Found<u64> {
        let at = self.at;
        let mut value = 0_u64;
        for place in 0..10 {
            let [byte] = self.fixed()?;
            // Of the tenth byte only one bit has room.
            if place == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError { at, found: "a number of more than 64 bits".to_owned(), expected: "at most ten bytes" })
    }

    fn fixed<const N: usize>(&mut self) -> Found<[u8; N]> {
        let part = self.take(N)?;
        Ok(part.bytes.try_into().expect("as many bytes were taken"))
    }

    fn take(&mut self, length: usize) -> Found<Self> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            let found = format!("{length} bytes claimed where {} are left", self.bytes.len());
            return Err(WireError { at: self.at, found, expected: "a whole file; is it truncated?" });
        };
        let taken = Self { bytes: taken, at: self.at };
        self.bytes = rest;
        self.at += length;
        Ok(taken)
    }
}

impl<'a> Field<'a> {
    pub(super) fn message(self, at: usize) -> Found<Fields<'a>> {
        match self {
            Self::Bytes(fields) => Ok(fields),
            _ => Err(WireError { at, found: "a number".to_owned(), expected: "a string or a message" }),
        }
    }

    pub(super) fn text(self, at: usize) -> Found<String> {
        self.message(at)?.text()
    }

    pub(super) fn integer(self, at: usize) -> Found<i64> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            _ => Err(WireError { at, found: "another type".to_owned(), expected: "an integer" }),
        }
    }

    /// Appends an integer, or packed ones.
    pub(super) fn integers(self, at: usize, to: &mut Vec<i64>) -> Found<()> {
        match self {
            Self::Bytes(mut packed) => {
                while !packed.bytes.is_empty() {
                    to.push(packed.varint()?.cast_signed());
                }
                Ok(())
            }
            other => {
                to.push(other.integer(at)?);
                Ok(())
            }
        }
    }

    /// Appends a number of four bytes, or packed ones.
    pub(super) fn floats(self, at: usize, to: &mut Vec<f32>) -> Found<()> {
        match self {
            Self::Fixed32(bytes) => to.push(f32::from_le_bytes(bytes)),
            Self::Bytes(mut packed) => {
                while !packed.bytes.is_empty() {
                    to.push(f32::from_le_bytes(packed.fixed()?));
                }
            }
            _ => return Err(WireError { at, found: "another type".to_owned(), expected: "floats" }),
        }
        Ok(())
    }

    /// Appends a number of eight bytes, or packed ones.
    pub(super) fn doubles(self, at: usize, to: &mut Vec<f64>) -> Found<()> {
        match self {
            Self::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes)),
            Self::Bytes(mut packed) => {
                while !packed.bytes.is_empty() {
                    to.push(f64::from_le_bytes(packed.fixed()?));
                }
            }
            _ => return Err(WireError { at, found: "another type".to_owned(), expected: "doubles" }),
        }
        Ok(())
    }
}

/// Where a message stands in the file.
impl Fields<'_> {
    pub(super) fn at(&self) -> usize {
        self.at
    }
}
