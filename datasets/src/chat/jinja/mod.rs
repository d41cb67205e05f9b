//! Jinja as used by transformers: jinja2's sandbox with `trim_blocks`, `lstrip_blocks`, loop controls, the `generation`
//! tag and a few functions, over Python's values.
//!
//! Chat templates depend on Python semantics, hence a separate engine: `x.items` is a method even if a key has that
//! name, a name that is set later is undefined before, the result of `select` is a single-pass iterator, `'%s' % x`
//! formats, `[1, 'a']` prints with Python's quotes. An engine with Jinja's grammar but other values gives other texts
//! without an error. Here every unsupported construct is an error that names it.
mod arguments;
mod ast;
mod attributes;
mod braces;
mod cost;
mod costs;
mod error;
mod escaping;
mod evaluate;
mod expressions;
mod extent;
mod filters;
mod filters_of_lists;
mod filters_of_texts;
mod frame;
mod free;
mod functions;
mod generations;
mod interpreter;
mod json;
mod letters;
mod lexer;
mod literal;
mod looping;
mod looping_methods;
mod method_support;
mod methods;
mod numbers;
mod objects;
mod operators;
mod parser;
mod predicates;
mod printf;
mod scope;
mod sorting;
mod splitting;
mod symbols;
mod targets;
mod text;
mod text_methods;
mod token;
mod value;

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Date;
use ast::Statement;
use interpreter::Interpreter;
use scope::Scope;

pub(super) use error::Error;
pub(super) use generations::Rendered;

/// The words of a template's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The names: of variables, attributes, arguments, filters and tags.
    pub(super) names: BTreeSet<String>,
    /// The texts in quotes, which may be the names of fields.
    pub(super) texts: BTreeSet<String>,
}

impl Words {
    /// The words of a template.
    ///
    /// # Errors
    /// The source has what Jinja can't divide into words.
    pub(super) fn of(source: &str) -> Result<Self, Error> {
        let mut words = Self::default();
        for token in lexer::tokens(source)? {
            match token.kind {
                token::Kind::Name(name) => _ = words.names.insert(name),
                token::Kind::Text(text) => _ = words.texts.insert(text),
                token::Kind::Data(_)
                | token::Kind::VariableBegin
                | token::Kind::VariableEnd
                | token::Kind::BlockBegin
                | token::Kind::BlockEnd
                | token::Kind::Int(_)
                | token::Kind::Float(_)
                | token::Kind::Operator(_)
                | token::Kind::End => {}
            }
        }
        Ok(words)
    }
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    body: Vec<Statement>,
    scope: Scope,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// The source does not parse, or uses a tag unavailable in chat templates.
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let mut body = parser::parse(source)?;
        let scope = symbols::resolve(&mut body)?;
        Ok(Self { body, scope })
    }

    /// The variables that the template reads and does not set itself, functions apart.
    pub(super) fn variables(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        free::add(&self.body, &self.scope, &mut found);
        found.retain(|name| !objects::FUNCTIONS.iter().any(|(function, _)| function == name));
        found
    }

    /// Renders the template with these variables.
    ///
    /// # Errors
    /// The template raises an exception, or uses something undefined.
    pub(super) fn render(&self, told: &Map<String, Json>, today: Date) -> Result<Rendered, Error> {
        let told = json::dict(told)?;
        Interpreter::new(&told, today).run(&self.body, &self.scope)
    }
}

#[cfg(test)]
mod tests;
