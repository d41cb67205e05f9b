//! Loops and the `loop` variable.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Arguments;
use super::ast::{For, Target};
use super::error::{Error, Result};
use super::extent::Stream;
use super::frame::Frame;
use super::interpreter::{Flow, Interpreter, parts, unpack};
use super::objects::{Loop, Object, Place};
use super::value::Value;

/// Steps of one loop iteration, which has a scope.
const TURN: u64 = 4;

impl Interpreter<'_> {
    /// Runs a loop.
    pub(super) fn run_loop(
        &self,
        written: &Arc<For>,
        frame: &Rc<Frame>,
        items: &Value,
        depth: usize,
        out: &mut String,
    ) -> Result<Flow> {
        let length = if written.test.is_none() { items.length() } else { None };
        let items = match items {
            Value::Iterator(items) => Rc::clone(items),
            other => {
                self.charge(other.length().unwrap_or(0) as u64 / 8)?;
                Rc::new(Stream::from(VecDeque::from(other.iterate()?)))
            }
        };
        let place = RefCell::new(Place { length, ..Place::default() });
        let (around, written) = (Rc::downgrade(frame), Arc::clone(written));
        let object = Rc::new(Object::Loop(Loop { written, around, items, depth, place }));
        let Object::Loop(looped) = &*object else { return Ok(Flow::On) };
        if self.turns(looped, &Value::Object(Rc::clone(&object)), frame, out)? {
            return Ok(Flow::On);
        }
        let Some(otherwise) = &looped.written.otherwise else { return Ok(Flow::On) };
        let inner = self.enter(&otherwise.scope, Some(frame), Vec::new())?;
        self.statements(&otherwise.body, &inner, out)
    }

    /// Runs the iterations; returns whether one ended normally. (Jinja runs `else` also if every iteration was left
    /// early.)
    fn turns(&self, looped: &Loop, object: &Value, frame: &Rc<Frame>, out: &mut String) -> Result<bool> {
        let written = &looped.written;
        let mut is_complete = false;
        while let Some(item) = self.draw(looped)? {
            self.charge(TURN)?;
            let mut place = looped.place.borrow_mut();
            place.turns += 1;
            place.before = place.current.replace(item.clone());
            drop(place);
            let mut given = Vec::new();
            if written.knows_loop {
                given.push(("loop".to_owned(), Some(object.clone())));
            }
            unpack(&written.target, item, &mut given)?;
            let inner = self.enter(&written.body.scope, Some(frame), given)?;
            match self.statements(&written.body.body, &inner, out)? {
                Flow::On => is_complete = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        Ok(is_complete)
    }

    fn draw(&self, looped: &Loop) -> Result<Option<Value>> {
        let ready = looped.place.borrow_mut().ready.pop_front();
        if ready.is_some() { Ok(ready) } else { self.draw_new(looped) }
    }

    /// The next item that passes the loop's test.
    fn draw_new(&self, looped: &Loop) -> Result<Option<Value>> {
        let written = &looped.written;
        loop {
            let item = looped.items.borrow_mut().pop_front();
            let (Some(item), Some(test)) = (&item, &written.test) else { return Ok(item) };
            let around = looped.around.upgrade().ok_or_else(|| Error::new("a loop is used after its end"))?;
            // The test is a function of the loop's names, from which Jinja makes the item again.
            let item = packed(&written.target, item)?;
            let mut given = Vec::new();
            unpack(&written.target, item.clone(), &mut given)?;
            let frame = self.enter(&written.test_scope, Some(&around), given)?;
            if self.evaluate(test, &frame)?.is_true() {
                return Ok(Some(item));
            }
        }
    }

    fn next_item(&self, looped: &Loop) -> Result<Option<Value>> {
        let is_known = !looped.place.borrow().ready.is_empty();
        if !is_known && let Some(item) = self.draw_new(looped)? {
            looped.place.borrow_mut().ready.push_back(item);
        }
        Ok(looped.place.borrow().ready.front().cloned())
    }

    fn loop_length(&self, looped: &Loop) -> Result<usize> {
        if let Some(length) = looped.place.borrow().length {
            return Ok(length);
        }
        while let Some(item) = self.draw_new(looped)? {
            looped.place.borrow_mut().ready.push_back(item);
        }
        let mut place = looped.place.borrow_mut();
        let length = place.ready.len() + place.turns;
        place.length = Some(length);
        Ok(length)
    }

    /// `loop.name`.
    pub(super) fn loop_attribute(&self, object: &Rc<Object>, looped: &Loop, name: &str) -> Result<Option<Value>> {
        let int = |number: usize| Ok(Some(Value::Int(number as i128)));
        let index = looped.place.borrow().turns;
        match name {
            "index" => int(index),
            "index0" => Ok(Some(Value::Int(index as i128 - 1))),
            "length" => int(self.loop_length(looped)?),
            "revindex" => Ok(Some(Value::Int(self.loop_length(looped)? as i128 - index as i128 + 1))),
            "revindex0" => Ok(Some(Value::Int(self.loop_length(looped)? as i128 - index as i128))),
            "first" => Ok(Some(Value::Bool(index == 1))),
            "last" => Ok(Some(Value::Bool(self.next_item(looped)?.is_none()))),
            "depth" => int(looped.depth + 1),
            "depth0" => int(looped.depth),
            "previtem" => {
                let before = looped.place.borrow().before.clone();
                Ok(Some(before.unwrap_or_else(|| Value::undefined("there is no previous item"))))
            }
            "nextitem" => {
                let after = self.next_item(looped)?;
                Ok(Some(after.unwrap_or_else(|| Value::undefined("there is no next item"))))
            }
            "cycle" => Ok(Some(method(object, "cycle"))),
            "changed" => Ok(Some(method(object, "changed"))),
            _ => Ok(None),
        }
    }

    /// `loop.cycle(..)` and `loop.changed(..)`.
    pub(super) fn loop_method(looped: &Loop, name: &str, arguments: &Arguments) -> Result<Value> {
        if let Some((given, _)) = arguments.named.first() {
            return Err(Error::new(format!("loop.{name} takes no argument {given:?}")));
        }
        let values = &arguments.positional;
        if name == "changed" && values.iter().any(Value::holds_object) {
            // The loop would hold what holds the loop.
            return Err(Error::new("loop.changed takes no loops, namespaces or functions"));
        }
        let mut place = looped.place.borrow_mut();
        if name == "cycle" {
            let at = (place.turns.max(1) - 1).checked_rem(values.len());
            return at
                .map(|at| values[at].clone())
                .ok_or_else(|| Error::new("loop.cycle has nothing to cycle through"));
        }
        let is_same = |before: &Vec<Value>| Value::tuple(before.clone()).equals(&Value::tuple(values.clone()));
        let has_changed = !place.changed.as_ref().is_some_and(is_same);
        place.changed = Some(values.clone());
        Ok(Value::Bool(has_changed))
    }

    /// `loop(items)`: a recursive call of the loop.
    pub(super) fn call_loop(&self, looped: &Loop, arguments: &Arguments) -> Result<Value> {
        if !looped.written.is_recursive {
            return Err(Error::new("loop(..) needs a loop that is marked as recursive"));
        }
        let [items] = arguments.bind("loop", ["iterable"])?;
        let items = super::arguments::required(items, "loop")?;
        let around = looped.around.upgrade().ok_or_else(|| Error::new("a loop is used after its end"))?;
        let mut out = String::new();
        self.generations.capturing(|| self.run_loop(&looped.written, &around, &items, looped.depth + 1, &mut out))?;
        Ok(Value::from(out))
    }
}

/// Packs a value into a tuple of its parts.
fn packed(target: &Target, value: &Value) -> Result<Value> {
    let Target::Tuple(targets) = target else { return Ok(value.clone()) };
    let items = parts(value, targets.len())?;
    targets.iter().zip(&items).map(|(target, item)| packed(target, item)).collect::<Result<_>>().map(Value::tuple)
}

fn method(object: &Rc<Object>, name: &'static str) -> Value {
    Value::Object(Rc::new(Object::Method(Value::Object(Rc::clone(object)), name)))
}
