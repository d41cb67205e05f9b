//! The variables that a template reads from its caller.
use std::collections::BTreeSet;

use super::ast::{Block, Statement, StatementKind};
use super::scope::{Scope, Source};

/// Adds the names that these statements look up outside the template, which are not what the template sets itself.
pub(super) fn add(body: &[Statement], scope: &Scope, found: &mut BTreeSet<String>) {
    let outside = scope.names.iter().filter(|(_, source)| **source == Source::Context);
    found.extend(outside.map(|(name, _)| name.clone()));
    statements(body, found);
}

fn block(block: &Block, found: &mut BTreeSet<String>) {
    add(&block.body, &block.scope, found);
}

fn statements(body: &[Statement], found: &mut BTreeSet<String>) {
    for statement in body {
        match &statement.kind {
            StatementKind::If { branches, otherwise } => {
                for (_, body) in branches {
                    statements(body, found);
                }
                statements(otherwise, found);
            }
            StatementKind::For(looped) => {
                block(&looped.body, found);
                add(&[], &looped.test_scope, found);
                looped.otherwise.iter().for_each(|otherwise| block(otherwise, found));
            }
            StatementKind::SetBlock { body, .. }
            | StatementKind::With { body, .. }
            | StatementKind::FilterBlock { body, .. } => block(body, found),
            StatementKind::Macro(written) | StatementKind::Generation(written) => block(&written.body, found),
            StatementKind::CallBlock { caller, .. } => block(&caller.body, found),
            StatementKind::Data(_)
            | StatementKind::Output(_)
            | StatementKind::Set { .. }
            | StatementKind::Break
            | StatementKind::Continue => {}
        }
    }
}
