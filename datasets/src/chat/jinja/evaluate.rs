//! Evaluation of expressions.
use std::rc::Rc;

use super::arguments::Arguments;
use super::ast::{ArgumentList, Call, Comparison, Expression};
use super::cost::width;
use super::costs::NAMESPACE;
use super::error::{Error, Result};
use super::extent::check_size;
use super::frame::Frame;
use super::interpreter::Interpreter;
use super::objects::Object;
use super::operators;
use super::text::to_text;
use super::value::{Dict, Value};
use super::{functions, methods};

impl Interpreter<'_> {
    /// Evaluates an expression.
    ///
    /// # Errors
    /// The operation is an error in Python.
    pub(super) fn evaluate(&self, expression: &Expression, frame: &Rc<Frame>) -> Result<Value> {
        let value = self.deeper(|| self.value(expression, frame))?;
        self.admit(expression, &value)?;
        Ok(value)
    }

    fn value(&self, expression: &Expression, frame: &Rc<Frame>) -> Result<Value> {
        Ok(match expression {
            Expression::None => Value::None,
            Expression::Bool(value) => Value::Bool(*value),
            Expression::Int(value) => Value::Int(*value),
            Expression::Float(value) => Value::Float(*value),
            Expression::Text(text) => Value::from(&**text),
            Expression::Name(name) => Self::name(name, frame)?,
            Expression::Captured => self.captured.borrow().last().cloned().unwrap_or(Value::None),
            Expression::Tuple(items) => Value::tuple(self.values(items, frame)?),
            Expression::List(items) => Value::list(self.values(items, frame)?),
            Expression::Dict(pairs) => self.dict(pairs, frame)?,
            Expression::Attribute(inner, name) => self.attribute(&self.evaluate(inner, frame)?, name)?,
            Expression::Item(inner, index) => self.index(inner, index, frame)?,
            Expression::Slice(ends) => self.slice(ends, frame)?,
            Expression::Call(call) => self.call_expression(call, frame)?,
            Expression::Filter { input, name, arguments } => {
                let input = self.evaluate(input, frame)?;
                self.filter(name, &input, &self.arguments(arguments, frame)?)?
            }
            Expression::Test { input, name, arguments } => {
                let input = self.evaluate(input, frame)?;
                Value::Bool(self.test(name, &input, &self.arguments(arguments, frame)?)?)
            }
            Expression::Not(inner) => Value::Bool(!self.evaluate(inner, frame)?.is_true()),
            Expression::Negative(inner) => operators::negative(&self.evaluate(inner, frame)?)?,
            Expression::Positive(inner) => operators::positive(&self.evaluate(inner, frame)?)?,
            Expression::Binary(operator, left, right) => {
                operators::binary(*operator, &self.evaluate(left, frame)?, &self.evaluate(right, frame)?)?
            }
            Expression::PowerOfKnown(base, exponent) => {
                operators::power_of_known(&self.evaluate(base, frame)?, &self.evaluate(exponent, frame)?)?
            }
            Expression::Compare(first, others) => self.comparisons(first, others, frame)?,
            Expression::And(left, right) => self.either(left, right, false, frame)?,
            Expression::Or(left, right) => self.either(left, right, true, frame)?,
            Expression::Join(parts) => self.join(parts, frame)?,
            Expression::Choice(test, value, otherwise) => self.choice(test, value, otherwise.as_deref(), frame)?,
        })
    }

    /// `and` and `or`: the left value if its truth decides, else the right one.
    fn either(&self, left: &Expression, right: &Expression, decides: bool, frame: &Rc<Frame>) -> Result<Value> {
        let left = self.evaluate(left, frame)?;
        if left.is_true() == decides { Ok(left) } else { self.evaluate(right, frame) }
    }

    fn choice(
        &self,
        test: &Expression,
        value: &Expression,
        otherwise: Option<&Expression>,
        frame: &Rc<Frame>,
    ) -> Result<Value> {
        match (self.evaluate(test, frame)?.is_true(), otherwise) {
            (true, _) => self.evaluate(value, frame),
            (false, Some(otherwise)) => self.evaluate(otherwise, frame),
            (false, None) => Ok(Value::undefined("an if without else was false")),
        }
    }

    fn values(&self, items: &[Expression], frame: &Rc<Frame>) -> Result<Vec<Value>> {
        items.iter().map(|item| self.evaluate(item, frame)).collect()
    }

    /// The value of a name.
    pub(super) fn name(name: &str, frame: &Frame) -> Result<Value> {
        let value = frame.get(name).ok_or_else(|| Error::new(format!("the name {name:?} can't be used here")))?;
        match (value, name) {
            (Some(value), _) => Ok(value),
            (None, "self" | "lipsum") => Err(Error::new(format!("{name:?} is not supported in chat templates"))),
            (None, _) => Ok(Value::undefined(format!("{name:?} is undefined"))),
        }
    }

    fn dict(&self, pairs: &[(Expression, Expression)], frame: &Rc<Frame>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            dict.insert(self.evaluate(key, frame)?, self.evaluate(value, frame)?)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    fn join(&self, parts: &[Expression], frame: &Rc<Frame>) -> Result<Value> {
        let mut out = String::new();
        for part in parts {
            out.push_str(&to_text(&self.evaluate(part, frame)?)?);
            check_size(out.len())?;
        }
        Ok(Value::from(out))
    }

    fn comparisons(&self, first: &Expression, others: &[(Comparison, Expression)], frame: &Rc<Frame>) -> Result<Value> {
        let mut left = self.evaluate(first, frame)?;
        for (comparison, right) in others {
            let right = self.evaluate(right, frame)?;
            if !self.compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn slice(&self, ends: &[Option<Expression>; 3], frame: &Rc<Frame>) -> Result<Value> {
        let end = |at: usize| match &ends[at] {
            None => Ok(None),
            Some(end) => match self.evaluate(end, frame)? {
                Value::None => Ok(None),
                other => super::arguments::int(&other, "a slice").map(Some),
            },
        };
        Ok(Value::Slice(Rc::new([end(0)?, end(1)?, end(2)?])))
    }

    fn index(&self, inner: &Expression, index: &Expression, frame: &Rc<Frame>) -> Result<Value> {
        let inner = self.evaluate(inner, frame)?;
        // A letter of a text and a key of a dict are searched for.
        match &inner {
            Value::Text(text) => self.charge(text.len() as u64 / 64)?,
            Value::Dict(dict) => self.charge(dict.entries().len() as u64 / 16)?,
            _ => {}
        }
        match self.evaluate(index, frame)? {
            Value::Slice(ends) => super::attributes::slice(&inner, *ends),
            index => self.item(&inner, &index),
        }
    }

    /// Evaluates the arguments of a call.
    pub(super) fn arguments(&self, list: &ArgumentList, frame: &Rc<Frame>) -> Result<Arguments> {
        let mut arguments = Arguments::of(self.values(&list.positional, frame)?);
        for (name, value) in &list.named {
            arguments.named.push((name.clone(), self.evaluate(value, frame)?));
        }
        if let Some(more) = &list.more {
            arguments.positional.extend(self.evaluate(more, frame)?.iterate()?);
        }
        if let Some(more) = &list.more_named {
            let Value::Dict(dict) = self.evaluate(more, frame)? else {
                return Err(Error::new("** needs a dict"));
            };
            for (name, value) in dict.entries() {
                let name = name.as_text().ok_or_else(|| Error::new("the names of arguments must be texts"))?;
                arguments.named.push((name.to_owned(), value.clone()));
            }
        }
        let twice = (1..arguments.named.len())
            .find(|&at| arguments.named[..at].iter().any(|(name, _)| *name == arguments.named[at].0));
        match twice {
            Some(at) => Err(Error::new(format!("the argument {:?} is given twice", arguments.named[at].0))),
            None => Ok(arguments),
        }
    }

    fn call_expression(&self, call: &Call, frame: &Rc<Frame>) -> Result<Value> {
        let target = self.evaluate(&call.target, frame)?;
        self.call(&target, &self.arguments(&call.arguments, frame)?)
    }

    /// Calls a value.
    ///
    /// # Errors
    /// The value is not callable, or rejects its arguments.
    pub(super) fn call(&self, target: &Value, arguments: &Arguments) -> Result<Value> {
        let object = match target {
            Value::Object(object) => object,
            Value::Undefined(why) => return Err(Error::new(&**why)),
            other => return Err(Error::new(format!("a {} can't be called", other.type_name()))),
        };
        match &**object {
            Object::Function(function) => {
                let made = functions::call(*function, arguments, self.today)?;
                if made.as_namespace().is_some() {
                    self.charge(NAMESPACE)?;
                    self.namespaces.borrow_mut().push(made.clone());
                }
                Ok(made)
            }
            Object::FromKeys => functions::from_keys(arguments),
            Object::Macro(closure) => self.deeper(|| self.call_macro(closure, arguments)),
            Object::Loop(looped) => self.deeper(|| self.call_loop(looped, arguments)),
            Object::Joiner { separator, is_used } => {
                arguments.bind::<0>("a joiner", [])?;
                Ok(if is_used.replace(true) { separator.clone() } else { Value::from("") })
            }
            Object::Method(receiver, name) => {
                self.charge(width(receiver))?;
                methods::call(self, receiver, name, arguments)
            }
            Object::Namespace(_) | Object::Cycler(_) => {
                Err(Error::new(format!("a {} can't be called", object.type_name())))
            }
        }
    }
}
