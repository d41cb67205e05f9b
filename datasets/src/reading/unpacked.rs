//! Gzip that unpacks to far more than any text does.
use std::io::{self, Read};

/// How many bytes a byte of gzip may unpack to; texts come to ten or twenty.
const MOST: u64 = 100;
/// Bytes that may be unpacked from any file.
const FREE: u64 = 256 << 20;

/// Unpacked bytes, as long as there are not too many for the file they come from.
#[derive(Debug)]
pub(super) struct Unpacked<R> {
    inner: R,
    rest: u64,
}

impl<R> Unpacked<R> {
    /// The bytes that `inner` unpacks from a file of this length.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_unpacks_to_a_hundred_times_its_size() {
        let read = |unpacked: u64, packed: u64| {
            let mut unpacked = Unpacked::new(io::repeat(b'a').take(unpacked), packed);
            io::copy(&mut unpacked, &mut io::sink()).map_err(|error| error.to_string())
        };
        assert_eq!(read(FREE, 1), Ok(FREE));
        assert_eq!(read(FREE + 1, FREE / MOST + 1), Ok(FREE + 1));
        assert_eq!(read(FREE + 1, 1).unwrap_err(), "it unpacks to more than 100 times its size");
    }
}
