//! Values with identity: functions, macros, namespaces, loops.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::ast::{For, Macro};
use super::extent::{Extent, Items, Stream};
use super::frame::Frame;
use super::value::{Dict, Value};

#[derive(Debug)]
pub(super) enum Object {
    /// A global function.
    Function(Function),
    /// `dict.fromkeys`.
    FromKeys,
    /// A method of a value.
    Method(Value, &'static str),
    Macro(Closure),
    Namespace(RefCell<Dict>),
    Cycler(Cycler),
    Joiner {
        separator: Value,
        is_used: Cell<bool>,
    },
    Loop(Loop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

/// The global functions by name. `lipsum` is missing: it is random.
pub(super) const FUNCTIONS: [(&str, Function); 7] = [
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("cycler", Function::Cycler),
    ("joiner", Function::Joiner),
    ("raise_exception", Function::RaiseException),
    ("strftime_now", Function::StrftimeNow),
];

/// A macro and a weak reference to its enclosing scope, which outlives it unless the macro leaves its block.
#[derive(Debug)]
pub(super) struct Closure {
    pub(super) written: Arc<Macro>,
    pub(super) around: Weak<Frame>,
}

#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Items,
    pub(super) at: Cell<usize>,
}

/// The `loop` object. Items are drawn one by one, since the loop's filter sees the effects of earlier iterations.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) written: Arc<For>,
    pub(super) around: Weak<Frame>,
    pub(super) items: Rc<Stream>,
    pub(super) depth: usize,
    pub(super) place: RefCell<Place>,
}

/// The position of a loop.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Number of iterations begun.
    pub(super) turns: usize,
    pub(super) before: Option<Value>,
    pub(super) current: Option<Value>,
    /// The items read ahead.
    pub(super) ready: VecDeque<Value>,
    pub(super) length: Option<usize>,
    pub(super) changed: Option<Vec<Value>>,
}

impl Object {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Function(_) | Self::FromKeys => "function",
            Self::Method(..) => "method",
            Self::Macro(_) => "macro",
            Self::Namespace(_) => "namespace",
            Self::Cycler(_) => "cycler",
            Self::Joiner { .. } => "joiner",
            Self::Loop(_) => "loop",
        }
    }

    /// The size; the contents of a namespace do not count, since they change.
    pub(super) fn extent(&self) -> Extent {
        let one = Extent::of_text(0);
        match self {
            Self::Method(receiver, _) => one.with(receiver),
            Self::Cycler(cycler) => cycler.items.extent(),
            Self::Joiner { separator, .. } => one.with(separator),
            Self::Loop(looped) => looped.items.extent(),
            Self::Function(_) | Self::FromKeys | Self::Macro(_) | Self::Namespace(_) => one,
        }
    }

    pub(super) fn is_callable(&self) -> bool {
        !matches!(self, Self::Namespace(_) | Self::Cycler(_))
    }

    pub(super) fn is_iterable(&self) -> bool {
        matches!(self, Self::Loop(_))
    }

    /// Whether two objects are equal in Python: identical, or methods of the same name of one value.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Function(left), Self::Function(right)) => left == right,
            (Self::Method(left, name), Self::Method(right, other)) => name == other && is_identical(left, right),
            _ => false,
        }
    }
}

fn is_identical(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right),
        (Value::Text(left), Value::Text(right)) => Rc::ptr_eq(left, right),
        (Value::Object(left), Value::Object(right)) => Rc::ptr_eq(left, right),
        _ => match (left.as_items(), right.as_items()) {
            (Some(left), Some(right)) => Rc::ptr_eq(left, right),
            _ => false,
        },
    }
}
