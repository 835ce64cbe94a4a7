//! Zip archives with their claims checked against the file before anything is unpacked.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fs_err::File;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use super::error::ReadError;

/// An open archive: names unique, entries apart from each other, nothing after the end record.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    names: Vec<String>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        let mut zip = ZipArchive::new(BufReader::new(file))
            .map_err(|error| damaged(format!("{error} (a truncated zip archive has lost its directory)")))?;
        let names = zip
            .file_names()
            .map(|name| name.map(std::borrow::Cow::into_owned))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(error.to_string()))?;
        if zip.has_duplicate_names() {
            // The directory keeps one of the two, so which name it was is no longer known.
            return Err(damaged("two entries of the zip archive have the same name".to_owned()));
        }
        if zip.has_overlapping_files().map_err(|error| damaged(error.to_string()))? {
            return Err(damaged("entries of the zip archive overlap".to_owned()));
        }
        check_end(path, zip.comment().len() as u64)?;
        if zip.offset() != 0 {
            return Err(damaged(format!("there are {} bytes before the zip archive", zip.offset())));
        }
        Ok(Self { path: path.to_owned(), zip, names })
    }

    /// Names of all entries, in the directory's order.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn has_suffix(&self, suffix: &str) -> bool {
        self.names.iter().any(|name| name.ends_with(suffix))
    }

    /// Opens entry number `index` of [`Self::names`]; returns its stream and its declared unpacked length.
    ///
    /// Reading the stream to its very end compares the entry's checksum. A checksum of zero means that there is
    /// none: PyTorch writes that on request.
    pub(super) fn entry(&mut self, index: usize) -> Result<(impl Read, u64), ReadError> {
        let damaged = damage(&self.path, &self.names[index]);
        let raw = self.zip.by_index_raw(index).map_err(|error| damaged(error.to_string()))?;
        let (bytes, stored, checksum) = (raw.size(), raw.compressed_size(), raw.crc32());
        let is_compressed = raw.compression() != CompressionMethod::Stored;
        drop(raw);
        if !is_compressed && stored != bytes {
            return Err(damaged(format!("declares {bytes} bytes but stores {stored}")));
        }
        let options = ZipReadOptions::new().ignore_crc32(checksum == 0);
        let entry = self.zip.by_index_with_options(index, options).map_err(|error| damaged(error.to_string()))?;
        Ok((entry, bytes))
    }

    /// Refuses compressed entries, but for number `except`.
    pub(super) fn check_stored(&mut self, except: usize) -> Result<(), ReadError> {
        for index in (0..self.names.len()).filter(|&index| index != except) {
            let damaged = damage(&self.path, &self.names[index]);
            let raw = self.zip.by_index_raw(index).map_err(|error| damaged(error.to_string()))?;
            if raw.compression() != CompressionMethod::Stored {
                return Err(damaged(
                    "it is compressed, which torch.save never does; load the file in PyTorch and save it again"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Compares the checksum of every entry, without keeping its bytes.
    pub(super) fn verify_checksums(&mut self) -> Result<(), ReadError> {
        for index in 0..self.names.len() {
            let damaged = damage(&self.path, &self.names[index]);
            let (entry, n_bytes) = self.entry(index)?;
            // One byte more than declared, so that the end is reached or an excess seen.
            let n = io::copy(&mut entry.take(n_bytes.saturating_add(1)), &mut io::sink())
                .map_err(|error| damaged(error.to_string()))?;
            if n != n_bytes {
                return Err(damaged(format!("declares {n_bytes} bytes but unpacks to another number")));
            }
        }
        Ok(())
    }
}

/// Checks that the directory, the end records and the comment follow each other and then the file ends, so that
/// nothing else (a second archive, say) stands between or after them. Offsets from APPNOTE.TXT, 4.3.14 to 4.3.16.
fn check_end(path: &Path, comment_bytes: u64) -> Result<(), ReadError> {
    const END: u64 = 22;
    const LOCATOR: u64 = 20;
    const END_64: u64 = 56;
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let misplaced = || ReadError::Damaged {
        path: path.to_owned(),
        reason: "there are bytes after the directory of the zip archive that do not belong to it".to_owned(),
    };
    let mut file = File::open(path).map_err(io)?;
    let file_bytes = file.seek(SeekFrom::End(0)).map_err(io)?;
    let mut read_at =
        |at: u64, buffer: &mut [u8]| file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(buffer)).map_err(io);
    let end_at = file_bytes.checked_sub(END + comment_bytes).ok_or_else(misplaced)?;
    let mut end = [0; END as usize];
    read_at(end_at, &mut end)?;
    if !end.starts_with(b"PK\x05\x06") {
        return Err(misplaced());
    }
    let mut directory_bytes = little_endian(&end[12..16]);
    let mut directory_at = little_endian(&end[16..20]);
    let mut records_at = end_at;
    if let Some(locator_at) = end_at.checked_sub(LOCATOR) {
        let mut locator = [0; LOCATOR as usize];
        read_at(locator_at, &mut locator)?;
        if locator.starts_with(b"PK\x06\x07") {
            records_at = little_endian(&locator[8..16]);
            if records_at.checked_add(END_64).is_none_or(|end| end > locator_at) {
                return Err(misplaced());
            }
            let mut end_64 = [0; END_64 as usize];
            read_at(records_at, &mut end_64)?;
            if (records_at + 12).checked_add(little_endian(&end_64[4..12])) != Some(locator_at) {
                return Err(misplaced());
            }
            directory_bytes = little_endian(&end_64[40..48]);
            directory_at = little_endian(&end_64[48..56]);
        }
    }
    if directory_at.checked_add(directory_bytes) != Some(records_at) {
        return Err(misplaced());
    }
    Ok(())
}

/// An unsigned number of up to eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte))
}

/// Makes the error that says what is wrong with an entry.
fn damage(path: &Path, entry_name: &str) -> impl Fn(String) -> ReadError + use<> {
    let path = path.to_owned();
    let entry = entry_name.escape_debug().to_string();
    move |reason| ReadError::Damaged {
        path: path.clone(),
        reason: format!("entry `{entry}` of the zip archive: {reason}"),
    }
}
