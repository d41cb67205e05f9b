//! How much a value holds, so that a template's work and memory are bounded.
//!
//! A template comes with a model, from anybody. Values are shared, so a few steps can build one that takes for ever to
//! print, to compare or to let go. Every list and dict knows how deep and how large it is, and an expression that makes
//! one beyond the limits is refused.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;

use super::error::{Error, Result};
use super::value::{Dict, Value};

/// The most bytes and items that one value may hold, with all that lies in it.
const LARGEST: usize = 1 << 22;
/// How deep lists and dicts may lie in each other.
const DEEPEST: u32 = 200;
/// The most keys of a dict that a template makes: they are searched one by one.
pub(super) const MOST_KEYS: usize = 1 << 12;

/// How much a value holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    depth: u32,
    /// Bytes and items, those of values that are held twice counted twice.
    weight: usize,
}

impl Extent {
    /// A text of so many bytes, or another value that holds nothing.
    pub(super) fn of_text(bytes: usize) -> Self {
        Self { depth: 0, weight: bytes.saturating_add(1) }
    }

    pub(super) fn with(self, value: &Value) -> Self {
        let inner = value.extent();
        let depth = self.depth.max(inner.depth.saturating_add(1));
        Self { depth, weight: self.weight.saturating_add(inner.weight) }
    }

    /// Steps that it takes to go through all of it.
    pub(super) fn steps(self) -> u64 {
        self.weight as u64 / 64
    }

    /// # Errors
    /// A value is larger or deeper than a template may make.
    pub(super) fn check(self) -> Result<()> {
        check_size(self.weight)?;
        if self.depth > DEEPEST {
            return Err(Error::new(format!("the template makes a value of more than {DEEPEST} levels")));
        }
        Ok(())
    }

    /// # Errors
    /// What a name stands for is larger or deeper than a template may hold.
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
/// A text or list is longer than a template may make one.
pub(super) fn check_size(size: usize) -> Result<()> {
    if size <= LARGEST {
        return Ok(());
    }
    Err(Error::new(format!("the template makes a value of more than {LARGEST} bytes or items")))
}

/// The items of a list or tuple.
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

/// Items that can be gone through once.
#[derive(Debug)]
pub(super) struct Stream {
    items: RefCell<VecDeque<Value>>,
    /// That of all the items there were.
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

/// How much a dict with so many keys takes to be searched for each of them.
pub(super) fn of_keys(dict: &Dict) -> Extent {
    let keys = dict.entries().len();
    let both = |extent: Extent, (key, value): &(Value, Value)| extent.with(key).with(value);
    dict.entries().iter().fold(Extent::of_text(keys.saturating_mul(keys) / 8), both)
}
