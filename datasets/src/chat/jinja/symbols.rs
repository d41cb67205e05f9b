//! Name resolution: the variables of each block and their initial source.
//!
//! Jinja resolves names at compile time, visibly to templates: a name set somewhere at the top level is undefined in an
//! earlier loop even if the caller passed it; a name only read in a loop is looked up in each iteration. This module
//! follows the same rules in the same order.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ast::{Block, Expression, For, Macro, Statement, StatementKind, Target};
use super::error::{Error, Result};
use super::scope::{Scope, Source};

/// Resolves the names of a template and of all its blocks, and stores them there.
pub(super) fn resolve(body: &mut [Statement]) -> Result<Scope> {
    let mut scope = Scope::default();
    let mut reader = Reader { scope: &mut scope, around: &Around { names: BTreeSet::new() } };
    reader.statements(body, 0)?;
    let around = Around { names: scope.names.keys().cloned().collect() };
    inner(body, &around)?;
    Ok(scope)
}

/// The names known to the enclosing blocks.
struct Around {
    names: BTreeSet<String>,
}

impl Around {
    fn with(&self, scope: &Scope) -> Self {
        Self { names: self.names.iter().chain(scope.names.keys()).cloned().collect() }
    }
}

struct Reader<'r> {
    scope: &'r mut Scope,
    around: &'r Around,
}

impl Reader<'_> {
    fn load(&mut self, name: &str) {
        if !self.scope.names.contains_key(name) && !self.around.names.contains(name) {
            self.scope.names.insert(name.to_owned(), Source::Context);
        }
    }

    fn store(&mut self, name: &str) {
        self.scope.stored.insert(name.to_owned());
        if !self.scope.names.contains_key(name) {
            let source = if self.around.names.contains(name) { Source::Around } else { Source::Nowhere };
            self.scope.names.insert(name.to_owned(), source);
        }
    }

    fn give(&mut self, name: &str) {
        self.scope.stored.insert(name.to_owned());
        self.scope.names.insert(name.to_owned(), Source::Given);
    }

    fn give_all(&mut self, target: &Target) {
        for name in target.names() {
            self.give(name);
        }
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Name(name) => self.store(name),
            Target::Attribute(name, _) => self.load(name),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.target(target)),
        }
    }

    fn expression(&mut self, expression: &Expression, depth: usize) -> Result<()> {
        if let Expression::Name(name) = expression {
            self.load(name);
        }
        expression.parts().into_iter().try_for_each(|part| self.expression(part, deeper(depth)?))
    }

    fn statements(&mut self, body: &[Statement], depth: usize) -> Result<()> {
        let depth = deeper(depth)?;
        body.iter()
            .try_for_each(|statement| self.statement(&statement.kind, depth).map_err(|error| error.on(statement.line)))
    }

    fn statement(&mut self, statement: &StatementKind, depth: usize) -> Result<()> {
        match statement {
            StatementKind::Output(values) => values.iter().try_for_each(|value| self.expression(value, depth))?,
            StatementKind::If { branches, otherwise } => self.branches(branches, otherwise, depth)?,
            StatementKind::For(looped) => self.expression(&looped.items, depth)?,
            StatementKind::Set { target, value } => {
                self.expression(value, depth)?;
                self.target(target);
            }
            StatementKind::SetBlock { target, .. } => self.target(target),
            StatementKind::With { values, .. } => values.iter().try_for_each(|value| self.expression(value, depth))?,
            StatementKind::Macro(written) => self.store(&written.name),
            StatementKind::CallBlock { call, .. } => {
                self.expression(&call.target, depth)?;
                call.arguments.expressions().try_for_each(|value| self.expression(value, depth))?;
            }
            StatementKind::FilterBlock { filter, .. } => self.expression(filter, depth)?,
            StatementKind::Data(_) | StatementKind::Generation(_) | StatementKind::Break | StatementKind::Continue => {}
        }
        Ok(())
    }

    /// Resolves an `if`: a variable set in only some branches keeps its outer value in the others.
    fn branches(
        &mut self,
        branches: &[(Expression, Vec<Statement>)],
        otherwise: &[Statement],
        depth: usize,
    ) -> Result<()> {
        let ((test, first), others) = branches.split_first().ok_or_else(|| Error::new("an if without a test"))?;
        self.expression(test, depth)?;
        let first = self.branch(|reader| reader.statements(first, depth))?;
        let others = self.branch(|reader| {
            others.iter().try_for_each(|branch| reader.branches(std::slice::from_ref(branch), &[], deeper(depth)?))
        })?;
        let otherwise = self.branch(|reader| reader.statements(otherwise, depth))?;
        let outcomes = [first, others, otherwise];
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for name in outcomes.iter().flat_map(|branch| branch.stored.difference(&self.scope.stored)) {
            *counts.entry(name.clone()).or_default() += 1;
        }
        for branch in outcomes {
            self.scope.names.extend(branch.names);
            self.scope.stored.extend(branch.stored);
        }
        for (name, _) in counts.into_iter().filter(|(_, count)| *count < 3) {
            let source = if self.around.names.contains(&name) { Source::Around } else { Source::Context };
            self.scope.names.insert(name, source);
        }
        Ok(())
    }

    fn branch(&mut self, read: impl FnOnce(&mut Reader<'_>) -> Result<()>) -> Result<Scope> {
        let mut scope = self.scope.clone();
        read(&mut Reader { scope: &mut scope, around: self.around })?;
        Ok(scope)
    }
}

/// Checks the nesting depth, to protect the stack.
fn deeper(depth: usize) -> Result<usize> {
    if depth < 500 { Ok(depth + 1) } else { Err(Error::new("an expression is nested too deeply")) }
}

/// Resolves nested blocks.
fn inner(body: &mut [Statement], around: &Around) -> Result<()> {
    body.iter_mut().try_for_each(|statement| {
        let line = statement.line;
        inner_statement(&mut statement.kind, around).map_err(|error| error.on(line))
    })
}

fn inner_statement(statement: &mut StatementKind, around: &Around) -> Result<()> {
    match statement {
        StatementKind::If { branches, otherwise } => {
            branches.iter_mut().try_for_each(|(_, body)| inner(body, around))?;
            inner(otherwise, around)
        }
        StatementKind::For(looped) => for_loop(unique(looped)?, around),
        StatementKind::SetBlock { body, .. } => block(body, around, |_| Ok(())),
        StatementKind::With { targets, body, .. } => block(body, around, |reader| {
            for target in targets {
                reader.give_all(target);
            }
            Ok(())
        }),
        StatementKind::FilterBlock { filter, body } => {
            block(body, around, |_| Ok(()))?;
            // The filter is read after the body.
            let mut reader = Reader { scope: &mut body.scope, around };
            reader.expression(filter, 0)
        }
        StatementKind::Macro(written) => macro_body(unique(written)?, around),
        StatementKind::CallBlock { caller: written, .. } | StatementKind::Generation(written) => {
            macro_body(unique(written)?, around)
        }
        StatementKind::Data(_)
        | StatementKind::Output(_)
        | StatementKind::Set { .. }
        | StatementKind::Break
        | StatementKind::Continue => Ok(()),
    }
}

fn unique<T>(shared: &mut Arc<T>) -> Result<&mut T> {
    Arc::get_mut(shared).ok_or_else(|| Error::new("a block is resolved twice"))
}

fn block(block: &mut Block, around: &Around, before: impl FnOnce(&mut Reader<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader { scope: &mut block.scope, around };
    before(&mut reader)?;
    reader.statements(&block.body, 0)?;
    inner(&mut block.body, &around.with(&block.scope))
}

fn for_loop(looped: &mut For, around: &Around) -> Result<()> {
    looped.knows_loop = looped.is_recursive || mentions(&looped.body.body, "loop");
    let knows_loop = looped.knows_loop;
    let target = &looped.target;
    block(&mut looped.body, around, |reader| {
        if knows_loop {
            reader.give("loop");
        }
        reader.give_all(target);
        Ok(())
    })?;
    if let Some(test) = &looped.test {
        let mut reader = Reader { scope: &mut looped.test_scope, around };
        reader.give_all(target);
        reader.expression(test, 0)?;
    }
    looped.otherwise.as_mut().map_or(Ok(()), |otherwise| block(otherwise, around, |_| Ok(())))
}

fn macro_body(written: &mut Macro, around: &Around) -> Result<()> {
    let has = |name: &str| written.parameters.iter().any(|parameter| parameter == name);
    let needs = |name: &str| mentions(&written.body.body, name);
    let takes_caller = needs("caller");
    let has_default = |name: &str| {
        let plain = written.parameters.len() - written.defaults.len();
        written.parameters[plain..].iter().any(|parameter| parameter == name)
    };
    if takes_caller && has("caller") && !has_default("caller") {
        return Err(Error::new("the argument \"caller\" of a macro needs a default"));
    }
    let special = [
        ("caller", takes_caller && !has("caller")),
        ("kwargs", needs("kwargs") && !has("kwargs")),
        ("varargs", needs("varargs") && !has("varargs")),
    ];
    (written.takes_caller, written.takes_named, written.takes_more) = (takes_caller, special[1].1, special[2].1);
    let Macro { parameters, defaults, body, .. } = written;
    block(body, around, |reader| {
        for parameter in parameters {
            reader.give(parameter);
        }
        defaults.iter().try_for_each(|default| reader.expression(default, 0))?;
        special.iter().filter(|(_, is_taken)| *is_taken).for_each(|(name, _)| reader.give(name));
        Ok(())
    })
}

/// Whether a name is read in these statements, nested blocks included, before they set it.
fn mentions(body: &[Statement], name: &str) -> bool {
    let mut search = Search { name, is_set: false, is_found: false };
    search.statements(body);
    search.is_found
}

struct Search<'n> {
    name: &'n str,
    is_set: bool,
    is_found: bool,
}

impl Search<'_> {
    fn expression(&mut self, expression: &Expression) {
        self.nested_expression(expression, 0);
    }

    /// Deeper nesting is refused by name resolution.
    fn nested_expression(&mut self, expression: &Expression, depth: usize) {
        self.is_found |= !self.is_set && matches!(expression, Expression::Name(name) if name == self.name);
        if let Ok(depth) = deeper(depth) {
            expression.parts().into_iter().for_each(|part| self.nested_expression(part, depth));
        }
    }

    fn target(&mut self, target: &Target) {
        self.is_set |= target.names().contains(&self.name);
    }

    fn statements(&mut self, body: &[Statement]) {
        for statement in body {
            self.statement(&statement.kind);
        }
    }

    fn statement(&mut self, statement: &StatementKind) {
        match statement {
            StatementKind::Data(_) | StatementKind::Break | StatementKind::Continue => {}
            StatementKind::Output(values) => self.expressions(values),
            StatementKind::If { branches, otherwise } => {
                for (test, body) in branches {
                    self.expression(test);
                    self.statements(body);
                }
                self.statements(otherwise);
            }
            StatementKind::For(looped) => self.for_loop(looped),
            StatementKind::Set { target, value } => {
                self.target(target);
                self.expression(value);
            }
            StatementKind::SetBlock { target, filter, body } => {
                self.target(target);
                self.expressions(filter);
                self.statements(&body.body);
            }
            StatementKind::With { targets, values, body } => {
                for target in targets {
                    self.target(target);
                }
                self.expressions(values);
                self.statements(&body.body);
            }
            StatementKind::Macro(written) | StatementKind::Generation(written) => self.macro_body(written),
            StatementKind::CallBlock { call, caller } => {
                self.expression(&call.target);
                call.arguments.expressions().for_each(|value| self.expression(value));
                self.macro_body(caller);
            }
            StatementKind::FilterBlock { filter, body } => {
                self.statements(&body.body);
                self.expression(filter);
            }
        }
    }

    fn expressions<'e>(&mut self, values: impl IntoIterator<Item = &'e Expression>) {
        for value in values {
            self.expression(value);
        }
    }

    fn for_loop(&mut self, looped: &For) {
        self.target(&looped.target);
        self.expression(&looped.items);
        self.statements(&looped.body.body);
        looped.otherwise.iter().for_each(|otherwise| self.statements(&otherwise.body));
        looped.test.iter().for_each(|test| self.expression(test));
    }

    fn macro_body(&mut self, written: &Macro) {
        self.is_set |= written.parameters.iter().any(|parameter| parameter == self.name);
        written.defaults.iter().for_each(|default| self.expression(default));
        self.statements(&written.body.body);
    }
}
