//! The cost of template operations, in steps, so that rendering terminates.
use super::arguments::Arguments;
use super::ast::{Comparison, Expression};
use super::cost::width;
use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::value::Value;
use super::{filters, operators, predicates};

/// Maximum number of steps: one per statement or expression, per 64 bytes read and per 16 bytes created. It also bounds
/// a template's memory to 160 MB.
const LONGEST: u64 = 10_000_000;
/// Steps of a namespace, which lives until rendering ends.
pub(super) const NAMESPACE: u64 = 64;

impl Interpreter<'_> {
    /// Adds steps.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(super) fn charge(&self, steps: u64) -> Result<()> {
        self.steps.set(self.steps.get().saturating_add(steps));
        if self.steps.get() > LONGEST {
            return Err(Error::new(format!("the template takes more than {LONGEST} steps")));
        }
        Ok(())
    }

    /// Adds the steps of an expression's result.
    ///
    /// # Errors
    /// The limit is exceeded, or the value is too large.
    pub(super) fn admit(&self, expression: &Expression, value: &Value) -> Result<()> {
        if let Expression::Name(name) = expression {
            value.extent().check_name(name)?;
        } else {
            value.extent().check()?;
        }
        let passes_on = matches!(
            expression,
            Expression::Name(_)
                | Expression::Attribute(..)
                | Expression::Choice(..)
                | Expression::And(..)
                | Expression::Or(..)
                | Expression::Captured
        );
        if passes_on { Ok(()) } else { self.charge(width(value)) }
    }

    /// `value | name(arguments)`.
    ///
    /// # Errors
    /// The filter is unknown or unsupported, rejects the value or arguments, or exceeds the limit.
    pub(super) fn filter(&self, name: &str, value: &Value, arguments: &Arguments) -> Result<Value> {
        self.charge(filters::cost(name).steps(value, arguments))?;
        let made = filters::call(self, name, value, arguments)?;
        made.extent().check()?;
        self.charge(width(&made))?;
        Ok(made)
    }

    /// `value is name(arguments)`.
    ///
    /// # Errors
    /// The test is unknown, rejects the value or arguments, or exceeds the limit.
    pub(super) fn test(&self, name: &str, value: &Value, arguments: &Arguments) -> Result<bool> {
        let others = arguments.positional.iter().chain(arguments.named.iter().map(|(_, value)| value));
        let deep: u64 = others.map(|value| value.extent().steps()).sum();
        let is_of_letters = matches!(name, "lower" | "upper" | "filter" | "test");
        self.charge(deep + if is_of_letters { value.extent().steps() } else { 0 })?;
        predicates::call(name, value, arguments)
    }

    /// `left comparison right`.
    ///
    /// # Errors
    /// Python can't compare the two, or the limit is exceeded.
    pub(super) fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
        let (first, second) = (left.extent().steps(), right.extent().steps());
        self.charge(match comparison {
            Comparison::In | Comparison::NotIn => second,
            Comparison::Equal
            | Comparison::NotEqual
            | Comparison::Less
            | Comparison::LessOrEqual
            | Comparison::Greater
            | Comparison::GreaterOrEqual => first.min(second),
        })?;
        operators::compare(comparison, left, right)
    }
}
