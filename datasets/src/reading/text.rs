//! JSON lines and JSON arrays, read one record at a time.
use std::io::{BufRead, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::{Packing, RECORD_LIMIT, Row, Rows, python};
use crate::big_integers;
use crate::error::DatasetError;
use crate::record::Origin;

/// The rows of a text file: the elements of an array if it starts with `[`, else one value per line. An unpacked file
/// may have so many lines and elements.
pub(super) fn rows(reader: Box<dyn BufRead + Send>, file: Arc<Path>, unpacked: Option<(Packing, u64)>) -> Rows {
    let (packing, rest) = (unpacked.map(|unpacked| unpacked.0), unpacked.map_or(u64::MAX, |unpacked| unpacked.1));
    let mut text = TextRows { reader, file, packing, rest, line: 1, layout: Layout::Unknown };
    Box::new(std::iter::from_fn(move || text.next_row().transpose()))
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Unknown,
    Lines,
    Array,
    Done,
}

struct TextRows {
    reader: Box<dyn BufRead + Send>,
    file: Arc<Path>,
    packing: Option<Packing>,
    /// Remaining budget of lines, elements and white space.
    rest: u64,
    /// The current line, from 1.
    line: u64,
    layout: Layout,
}

impl TextRows {
    fn next_row(&mut self) -> Result<Option<Row>, DatasetError> {
        if self.layout == Layout::Unknown {
            self.layout = self.sniff().inspect_err(|_| self.layout = Layout::Done)?;
        }
        let found = match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Array => self.next_element(),
            Layout::Unknown | Layout::Done => return Ok(None),
        };
        let found = found.inspect_err(|_| self.layout = Layout::Done)?;
        let Some((start, bytes)) = found else {
            self.layout = Layout::Done;
            return Ok(None);
        };
        parse(&self.file, start, &bytes).map(Some)
    }

    /// Detects lines or an array by the first non-blank byte; consumes an array's bracket.
    fn sniff(&mut self) -> Result<Layout, DatasetError> {
        if self.peek_all()?.starts_with(b"\xef\xbb\xbf") {
            self.reader.consume(3);
        }
        match self.skip_space()? {
            Some(b'[') => {
                self.reader.consume(1);
                Ok(Layout::Array)
            }
            Some(_) => Ok(Layout::Lines),
            None => Err(DatasetError::Empty { path: self.file.to_path_buf() }),
        }
    }

    /// The next non-blank line, and its number.
    fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, DatasetError> {
        loop {
            self.spend()?;
            let start = self.line;
            let mut bytes = Vec::new();
            loop {
                let buffer = self.peek_all()?;
                let end = buffer.iter().position(|&byte| byte == b'\n').map_or(buffer.len(), |at| at + 1);
                bytes.extend_from_slice(&buffer[..end]);
                self.reader.consume(end);
                if end == 0 || bytes.ends_with(b"\n") {
                    break;
                }
                self.check_length(start, bytes.len())?;
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some((start, bytes)));
            }
        }
    }

    /// The next element of the array and its first line: everything up to a comma or the closing bracket, outside
    /// strings and inner brackets. It is parsed later.
    fn next_element(&mut self) -> Result<Option<(u64, Vec<u8>)>, DatasetError> {
        self.spend()?;
        let first = self.skip_space()?;
        let start = self.line;
        if first == Some(b']') {
            self.reader.consume(1);
            return match self.skip_space()? {
                None => Ok(None),
                Some(_) => Err(self.broken("the file goes on after its array, and what follows would be lost")),
            };
        }
        let (mut bytes, mut scan) = (Vec::new(), ElementScan::default());
        loop {
            let buffer = self.peek_all()?;
            if buffer.is_empty() {
                return Err(self
                    .broken("the file ends before the array does: it is cut off, and nobody knows how much is lost"));
            }
            let end = buffer.iter().position(|&byte| scan.is_end(byte));
            let taken = end.unwrap_or(buffer.len());
            let has_comma = end.is_some_and(|end| buffer[end] == b',');
            bytes.extend_from_slice(&buffer[..taken]);
            self.line += buffer[..taken].split(|&byte| byte == b'\n').count() as u64 - 1;
            self.reader.consume(taken + usize::from(has_comma));
            if end.is_some() {
                return Ok(Some((start, bytes)));
            }
            self.check_length(start, bytes.len())?;
        }
    }

    /// The error of a malformed file.
    fn broken(&self, message: &str) -> DatasetError {
        DatasetError::Array { origin: Origin::line(&self.file, self.line), message: message.to_owned() }
    }

    /// Skips white space, counting lines; returns the next byte without consuming it.
    fn skip_space(&mut self) -> Result<Option<u8>, DatasetError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.spend()?;
            self.line += u64::from(byte == b'\n');
            self.reader.consume(1);
        }
        Ok(None)
    }

    /// # Errors
    /// The budget is exhausted.
    fn spend(&mut self) -> Result<(), DatasetError> {
        self.rest = self.rest.checked_sub(1).ok_or_else(|| {
            let message = "it unpacks to far more lines than a file of its size holds".to_owned();
            self.packing.unwrap_or(Packing::Gzip).error(&self.file, message)
        })?;
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, DatasetError> {
        Ok(self.peek_all()?.first().copied())
    }

    fn peek_all(&mut self) -> Result<&[u8], DatasetError> {
        // A first call that fails must not keep the buffer borrowed, so the buffer is asked for twice.
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
        let (path, packing) = (&self.file, self.packing);
        self.reader.fill_buf().map_err(|error| read_error(path, packing, error))
    }

    fn read_error(&self, error: std::io::Error) -> DatasetError {
        read_error(&self.file, self.packing, error)
    }

    fn check_length(&self, start: u64, length: usize) -> Result<(), DatasetError> {
        if length <= RECORD_LIMIT {
            return Ok(());
        }
        Err(DatasetError::TooLong { origin: Origin::line(&self.file, start), limit: RECORD_LIMIT })
    }
}

/// The scanner's state within an array element.
#[derive(Default)]
struct ElementScan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl ElementScan {
    /// Whether this byte is the comma or bracket that ends the element.
    fn is_end(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b',' if self.depth == 0 => return true,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

fn read_error(path: &Path, packing: Option<Packing>, error: std::io::Error) -> DatasetError {
    let is_damage = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof);
    if let Some(packing) = packing.filter(|_| is_damage) {
        return packing.error(path, error.to_string());
    }
    DatasetError::Io { path: path.to_owned(), source: error }
}

/// Parses one record that starts in line `start`.
fn parse(file: &Arc<Path>, start: u64, bytes: &[u8]) -> Result<Row, DatasetError> {
    let origin = Origin::line(file, start);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(DatasetError::Utf8 { origin, byte: error.valid_up_to() }),
    };
    // Python writes numbers that JSON has no words for; they are looked for only where the rest can't be read.
    let without_odd_numbers = || python::from_str(&python::without_odd_numbers(text)?).ok();
    match python::from_str(text).or_else(|error| without_odd_numbers().ok_or(error)) {
        Ok(mut value) => {
            big_integers::round_fields(&mut value);
            Ok((origin, value))
        }
        Err(error) => {
            let line = start + (error.line() as u64).saturating_sub(1);
            let message = error.to_string();
            // serde_json appends its own place, which counts from the start of the record.
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what).to_owned();
            Err(DatasetError::Json { origin: Origin::line(file, line), column: error.column().max(1), message })
        }
    }
}
