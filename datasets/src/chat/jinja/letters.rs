//! Case conversion and character classes as in Python.
use unicode_general_category::{GeneralCategory, get_general_category};

/// `str.islower`: a letter with case, and none that is upper.
pub(super) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|letter| letter.is_uppercase() || is_title(letter))
}

/// `str.isupper`.
pub(super) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|letter| letter.is_lowercase() || is_title(letter))
}

/// Whether the character is in title case (Lt).
fn is_title(letter: char) -> bool {
    matches!(letter, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
        | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

fn has_case(letter: char) -> bool {
    letter.is_uppercase() || letter.is_lowercase() || is_title(letter)
}

/// The title case of a character.
fn title_letter(letter: char) -> String {
    match letter {
        '\u{1c4}'..='\u{1c6}' => return '\u{1c5}'.to_string(),
        '\u{1c7}'..='\u{1c9}' => return '\u{1c8}'.to_string(),
        '\u{1ca}'..='\u{1cc}' => return '\u{1cb}'.to_string(),
        '\u{1f1}'..='\u{1f3}' => return '\u{1f2}'.to_string(),
        // Georgian has upper case, and no title case.
        '\u{10d0}'..='\u{10ff}' => return letter.to_string(),
        _ => {}
    }
    let mut upper: Vec<char> = letter.to_uppercase().collect();
    // A Greek iota that stands under its letter stays there: in letters that have a title case, or else as a mark.
    if upper.len() > 1 && upper.last() == Some(&'\u{399}') {
        let has_title = matches!(
            letter,
            '\u{1f80}'..='\u{1faf}' | '\u{1fb3}' | '\u{1fbc}' | '\u{1fc3}' | '\u{1fcc}' | '\u{1ff3}' | '\u{1ffc}'
        );
        if has_title {
            return title_of_iota(letter).to_string();
        }
        upper.pop();
        upper.push('\u{345}');
        return upper.into_iter().collect();
    }
    match (upper.as_slice(), letter) {
        // Its upper case begins with an apostrophe.
        ([_], _) | (_, '\u{149}') => upper.into_iter().collect(),
        _ => {
            let (first, rest) = upper.split_at(1);
            first.iter().copied().chain(rest.iter().flat_map(|letter| letter.to_lowercase())).collect()
        }
    }
}

fn title_of_iota(letter: char) -> char {
    match letter {
        '\u{1fb3}' => '\u{1fbc}',
        '\u{1fc3}' => '\u{1fcc}',
        '\u{1ff3}' => '\u{1ffc}',
        '\u{1f80}'..='\u{1faf}' => char::from_u32(u32::from(letter) | 8).unwrap_or(letter),
        other => other,
    }
}

/// The characters of a string with their lower case. Final sigma depends on its context.
fn lowered(text: &str) -> impl Iterator<Item = (char, String)> {
    let lower: Vec<char> = text.to_lowercase().chars().collect();
    let mut at = 0;
    text.chars().map(move |letter| {
        let end = at + letter.to_lowercase().count();
        let found = lower[at..end].iter().collect();
        at = end;
        (letter, found)
    })
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let case = |(at, (letter, lower)): (usize, (char, String))| if at == 0 { title_letter(letter) } else { lower };
    lowered(text).enumerate().map(case).collect()
}

/// `str.title`: each letter that follows no other letter with case is upper.
pub(super) fn title(text: &str) -> String {
    let mut out = String::new();
    let mut is_inside = false;
    for (letter, lower) in lowered(text) {
        out.push_str(&if is_inside { lower } else { title_letter(letter) });
        is_inside = has_case(letter);
    }
    out
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
    let swap = |(letter, lower): (char, String)| match letter {
        _ if letter.is_uppercase() => lower,
        _ if letter.is_lowercase() => letter.to_uppercase().collect(),
        _ => letter.to_string(),
    };
    lowered(text).map(swap).collect()
}

/// `str.casefold`: lower case of the upper case, with a few exceptions.
pub(super) fn fold_case(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            'ı' => out.push(letter),
            'ẞ' => out.push_str("ss"),
            // Cherokee had upper case first.
            '\u{13a0}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => out.extend(letter.to_uppercase()),
            _ => out.extend(letter.to_uppercase().flat_map(char::to_lowercase)),
        }
    }
    out
}

/// `str.isalpha` of a character.
pub(super) fn is_alphabetic(letter: char) -> bool {
    use GeneralCategory::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        get_general_category(letter),
        LowercaseLetter | ModifierLetter | OtherLetter | TitlecaseLetter | UppercaseLetter
    )
}

/// `str.isdecimal` of a character: a digit of any script.
pub(super) fn is_decimal(letter: char) -> bool {
    get_general_category(letter) == GeneralCategory::DecimalNumber
}

/// `str.isdigit` of a character: also super- and subscripts and circled digits.
pub(super) fn is_digit(letter: char) -> bool {
    is_decimal(letter)
        || matches!(letter, '²' | '³' | '¹' | '\u{1369}'..='\u{1371}' | '\u{19da}' | '\u{2070}' | '\u{2074}'..='\u{2079}'
            | '\u{2080}'..='\u{2089}' | '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247c}' | '\u{2488}'..='\u{2490}'
            | '\u{24ea}' | '\u{24f5}'..='\u{24fd}' | '\u{24ff}' | '\u{2776}'..='\u{277e}' | '\u{2780}'..='\u{2788}'
            | '\u{278a}'..='\u{2792}' | '\u{10a40}'..='\u{10a43}' | '\u{10e60}'..='\u{10e68}'
            | '\u{11052}'..='\u{1105a}' | '\u{1f100}'..='\u{1f10a}')
}

/// Chinese characters with a numeric value in Unicode.
const NUMERALS: &str = "\
    㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬\
    貮貳贰阡陆陌陸零\u{f96b}\u{f973}\u{f978}\u{f9b2}\u{f9d1}\u{f9d3}\u{f9fd}\u{20001}\u{20064}\u{200e2}\
    \u{20121}\u{2092a}\u{20983}\u{2098c}\u{2099c}\u{20aea}\u{20afd}\u{20b19}\u{22390}\u{22998}\u{23b1b}\
    \u{2626d}\u{2f890}";

/// `str.isnumeric` of a character.
pub(super) fn is_numeric(letter: char) -> bool {
    use GeneralCategory::{DecimalNumber, LetterNumber, OtherNumber};
    matches!(get_general_category(letter), DecimalNumber | LetterNumber | OtherNumber) || NUMERALS.contains(letter)
}

/// `str.isalnum` of a character.
pub(super) fn is_alphanumeric(letter: char) -> bool {
    is_alphabetic(letter) || is_numeric(letter)
}

/// Converts the digits of all scripts to ASCII, for parsing numbers.
pub(super) fn with_ascii_digits(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii() { letter } else { ascii_digit(letter).unwrap_or(letter) }).collect()
}

/// The ASCII digit of a digit of any script; each script's digits are consecutive.
fn ascii_digit(letter: char) -> Option<char> {
    let is_digit = |number: u32| char::from_u32(number).is_some_and(is_decimal);
    let number = u32::from(letter);
    if !is_digit(number) {
        return None;
    }
    let before = (0..number).rev().take_while(|number| is_digit(*number)).count();
    char::from_digit(before as u32 % 10, 10)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::text::is_space;
    use super::*;

    type Ranges = Vec<(u32, u32)>;

    #[derive(Deserialize)]
    struct Golden {
        made_by: String,
        /// The characters of Python's Unicode version.
        known: Ranges,
        answers: BTreeMap<String, Ranges>,
        /// The digit seven of every script.
        digits: String,
        /// A character, its title case, its case folding, and its swapped case.
        cases: Vec<[String; 4]>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../../tests/golden/datasets/letters.json")).unwrap()
    }

    #[test]
    fn letters_are_of_the_kinds_that_python_knows() {
        let golden = golden();
        assert!(golden.made_by.contains("Python 3.12"));
        for (name, expected) in &golden.answers {
            let question = match &**name {
                "isalpha" => is_alphabetic,
                "isalnum" => is_alphanumeric,
                "isdecimal" => is_decimal,
                "isdigit" => is_digit,
                "isnumeric" => is_numeric,
                _ => is_space,
            };
            for number in golden.known.iter().flat_map(|&(first, last)| first..=last) {
                let letter = char::from_u32(number).unwrap();
                let is_expected = expected.iter().any(|(first, last)| (*first..=*last).contains(&number));
                assert_eq!(question(letter), is_expected, "{name} {letter:?} {number:x}");
            }
        }
        assert!(golden.digits.chars().all(|digit| ascii_digit(digit) == Some('7')));
    }

    #[test]
    fn letters_have_the_cases_that_python_gives_them() {
        for [letter, title_case, folded, swapped] in golden().cases {
            assert_eq!((title(&letter), capitalize(&letter)), (title_case.clone(), title_case), "{letter}");
            assert_eq!(fold_case(&letter), folded, "{letter}");
            assert_eq!(swap_case(&letter), swapped, "{letter}");
        }
    }
}
