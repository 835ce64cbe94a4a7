//! Lists the tensors of a weight file, or of a small one that it writes: `cargo run --example read_weights [FILE]`.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use ontogeny_zoo::{Layout, describe, read_tensors};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let path = given.map_or_else(|| write_small_file(folder.path()), Ok)?;

    let mut out = std::io::stdout();
    let description = describe(&path)?;
    let (format, n) = (description.format, description.n_elements);
    writeln!(out, "{}: {format}, {n} values", path.display())?;
    for tensor in &description.tensors {
        writeln!(out, "  {:<40} {:<5} {:?}", tensor.name, tensor.dtype, tensor.shape)?;
    }
    let file = read_tensors(&path)?;
    writeln!(out, "layout {:?}, content {}", Layout::detect(&file), file.content_hash())?;
    Ok(())
}

/// A safetensors file by hand: the header's length, the header, the values.
fn write_small_file(folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join("small.safetensors");
    let header = r#"{"blocks.0.attn.W_O":{"dtype":"F32","shape":[1,2,1],"data_offsets":[0,8]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend([0.5_f32, -0.25].iter().flat_map(|value| value.to_le_bytes()));
    fs_err::write(&path, bytes)?;
    Ok(path)
}
