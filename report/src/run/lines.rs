//! Files with a JSON object on each line.
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// The most bytes of a file that is read.
const MOST: u64 = 1 << 30;

/// A line's number, from 1, and its object.
pub(super) type Line = (usize, Map<String, Value>);

/// The lines of a file and whether its last line is cut off; `None` where there is no such file.
///
/// # Errors
/// The file can't be read, or a line is no object. A last line without an end is no error: a run that is being written, or
/// was killed, has one.
pub(super) fn read(path: &Path) -> Result<Option<(Vec<Line>, bool)>, Error> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    parse(&bytes, path).map(Some)
}

/// The bytes of a file; `None` where there is no such file.
pub(super) fn bytes(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
        Ok(about) if about.len() > MOST => {
            return Err(Error::malformed(path, format!("has {} bytes; at most {MOST} are read", about.len())));
        }
        Ok(_) => {}
    }
    fs::read(path).map(Some).map_err(Error::io(path))
}

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<(Vec<Line>, bool), Error> {
    let (mut lines, mut is_cut) = (Vec::new(), false);
    let pieces: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // Behind the last end of a line there is nothing, or a line that is cut off.
    let n_ended = pieces.len() - 1;
    for (at, piece) in pieces.into_iter().enumerate() {
        if piece.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Map<String, Value>>(piece) {
            Ok(object) => lines.push((at + 1, object)),
            Err(_) if at == n_ended => is_cut = true,
            Err(error) => return Err(damaged(path, at + 1, format!("is not a JSON object: {}", plain(&error)))),
        }
    }
    Ok((lines, is_cut))
}

/// An error in a line.
pub(super) fn damaged(path: &Path, line: usize, what: impl Into<String>) -> Error {
    Error::Line { path: path.to_owned(), line, what: what.into() }
}

/// The parser's message with the column alone: the line in it is always 1.
fn plain(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}

/// A number, `NaN` where the file has `null`: JSON has no other word for what is not finite.
pub(super) fn number(value: &Value) -> Option<f64> {
    if value.is_null() { Some(f64::NAN) } else { value.as_f64() }
}
