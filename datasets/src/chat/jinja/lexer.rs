//! Template text to tokens, by the rules of Jinja's lexer with `trim_blocks` and `lstrip_blocks`.
use super::error::{Error, Result};
use super::literal;
use super::text::is_space;
use super::token::{Kind, Token};

/// Longest first, so that `**` is not read as two.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// The tokens of a template; the last one is [`Kind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { rest: source, line: 1, starts_line: true, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.data()?;
    }
    lexer.push(Kind::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    /// Whether the last text ended in a line break.
    starts_line: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::at(message, self.line))
    }

    /// Consumes this many bytes.
    fn advance(&mut self, length: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.starts_line = taken.ends_with('\n');
        self.rest = rest;
        taken
    }

    fn push_data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Kind::Data(text.to_owned()));
        }
    }

    /// Text up to the next tag, and the tag.
    fn data(&mut self) -> Result<()> {
        let Some(at) = first_tag(self.rest) else {
            self.push_data(self.rest);
            self.advance(self.rest.len());
            return Ok(());
        };
        let (text, tag) = self.rest.split_at(at);
        let is_variable = tag.starts_with("{{");
        let sign = tag[2..].chars().next().filter(|sign| matches!(sign, '-' | '+'));
        let kept = self.stripped(text, sign, !is_variable);
        self.push_data(kept);
        self.advance(at);
        if let Some(length) = raw_begin(tag) {
            self.advance(length);
            return self.raw();
        }
        self.advance(2 + sign.map_or(0, char::len_utf8));
        match &tag[..2] {
            "{#" => self.comment(),
            "{{" => self.expression(Kind::VariableBegin),
            _ => self.expression(Kind::BlockBegin),
        }
    }

    /// The text before a tag, with white space removed as the tag requires.
    fn stripped<'t>(&self, text: &'t str, sign: Option<char>, takes_indent: bool) -> &'t str {
        match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if takes_indent => {
                let start = text.rfind('\n').map_or(0, |at| at + 1);
                let is_indent = (start > 0 || self.starts_line) && text[start..].chars().all(is_space);
                if is_indent { &text[..start] } else { text }
            }
            _ => text,
        }
    }

    fn comment(&mut self) -> Result<()> {
        // With nothing behind its beginning, Jinja sees no comment at all, and no raw block either.
        let Some(at) = self.rest.find("#}") else {
            return if self.rest.is_empty() { Ok(()) } else { self.error("a comment has no end") };
        };
        // `-#}` and `+#}` belong to the end, unless the minus is the sign of the beginning.
        let sign = self.rest[..at].chars().next_back().filter(|sign| matches!(sign, '-' | '+'));
        let length = at + 2 + trailing(&self.rest[at + 2..], sign, true);
        self.advance(length);
        Ok(())
    }

    /// The text between `{% raw %}` and `{% endraw %}`.
    fn raw(&mut self) -> Result<()> {
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("{%").map(|at| at + from) {
            if let Some((sign, length)) = raw_end(&self.rest[at..]) {
                let kept = self.stripped(&self.rest[..at], sign, true);
                self.push_data(kept);
                self.advance(at + length);
                return Ok(());
            }
            from = at + 2;
        }
        if self.rest.is_empty() { Ok(()) } else { self.error("a raw block has no {% endraw %}") }
    }

    /// The tokens of a `{{ }}` or `{% %}` up to its end.
    fn expression(&mut self, begin: Kind) -> Result<()> {
        let is_block = begin == Kind::BlockBegin;
        self.push(begin);
        let mut open: Vec<&str> = Vec::new();
        loop {
            let spaces = self.rest.len() - self.rest.trim_start_matches(is_space).len();
            self.advance(spaces);
            if open.is_empty()
                && let Some(length) = end_of_tag(self.rest, is_block)
            {
                self.push(if is_block { Kind::BlockEnd } else { Kind::VariableEnd });
                self.advance(length);
                return Ok(());
            }
            if self.rest.is_empty() {
                // Jinja's parser finds the end of the template here.
                return Ok(());
            }
            self.token(&mut open)?;
        }
    }

    fn token(&mut self, open: &mut Vec<&'static str>) -> Result<()> {
        let after_dot = self.tokens.last().is_some_and(|token| token.kind == Kind::Operator("."));
        if let Some((kind, length)) = literal::number(self.rest, after_dot).map_err(|error| error.on(self.line))? {
            self.push(kind);
            self.advance(length);
            return Ok(());
        }
        let word = self.rest.find(|letter: char| !literal::is_word(letter)).unwrap_or(self.rest.len());
        if word > 0 {
            self.push(Kind::Name(self.rest[..word].to_owned()));
            self.advance(word);
            return Ok(());
        }
        if self.rest.starts_with(['\'', '"']) {
            let Some(length) = literal::quoted(self.rest) else { return self.error("a text has no closing quote") };
            let text = literal::unescape(&self.rest[1..length - 1]).map_err(|error| error.on(self.line))?;
            self.push(Kind::Text(text));
            self.advance(length);
            return Ok(());
        }
        self.operator(open)
    }

    fn operator(&mut self, open: &mut Vec<&'static str>) -> Result<()> {
        let Some(operator) = OPERATORS.into_iter().find(|operator| self.rest.starts_with(operator)) else {
            let letter = self.rest.chars().next().unwrap_or(' ');
            return self.error(format!("unexpected character {letter:?}"));
        };
        match operator {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(operator) => return self.error(format!("unexpected {operator:?}")),
            _ => {}
        }
        self.push(Kind::Operator(operator));
        self.advance(operator.len());
        Ok(())
    }
}

fn first_tag(text: &str) -> Option<usize> {
    let mut starts = text.match_indices('{').map(|(at, _)| at);
    starts.find(|at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

/// The length of `{% raw %}` and the white space it removes: a line break stays unless the tag ends in a minus.
fn raw_begin(tag: &str) -> Option<usize> {
    let inner = tag.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start_matches(is_space);
    let inner = inner.strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match inner.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => inner.strip_prefix("%}")?,
    };
    Some(tag.len() - rest.len())
}

/// The sign and the length of `{% endraw %}` and the white space it removes.
fn raw_end(tag: &str) -> Option<(Option<char>, usize)> {
    let inner = tag.strip_prefix("{%")?;
    let sign = inner.chars().next().filter(|sign| matches!(sign, '-' | '+'));
    let inner = inner[sign.map_or(0, char::len_utf8)..].trim_start_matches(is_space);
    let inner = inner.strip_prefix("endraw")?.trim_start_matches(is_space);
    let length = end_of_tag(inner, true)?;
    Some((sign, tag.len() - inner.len() + length))
}

/// The length of a tag's end at this position, if there is one.
fn end_of_tag(text: &str, is_block: bool) -> Option<usize> {
    let close = if is_block { "%}" } else { "}}" };
    let sign = text.chars().next().filter(|&sign| sign == '-' || (is_block && sign == '+'));
    let length = sign.map_or(0, char::len_utf8) + close.len();
    let rest = text[sign.map_or(0, char::len_utf8)..].strip_prefix(close)?;
    Some(length + trailing(rest, sign, is_block))
}

/// The length of the white space that a tag removes after it.
fn trailing(rest: &str, sign: Option<char>, trims_line: bool) -> usize {
    match sign {
        Some('-') => rest.len() - rest.trim_start_matches(is_space).len(),
        None if trims_line => usize::from(rest.starts_with('\n')),
        _ => 0,
    }
}
