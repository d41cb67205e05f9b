//! Checks for tokenizer patterns that would panic or take for ever.
use serde_json::Value;

/// The maximum number of characters of a pattern with counts expanded: `a{20}` has 20.
const LONGEST: usize = 4000;

/// Checks the patterns of normalizers, pre-tokenizers and decoders.
///
/// # Errors
/// An empty pattern, on which the crate panics; counts that multiply to an excessive matching time; a back reference,
/// whose matching time is quadratic in the text.
pub(crate) fn check(tokenizer: &Value) -> Result<(), String> {
    ["normalizer", "pre_tokenizer", "decoder"].into_iter().try_for_each(|part| {
        patterns(&tokenizer[part]).into_iter().try_for_each(|pattern| {
            let length = if pattern.0 { written_out(pattern.1) } else { pattern.1.len() };
            if pattern.1.is_empty() {
                return Err(format!("its {part} has an empty pattern"));
            }
            let start: String = pattern.1.chars().take(60).collect();
            if pattern.0 && refers_back(pattern.1) {
                return Err(format!("its {part} has a pattern that refers back to a group of its own: {start}"));
            }
            if length > LONGEST + pattern.1.len() {
                return Err(format!("its {part} has a pattern of {length} characters, counts written out: {start}"));
            }
            Ok(())
        })
    })
}

/// The patterns in a component and its nested ones, and whether each is a regular expression.
fn patterns(part: &Value) -> Vec<(bool, &str)> {
    match part {
        Value::Array(parts) => parts.iter().flat_map(patterns).collect(),
        Value::Object(map) => {
            let own = [(true, "Regex"), (false, "String")]
                .into_iter()
                .filter_map(|(is_regex, name)| Some((is_regex, part["pattern"][name].as_str()?)));
            own.chain(map.values().flat_map(patterns)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a regular expression has a back reference: `\1`, `\k<name>`.
fn refers_back(pattern: &str) -> bool {
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next().is_some_and(|next| matches!(next, '1'..='9' | 'k')) {
            return true;
        }
    }
    false
}

/// The number of characters of a regular expression with counts expanded.
fn written_out(pattern: &str) -> usize {
    let mut letters = pattern.chars().peekable();
    let (mut groups, mut length, mut atom) = (Vec::new(), 0_usize, 0_usize);
    while let Some(letter) = letters.next() {
        match letter {
            '(' => {
                groups.push(length);
                (length, atom) = (0, 0);
                continue;
            }
            ')' => {
                atom = length;
                length = groups.pop().unwrap_or(0);
            }
            '{' => {
                let count: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                // The larger count; braces that are no count stand for themselves.
                let most = count.split(',').filter_map(|count| count.trim().parse::<usize>().ok()).max();
                let more = atom.saturating_mul(most.unwrap_or(1).max(1) - 1);
                (length, atom) = (length.saturating_add(more), atom.saturating_add(more));
                continue;
            }
            '[' => {
                skip_class(&mut letters);
                atom = 1;
            }
            '\\' => {
                // The braces of `\x{10000}` (a character code) and of `\p{L}` are no count.
                let is_named = letters.next().is_some_and(|letter| matches!(letter, 'x' | 'p' | 'P'));
                if is_named && letters.peek() == Some(&'{') {
                    letters.by_ref().find(|letter| *letter == '}');
                }
                atom = 1;
            }
            '*' | '+' | '?' | '|' => continue,
            _ => atom = 1,
        }
        length = length.saturating_add(atom);
    }
    groups.into_iter().fold(length, usize::saturating_add)
}

/// Skips the rest of a character class.
fn skip_class(letters: &mut impl Iterator<Item = char>) {
    let mut is_escaped = false;
    letters.find(|letter| {
        let ends = *letter == ']' && !is_escaped;
        is_escaped = *letter == '\\' && !is_escaped;
        ends
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_written_out() {
        for (pattern, length) in [
            ("abc", 3),
            ("a{20}", 20),
            ("(ab){20}c", 41),
            ("((a{10}){10}){10}", 1000),
            (r"\p{L}+|\p{N}{1,3}", 4),
            (r"[^\r\n\p{L}\]]{2,}x", 3),
            (r"\{999}", 5),
            ("a{2}{3}", 6),
            (r"[^a]\x{10000}{2}|\p{L}+", 4),
            (r"\d{12}", 12),
        ] {
            assert_eq!(written_out(pattern), length, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_never_end_are_refused() {
        let with = |pattern: &str| {
            let split =
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            check(&json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, split]}}))
        };
        with(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+").unwrap();
        with(r"\\1|\\k|[0-9]\d\p{L}{1,2}").unwrap();
        for back in [r"(?=(a+))\1*b", r"(?<a>x)\k<a>", r"\\(.)\1"] {
            assert!(with(back).unwrap_err().contains("refers back to a group of its own"), "{back}");
        }
        assert!(with("").unwrap_err().contains("empty pattern"));
        assert!(with("a{99999}").unwrap_err().contains("99999 characters"));
        assert!(with("((a{99}){99}){99}").unwrap_err().contains("970299 characters"));
        let replace = json!({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a"}});
        assert_eq!(check(&replace).unwrap_err(), "its normalizer has an empty pattern");
    }
}
