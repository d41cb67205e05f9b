//! A random-access buffer of tokenised examples or bytes, in memory while small, then in a temporary file.
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use crate::error::DatasetError;
use crate::example::{Example, ExampleKind};
use crate::response::{Response, Turn};

/// Maximum bytes in memory; beyond it the data go to a file that the system removes with the process.
const MEMORY: usize = 64 << 20;

/// The position of an example, in words of four bytes.
pub(crate) type Offset = u64;

/// A buffer being written.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
    n_words: u64,
    hasher: blake3::Hasher,
    limit: usize,
}

impl SpoolWriter {
    pub(crate) fn new() -> Self {
        Self::with_limit(MEMORY)
    }

    fn with_limit(limit: usize) -> Self {
        Self { memory: Vec::new(), file: None, n_words: 0, hasher: blake3::Hasher::new(), limit }
    }

    /// Writes an example and returns its position.
    pub(crate) fn push(&mut self, example: &Example) -> Result<Offset, DatasetError> {
        let words = to_words(example);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(&bytes)
    }

    /// Writes byte strings and returns their position.
    pub(crate) fn push_parts(&mut self, parts: &[&[u8]]) -> Result<Offset, DatasetError> {
        let header = std::iter::once(parts.len()).chain(parts.iter().map(|part| part.len()));
        let mut bytes: Vec<u8> = header.flat_map(|number| (number as u32).to_le_bytes()).collect();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.write(&bytes)
    }

    /// Writes bytes that are whole words.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Offset, DatasetError> {
        self.hasher.update(bytes);
        let offset = self.n_words;
        self.n_words += bytes.len() as u64 / 4;
        if self.file.is_none() && self.memory.len() + bytes.len() > self.limit {
            let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(DatasetError::Spool)?);
            file.write_all(&self.memory).map_err(DatasetError::Spool)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(DatasetError::Spool)?,
            None => self.memory.extend_from_slice(bytes),
        }
        Ok(offset)
    }

    /// Finishes; returns the buffer and the hash of its contents.
    pub(crate) fn finish(self) -> Result<(Spool, blake3::Hash), DatasetError> {
        let hash = self.hasher.finalize();
        let spool = match self.file {
            None => Spool::Memory(self.memory),
            Some(file) => {
                let file = file.into_inner().map_err(|error| DatasetError::Spool(error.into_error()))?;
                Spool::File(Mutex::new(file))
            }
        };
        Ok((spool, hash))
    }
}

/// A readable buffer.
#[derive(Debug)]
pub(crate) enum Spool {
    Memory(Vec<u8>),
    File(Mutex<File>),
}

impl Spool {
    /// Reads the example at a position.
    pub(crate) fn read(&self, offset: Offset) -> Result<Example, DatasetError> {
        self.read_with(offset, |mut reader| from_reader(&mut reader))
    }

    /// Reads the byte strings at a position.
    pub(crate) fn read_parts(&self, offset: Offset) -> Result<Vec<Vec<u8>>, DatasetError> {
        self.read_first_parts(offset, usize::MAX)
    }

    /// Reads the first byte strings at a position, at most `most`.
    pub(crate) fn read_first_parts(&self, offset: Offset, most: usize) -> Result<Vec<Vec<u8>>, DatasetError> {
        self.read_with(offset, |mut reader| {
            let n_parts = read_words(&mut reader, 1)?[0];
            let lengths = read_words(&mut reader, n_parts as usize)?;
            let part = |length: u32| {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).map(|()| bytes).map_err(DatasetError::Spool)
            };
            lengths.into_iter().take(most).map(part).collect()
        })
    }

    /// Number of bytes.
    pub(crate) fn size(&self) -> std::io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.lock().unwrap_or_else(PoisonError::into_inner).metadata()?.len()),
        }
    }

    /// Copies all bytes.
    pub(crate) fn copy_to(&self, to: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Memory(bytes) => to.write_all(bytes),
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(0))?;
                std::io::copy(&mut *file, to).map(drop)
            }
        }
    }

    fn read_with<T>(
        &self,
        offset: Offset,
        read: impl FnOnce(&mut dyn Read) -> Result<T, DatasetError>,
    ) -> Result<T, DatasetError> {
        let at = offset * 4;
        match self {
            Self::Memory(bytes) => read(&mut bytes.get(at as usize..).unwrap_or_default()),
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at)).map_err(DatasetError::Spool)?;
                read(&mut *file)
            }
        }
    }
}

/// Flags in the word of the kind: what stands behind the tokens, in this order.
const HAS_TURNS: u32 = 1 << 8;
const HAS_WEIGHTS: u32 = 1 << 9;
const HAS_COMPARISONS: u32 = 1 << 10;

/// Encodes an example: six header words (kind and flags, index, preference, number of lengths), the lengths of prompt
/// and answers, the tokens; then, where there are any, the turns of every answer (their number; start, end and weight
/// of each), the weight and margin, the comparisons (their number; both answers of each).
fn to_words(example: &Example) -> Vec<u32> {
    let kind = match example.kind {
        ExampleKind::Pair => 0,
        ExampleKind::Ranked => 1,
        ExampleKind::Labelled { desirable } => 2 + u32::from(desirable),
        ExampleKind::Demonstration => 4,
        ExampleKind::Forest => 5,
    };
    let has_turns = !example.responses.iter().all(Response::is_plain);
    let has_weights = (example.weight, example.margin) != (1.0, 0.0);
    let has_comparisons = !example.comparisons.is_empty();
    let flag = |has: bool, flag: u32| if has { flag } else { 0 };
    let (index, preference) = (example.index, example.preference.to_bits());
    let n_lengths = 1 + example.responses.len() as u32;
    let flags = flag(has_turns, HAS_TURNS) | flag(has_weights, HAS_WEIGHTS) | flag(has_comparisons, HAS_COMPARISONS);
    let kind_word = kind | flags;
    let mut words = vec![
        kind_word,
        index as u32,
        (index >> 32) as u32,
        preference as u32,
        (preference >> 32) as u32,
        n_lengths,
        example.prompt.len() as u32,
    ];
    words.extend(example.responses.iter().map(|response| response.len() as u32));
    words.extend(example.prompt.iter());
    words.extend(example.responses.iter().flat_map(|response| response.iter()));
    add_extras(&mut words, example, kind_word);
    words
}

/// Appends what the flags of the kind's word announce.
fn add_extras(words: &mut Vec<u32>, example: &Example, flags: u32) {
    let wide = |number: f64| [number.to_bits() as u32, (number.to_bits() >> 32) as u32];
    if flags & HAS_TURNS != 0 {
        for response in &example.responses {
            words.push(response.turns().len() as u32);
            for Turn { range, weight } in response.turns() {
                words.extend([range.start as u32, range.end as u32]);
                words.extend(wide(*weight));
            }
        }
    }
    if flags & HAS_WEIGHTS != 0 {
        words.extend(wide(example.weight));
        words.extend(wide(example.margin));
    }
    if flags & HAS_COMPARISONS != 0 {
        words.push(example.comparisons.len() as u32);
        words.extend(example.comparisons.iter().flat_map(|&(better, worse)| [better as u32, worse as u32]));
    }
}

fn from_reader(reader: &mut impl Read) -> Result<Example, DatasetError> {
    let header = read_words(reader, 6)?;
    let wide = |at: usize| u64::from(header[at]) | u64::from(header[at + 1]) << 32;
    let kind = match header[0] & 0xff {
        0 => ExampleKind::Pair,
        1 => ExampleKind::Ranked,
        4 => ExampleKind::Demonstration,
        5 => ExampleKind::Forest,
        labelled => ExampleKind::Labelled { desirable: labelled == 3 },
    };
    let lengths = read_words(reader, header[5] as usize)?;
    let tokens = read_words(reader, lengths.iter().map(|&length| length as usize).sum())?;
    let mut rest = &tokens[..];
    let mut parts = lengths.iter().map(|&length| {
        let (part, after) = rest.split_at(length as usize);
        rest = after;
        part.to_vec()
    });
    let prompt = parts.next().unwrap_or_default().into();
    let mut responses: Vec<Response> = parts.map(Response::from).collect();
    if header[0] & HAS_TURNS != 0 {
        for response in &mut responses {
            *response = Response::new(response.to_vec(), read_turns(reader, response.len())?);
        }
    }
    let mut example = Example::new(wide(1), prompt, responses, kind);
    example.preference = f64::from_bits(wide(3));
    if header[0] & HAS_WEIGHTS != 0 {
        let words = read_words(reader, 4)?;
        (example.weight, example.margin) = (number(&words[..2]), number(&words[2..]));
    }
    if header[0] & HAS_COMPARISONS != 0 {
        let n = read_words(reader, 1)?[0] as usize;
        let pairs = read_words(reader, 2 * n)?;
        example.comparisons = pairs.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect();
    }
    Ok(example)
}

fn read_turns(reader: &mut impl Read, n_tokens: usize) -> Result<Vec<Turn>, DatasetError> {
    let n = read_words(reader, 1)?[0] as usize;
    let words = read_words(reader, 4 * n)?;
    let turn = |words: &[u32]| Turn { range: words[0] as usize..words[1] as usize, weight: number(&words[2..]) };
    let turns: Vec<Turn> = words.chunks_exact(4).map(turn).collect();
    let ends = turns.iter().flat_map(|turn| [turn.range.start, turn.range.end]).chain([n_tokens]);
    let is_damaged = !ends.is_sorted();
    if is_damaged {
        return Err(DatasetError::Spool(std::io::ErrorKind::InvalidData.into()));
    }
    Ok(turns)
}

fn number(words: &[u32]) -> f64 {
    f64::from_bits(u64::from(words[0]) | u64::from(words[1]) << 32)
}

fn read_words(reader: &mut impl Read, n_words: usize) -> Result<Vec<u32>, DatasetError> {
    let mut bytes = vec![0; n_words * 4];
    reader.read_exact(&mut bytes).map_err(DatasetError::Spool)?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(index: u64) -> Example {
        let kind = match index % 5 {
            0 => ExampleKind::Pair,
            1 => ExampleKind::Ranked,
            2 => ExampleKind::Labelled { desirable: true },
            3 => ExampleKind::Labelled { desirable: false },
            _ => ExampleKind::Demonstration,
        };
        let response = |side| {
            let tokens = vec![side as u32; (index % 7) as usize];
            let turns = vec![Turn { range: 1..2, weight: 0.5 }, Turn { range: 3..5, weight: 1.0 }];
            if index % 7 > 4 { Response::new(tokens, turns) } else { tokens.into() }
        };
        let responses = (0..=index % 3).map(response).collect();
        let mut example = Example::new(index << 33, vec![9; index as usize].into(), responses, kind);
        example.preference = 0.25;
        if index.is_multiple_of(2) {
            (example.weight, example.margin, example.comparisons) = (0.75, -1.5, vec![(0, 1), (3, 2)]);
        }
        example
    }

    #[test]
    fn what_goes_in_comes_out_from_memory_and_from_a_file() {
        for limit in [0, 500, MEMORY] {
            let mut writer = SpoolWriter::with_limit(limit);
            let offsets: Vec<Offset> = (0..20).map(|index| writer.push(&example(index)).unwrap()).collect();
            let (spool, _) = writer.finish().unwrap();
            assert_eq!(matches!(spool, Spool::Memory(_)), limit == MEMORY);
            for index in (0..20).rev() {
                assert_eq!(spool.read(offsets[index as usize]).unwrap(), example(index));
            }
            assert!(spool.read(1 << 40).is_err());
        }
    }

    #[test]
    fn parts_of_any_length_come_out_again() {
        let parts = |index: usize| [vec![7; index], vec![], b"caption".to_vec()];
        for limit in [0, 100, MEMORY] {
            let mut writer = SpoolWriter::with_limit(limit);
            let push = |index| writer.push_parts(&parts(index).each_ref().map(Vec::as_slice)).unwrap();
            let offsets: Vec<Offset> = (0..20).map(push).collect();
            let (spool, _) = writer.finish().unwrap();
            (0..20).rev().for_each(|index| assert_eq!(spool.read_parts(offsets[index]).unwrap(), parts(index)));
            (0..20).for_each(|i| assert_eq!(spool.read_first_parts(offsets[i], 2).unwrap(), parts(i)[..2]));
            assert!(spool.read_parts(1 << 40).is_err());
        }
    }
}
