//! The interpreter of statements.
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Arguments;
use super::ast::{Block, Expression, Macro, Statement, StatementKind, Target};
use super::error::{Error, Result};
use super::extent::check_size;
use super::frame::Frame;
use super::generations::{Generations, Rendered};
use super::objects::{Closure, FUNCTIONS, Object};
use super::scope::Scope;
use super::text::to_text;
use super::value::{Dict, Value};
use crate::chat::Date;

/// Maximum recursion depth of statements, expressions and macros.
const DEEPEST: usize = 300;

/// The state of rendering a template.
#[derive(Debug)]
pub(super) struct Interpreter<'t> {
    pub(super) today: Date,
    /// The variables passed to the template.
    given: &'t Dict,
    /// Top-level assignments.
    top: RefCell<HashMap<String, Value>>,
    /// Captured texts of filter blocks.
    pub(super) captured: RefCell<Vec<Value>>,
    pub(super) line: Cell<usize>,
    depth: Cell<usize>,
    pub(super) steps: Cell<u64>,
    /// All namespaces: they may form reference cycles, and are cleared at the end.
    pub(super) namespaces: RefCell<Vec<Value>>,
    /// The places of generation blocks.
    pub(super) generations: Generations,
}

impl Drop for Interpreter<'_> {
    fn drop(&mut self) {
        for names in self.namespaces.borrow().iter().filter_map(Value::as_namespace) {
            names.take();
        }
    }
}

/// The control flow after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Break,
    Continue,
}

impl<'t> Interpreter<'t> {
    pub(super) fn new(given: &'t Dict, today: Date) -> Self {
        Self {
            today,
            given,
            top: RefCell::default(),
            captured: RefCell::default(),
            line: Cell::new(1),
            depth: Cell::new(0),
            steps: Cell::new(0),
            namespaces: RefCell::default(),
            generations: Generations::default(),
        }
    }

    /// Renders statements.
    ///
    /// # Errors
    /// The template raises an exception, or uses something undefined.
    pub(super) fn run(&self, body: &[Statement], scope: &Scope) -> Result<Rendered> {
        let frame = self.enter(scope, None, Vec::new())?;
        let mut text = String::new();
        self.statements(body, &frame, &mut text).map_err(|error| error.on(self.line.get()))?;
        Ok(self.generations.rendered(text))
    }

    /// A name among top-level assignments and the template's variables.
    pub(super) fn context(&self, name: &str) -> Option<Value> {
        let set = self.top.borrow().get(name).cloned();
        set.or_else(|| self.given.get_text(name).cloned()).or_else(|| {
            let function = FUNCTIONS.into_iter().find(|(known, _)| *known == name);
            function.map(|(_, function)| Value::Object(Rc::new(Object::Function(function))))
        })
    }

    /// Creates the frame of a new block.
    ///
    /// # Errors
    /// The step limit is exceeded.
    pub(super) fn enter(
        &self,
        scope: &Scope,
        around: Option<&Rc<Frame>>,
        given: Vec<(String, Option<Value>)>,
    ) -> Result<Rc<Frame>> {
        self.charge(scope.names.len() as u64 / 4)?;
        Ok(Frame::enter(scope, around.cloned(), given, |name| self.context(name)))
    }

    /// Runs a part one recursion level deeper.
    pub(super) fn deeper<T>(&self, part: impl FnOnce() -> Result<T>) -> Result<T> {
        self.charge(1)?;
        if self.depth.get() >= DEEPEST {
            return Err(Error::new(format!("the template runs more than {DEEPEST} levels deep")));
        }
        self.depth.set(self.depth.get() + 1);
        let done = part();
        self.depth.set(self.depth.get() - 1);
        done
    }

    pub(super) fn statements(&self, body: &[Statement], frame: &Rc<Frame>, out: &mut String) -> Result<Flow> {
        for statement in body {
            self.line.set(statement.line);
            self.generations.note_length(out);
            let flow = self.deeper(|| self.statement(&statement.kind, frame, out))?;
            if flow != Flow::On {
                return Ok(flow);
            }
            check_size(out.len())?;
        }
        Ok(Flow::On)
    }

    /// Renders a block to a string; returns the control flow after it.
    fn block(&self, block: &Block, frame: &Rc<Frame>) -> Result<(String, Flow)> {
        let mut out = String::new();
        let flow = self.generations.capturing(|| self.statements(&block.body, frame, &mut out))?;
        Ok((out, flow))
    }

    fn statement(&self, statement: &StatementKind, frame: &Rc<Frame>, out: &mut String) -> Result<Flow> {
        match statement {
            StatementKind::Data(text) => {
                self.charge(text.len() as u64 / 64)?;
                out.push_str(text);
            }
            StatementKind::Output(values) => self.output(values, frame, out)?,
            StatementKind::If { branches, otherwise } => return self.branches(branches, otherwise, frame, out),
            StatementKind::For(looped) => {
                let items = self.evaluate(&looped.items, frame)?;
                return self.run_loop(looped, frame, &items, 0, out);
            }
            StatementKind::Set { target, value } => {
                let value = self.evaluate(value, frame)?;
                self.assign(target, value, frame)?;
            }
            StatementKind::SetBlock { target, filter, body } => {
                return self.set_block(target, filter.as_ref(), body, frame);
            }
            StatementKind::With { targets, values, body } => return self.with(targets, values, body, frame, out),
            StatementKind::Macro(written) => {
                self.set(&written.name, closure(written, frame), frame);
            }
            StatementKind::CallBlock { call, caller } => {
                let mut arguments = self.arguments(&call.arguments, frame)?;
                arguments.named.push(("caller".to_owned(), closure(caller, frame)));
                let target = self.evaluate(&call.target, frame)?;
                out.push_str(&to_text(&self.call(&target, &arguments)?)?);
            }
            StatementKind::Generation(written) => {
                let text = to_text(&self.call(&closure(written, frame), &Arguments::default())?)?;
                self.generations.note_block(&text);
                out.push_str(&text);
            }
            StatementKind::FilterBlock { filter, body } => return self.filter_block(filter, body, frame, out),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn output(&self, values: &[Expression], frame: &Rc<Frame>, out: &mut String) -> Result<()> {
        for value in values {
            let text = to_text(&self.evaluate(value, frame)?)?;
            self.charge(text.len() as u64 / 64)?;
            out.push_str(&text);
            check_size(out.len())?;
            self.generations.note_length(out);
        }
        Ok(())
    }

    fn filter_block(&self, filter: &Expression, body: &Block, frame: &Rc<Frame>, out: &mut String) -> Result<Flow> {
        let inner = self.enter(&body.scope, Some(frame), Vec::new())?;
        let (text, flow) = self.block(body, &inner)?;
        if flow == Flow::On {
            let filtered = self.filtered(text, filter, &inner)?;
            let kind = filtered.type_name();
            let text = filtered.as_text();
            out.push_str(text.ok_or_else(|| Error::new(format!("a filter block gives a {kind}, not a text")))?);
        }
        Ok(flow)
    }

    fn branches(
        &self,
        branches: &[(Expression, Vec<Statement>)],
        otherwise: &[Statement],
        frame: &Rc<Frame>,
        out: &mut String,
    ) -> Result<Flow> {
        for (test, body) in branches {
            if self.evaluate(test, frame)?.is_true() {
                return self.statements(body, frame, out);
            }
        }
        self.statements(otherwise, frame, out)
    }

    fn set_block(&self, target: &Target, filter: Option<&Expression>, body: &Block, frame: &Rc<Frame>) -> Result<Flow> {
        let inner = self.enter(&body.scope, Some(frame), Vec::new())?;
        let (text, flow) = self.block(body, &inner)?;
        if flow == Flow::On {
            let value = match filter {
                Some(filter) => self.filtered(text, filter, &inner)?,
                None => Value::from(text),
            };
            self.assign(target, value, frame)?;
        }
        Ok(flow)
    }

    fn with(
        &self,
        targets: &[Target],
        values: &[Expression],
        body: &Block,
        frame: &Rc<Frame>,
        out: &mut String,
    ) -> Result<Flow> {
        let mut given = Vec::new();
        for (target, value) in targets.iter().zip(values) {
            unpack(target, self.evaluate(value, frame)?, &mut given)?;
        }
        let inner = self.enter(&body.scope, Some(frame), given)?;
        self.statements(&body.body, &inner, out)
    }

    /// Applies the filters of a filter block to its text.
    fn filtered(&self, text: String, filter: &Expression, frame: &Rc<Frame>) -> Result<Value> {
        self.captured.borrow_mut().push(Value::from(text));
        let value = self.evaluate(filter, frame);
        self.captured.borrow_mut().pop();
        value
    }

    fn set(&self, name: &str, value: Value, frame: &Frame) {
        if frame.is_top() {
            self.top.borrow_mut().insert(name.to_owned(), value.clone());
        }
        frame.set(name, value);
    }

    fn assign(&self, target: &Target, value: Value, frame: &Rc<Frame>) -> Result<()> {
        match target {
            Target::Name(name) => self.set(name, value, frame),
            Target::Attribute(name, attribute) => {
                let object = Self::name(name, frame)?;
                let Some(names) = object.as_namespace() else {
                    let kind = object.type_name();
                    return Err(Error::new(format!("an attribute can be set on a namespace only, not on a {kind}")));
                };
                check_attribute(attribute)?;
                names.borrow_mut().insert(Value::from(&**attribute), value)?;
            }
            Target::Tuple(targets) => {
                for (target, value) in targets.iter().zip(parts(&value, targets.len())?) {
                    self.assign(target, value, frame)?;
                }
            }
        }
        Ok(())
    }

    /// Calls a macro.
    pub(super) fn call_macro(&self, closure: &Closure, arguments: &Arguments) -> Result<Value> {
        let around = closure.around.upgrade();
        let around = around.ok_or_else(|| Error::new("a macro is called outside the block it was written in"))?;
        let written = &*closure.written;
        let frame = self.enter(&written.body.scope, Some(&around), macro_arguments(written, arguments)?)?;
        let plain = written.parameters.len() - written.defaults.len();
        for (at, name) in written.parameters.iter().enumerate() {
            if frame.get(name).flatten().is_none() {
                let value = match at.checked_sub(plain).and_then(|at| written.defaults.get(at)) {
                    Some(default) => self.evaluate(default, &frame)?,
                    None => Value::undefined(format!("parameter {name:?} was not provided")),
                };
                frame.set(name, value);
            }
        }
        Ok(Value::from(self.block(&written.body, &frame)?.0))
    }
}

fn closure(written: &Arc<Macro>, frame: &Rc<Frame>) -> Value {
    let around = Rc::downgrade(frame);
    Value::Object(Rc::new(Object::Macro(Closure { written: Arc::clone(written), around })))
}

/// Checks the name of a namespace attribute: transformers' sandbox rejects a leading underscore.
///
/// # Errors
/// The name begins with one.
pub(super) fn check_attribute(name: &str) -> Result<()> {
    if name.starts_with('_') {
        return Err(Error::new(format!("a namespace can't have an attribute that begins with an underscore: {name}")));
    }
    Ok(())
}

/// Binds a macro's parameters; a missing one without default is unset.
fn macro_arguments(written: &Macro, arguments: &Arguments) -> Result<Vec<(String, Option<Value>)>> {
    let what = || if written.name.is_empty() { "caller" } else { &*written.name };
    let Arguments { positional, mut named } = arguments.clone();
    let take = |named: &mut Vec<(String, Value)>, name: &str| {
        let at = named.iter().position(|(found, _)| found == name);
        at.map(|at| named.remove(at).1)
    };
    let count = written.parameters.len();
    let mut given = Vec::new();
    for (at, name) in written.parameters.iter().enumerate() {
        let value = positional.get(at).cloned().or_else(|| take(&mut named, name));
        given.push((name.clone(), value));
    }
    if written.takes_caller && !written.parameters.iter().any(|name| name == "caller") {
        let caller = take(&mut named, "caller").filter(|caller| !matches!(caller, Value::None));
        given.push(("caller".to_owned(), Some(caller.unwrap_or_else(|| Value::undefined("No caller defined")))));
    }
    if written.takes_named {
        let entries: Vec<_> = named.drain(..).map(|(name, value)| (Value::from(name), value)).collect();
        given.push(("kwargs".to_owned(), Some(Value::Dict(Rc::new(entries.into())))));
    }
    if let Some((name, _)) = named.first() {
        return Err(Error::new(format!("macro {:?} takes no argument {name:?}", what())));
    }
    let more = positional.get(count..).unwrap_or_default();
    if written.takes_more {
        given.push(("varargs".to_owned(), Some(Value::tuple(more.to_vec()))));
    } else if !more.is_empty() {
        return Err(Error::new(format!("macro {:?} takes not more than {count} arguments", what())));
    }
    Ok(given)
}

/// Unpacks a value into `count` parts.
pub(super) fn parts(value: &Value, count: usize) -> Result<Vec<Value>> {
    let parts = value.iterate()?;
    if parts.len() == count {
        return Ok(parts);
    }
    Err(Error::new(format!("{} values can't be assigned to {count} names", parts.len())))
}

/// Assigns the parts of a value to the names of a target.
pub(super) fn unpack(target: &Target, value: Value, given: &mut Vec<(String, Option<Value>)>) -> Result<()> {
    match target {
        Target::Name(name) => given.push((name.clone(), Some(value))),
        Target::Attribute(..) => return Err(Error::new("an attribute can be assigned to by set only")),
        Target::Tuple(targets) => {
            for (target, value) in targets.iter().zip(parts(&value, targets.len())?) {
                unpack(target, value, given)?;
            }
        }
    }
    Ok(())
}
