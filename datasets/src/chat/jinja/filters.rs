//! Filters.
use std::rc::Rc;

use super::arguments::{self, Arguments, required};
use super::attributes::marked;
use super::cost::Cost;
use super::error::{Error, Result};
use super::interpreter::Interpreter;
use super::json::{self, Style};
use super::text::to_text;
use super::value::Value;
use super::{escaping, filters_of_lists, filters_of_texts, methods, operators, printf};

type Run = fn(&Interpreter<'_>, &Value, &Arguments) -> Result<Value>;

/// A filter: name, additional cost, implementation.
type Filter = (&'static str, Cost, Run);

/// Jinja's filters, with transformers' `tojson`.
const FILTERS: [Filter; 46] = [
    ("abs", Cost::Width, absolute),
    ("attr", Cost::Nothing, attribute),
    ("batch", Cost::Width, filters_of_lists::batch),
    ("capitalize", Cost::Width, filters_of_texts::capitalize),
    ("center", Cost::Width, filters_of_texts::center),
    ("count", Cost::LettersOfText, length),
    ("d", Cost::Nothing, default),
    ("default", Cost::Nothing, default),
    ("dictsort", Cost::Order, filters_of_lists::dictsort),
    ("e", Cost::Width, escape),
    ("escape", Cost::Width, escape),
    ("first", Cost::WidthUnlessItems, filters_of_lists::first),
    ("float", Cost::Width, float),
    ("forceescape", Cost::Width, force_escape),
    ("format", Cost::Width, format),
    ("groupby", Cost::Order, filters_of_lists::groupby),
    ("indent", Cost::Width, filters_of_texts::indent),
    ("int", Cost::Width, int),
    ("items", Cost::Width, filters_of_lists::items),
    ("join", Cost::Depth, filters_of_lists::join),
    ("last", Cost::WidthUnlessItems, filters_of_lists::last),
    ("length", Cost::LettersOfText, length),
    ("list", Cost::Width, filters_of_lists::list),
    ("lower", Cost::Width, filters_of_texts::lower),
    ("map", Cost::Width, filters_of_lists::map),
    ("max", Cost::Order, filters_of_lists::max),
    ("min", Cost::Order, filters_of_lists::min),
    ("reject", Cost::Width, filters_of_lists::reject),
    ("rejectattr", Cost::Width, filters_of_lists::rejectattr),
    ("replace", Cost::Width, filters_of_texts::replace),
    ("reverse", Cost::Width, filters_of_lists::reverse),
    ("round", Cost::Width, round),
    ("safe", Cost::Nothing, safe),
    ("select", Cost::Width, filters_of_lists::select),
    ("selectattr", Cost::Width, filters_of_lists::selectattr),
    ("slice", Cost::Width, filters_of_lists::slice),
    ("sort", Cost::Order, filters_of_lists::sort),
    ("string", Cost::Depth, string),
    ("sum", Cost::Sums, filters_of_lists::sum),
    ("title", Cost::Width, filters_of_texts::title),
    ("tojson", Cost::Depth, to_json),
    ("trim", Cost::Width, filters_of_texts::trim),
    ("truncate", Cost::Width, filters_of_texts::truncate),
    ("unique", Cost::EachPair, filters_of_lists::unique),
    ("upper", Cost::Width, filters_of_texts::upper),
    ("wordcount", Cost::Width, filters_of_texts::wordcount),
];

/// Filters of Jinja that no known chat template uses.
const UNSUPPORTED: [&str; 8] =
    ["filesizeformat", "pprint", "random", "striptags", "urlencode", "urlize", "wordwrap", "xmlattr"];

/// Whether Jinja has a filter with this name.
pub(super) fn is_known(name: &str) -> bool {
    FILTERS.iter().any(|(known, ..)| *known == name) || UNSUPPORTED.contains(&name)
}

/// The additional cost of a filter.
pub(super) fn cost(name: &str) -> Cost {
    FILTERS.iter().find(|(known, ..)| *known == name).map_or(Cost::Nothing, |(_, cost, _)| *cost)
}

/// Applies a filter.
///
/// # Errors
/// The filter is unknown or unsupported, or rejects the value or arguments.
pub(super) fn call(interpreter: &Interpreter<'_>, name: &str, value: &Value, arguments: &Arguments) -> Result<Value> {
    let found = FILTERS.iter().find(|(known, ..)| *known == name);
    match found {
        Some((.., filter)) => filter(interpreter, value, arguments),
        None if UNSUPPORTED.contains(&name) => {
            Err(Error::new(format!("the filter {name:?} is not supported in chat templates")))
        }
        None => Err(Error::new(format!("no filter named {name:?}"))),
    }
}

fn absolute(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("abs", [])?;
    match (value, value.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(number.abs())),
        (_, Some(number)) => Ok(Value::Int(number.abs())),
        (Value::Undefined(why), _) => Err(Error::new(&**why)),
        _ => Err(Error::new(format!("abs takes a number, not a {}", value.type_name()))),
    }
}

fn attribute(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [name] = arguments.bind("attr", ["name"])?;
    let name = required(name, "attr")?;
    let name = arguments::text(&name, "attr")?;
    let found = interpreter.attribute_only(value, name)?;
    Ok(found.unwrap_or_else(|| Value::undefined(format!("{:?} has no attribute {name:?}", value.type_name()))))
}

fn length(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("length", [])?;
    let length = value.length();
    length.map(|length| Value::Int(length as i128)).ok_or_else(|| {
        Error::new(format!(
            "a {} has no length: put `| list` before it if it is the result of a filter",
            value.type_name()
        ))
    })
}

fn default(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [default, is_boolean] = arguments.bind("default", ["default_value", "boolean"])?;
    let is_boolean = is_boolean.is_some_and(|flag| flag.is_true());
    let is_missing = value.is_undefined() || (is_boolean && !value.is_true());
    Ok(if is_missing { default.unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn escape(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("escape", [])?;
    if matches!(value, Value::Markup(_)) {
        return Ok(value.clone());
    }
    Ok(Value::Markup(escaping::escaped(&to_text(value)?).into()))
}

fn force_escape(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("forceescape", [])?;
    Ok(Value::Markup(escaping::escaped(&to_text(value)?).into()))
}

fn safe(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("safe", [])?;
    Ok(Value::Markup(to_text(value)?.into()))
}

fn string(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("string", [])?;
    match value {
        Value::Text(_) | Value::Markup(_) => Ok(value.clone()),
        other => to_text(other).map(Value::from),
    }
}

fn format(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    if matches!(value, Value::Markup(_)) {
        return Err(marked());
    }
    let text = to_text(value)?;
    let values = match (arguments.positional.is_empty(), arguments.named.is_empty()) {
        (false, false) => return Err(Error::new("format takes values with names or without, not both")),
        (true, false) => super::functions::named(arguments)?,
        _ => Value::tuple(arguments.positional.clone()),
    };
    printf::format(&text, &values).map(Value::from)
}

fn int(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [default, base] = arguments.bind("int", ["default", "base"])?;
    let default = default.unwrap_or(Value::Int(0));
    let base = base.map_or(Ok(10), |base| arguments::int(&base, "int"))?;
    let base = u32::try_from(base).ok().filter(|base| *base == 0 || (2..=36).contains(base));
    let base = base.ok_or_else(|| Error::new("int: the base is 0 or 2 to 36"))?;
    match value {
        Value::Undefined(why) => Err(Error::new(&**why)),
        Value::Float(number) if number.is_infinite() => Err(Error::new("int can't write infinity")),
        Value::Float(number) => Ok(whole(*number)?.unwrap_or(default)),
        Value::Text(text) | Value::Markup(text) => {
            if let Some(parsed) = methods::parse_int(text, base)? {
                return Ok(Value::Int(parsed));
            }
            Ok(methods::parse_float(text).map_or(Ok(None), whole)?.unwrap_or(default))
        }
        other => Ok(other.as_int().map_or(default, Value::Int)),
    }
}

/// Truncates a float to an integer; `None` for NaN and infinity.
fn whole(number: f64) -> Result<Option<Value>> {
    if number.is_finite() && number.abs() >= 2f64.powi(127) {
        return Err(Error::new("a number of more than 127 bits"));
    }
    Ok(number.is_finite().then(|| Value::Int(number.trunc() as i128)))
}

fn float(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [default] = arguments.bind("float", ["default"])?;
    let parsed = match value {
        Value::Undefined(why) => return Err(Error::new(&**why)),
        Value::Text(text) | Value::Markup(text) => methods::parse_float(text),
        other => other.as_float(),
    };
    Ok(parsed.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
}

fn round(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [precision, method] = arguments.bind("round", ["precision", "method"])?;
    let precision = precision.map_or(Ok(0), |precision| arguments::int(&precision, "round"))?;
    let method = method.unwrap_or_else(|| Value::from("common"));
    let toward: fn(f64) -> f64 = match method.as_text() {
        Some("common") => return methods::round(value, precision),
        Some("ceil") => f64::ceil,
        Some("floor") => f64::floor,
        _ => return Err(Error::new("round: the method is common, ceil or floor")),
    };
    let power = operators::binary(super::ast::Operator::Power, &Value::Int(10), &Value::Int(precision))?;
    let scaled = operators::binary(super::ast::Operator::Multiply, value, &power)?;
    let whole = match scaled {
        Value::Float(scaled) => whole(toward(scaled))?,
        other => other.as_int().map(Value::Int),
    };
    let whole = whole.ok_or_else(|| Error::new("round takes a finite number"))?;
    operators::binary(super::ast::Operator::Divide, &whole, &power)
}

/// JSON as `json.dumps` writes it, with the arguments that transformers supports.
fn to_json(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [is_ascii, indent, separators, sorts_keys] = arguments.bind("tojson", names)?;
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Text(text)) => Some(text.to_string()),
        Some(width) => {
            let width = arguments::int(&width, "tojson")?.max(0);
            let width = usize::try_from(width).ok().filter(|width| *width <= super::numbers::WIDEST);
            Some(" ".repeat(width.ok_or_else(|| Error::new("tojson indents by too much"))?))
        }
    };
    let between = if indent.is_some() { "," } else { ", " };
    let mut style = Style {
        is_ascii: is_true(is_ascii),
        indent,
        between: between.to_owned(),
        behind_key: ": ".to_owned(),
        sorts_keys: is_true(sorts_keys),
    };
    if let Some(separators) = separators.filter(|separators| !matches!(separators, Value::None)) {
        let parts = separators.iterate()?;
        let [between, behind_key] = parts.as_slice() else {
            return Err(Error::new("tojson: separators are two texts"));
        };
        arguments::text(between, "tojson")?.clone_into(&mut style.between);
        arguments::text(behind_key, "tojson")?.clone_into(&mut style.behind_key);
    }
    json::dumps(value, &style).map(|text| Value::Text(Rc::from(text)))
}
