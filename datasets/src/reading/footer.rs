//! Checks a Parquet footer's counts before the reader allocates memory for them.
//!
//! The reader allocates by the footer's counts, and a failed allocation aborts the process. So the counts are checked
//! against the data: the footer is a struct in Thrift's compact protocol.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Number of bytes after the footer: its length, and `PAR1`.
const TAIL: u64 = 8;
/// Maximum size of a footer: a column chunk takes some hundred bytes.
const LONGEST: u64 = 64 << 20;
/// Maximum nesting of structs and lists; the format itself needs 6.
const DEEPEST: usize = 32;

/// Field ids of the footer and of a schema element.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;

/// Checks that a footer has as many elements as it declares.
///
/// Data that are no footer at all are left to the reader's error.
///
/// # Errors
/// The declared and missing elements, as a message.
pub(super) fn check(file: &mut File) -> Result<(), String> {
    let Some(footer) = read(file)? else { return Ok(()) };
    let mut thrift = Thrift { rest: &footer, claimed: 0, elements: 0 };
    thrift.structure(0, &mut Vec::new())?;
    // Every element but the root is the child of another.
    if thrift.claimed >= thrift.elements.max(1) {
        return Err(format!("its schema claims {} children and has {} elements", thrift.claimed, thrift.elements));
    }
    Ok(())
}

/// The bytes of the footer, if complete.
fn read(file: &mut File) -> Result<Option<Vec<u8>>, String> {
    let mut tail = [0; TAIL as usize];
    let length = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    if length < 2 * TAIL {
        return Ok(None);
    }
    let mut at = |from: u64, bytes: &mut [u8]| {
        file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(bytes)).map_err(|error| error.to_string())
    };
    at(length - TAIL, &mut tail)?;
    let claimed = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if &tail[4..] != b"PAR1" || claimed > length - TAIL {
        return Ok(None);
    }
    if claimed > LONGEST {
        return Err(format!("its footer has {claimed} bytes, more than {LONGEST}"));
    }
    let mut footer = vec![0; claimed as usize];
    at(length - TAIL - claimed, &mut footer)?;
    Ok(Some(footer))
}

/// The remaining bytes of a struct, and its counts.
struct Thrift<'f> {
    rest: &'f [u8],
    /// Number of children that schema elements declare, in total.
    claimed: u64,
    /// Number of schema elements.
    elements: u64,
}

impl Thrift<'_> {
    /// Skips a struct; `path` holds the field ids that lead to it.
    fn structure(&mut self, depth: usize, path: &mut Vec<i64>) -> Result<(), String> {
        let mut field = 0_i64;
        loop {
            let head = self.byte()?;
            let (kind, step) = (head & 15, i64::from(head >> 4));
            if kind == 0 {
                return Ok(());
            }
            field = if step == 0 { self.signed()? } else { field + step };
            path.push(field);
            self.value(kind, depth + 1, path, true)?;
            path.pop();
        }
    }

    fn value(&mut self, kind: u8, depth: usize, path: &mut Vec<i64>, is_field: bool) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("its footer is more than {DEEPEST} levels deep"));
        }
        match kind {
            // As a field, a bool is in its kind.
            1 | 2 if is_field => {}
            1..=3 => drop(self.byte()?),
            4..=6 => {
                let number = self.signed()?;
                if *path == [SCHEMA, CHILDREN] {
                    self.claimed = self.claimed.saturating_add(u64::try_from(number).unwrap_or(u64::MAX));
                }
            }
            7 => self.skip(8)?,
            8 => {
                let length = self.unsigned()?;
                self.skip(length)?;
            }
            9 | 10 => self.list(depth, path)?,
            12 => self.structure(depth, path)?,
            _ => return Err(format!("its footer has a field of type {kind}, which Parquet does not use")),
        }
        Ok(())
    }

    fn list(&mut self, depth: usize, path: &mut Vec<i64>) -> Result<(), String> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
        if count > self.rest.len() as u64 {
            return Err(format!("its footer claims a list of {count} and has {} bytes left", self.rest.len()));
        }
        if *path == [SCHEMA] {
            self.elements += count;
        }
        (0..count).try_for_each(|_| self.value(head & 15, depth + 1, path, false))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.rest.split_first().ok_or("its footer ends early")?;
        self.rest = rest;
        Ok(*first)
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        self.rest = &self.rest[count.ok_or("its footer ends early")?..];
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("its footer has a number of more than 64 bits".to_owned())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A footer whose schema is a list of `listed` elements, the first of which has as many children (a zigzag code).
    fn footer(listed: u8, children: u8) -> Vec<u8> {
        // Field 1: i32 of 1. Field 2: a list of structs. An element: field 4 a text, field 5 an i32.
        let mut bytes = vec![0x15, 2, 0x19, listed << 4 | 0xc];
        for at in 0..2_u8 {
            bytes.extend([0x48, 1, b'a' + at]);
            bytes.extend((at == 0).then_some([0x15, children]).into_iter().flatten());
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn checked(footer: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1PAR1").unwrap();
        file.write_all(footer).unwrap();
        file.write_all(&(footer.len() as u32).to_le_bytes()).unwrap();
        file.write_all(b"PAR1").unwrap();
        check(&mut file)
    }

    #[test]
    fn a_schema_has_the_children_it_claims() {
        checked(&footer(2, 2)).unwrap();
        assert_eq!(checked(&footer(2, 4)).unwrap_err(), "its schema claims 2 children and has 2 elements");
        // A negative count is no count.
        assert!(checked(&footer(2, 1)).unwrap_err().contains("claims 18446744073709551615 children"));
    }

    #[test]
    fn a_list_is_no_longer_than_the_bytes_that_are_left() {
        let error = checked(&[0x29, 0xfc, 0xff, 0xff, 0x03, 0]).unwrap_err();
        assert_eq!(error, "its footer claims a list of 65535 and has 1 bytes left");
        assert_eq!(checked(&footer(3, 2)).unwrap_err(), "its footer ends early");
    }

    #[test]
    fn what_has_no_footer_is_left_to_the_reader() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1 and then something else").unwrap();
        check(&mut file).unwrap();
    }
}
