//! Variables of a running block.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::scope::{Scope, Source};
use super::value::Value;

/// The variables of a running block. A declared variable without a value is unset.
#[derive(Debug)]
pub(super) struct Frame {
    names: RefCell<HashMap<String, Option<Value>>>,
    around: Option<Rc<Frame>>,
}

impl Frame {
    /// The frame of a new block, with its initial variables.
    pub(super) fn enter(
        scope: &Scope,
        around: Option<Rc<Self>>,
        given: Vec<(String, Option<Value>)>,
        context: impl Fn(&str) -> Option<Value>,
    ) -> Rc<Self> {
        let mut names: HashMap<String, Option<Value>> = given.into_iter().collect();
        for (name, source) in &scope.names {
            let value = match source {
                Source::Given if names.contains_key(name) => continue,
                Source::Context => context(name),
                Source::Around => around.as_ref().and_then(|around| around.get(name)).flatten(),
                Source::Given | Source::Nowhere => None,
            };
            names.insert(name.clone(), value);
        }
        Rc::new(Self { names: RefCell::new(names), around })
    }

    /// Looks up a name: `None` if undeclared, `Some(None)` if declared but unset.
    #[expect(clippy::option_option, reason = "unknown and not yet set are two things in Jinja's scopes")]
    pub(super) fn get(&self, name: &str) -> Option<Option<Value>> {
        let found = self.names.borrow().get(name).cloned();
        found.or_else(|| self.around.as_ref().and_then(|around| around.get(name)))
    }

    pub(super) fn set(&self, name: &str, value: Value) {
        self.names.borrow_mut().insert(name.to_owned(), Some(value));
    }

    /// Whether this is the frame of the template itself.
    pub(super) fn is_top(&self) -> bool {
        self.around.is_none()
    }
}
