//! The words of a list on the command line.

/// Divides a list at its commas. A comma within brackets, braces or quotes belongs to a word, such as the value of
/// `names=["a, b", "c"]`; where one of them is not closed, every comma divides.
pub(super) fn words(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut open, mut quote) = (Vec::new(), 0, Vec::new(), None);
    let mut before = ',';
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        if let Some(end) = quote {
            if is_escaped || letter == '\\' {
                is_escaped = !is_escaped;
            } else if letter == end {
                quote = None;
            }
        } else {
            match letter {
                // A quote begins where a value does: elsewhere it is an apostrophe.
                '"' | '\'' if "=,:[{ ".contains(before) => quote = Some(letter),
                '[' => open.push(']'),
                '{' => open.push('}'),
                ']' | '}' if open.last() == Some(&letter) => _ = open.pop(),
                ',' if open.is_empty() => {
                    found.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        before = letter;
    }
    found.push(&text[start..]);
    if open.is_empty() && quote.is_none() { found } else { text.split(',').collect() }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_comma_within_a_value_does_not_divide() {
        for (text, expected) in [
            ("a,b", &["a", "b"][..]),
            ("x=[1,2]", &["x=[1,2]"]),
            ("x=[1,[2,3]],y={\"a\": 1, \"b\": 2},z=3", &["x=[1,[2,3]]", "y={\"a\": 1, \"b\": 2}", "z=3"]),
            ("x=\"a, b\",y=c", &["x=\"a, b\"", "y=c"]),
            ("x='a, b',y=c", &["x='a, b'", "y=c"]),
            ("x=\"a\\\", b\",y", &["x=\"a\\\", b\"", "y"]),
            ("x=\"[\",y=]", &["x=\"[\"", "y=]"]),
            ("x=don't,y=won't", &["x=don't", "y=won't"]),
            ("x=[1,y=2", &["x=[1", "y=2"]),
            ("x=\"a,y=2", &["x=\"a", "y=2"]),
            ("", &[""]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
