//! The variables of blocks.
use std::collections::{BTreeMap, BTreeSet};

/// The initial value of a block's variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It is assigned before, as a parameter or loop variable.
    Given,
    /// The template's variables and top-level assignments.
    Context,
    /// The enclosing block.
    Around,
    /// None: it is set later.
    Nowhere,
}

/// The variables of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) names: BTreeMap<String, Source>,
    /// Those that the block assigns.
    pub(super) stored: BTreeSet<String>,
}
