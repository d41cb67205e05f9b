//! Filters over iterables.
use super::arguments::{self, Arguments, required};
use super::ast::Operator;
use super::error::{Error, Result};
use super::extent::check_size;
use super::interpreter::Interpreter;
use super::text::to_text;
use super::value::{Value, View};
use super::{operators, sorting};

/// An attribute path: `a.b.0`.
struct Path(Vec<Value>);

impl Path {
    fn new(attribute: Option<&Value>) -> Self {
        Self(match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Text(text)) => text.split('.').map(Self::part).collect(),
            Some(other) => vec![other.clone()],
        })
    }

    fn part(part: &str) -> Value {
        let is_index = !part.is_empty() && part.chars().all(|digit| digit.is_ascii_digit());
        part.parse().ok().filter(|_| is_index).map_or_else(|| Value::from(part), Value::Int)
    }

    fn of(&self, interpreter: &Interpreter<'_>, value: &Value, default: Option<&Value>) -> Result<Value> {
        let mut value = value.clone();
        for part in &self.0 {
            value = interpreter.item(&value, part)?;
            if value.is_undefined()
                && let Some(default) = default.filter(|default| !matches!(default, Value::None))
            {
                value = default.clone();
            }
        }
        Ok(value)
    }
}

/// A sort key: strings in lower case unless case-sensitive.
fn key(value: Value, counts_case: bool) -> Value {
    match value {
        Value::Text(text) | Value::Markup(text) if !counts_case => Value::from(text.to_lowercase()),
        other => other,
    }
}

/// The items of an iterable, consumed at once where Jinja is lazy.
///
/// # Errors
/// The difference would be visible: the iterator of another filter that a name still holds.
fn gone_through(value: &Value) -> Result<Vec<Value>> {
    if let Value::Iterator(items) = value
        && std::rc::Rc::strong_count(items) > 1
    {
        let message = "a filter goes through the results of another, which have a name: put `| list` behind the first";
        return Err(Error::new(message));
    }
    value.iterate()
}

/// The `reverse` argument of a sort.
fn is_reversed(flag: Option<&Value>) -> Result<bool> {
    let Some(flag) = flag else { return Ok(false) };
    flag.as_int().map(|flag| flag != 0).ok_or_else(|| Error::new("reverse takes true or false"))
}

fn is_true(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}

pub(super) fn list(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("list", [])?;
    value.iterate().map(Value::list)
}

pub(super) fn items(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("items", [])?;
    match value {
        Value::Undefined(_) => Ok(Value::iterator(Vec::new())),
        Value::Dict(dict) => Ok(Value::iterator(dict.view(View::Items))),
        other => Err(Error::new(format!("items takes a dict, not a {}", other.type_name()))),
    }
}

pub(super) fn first(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("first", [])?;
    let first = match value {
        Value::Iterator(items) => items.borrow_mut().pop_front(),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => items.first().cloned(),
        other => other.iterate()?.into_iter().next(),
    };
    Ok(first.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
}

pub(super) fn last(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("last", [])?;
    if matches!(value, Value::Iterator(_)) {
        return Err(Error::new("last can't go through the result of a filter: put `| list` before it"));
    }
    let last = match value.as_items() {
        Some(items) => items.last().cloned(),
        None => value.iterate()?.pop(),
    };
    Ok(last.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
}

pub(super) fn reverse(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    arguments.bind::<0>("reverse", [])?;
    if let Value::Text(text) = value {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let is_list = matches!(value, Value::Iterator(_));
    let mut items = value.iterate()?;
    items.reverse();
    Ok(if is_list { Value::list(items) } else { Value::iterator(items) })
}

pub(super) fn join(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [separator, attribute] = arguments.bind("join", ["d", "attribute"])?;
    let separator = separator.map_or_else(|| Ok(String::new()), |separator| to_text(&separator))?;
    let path = Path::new(attribute.as_ref());
    let mut out = String::new();
    for (at, item) in value.iterate()?.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { &separator });
        out.push_str(&to_text(&path.of(interpreter, item, None)?)?);
        check_size(out.len())?;
    }
    Ok(Value::from(out))
}

pub(super) fn map(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    if !value.is_true() {
        return Ok(Value::iterator(Vec::new()));
    }
    let items = gone_through(value)?;
    let mapped: Vec<Value> = if let Some((name, positional)) = arguments.positional.split_first() {
        let name = arguments::text(name, "map")?;
        let rest = Arguments { positional: positional.to_vec(), named: arguments.named.clone() };
        items.iter().map(|item| interpreter.filter(name, item, &rest)).collect::<Result<_>>()?
    } else {
        let [attribute, default] = arguments.bind("map", ["attribute", "default"])?;
        let path = Path::new(Some(&required(attribute, "map")?));
        items.iter().map(|item| path.of(interpreter, item, default.as_ref())).collect::<Result<_>>()?
    };
    Ok(Value::iterator(mapped))
}

/// The items for which a test, on the item or its attribute, has the expected result.
fn choose(
    interpreter: &Interpreter<'_>,
    value: &Value,
    arguments: &Arguments,
    (expected, of_attribute): (bool, bool),
) -> Result<Value> {
    if !value.is_true() {
        return Ok(Value::iterator(Vec::new()));
    }
    let mut positional = arguments.positional.iter();
    let path = if of_attribute {
        Path::new(Some(positional.next().ok_or_else(|| Error::new("the name of an attribute is missing"))?))
    } else {
        Path(Vec::new())
    };
    let test = positional.next();
    let rest = Arguments { positional: positional.cloned().collect(), named: arguments.named.clone() };
    let mut chosen = Vec::new();
    for item in gone_through(value)? {
        let tested = path.of(interpreter, &item, None)?;
        let is_so = match test {
            Some(name) => interpreter.test(arguments::text(name, "select")?, &tested, &rest)?,
            None => tested.is_true(),
        };
        if is_so == expected {
            chosen.push(item);
        }
    }
    Ok(Value::iterator(chosen))
}

pub(super) fn select(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    choose(interpreter, value, arguments, (true, false))
}

pub(super) fn reject(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    choose(interpreter, value, arguments, (false, false))
}

pub(super) fn selectattr(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    choose(interpreter, value, arguments, (true, true))
}

pub(super) fn rejectattr(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    choose(interpreter, value, arguments, (false, true))
}

/// A count of at least one.
fn count(value: Option<Value>, what: &str) -> Result<usize> {
    let count = arguments::int(&required(value, what)?, what)?;
    let count = usize::try_from(count).ok().filter(|count| (1..=1 << 20).contains(count));
    count.ok_or_else(|| Error::new(format!("{what} takes a count from 1 on")))
}

pub(super) fn batch(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [size, fill] = arguments.bind("batch", ["linecount", "fill_with"])?;
    let size = count(size, "batch")?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let items = gone_through(value)?;
    let batch = |items: &[Value]| {
        let mut batch = items.to_vec();
        if let Some(fill) = &fill {
            batch.resize(size, fill.clone());
        }
        Value::list(batch)
    };
    Ok(Value::iterator(items.chunks(size).map(batch).collect::<Vec<_>>()))
}

pub(super) fn slice(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [slices, fill] = arguments.bind("slice", ["slices", "fill_with"])?;
    let slices = count(slices, "slice")?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let items = gone_through(value)?;
    let (each, longer) = (items.len() / slices, items.len() % slices);
    let mut at = 0;
    let mut parts = Vec::new();
    for number in 0..slices {
        let end = at + each + usize::from(number < longer);
        let mut part = items[at..end].to_vec();
        part.extend(fill.clone().filter(|_| number >= longer));
        parts.push(Value::list(part));
        at = end;
    }
    Ok(Value::iterator(parts))
}

pub(super) fn sort(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [reverse, counts_case, attribute] = arguments.bind("sort", ["reverse", "case_sensitive", "attribute"])?;
    let paths = match attribute {
        Some(Value::Text(text)) => text.split(',').map(|part| Path::new(Some(&Value::from(part)))).collect(),
        other => vec![Path::new(other.as_ref())],
    };
    let counts_case = is_true(counts_case);
    let sorted = sorting::sorted(value.iterate()?, is_reversed(reverse.as_ref())?, |item| {
        let keys = paths.iter().map(|path| Ok(key(path.of(interpreter, item, None)?, counts_case)));
        keys.collect::<Result<_>>().map(Value::list)
    });
    sorted.map(Value::list)
}

pub(super) fn unique(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [counts_case, attribute] = arguments.bind("unique", ["case_sensitive", "attribute"])?;
    let (path, counts_case) = (Path::new(attribute.as_ref()), is_true(counts_case));
    let (mut seen, mut kept): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for item in gone_through(value)? {
        let key = key(path.of(interpreter, &item, None)?, counts_case);
        key.check_hashable()?;
        if !seen.iter().any(|found| found.equals(&key)) {
            seen.push(key);
            kept.push(item);
        }
    }
    Ok(Value::iterator(kept))
}

fn extreme(
    interpreter: &Interpreter<'_>,
    value: &Value,
    arguments: &Arguments,
    takes_over: fn(std::cmp::Ordering) -> bool,
) -> Result<Value> {
    let [counts_case, attribute] = arguments.bind("min and max", ["case_sensitive", "attribute"])?;
    let (path, counts_case) = (Path::new(attribute.as_ref()), is_true(counts_case));
    let mut best: Option<(Value, Value)> = None;
    for item in value.iterate()? {
        let key = key(path.of(interpreter, &item, None)?, counts_case);
        let is_better = match &best {
            None => true,
            Some((found, _)) => key.compare(found)?.is_some_and(takes_over),
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

pub(super) fn min(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    extreme(interpreter, value, arguments, std::cmp::Ordering::is_lt)
}

pub(super) fn max(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    extreme(interpreter, value, arguments, std::cmp::Ordering::is_gt)
}

pub(super) fn sum(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [attribute, start] = arguments.bind("sum", ["attribute", "start"])?;
    let path = Path::new(attribute.as_ref());
    let mut total = start.unwrap_or(Value::Int(0));
    if total.as_text().is_some() {
        return Err(Error::new("sum does not add texts: use join"));
    }
    for item in value.iterate()? {
        total = operators::binary(Operator::Add, &total, &path.of(interpreter, &item, None)?)?;
    }
    Ok(total)
}

pub(super) fn groupby(interpreter: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [attribute, default, counts_case] = arguments.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let path = Path::new(Some(&required(attribute, "groupby")?));
    let (default, counts_case) = (default.as_ref(), is_true(counts_case));
    let key_of = |item: &Value| Ok(key(path.of(interpreter, item, default)?, counts_case));
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in sorting::sorted(value.iterate()?, false, key_of)? {
        let key = key_of(&item)?;
        match groups.last_mut() {
            Some((found, items)) if found.equals(&key) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let group = |(key, items): (Value, Vec<Value>)| {
        let name = if counts_case { key } else { path.of(interpreter, &items[0], default)? };
        Ok(Value::Group(std::rc::Rc::new(vec![name, Value::list(items)].into())))
    };
    groups.into_iter().map(group).collect::<Result<_>>().map(Value::list)
}

pub(super) fn dictsort(_: &Interpreter<'_>, value: &Value, arguments: &Arguments) -> Result<Value> {
    let [counts_case, by, reverse] = arguments.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let Value::Dict(dict) = value else {
        return Err(Error::new(format!("dictsort takes a dict, not a {}", value.type_name())));
    };
    let at = match by.as_ref().map_or(Some("key"), Value::as_text) {
        Some("key") => 0,
        Some("value") => 1,
        _ => return Err(Error::new("dictsort sorts by key or value")),
    };
    let counts_case = is_true(counts_case);
    let sorted = sorting::sorted(dict.view(View::Items), is_reversed(reverse.as_ref())?, |item| {
        Ok(key(item.as_items().map_or(Value::None, |pair| pair[at].clone()), counts_case))
    });
    sorted.map(Value::list)
}
