//! Jinja as transformers runs it: jinja2's sandbox with `trim_blocks`, `lstrip_blocks`, loop controls, the
//! `generation` tag and a few functions, over Python's values.
//!
//! A template engine of its own, since chat templates lean on Python: `x.items` is a method even where a key has that
//! name, a name that is set later is undefined before, what `select` gives can be gone through once, `'%s' % x` writes,
//! `[1, 'a']` prints in Python's quotes. An engine that reads Jinja's grammar with other values gives other texts, and
//! no error. Here whatever isn't as in Python is an error that names it.
mod arguments;
mod ast;
mod attributes;
mod braces;
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
mod functions;
mod interpreter;
mod json;
mod letters;
mod lexer;
mod literal;
mod looping;
mod looping_methods;
mod methods;
mod numbers;
mod objects;
mod operators;
mod parser;
mod predicates;
mod printf;
mod sorting;
mod splitting;
mod symbols;
mod targets;
mod text;
mod text_methods;
mod value;

use serde_json::{Map, Value as Json};

use super::Date;
use ast::Statement;
use interpreter::Interpreter;
use symbols::Scope;

pub(super) use error::Error;

/// A template that parses.
#[derive(Debug)]
pub(super) struct Template {
    body: Vec<Statement>,
    scope: Scope,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// It does not parse, or uses a tag that chat templates can't have.
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let mut body = parser::parse(source)?;
        let scope = symbols::resolve(&mut body)?;
        Ok(Self { body, scope })
    }

    /// What the template writes, told these names.
    ///
    /// # Errors
    /// It refuses, or asks for what is not there.
    pub(super) fn render(&self, told: &Map<String, Json>, today: Date) -> Result<String, Error> {
        let told = json::dict(told)?;
        Interpreter::new(&told, today).run(&self.body, &self.scope)
    }
}

#[cfg(test)]
mod tests;
