//! `'..%s..' % values`.
use super::error::{Error, Result};
use super::extent::check_size;
use super::numbers::{self, Spec, take_number};
use super::text::{ascii, repr, to_text};
use super::value::Value;

/// Formats the string.
///
/// # Errors
/// Too many or too few values, values of another type, or an unknown format.
pub(super) fn format(format: &str, values: &Value) -> Result<String> {
    let mut given = Given::new(values);
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        out.push_str(&field(&mut rest, &mut given)?);
        check_size(out.len())?;
    }
    out.push_str(rest);
    given.check_all_used()?;
    Ok(out)
}

/// The values after `%`: a tuple, or one value.
struct Given<'v> {
    whole: &'v Value,
    items: &'v [Value],
    used: usize,
}

impl<'v> Given<'v> {
    fn new(whole: &'v Value) -> Self {
        let items = match whole {
            Value::Tuple(items) | Value::Group(items) => items,
            other => std::slice::from_ref(other),
        };
        Self { whole, items, used: 0 }
    }

    fn next(&mut self) -> Result<Value> {
        let value = self.items.get(self.used).ok_or_else(|| Error::new("not enough values for the format"))?;
        self.used += 1;
        Ok(value.clone())
    }

    fn named(&mut self, name: &str) -> Result<Value> {
        self.used = self.items.len();
        match self.whole {
            Value::Dict(dict) => dict
                .get_text(name)
                .cloned()
                .ok_or_else(|| Error::new(format!("no value named {name:?} for the format"))),
            Value::Undefined(why) => Err(Error::new(&**why)),
            _ => Err(Error::new("a format with names needs a dict")),
        }
    }

    /// Checks that all values are used; a mapping need not be.
    fn check_all_used(&self) -> Result<()> {
        let is_mapping = matches!(self.whole, Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_));
        if self.used == self.items.len() || is_mapping {
            return Ok(());
        }
        Err(Error::new("not all values were used by the format"))
    }
}

fn field(rest: &mut &str, given: &mut Given<'_>) -> Result<String> {
    let mut named = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let end = inner.find(')').ok_or_else(|| Error::new("a name in a format has no end"))?;
        if inner[..end].contains('(') {
            return Err(Error::new("parentheses in a name of a format are not supported"));
        }
        named = Some(given.named(&inner[..end])?);
        *rest = &inner[end + 1..];
    }
    if let Some(behind) = rest.strip_prefix('%').filter(|_| named.is_none()) {
        *rest = behind;
        return Ok("%".to_owned());
    }
    let spec = spec(rest, given)?;
    let kind = spec.kind.ok_or_else(|| Error::new("a format ends in %"))?;
    if kind == '%' {
        return Err(Error::new("a format writes %% with something between"));
    }
    let value = named.map_or_else(|| given.next(), Ok)?;
    write(&value, kind, &spec)
}

fn spec(rest: &mut &str, given: &mut Given<'_>) -> Result<Spec> {
    let mut spec = Spec::default();
    while let Some(flag) = rest.chars().next().filter(|flag| "-+ #0".contains(*flag)) {
        match flag {
            '-' => spec.align = Some('<'),
            '0' if spec.align.is_none() => (spec.fill, spec.align) = (Some('0'), Some('=')),
            '#' => spec.is_alternate = true,
            '+' => spec.sign = Some('+'),
            ' ' if spec.sign.is_none() => spec.sign = Some(' '),
            _ => {}
        }
        *rest = &rest[1..];
    }
    if spec.align == Some('<') {
        spec.fill = None;
    }
    spec.width = number(rest, given)?.unwrap_or(0);
    if let Some(behind) = rest.strip_prefix('.') {
        *rest = behind;
        spec.precision = Some(number(rest, given)?.unwrap_or(0));
    }
    *rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
    spec.kind = rest.chars().next();
    *rest = &rest[spec.kind.map_or(0, char::len_utf8)..];
    Ok(spec)
}

fn number(rest: &mut &str, given: &mut Given<'_>) -> Result<Option<usize>> {
    let Some(behind) = rest.strip_prefix('*') else { return take_number(rest) };
    *rest = behind;
    let width = given.next()?.as_int().and_then(|width| usize::try_from(width).ok());
    let width = width.filter(|width| *width <= numbers::WIDEST);
    width.map(Some).ok_or_else(|| Error::new("a width of a format must be a number that is not negative"))
}

fn write(value: &Value, kind: char, spec: &Spec) -> Result<String> {
    let align = spec.align.filter(|align| *align == '<').or(Some('>'));
    let text = Spec { align, fill: None, ..spec.clone() };
    let wrong = || Error::new(format!("%{kind} can't write a {}", value.type_name()));
    match kind {
        's' => Ok(numbers::column(&to_text(value)?, &text)),
        'r' => Ok(numbers::column(&repr(value)?, &text)),
        'a' => Ok(numbers::column(&ascii(value)?, &text)),
        'c' => Ok(numbers::column(&letter(value).ok_or_else(wrong)?, &Spec { precision: None, ..text })),
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => int(value, kind, spec).ok_or_else(wrong),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = value.as_float().ok_or_else(wrong)?;
            numbers::float_text(number, spec).ok_or_else(wrong)
        }
        _ => Err(Error::new(format!("no format %{kind}"))),
    }
}

fn int(value: &Value, kind: char, spec: &Spec) -> Option<String> {
    let is_decimal = matches!(kind, 'd' | 'i' | 'u');
    let number = match value {
        Value::Float(number) if is_decimal && number.abs() < 1e30 => *number as i128,
        other => other.as_int()?,
    };
    let spec = Spec { kind: Some(if is_decimal { 'd' } else { kind }), ..spec.clone() };
    numbers::int_text(number, &spec)
}

fn letter(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.chars().count() == 1 => Some(text.to_string()),
        _ => char::from_u32(u32::try_from(value.as_int()?).ok()?).map(String::from),
    }
}
