//! Sets of images with labels: IDX files (MNIST), binary CIFAR-10 batches, and the digits of scikit-learn built in.

use std::path::{Path, PathBuf};

use super::data_file::{DataFileError, Mismatch, read_data_file, unpack_embedded};

/// Images of one shape, with a label each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageSet {
    /// Channels, height and width.
    pub(super) shape: [usize; 3],
    /// Image by image, channel by channel, row by row.
    pub(super) pixels: Vec<u8>,
    /// The value of a pixel that is fully lit.
    pub(super) brightest: u8,
    /// Class of each image.
    pub(super) labels: Vec<u8>,
}

impl ImageSet {
    pub(super) fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The classes of CIFAR-10, by label.
pub(super) const CIFAR_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A CIFAR-10 image: 3 channels of 32 rows of 32.
const CIFAR_SHAPE: [usize; 3] = [3, 32, 32];

/// Its record: the label, then the pixels.
const CIFAR_RECORD: usize = 1 + 3 * 32 * 32;

/// The digits of scikit-learn: 64 pixels of 0 to 16 and the digit on each line, gzipped.
const DIGITS: &[u8] = include_bytes!("../../data/sklearn-digits/digits.csv.gz");

/// The 1,797 digits of 8×8 pixels that come with scikit-learn (Alpaydin and Kaynak 1998, the test set of "Optical
/// Recognition of Handwritten Digits").
pub(super) fn digits() -> ImageSet {
    let text = String::from_utf8(unpack_embedded(DIGITS)).expect("tests read the embedded digits");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut row: Vec<u8> =
            line.split(',').map(|value| value.trim().parse().expect("tests read the embedded digits")).collect();
        labels.extend(row.pop());
        pixels.extend(row);
    }
    ImageSet { shape: [1, 8, 8], pixels, brightest: 16, labels }
}

/// Reads images and their labels from two IDX files, plain or gzipped.
pub(super) fn read_idx(images: &Path, labels: &Path) -> Result<ImageSet, DataFileError> {
    let bytes = read_data_file(images)?;
    let (extents, pixels) = parse_idx(&bytes, 3).map_err(|wrong| wrong.of(images))?;
    let [n, height, width] = extents[..] else { unreachable!("three extents were asked for") };
    if n == 0 || height == 0 || width == 0 {
        let found = format!("{n} images of {height}×{width} pixels");
        return Err(Mismatch::new(found, "at least one image of at least one pixel").of(images));
    }
    let set = ImageSet { shape: [1, height, width], pixels: pixels.to_vec(), brightest: u8::MAX, labels: Vec::new() };
    drop(bytes);
    let bytes = read_data_file(labels)?;
    let (_, classes) = parse_idx(&bytes, 1).map_err(|wrong| wrong.of(labels))?;
    if classes.len() != n {
        let expected = format!("{n}, one for each image of {}", images.display());
        return Err(Mismatch::new(format!("{} labels", classes.len()), expected).of(labels));
    }
    Ok(ImageSet { labels: classes.to_vec(), ..set })
}

/// Extents and elements of an IDX file of unsigned bytes in `n_axes` dimensions (Y. LeCun's description of MNIST): two
/// zeros, the type 8, the number of dimensions, each extent in four bytes with the highest first, then the elements.
fn parse_idx(bytes: &[u8], n_axes: usize) -> Result<(Vec<usize>, &[u8]), Mismatch> {
    let kind = if n_axes == 3 { "images × rows × columns" } else { "labels" };
    let magic = format!("the magic number 0x0000080{n_axes}, of unsigned bytes in {n_axes} dimensions ({kind})");
    let Some((start, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(Mismatch::new(format!("{} bytes in all", bytes.len()), magic));
    };
    let found = format!("the magic number 0x{:08x}", u32::from_be_bytes(*start));
    match *start {
        [0, 0, 8, axes] if usize::from(axes) == n_axes => {}
        [0, 0, 8, 1 | 3] => {
            return Err(Mismatch::new(found, format!("{magic}; are the files of images and labels swapped?")));
        }
        _ => return Err(Mismatch::new(found, magic)),
    }
    let n_header = 4 * n_axes;
    let Some((header, elements)) = rest.split_at_checked(n_header) else {
        let found = format!("the end after {} bytes", bytes.len());
        return Err(Mismatch::new(found, format!("a header of {} bytes; the file is truncated", 4 + n_header)));
    };
    let extents: Vec<usize> =
        header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    // Nothing is taken on the word of the header: the elements are there already, or they are not.
    let n = extents.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
    if n != Some(elements.len()) {
        let found = format!("{} bytes after the header, whose extents are {extents:?}", elements.len());
        let expected = match n {
            Some(n) if n > elements.len() => format!("{n} bytes; the file is truncated, or its header damaged"),
            Some(n) => format!("{n} bytes and the end"),
            None => "extents that some memory could hold".to_owned(),
        };
        return Err(Mismatch::new(found, expected));
    }
    Ok((extents, elements))
}

/// Reads binary CIFAR-10 batches, plain or gzipped, one after another.
pub(super) fn read_cifar(files: &[PathBuf]) -> Result<ImageSet, DataFileError> {
    let mut set = ImageSet { shape: CIFAR_SHAPE, pixels: Vec::new(), brightest: u8::MAX, labels: Vec::new() };
    for file in files {
        append_cifar(&read_data_file(file)?, &mut set).map_err(|wrong| wrong.of(file))?;
    }
    Ok(set)
}

fn append_cifar(bytes: &[u8], set: &mut ImageSet) -> Result<(), Mismatch> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(CIFAR_RECORD) {
        let expected =
            format!("whole records of {CIFAR_RECORD} bytes: a label, then 3 × 32 × 32 pixels; is it truncated?");
        return Err(Mismatch::new(format!("{} bytes", bytes.len()), expected));
    }
    for (number, record) in bytes.chunks_exact(CIFAR_RECORD).enumerate() {
        if usize::from(record[0]) >= CIFAR_CLASSES.len() {
            let found = format!("the label {} at record {number}", record[0]);
            return Err(Mismatch::new(found, "0 to 9, the classes of CIFAR-10"));
        }
        set.labels.push(record[0]);
        set.pixels.extend(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(extents: &[u32], elements: &[u8]) -> Vec<u8> {
        let header = [0, 0, 8, extents.len() as u8].into_iter().chain(extents.iter().flat_map(|e| e.to_be_bytes()));
        header.chain(elements.iter().copied()).collect()
    }

    #[test]
    fn embedded_digits_are_all_there() {
        let set = digits();
        assert_eq!((set.labels.len(), set.pixels.len()), (1797, 1797 * 64));
        assert!(set.pixels.iter().all(|&pixel| pixel <= 16));
        // The counts that scikit-learn's `load_digits` documents: about 180 of each class.
        let mut counts = [0; 10];
        for &label in &set.labels {
            counts[usize::from(label)] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(set.labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // The first image of its documentation: `digits.images[0][0]`.
        assert_eq!(set.pixels[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    }

    #[test]
    fn elements_of_an_idx_file_are_found() {
        let bytes = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(parse_idx(&bytes, 3).unwrap(), (vec![2, 1, 3], &[1, 2, 3, 4, 5, 6][..]));
        let empty = idx(&[0], &[]);
        assert_eq!(parse_idx(&empty, 1).unwrap(), (vec![0], &[][..]));
    }

    #[test]
    fn an_idx_file_that_contradicts_itself_is_told_what_is_wrong() {
        for (bytes, axes, found, expected) in [
            (b"\0\0".to_vec(), 3, "2 bytes in all", "0x00000803"),
            (b"\x89PNG\r\n".to_vec(), 3, "0x89504e47", "unsigned bytes in 3 dimensions"),
            (idx(&[1], &[7]), 3, "0x00000801", "swapped?"),
            (vec![0, 0, 13, 3, 0, 0], 3, "0x00000d03", "0x00000803"),
            (idx(&[1, 1, 1], &[])[..9].to_vec(), 3, "the end after 9 bytes", "16 bytes; the file is truncated"),
            (idx(&[2, 2, 2], &[0; 7]), 3, "7 bytes after the header", "8 bytes; the file is truncated"),
            (idx(&[2], &[0; 3]), 1, "3 bytes after the header", "2 bytes and the end"),
            (idx(&[u32::MAX; 3], &[0; 3]), 3, "3 bytes after", "extents that some memory could hold"),
        ] {
            let wrong = parse_idx(&bytes, axes).unwrap_err();
            assert!(wrong.found.contains(found) && wrong.expected.contains(expected), "{wrong:?}");
        }
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_a_value_or_an_error() {
        let elements: Vec<u8> = (0..12).collect();
        for (bytes, axes) in [(idx(&[2, 2, 3], &elements), 3), (idx(&[12], &elements), 1)] {
            let n_header = 4 + 4 * axes;
            for n in 0..bytes.len() {
                assert!(parse_idx(&bytes[..n], axes).is_err(), "the first {n} bytes");
            }
            for at in 0..bytes.len() {
                for value in 0..=u8::MAX {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    // What the header says decides: its bytes may not change, those of elements may.
                    let is_same_header = at >= n_header || value == bytes[at];
                    for asked in [1, 3] {
                        let read = parse_idx(&changed, asked);
                        assert_eq!(read.is_ok(), is_same_header && asked == axes, "byte {at} = {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn records_of_cifar_are_appended() {
        let record = |label: u8, pixel: u8| [vec![label], vec![pixel; CIFAR_RECORD - 1]].concat();
        let mut set = ImageSet { shape: CIFAR_SHAPE, pixels: Vec::new(), brightest: u8::MAX, labels: Vec::new() };
        append_cifar(&[record(3, 10), record(9, 20)].concat(), &mut set).unwrap();
        assert_eq!(set.labels, [3, 9]);
        assert_eq!((set.pixels.len(), set.pixels[0], set.pixels[3072]), (2 * 3072, 10, 20));
        for (bytes, found) in [
            (Vec::new(), "0 bytes"),
            (record(1, 0)[..3072].to_vec(), "3072 bytes"),
            ([record(1, 0), record(10, 0)].concat(), "the label 10 at record 1"),
        ] {
            assert_eq!(append_cifar(&bytes, &mut set).unwrap_err().found, found);
        }
    }
}
