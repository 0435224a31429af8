//! Weighs a function: its binary as Lambda gets it, zipped under the name `bootstrap`.

use std::{
    fs::File,
    io::{self, Cursor},
    path::Path,
};

use anyhow::{Context, Result};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Returns the size in bytes.
pub fn zipped(binary: &Path) -> Result<usize> {
    let mut file = File::open(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(9));
    zip.start_file("bootstrap", options)?;
    io::copy(&mut file, &mut zip)?;
    Ok(zip.finish()?.into_inner().len())
}
