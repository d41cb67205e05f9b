//! Number formatting by a specification such as `08.3f`.
use super::error::{Error, Result};
use super::text::{float, to_text};
use super::value::Value;

/// A format specification, after the colon in `{:..}` or between `%` and the letter.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub(super) fill: Option<char>,
    pub(super) align: Option<char>,
    pub(super) sign: Option<char>,
    pub(super) is_alternate: bool,
    pub(super) width: usize,
    pub(super) grouping: Option<char>,
    pub(super) precision: Option<usize>,
    pub(super) kind: Option<char>,
}

/// Maximum width, to bound memory.
pub(super) const WIDEST: usize = 100_000;

impl Spec {
    /// Parses `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
    ///
    /// # Errors
    /// The specification is invalid.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::new(format!("{text:?} is no format"));
        let mut spec = Self::default();
        let mut rest = text;
        let is_align = |letter: char| matches!(letter, '<' | '>' | '=' | '^');
        let mut letters = rest.chars();
        match (letters.next(), letters.next()) {
            (Some(fill), Some(align)) if is_align(align) => {
                (spec.fill, spec.align) = (Some(fill), Some(align));
                rest = &rest[fill.len_utf8() + 1..];
            }
            (Some(align), _) if is_align(align) => (spec.align, rest) = (Some(align), &rest[1..]),
            _ => {}
        }
        spec.sign = take(&mut rest, &['+', '-', ' ']);
        spec.is_alternate = take(&mut rest, &['#']).is_some();
        if take(&mut rest, &['0']).is_some() {
            spec.fill = spec.fill.or(Some('0'));
            spec.align = spec.align.or(Some('='));
        }
        spec.width = take_number(&mut rest)?.unwrap_or(0);
        spec.grouping = take(&mut rest, &[',', '_']);
        if take(&mut rest, &['.']).is_some() {
            spec.precision = Some(take_number(&mut rest)?.ok_or_else(wrong)?);
        }
        let mut letters = rest.chars();
        spec.kind = letters.next();
        if letters.next().is_some() { Err(wrong()) } else { Ok(spec) }
    }

    /// Pads the text with its sign to the width.
    fn place(&self, sign: &str, body: &str, default_align: char) -> String {
        let length = sign.chars().count() + body.chars().count();
        let fill: String = std::iter::repeat_n(self.fill.unwrap_or(' '), self.width.saturating_sub(length)).collect();
        match self.align.unwrap_or(default_align) {
            '<' => format!("{sign}{body}{fill}"),
            '=' => format!("{sign}{fill}{body}"),
            '^' => {
                let half: String = fill.chars().take(fill.chars().count() / 2).collect();
                let other: String = fill.chars().skip(half.chars().count()).collect();
                format!("{half}{sign}{body}{other}")
            }
            _ => format!("{fill}{sign}{body}"),
        }
    }
}

fn take(rest: &mut &str, letters: &[char]) -> Option<char> {
    let found = rest.chars().next().filter(|letter| letters.contains(letter))?;
    *rest = &rest[found.len_utf8()..];
    Some(found)
}

/// # Errors
/// The number is too large.
pub(super) fn take_number(rest: &mut &str) -> Result<Option<usize>> {
    let length = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    if length == 0 {
        return Ok(None);
    }
    let number = rest[..length].parse().ok().filter(|number| *number <= WIDEST);
    *rest = &rest[length..];
    number.map(Some).ok_or_else(|| Error::new(format!("a width of more than {WIDEST}")))
}

/// `format(value, spec)`.
///
/// # Errors
/// The specification does not fit the value.
pub(super) fn format(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return to_text(value);
    }
    let parsed = Spec::parse(spec)?;
    let wrong = || Error::new(format!("the format {spec:?} is not one for a {}", value.type_name()));
    match value {
        Value::Text(text) => {
            let is_wrong = parsed.kind.is_some_and(|kind| kind != 's')
                || parsed.sign.is_some()
                || parsed.is_alternate
                || parsed.grouping.is_some()
                || (parsed.align == Some('=') && !spec.starts_with('0'));
            let align = if parsed.align == Some('=') { None } else { parsed.align };
            if is_wrong { Err(wrong()) } else { Ok(column(text, &Spec { align, ..parsed })) }
        }
        Value::Float(number) => float_text(*number, &parsed).ok_or_else(wrong),
        Value::Int(_) | Value::Bool(_) => {
            let number = value.as_int().unwrap_or(0);
            let is_whole = matches!(parsed.kind, None | Some('d' | 'x' | 'X' | 'o' | 'b' | 'c' | 'n'));
            let text = if !is_whole {
                float_text(number as f64, &parsed)
            } else if parsed.precision.is_none() {
                int_text(number, &parsed)
            } else {
                None
            };
            text.ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Truncates a string to the precision and pads it.
pub(super) fn column(text: &str, spec: &Spec) -> String {
    let cut: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
    spec.place("", &cut, '<')
}

/// Formats an int, with the precision as its minimum number of digits; `None` for an unsupported type.
pub(super) fn int_text(number: i128, spec: &Spec) -> Option<String> {
    let magnitude = number.unsigned_abs();
    let (prefix, digits) = match spec.kind {
        Some('c') => return letter_text(number, spec),
        Some('n') if spec.grouping.is_some() => return None,
        None | Some('d' | 'n') => ("", magnitude.to_string()),
        Some('x') => ("0x", format!("{magnitude:x}")),
        Some('X') => ("0X", format!("{magnitude:X}")),
        Some('o') => ("0o", format!("{magnitude:o}")),
        Some('b') => ("0b", format!("{magnitude:b}")),
        _ => return None,
    };
    let digits = format!("{digits:0>0$}", spec.precision.unwrap_or(0));
    let every = if matches!(spec.kind, None | Some('d' | 'n')) { 3 } else { 4 };
    let sign = format!("{}{}", sign(number < 0, spec), if spec.is_alternate { prefix } else { "" });
    grouped(&sign, &digits, "", every, spec)
}

/// Formats a character code.
fn letter_text(number: i128, spec: &Spec) -> Option<String> {
    let letter = u32::try_from(number).ok().and_then(char::from_u32)?;
    let is_wrong = spec.sign.is_some() || spec.is_alternate || spec.grouping.is_some();
    (!is_wrong).then(|| spec.place("", &letter.to_string(), '>'))
}

/// Formats a float; `None` for an unsupported type.
pub(super) fn float_text(number: f64, spec: &Spec) -> Option<String> {
    let magnitude = number.abs();
    let body = if number.is_finite() {
        let precision = spec.precision.unwrap_or(6);
        match spec.kind {
            None if spec.precision.is_none() => float(magnitude),
            None => general(magnitude, precision, true, spec.is_alternate),
            Some('f' | 'F') => format!("{magnitude:.precision$}"),
            Some('e') => scientific(magnitude, precision),
            Some('E') => scientific(magnitude, precision).to_uppercase(),
            Some('n') if spec.grouping.is_some() => return None,
            Some('g' | 'n') => general(magnitude, precision, false, spec.is_alternate),
            Some('G') => general(magnitude, precision, false, spec.is_alternate).to_uppercase(),
            Some('%') => format!("{:.precision$}%", magnitude * 100.0),
            _ => return None,
        }
    } else {
        let text = if number.is_nan() { "nan" } else { "inf" };
        if spec.kind.is_some_and(char::is_uppercase) { text.to_uppercase() } else { text.to_owned() }
    };
    let body = if spec.is_alternate { with_point(body) } else { body };
    let is_negative = number.is_sign_negative() && !number.is_nan();
    let split = body.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(body.len());
    grouped(sign(is_negative, spec), &body[..split], &body[split..], 3, spec)
}

fn sign(is_negative: bool, spec: &Spec) -> &'static str {
    match (is_negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    }
}

/// Adds a decimal point after the digits if there is none.
fn with_point(body: String) -> String {
    let digits = body.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(body.len());
    if digits == 0 || body[digits..].starts_with('.') {
        return body;
    }
    let (digits, behind) = body.split_at(digits);
    format!("{digits}.{behind}")
}

/// Groups digits, including padding zeros, with commas or underscores; `None` for commas in non-decimal numbers.
fn grouped(sign: &str, digits: &str, behind: &str, every: usize, spec: &Spec) -> Option<String> {
    let Some(separator) = spec.grouping else { return Some(spec.place(sign, &format!("{digits}{behind}"), '>')) };
    if (separator == ',' && every != 3) || digits.is_empty() {
        return None;
    }
    let mut digits = digits.to_owned();
    if spec.fill == Some('0') && spec.align == Some('=') {
        let room = spec.width.saturating_sub(sign.len() + behind.len());
        while digits.len() + (digits.len() - 1) / every < room {
            digits.insert(0, '0');
        }
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(every) {
            out.push(separator);
        }
        out.push(digit);
    }
    Some(spec.place(sign, &format!("{out}{behind}"), '>'))
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Formats significant digits; trailing zeros are kept on request.
fn general(number: f64, precision: usize, has_point: bool, keeps_zeros: bool) -> String {
    let precision = precision.max(1);
    let text = scientific(number, precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let limit = precision as i32 - i32::from(has_point);
    let trimmed = |text: &str| {
        if text.contains('.') && !keeps_zeros {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= limit {
        return format!("{}e{exponent}", trimmed(digits));
    }
    let plain = trimmed(&format!("{number:.*}", (precision as i32 - 1 - power).max(0) as usize));
    if has_point && !plain.contains('.') { format!("{plain}.0") } else { plain }
}
