//! Gzip with several members, protected against decompression bombs.
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Maximum unpacked bytes per byte of gzip. Texts reach ten or twenty, repetitive records hundreds.
const MOST: u64 = 1000;
/// Unpacked bytes allowed for any file.
const FREE: u64 = 256 << 20;
/// Maximum unpacked lines per byte of gzip, since each line takes time.
const MOST_LINES: u64 = 10;
/// Unpacked lines allowed for any file.
const FREE_LINES: u64 = 32 << 20;

/// Maximum number of unpacked lines for a compressed size.
pub(super) fn most_lines(packed: u64) -> u64 {
    packed.saturating_mul(MOST_LINES).max(FREE_LINES)
}

/// A reader that limits the unpacked size.
#[derive(Debug)]
pub(super) struct Unpacked<R> {
    inner: R,
    rest: u64,
}

impl<R> Unpacked<R> {
    /// Limits `inner`, which unpacks a file of this size.
    pub(super) fn new(inner: R, packed: u64) -> Self {
        Self { inner, rest: packed.saturating_mul(MOST).max(FREE) }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.rest = self.rest.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("it unpacks to more than {MOST} times its size"))
        })?;
        Ok(length)
    }
}

/// A reader of all members of a gzip file. Zeros after a member are padding, as in Python.
#[derive(Debug)]
pub(super) struct Members<R> {
    /// The current member; `None` after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(file: R) -> Self {
        Self { member: Some(GzDecoder::new(file)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            self.member = rest.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// Opens the next member, after padding.
fn next_member<R: BufRead>(mut file: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let found = file.fill_buf()?;
        if found.is_empty() {
            return Ok(None);
        }
        let zeros = found.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(Some(GzDecoder::new(file)));
        }
        file.consume(zeros);
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_unpacks_to_a_thousand_times_its_size() {
        let read = |unpacked: u64, packed: u64| {
            let mut unpacked = Unpacked::new(io::repeat(b'a').take(unpacked), packed);
            io::copy(&mut unpacked, &mut io::sink()).map_err(|error| error.to_string())
        };
        assert_eq!(read(FREE, 1), Ok(FREE));
        assert_eq!(read(FREE + 1, FREE / MOST + 1), Ok(FREE + 1));
        assert_eq!(read(FREE + 1, 1).unwrap_err(), "it unpacks to more than 1000 times its size");
    }

    /// As Python's `gzip` reads them.
    #[test]
    fn members_follow_one_another_and_zeros_pad_them() {
        let member = |text: &str| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let read = |parts: &[&[u8]]| {
            let mut text = String::new();
            Members::new(&*parts.concat()).read_to_string(&mut text).map(|_| text).map_err(|error| error.to_string())
        };
        let (first, second) = (member("a"), member("b"));
        assert_eq!(read(&[&first, &second]).unwrap(), "ab");
        assert_eq!(read(&[&first, &[0; 700], &second, &[0; 3]]).unwrap(), "ab");
        assert_eq!(read(&[&member(""), &second]).unwrap(), "b");
        assert!(read(&[&first, b"more"]).is_err());
        assert!(read(&[&first[..first.len() - 1]]).is_err());
    }
}
