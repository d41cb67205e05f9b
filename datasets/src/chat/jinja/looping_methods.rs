//! The methods of loops and cyclers.
use super::arguments::Arguments;
use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::objects::Object;
use super::value::Value;

/// Calls a method of an object.
///
/// # Errors
/// The method rejects its arguments.
pub(super) fn call(object: &Object, name: &str, arguments: &Arguments) -> Result<Value> {
    match object {
        Object::Loop(looped) => Interpreter::loop_method(looped, name, arguments),
        Object::Cycler(cycler) => {
            arguments.bind::<0>(name, [])?;
            if name == "reset" {
                cycler.at.set(0);
                return Ok(Value::None);
            }
            let current = cycler.current();
            cycler.at.set((cycler.at.get() + 1) % cycler.items.len());
            Ok(current)
        }
        other => Err(Error::new(format!("a {} has no method {name:?}", other.type_name()))),
    }
}
