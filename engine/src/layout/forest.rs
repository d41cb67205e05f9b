//! Prefix forests: packed sequences that share prefixes.

use candle_core::{Result, bail};

/// A segment of packed tokens that continues another one or starts a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The segment that this one continues; `None` starts a tree.
    pub parent: Option<usize>,
    /// First packed row.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// Position of the first token in its sequence, counted from the root.
    pub position: usize,
}

/// Trees of token segments, packed row after row without padding.
///
/// A prompt is one segment and each of its responses a child of it, so every prompt token is computed once. Rows are in
/// segment order and parents come before their children. A token sees the tokens before it in its own segment and all
/// tokens of its ancestors.
///
/// ```
/// use engine::ops::Forest;
/// let mut forest = Forest::default();
/// let prompt = forest.push(None, 3);
/// forest.push(Some(prompt), 2);
/// forest.push(Some(prompt), 1);
/// assert_eq!(forest.positions(), [0, 1, 2, 3, 4, 3]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forest {
    /// The segments, parents first, their rows one after the other.
    pub segments: Vec<Segment>,
}

impl Forest {
    /// Independent sequences of the given lengths.
    pub fn chains(lengths: &[usize]) -> Self {
        let mut forest = Self::default();
        for &len in lengths {
            forest.push(None, len);
        }
        forest
    }

    /// Adds a segment of `len` tokens after all rows so far and returns its index.
    ///
    /// # Panics
    ///
    /// If `parent` is not the index of a segment of this forest.
    pub fn push(&mut self, parent: Option<usize>, len: usize) -> usize {
        let position = parent.map_or(0, |index| self.segments[index].position + self.segments[index].len);
        self.segments.push(Segment { parent, start: self.n_rows(), len, position });
        self.segments.len() - 1
    }

    /// Number of packed rows.
    pub fn n_rows(&self) -> usize {
        self.segments.last().map_or(0, |last| last.start + last.len)
    }

    /// Position of every packed row in its own sequence.
    pub fn positions(&self) -> Vec<u32> {
        let rows = self.segments.iter().flat_map(|s| s.position..s.position + s.len);
        rows.map(|position| position as u32).collect()
    }

    /// Indices from the root of a segment's tree down to the segment itself.
    pub fn path(&self, segment: usize) -> Vec<usize> {
        let mut path = vec![segment];
        while let Some(parent) = self.segments[path[path.len() - 1]].parent {
            path.push(parent);
        }
        path.reverse();
        path
    }

    /// Fails unless rows are consecutive, parents come first and positions continue their parent's.
    pub fn check(&self) -> Result<()> {
        let mut start = 0;
        for (index, segment) in self.segments.iter().enumerate() {
            if segment.start != start {
                bail!("segment {index} starts at row {} instead of {start}", segment.start);
            }
            let position = match segment.parent {
                None => segment.position,
                Some(parent) if parent < index => self.segments[parent].position + self.segments[parent].len,
                Some(parent) => bail!("segment {index} comes before its parent {parent}"),
            };
            if segment.position != position {
                bail!("segment {index} is at position {} instead of {position}", segment.position);
            }
            // The next start, or the end of all rows.
            start = match start.checked_add(segment.len) {
                Some(end) => end,
                None => bail!("segment {index} has {} rows from row {start} on", segment.len),
            };
        }
        Ok(())
    }
}
