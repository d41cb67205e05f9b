//! The size of values, to bound a template's work and memory.
//!
//! A template comes with a model and is untrusted. Values are shared, so a few steps can build one that takes forever
//! to print, compare or drop. Every list and dict knows its depth and size, and an expression whose result exceeds the
//! limits is an error.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;

use super::error::{Error, Result};
use super::value::{Dict, Value};

/// Maximum size of a value, in bytes and items, nested values included.
const LARGEST: usize = 1 << 22;
/// Maximum nesting depth of lists and dicts.
const DEEPEST: u32 = 200;
/// Maximum number of keys of a dict that a template builds: lookup is linear.
pub(super) const MOST_KEYS: usize = 1 << 12;

/// The size and depth of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    depth: u32,
    /// Bytes and items; shared values count every time.
    weight: usize,
}

impl Extent {
    /// A string of this many bytes, or another scalar.
    pub(super) fn of_text(bytes: usize) -> Self {
        Self { depth: 0, weight: bytes.saturating_add(1) }
    }

    pub(super) fn with(self, value: &Value) -> Self {
        let inner = value.extent();
        let depth = self.depth.max(inner.depth.saturating_add(1));
        Self { depth, weight: self.weight.saturating_add(inner.weight) }
    }

    /// Steps to read all of it.
    pub(super) fn steps(self) -> u64 {
        self.weight as u64 / 64
    }

    /// # Errors
    /// The value exceeds the size or depth limit.
    pub(super) fn check(self) -> Result<()> {
        check_size(self.weight)?;
        if self.depth > DEEPEST {
            return Err(Error::new(format!("the template makes a value of more than {DEEPEST} levels")));
        }
        Ok(())
    }

    /// # Errors
    /// The value of a name exceeds the size or depth limit.
    pub(super) fn check_name(self, name: &str) -> Result<()> {
        if self.weight <= LARGEST {
            return self.check();
        }
        let weight = self.weight;
        Err(Error::new(match name {
            "messages" => format!(
                "the conversation is too long: its messages are {weight} bytes and items, and a template takes {LARGEST}"
            ),
            _ => format!("{name:?} is {weight} bytes or items, and a template takes {LARGEST}"),
        }))
    }
}

/// # Errors
/// A string or list exceeds the size limit.
pub(super) fn check_size(size: usize) -> Result<()> {
    if size <= LARGEST {
        return Ok(());
    }
    Err(Error::new(format!("the template makes a value of more than {LARGEST} bytes or items")))
}

/// Items of a list or tuple.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    items: Vec<Value>,
    extent: Extent,
}

impl Items {
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }
}

impl From<Vec<Value>> for Items {
    fn from(items: Vec<Value>) -> Self {
        let extent = items.iter().fold(Extent::of_text(0), Extent::with);
        Self { items, extent }
    }
}

impl Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

/// A single-pass iterator.
#[derive(Debug)]
pub(super) struct Stream {
    items: RefCell<VecDeque<Value>>,
    /// The total size of its initial items.
    extent: Extent,
}

impl Stream {
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }
}

impl From<VecDeque<Value>> for Stream {
    fn from(items: VecDeque<Value>) -> Self {
        let extent = items.iter().fold(Extent::of_text(0), Extent::with);
        Self { items: RefCell::new(items), extent }
    }
}

impl Deref for Stream {
    type Target = RefCell<VecDeque<Value>>;

    fn deref(&self) -> &RefCell<VecDeque<Value>> {
        &self.items
    }
}

/// The cost of looking up every key of a dict.
pub(super) fn of_keys(dict: &Dict) -> Extent {
    let keys = dict.entries().len();
    let both = |extent: Extent, (key, value): &(Value, Value)| extent.with(key).with(value);
    dict.entries().iter().fold(Extent::of_text(keys.saturating_mul(keys) / 8), both)
}
