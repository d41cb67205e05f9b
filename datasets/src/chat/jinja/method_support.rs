//! How far methods of Python's types are supported.

/// The support of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MethodSupport {
    Method,
    /// It mutates its value, which the sandbox forbids.
    Mutator,
    /// Python has it, but it is not implemented here.
    Unsupported,
}
