//! The places of generation blocks in the rendered text.
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// A rendered template.
#[derive(Debug)]
pub(in crate::chat) struct Rendered {
    pub(in crate::chat) text: String,
    /// The places of its generation blocks, in characters, in the order in which they ended.
    pub(in crate::chat) generated: Vec<Range<usize>>,
}

/// Generation blocks as transformers tracks them: a block begins where the template's own output stands, also in a
/// text that is captured, and has the length of its text.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// Number of texts being captured: macros, blocks, recursive loops.
    captures: Cell<usize>,
    /// Bytes of the template's own output so far.
    written: Cell<usize>,
    /// The output's length in bytes at a block's start, and the block's length in characters.
    blocks: RefCell<Vec<(usize, usize)>>,
}

impl Generations {
    /// Runs a part that captures a text.
    pub(super) fn capturing<T>(&self, part: impl FnOnce() -> T) -> T {
        self.captures.set(self.captures.get() + 1);
        let done = part();
        self.captures.set(self.captures.get() - 1);
        done
    }

    /// Notes the length of the output, unless that is a captured text.
    pub(super) fn note_length(&self, out: &str) {
        if self.captures.get() == 0 {
            self.written.set(out.len());
        }
    }

    /// Notes the text of a block that has ended, before it is written.
    pub(super) fn note_block(&self, text: &str) {
        self.blocks.borrow_mut().push((self.written.get(), text.chars().count()));
    }

    pub(super) fn rendered(&self, text: String) -> Rendered {
        let place = |(from, length): (usize, usize)| {
            let start = text.get(..from).map_or(0, |before| before.chars().count());
            start..start + length
        };
        let generated = self.blocks.take().into_iter().map(place).collect();
        Rendered { text, generated }
    }
}
