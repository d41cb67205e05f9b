//! The parser: Jinja's grammar with its loop controls and transformers' `generation` tag.
use std::sync::Arc;

use super::ast::{Block, Expression, For, Macro, Statement, StatementKind};
use super::error::{Error, Result};
use super::lexer;
use super::token::{Kind, Token};

/// Maximum nesting of expressions and blocks.
const DEEPEST: usize = 60;

/// The statements of a template.
pub(super) fn parse(source: &str) -> Result<Vec<Statement>> {
    let mut parser = Parser {
        tokens: lexer::tokens(source)?,
        at: 0,
        depth: 0,
        is_optional: false,
        unknown: None,
        loops: 0,
        fors: 0,
    };
    let body = parser.statements(&[])?;
    match &parser.peek().kind {
        Kind::End => parser.unknown.map_or(Ok(body), Err),
        _ => parser.error("unexpected end tag"),
    }
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Whether the parsed code may never run; Jinja then looks up its filters and tests at run time.
    pub(super) is_optional: bool,
    /// An unknown filter or test not yet made optional by a following `if`.
    pub(super) unknown: Option<Error>,
    /// Number of enclosing loops within the same macro.
    loops: usize,
    /// Number of enclosing `for` tags, including their `else`.
    fors: usize,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// The token after the next one.
    pub(super) fn peek_second(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::at(message, self.peek().line))
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        matches!(&self.peek().kind, Kind::Operator(found) if *found == operator)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().kind, Kind::Name(found) if found == word)
    }

    pub(super) fn takes_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.at += usize::from(found);
        found
    }

    pub(super) fn takes_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_operator(&mut self, operator: &str) -> Result<()> {
        if self.takes_operator(operator) { Ok(()) } else { self.error(format!("expected {operator:?}")) }
    }

    pub(super) fn expect_name(&mut self) -> Result<String> {
        match self.peek().kind.clone() {
            Kind::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.error("expected a name"),
        }
    }

    /// Records a name unknown to Jinja, which is an error unless an `if` follows.
    pub(super) fn check_known(&mut self, is_known: bool, kind: &str, name: &str) {
        if !is_known && !self.is_optional && self.unknown.is_none() {
            self.unknown = Some(Error::at(format!("no {kind} named {name:?}"), self.peek().line));
        }
    }

    /// Runs a part of the parser one nesting level deeper.
    pub(super) fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEEPEST {
            return self.error(format!("more than {DEEPEST} levels stand in each other"));
        }
        self.depth += 1;
        let parsed = part(self);
        self.depth -= 1;
        parsed
    }

    /// Runs a part of the parser with other state, and restores it.
    fn within<T>(&mut self, is_optional: bool, loops: usize, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = (self.is_optional, self.loops);
        (self.is_optional, self.loops) = (is_optional, loops);
        let parsed = part(self);
        (self.is_optional, self.loops) = before;
        parsed
    }

    /// Statements up to one of the end tags, whose name is not consumed.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Statement>> {
        let mut body = Vec::new();
        loop {
            let Token { kind, line } = self.next();
            let kind = match kind {
                Kind::Data(text) => StatementKind::Data(text),
                Kind::VariableBegin => {
                    let value = self.tuple(true, &[])?;
                    if self.next().kind != Kind::VariableEnd {
                        self.at -= 1;
                        return self.error("expected the end of the print statement");
                    }
                    StatementKind::Output(vec![value])
                }
                Kind::BlockBegin => {
                    if ends.iter().any(|end| self.is_word(end)) {
                        return Ok(body);
                    }
                    self.nested(Self::statement)?
                }
                _ if ends.is_empty() => return Ok(body),
                _ => return Err(Error::at(format!("the template ends before {}", ends.join(" or ")), line)),
            };
            body.push(Statement { line, kind });
        }
    }

    fn block_end(&mut self) -> Result<()> {
        if self.next().kind == Kind::BlockEnd {
            return Ok(());
        }
        self.at -= 1;
        self.error("expected the end of the tag")
    }

    /// The rest of a tag, and statements up to an end tag, whose name is returned.
    fn body(&mut self, ends: &[&str]) -> Result<(Vec<Statement>, String)> {
        self.takes_operator(":");
        self.block_end()?;
        let body = self.statements(ends)?;
        Ok((body, self.expect_name()?))
    }

    /// As [`Parser::body`], with the rest of the end tag.
    fn closed_body(&mut self, end: &str) -> Result<Vec<Statement>> {
        let (body, _) = self.body(&[end])?;
        self.block_end()?;
        Ok(body)
    }

    /// A body with its own scope.
    fn block(&mut self, end: &str, loops: usize) -> Result<Block> {
        let body = self.within(false, loops, |parser| parser.closed_body(end))?;
        Ok(Block { body, ..Block::default() })
    }

    fn statement(&mut self) -> Result<StatementKind> {
        let line = self.peek().line;
        let tag = self.expect_name()?;
        match &*tag {
            "if" => self.parse_if(),
            "for" => {
                self.fors += 1;
                let parsed = self.parse_for();
                self.fors -= 1;
                parsed
            }
            "set" => self.parse_set(),
            "with" => self.parse_with(),
            "macro" => self.parse_macro(),
            "call" => self.parse_call_block(line),
            "filter" => self.parse_filter_block(),
            "print" => self.parse_print(),
            "generation" => {
                let body = self.block("endgeneration", 0)?;
                Ok(StatementKind::Generation(Arc::new(Macro::of_block(Vec::new(), Vec::new(), body))))
            }
            "break" | "continue" if self.loops == 0 => Err(Error::at(format!("{tag} stands outside a loop"), line)),
            "break" => self.block_end().map(|()| StatementKind::Break),
            "continue" => self.block_end().map(|()| StatementKind::Continue),
            "block" | "extends" | "include" | "import" | "from" | "autoescape" => {
                Err(Error::at(format!("the tag {tag:?} is not supported in chat templates"), line))
            }
            _ => Err(Error::at(format!("unknown tag {tag:?}"), line)),
        }
    }

    fn parse_if(&mut self) -> Result<StatementKind> {
        let mut branches = Vec::new();
        let loops = self.loops;
        loop {
            let test = self.within(true, loops, |parser| parser.tuple(false, &[]))?;
            let (body, end) = self.within(true, loops, |parser| parser.body(&["elif", "else", "endif"]))?;
            branches.push((test, body));
            let otherwise = match &*end {
                "elif" => continue,
                "else" => self.within(true, loops, |parser| parser.closed_body("endif"))?,
                _ => {
                    self.block_end()?;
                    Vec::new()
                }
            };
            return Ok(StatementKind::If { branches, otherwise });
        }
    }

    fn parse_for(&mut self) -> Result<StatementKind> {
        let target = self.target(&[], false)?;
        if !self.takes_word("in") {
            return self.error("expected \"in\"");
        }
        let items = self.tuple(false, &[])?;
        let around = self.loops;
        let test = if self.takes_word("if") { Some(self.within(false, around, Self::expression)?) } else { None };
        let is_recursive = self.takes_word("recursive");
        let (body, end) = self.within(false, around + 1, |parser| parser.body(&["endfor", "else"]))?;
        let otherwise = if end == "else" {
            // A loop that calls itself is a function in Python's code.
            Some(self.block("endfor", if is_recursive { 0 } else { around })?)
        } else {
            self.block_end()?;
            None
        };
        if target.names().contains(&"loop") {
            return self.error("a loop can't assign to loop");
        }
        let body = Block { body, ..Block::default() };
        let looped = For {
            target,
            items,
            test,
            is_recursive,
            body,
            otherwise,
            knows_loop: false,
            test_scope: super::scope::Scope::default(),
        };
        Ok(StatementKind::For(Arc::new(looped)))
    }

    fn parse_set(&mut self) -> Result<StatementKind> {
        let target = self.target(&[], true)?;
        if self.fors > 0 && target.names().contains(&"loop") {
            return self.error("a loop can't assign to loop");
        }
        if self.takes_operator("=") {
            let value = self.tuple(true, &[])?;
            self.block_end()?;
            return Ok(StatementKind::Set { target, value });
        }
        let loops = self.loops;
        let filters = |parser: &mut Self| parser.filters(Expression::Captured, false);
        let filter = if self.is_operator("|") { Some(self.within(false, loops, filters)?) } else { None };
        Ok(StatementKind::SetBlock { target, filter, body: self.block("endset", loops)? })
    }

    fn parse_with(&mut self) -> Result<StatementKind> {
        let (mut targets, mut values) = (Vec::new(), Vec::new());
        while self.peek().kind != Kind::BlockEnd {
            if !targets.is_empty() {
                self.expect_operator(",")?;
            }
            targets.push(self.target(&[], false)?);
            self.expect_operator("=")?;
            values.push(self.expression()?);
        }
        let loops = self.loops;
        Ok(StatementKind::With { targets, values, body: self.block("endwith", loops)? })
    }

    fn parse_macro(&mut self) -> Result<StatementKind> {
        let name = self.expect_name()?;
        let (parameters, defaults) = self.signature()?;
        let body = self.block("endmacro", 0)?;
        Ok(StatementKind::Macro(Arc::new(Macro { name, ..Macro::of_block(parameters, defaults, body) })))
    }

    fn signature(&mut self) -> Result<(Vec<String>, Vec<Expression>)> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_operator("(")?;
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.expect_name()?;
            if parameters.contains(&name) {
                return self.error(format!("the parameter {name:?} is there twice"));
            }
            parameters.push(name);
            if self.takes_operator("=") {
                let loops = self.loops;
                defaults.push(self.within(false, loops, Self::expression)?);
            } else if !defaults.is_empty() {
                return self.error("a parameter without a default follows one with a default");
            }
        }
        self.expect_operator(")")?;
        Ok((parameters, defaults))
    }

    fn parse_call_block(&mut self, line: usize) -> Result<StatementKind> {
        let (parameters, defaults) = if self.is_operator("(") { self.signature()? } else { (Vec::new(), Vec::new()) };
        let Expression::Call(call) = self.expression()? else {
            return Err(Error::at("a call block must call something", line));
        };
        let body = self.block("endcall", 0)?;
        Ok(StatementKind::CallBlock { call: *call, caller: Arc::new(Macro::of_block(parameters, defaults, body)) })
    }

    fn parse_filter_block(&mut self) -> Result<StatementKind> {
        let loops = self.loops;
        let filter = self.within(false, loops, |parser| parser.filters(Expression::Captured, true))?;
        Ok(StatementKind::FilterBlock { filter, body: self.block("endfilter", loops)? })
    }

    fn parse_print(&mut self) -> Result<StatementKind> {
        let mut values = Vec::new();
        while self.peek().kind != Kind::BlockEnd {
            if !values.is_empty() {
                self.expect_operator(",")?;
            }
            values.push(self.expression()?);
        }
        self.block_end()?;
        Ok(StatementKind::Output(values))
    }
}

impl Macro {
    fn of_block(parameters: Vec<String>, defaults: Vec<Expression>, body: Block) -> Self {
        let name = String::new();
        Self { name, parameters, defaults, takes_caller: false, takes_named: false, takes_more: false, body }
    }
}
