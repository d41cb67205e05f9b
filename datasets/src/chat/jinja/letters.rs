//! Upper and lower case and kinds of letters, as Python has them.
use super::error::{Error, Result};

/// `str.islower`: a letter with case, and none that is upper.
pub(super) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|letter| letter.is_uppercase() || is_title(letter))
}

/// `str.isupper`.
pub(super) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|letter| letter.is_lowercase() || is_title(letter))
}

/// The letters that are two of which the first is upper.
fn is_title(letter: char) -> bool {
    matches!(letter, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
        | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

fn has_case(letter: char) -> bool {
    letter.is_uppercase() || letter.is_lowercase() || is_title(letter)
}

/// A letter as the first one of a title.
fn title_letter(letter: char) -> Result<String> {
    match letter {
        '\u{1c4}'..='\u{1c6}' => return Ok('\u{1c5}'.to_string()),
        '\u{1c7}'..='\u{1c9}' => return Ok('\u{1c8}'.to_string()),
        '\u{1ca}'..='\u{1cc}' => return Ok('\u{1cb}'.to_string()),
        '\u{1f1}'..='\u{1f3}' => return Ok('\u{1f2}'.to_string()),
        // Georgian has upper case, and no title case.
        '\u{10d0}'..='\u{10ff}' => return Ok(letter.to_string()),
        _ => {}
    }
    let upper: Vec<char> = letter.to_uppercase().collect();
    match (upper.as_slice(), letter) {
        ([_], _) => Ok(upper.into_iter().collect()),
        ([first, rest @ ..], '\u{df}' | '\u{fb00}'..='\u{fb17}') => {
            Ok(std::iter::once(*first).chain(rest.iter().flat_map(|letter| letter.to_lowercase())).collect())
        }
        _ => Err(Error::new(format!("the title case of {letter:?} is not supported"))),
    }
}

/// `str.capitalize`.
///
/// # Errors
/// The text has one of the few letters whose title case is not known here.
pub(super) fn capitalize(text: &str) -> Result<String> {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return Ok(String::new()) };
    let title = title_letter(first)?;
    // In lower case a sigma at the end has a form of its own, which depends on what stands before it.
    let lower = text.to_lowercase();
    let first_lower: usize = first.to_lowercase().map(char::len_utf8).sum();
    Ok(title + &lower[first_lower..])
}

/// `str.title`: each letter that follows no other letter with case is upper.
///
/// # Errors
/// As [`capitalize`].
pub(super) fn title(text: &str) -> Result<String> {
    if text.contains('\u{3a3}') {
        return Err(Error::new("title() of a Greek capital sigma is not supported"));
    }
    let mut out = String::new();
    let mut is_inside = false;
    for letter in text.chars() {
        if is_inside {
            out.extend(letter.to_lowercase());
        } else {
            out.push_str(&title_letter(letter)?);
        }
        is_inside = has_case(letter);
    }
    Ok(out)
}

/// `str.istitle`.
pub(super) fn is_title_text(text: &str) -> bool {
    let (mut is_inside, mut is_found) = (false, false);
    for letter in text.chars() {
        let is_upper = letter.is_uppercase() || is_title(letter);
        if is_upper == is_inside && has_case(letter) {
            return false;
        }
        is_inside = has_case(letter);
        is_found |= is_inside;
    }
    is_found
}

/// `str.swapcase`.
pub(super) fn swap_case(text: &str) -> String {
    let swap = |letter: char| -> Box<dyn Iterator<Item = char>> {
        if letter.is_uppercase() { Box::new(letter.to_lowercase()) } else { Box::new(letter.to_uppercase()) }
    };
    text.chars().flat_map(swap).collect()
}

/// `str.isalpha` of a letter.
///
/// # Errors
/// It may be a mark, which Rust counts with the letters.
pub(super) fn is_alphabetic(letter: char) -> Result<bool> {
    if letter.is_ascii() || !letter.is_alphabetic() {
        return Ok(letter.is_ascii_alphabetic());
    }
    let is_letter = matches!(letter, '\u{aa}'..='\u{24f}' | '\u{370}'..='\u{481}' | '\u{48a}'..='\u{52f}'
        | '\u{5d0}'..='\u{5ea}' | '\u{620}'..='\u{64a}' | '\u{1e00}'..='\u{1fff}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{20000}'..='\u{2a6df}');
    if is_letter { Ok(true) } else { Err(unknown(letter)) }
}

/// `str.isdecimal` of a letter.
///
/// # Errors
/// It is a digit of another script.
pub(super) fn is_decimal(letter: char) -> Result<bool> {
    if letter.is_ascii() || !letter.is_numeric() { Ok(letter.is_ascii_digit()) } else { Err(unknown(letter)) }
}

/// `str.isnumeric` of a letter.
///
/// # Errors
/// It may be a Chinese number.
pub(super) fn is_numeric(letter: char) -> Result<bool> {
    if letter.is_ascii() {
        return Ok(letter.is_ascii_digit());
    }
    let may_be_number = matches!(letter, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2ffff}');
    if may_be_number { Err(unknown(letter)) } else { Ok(letter.is_numeric()) }
}

/// `str.isalnum` of a letter.
///
/// # Errors
/// As [`is_alphabetic`].
pub(super) fn is_alphanumeric(letter: char) -> Result<bool> {
    if letter.is_numeric() { Ok(true) } else { is_alphabetic(letter) }
}

fn unknown(letter: char) -> Error {
    Error::new(format!("the template asks what kind of letter {letter:?} is, which is not known here"))
}
