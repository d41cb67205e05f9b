use std::fmt::{self, Display};

/// Markup that may stand in a page as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Plain text: what would be markup is escaped, within attributes too.
    pub fn text(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                // Neither HTML nor SVG can hold them.
                c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
                c => escaped.push(c),
            }
        }
        Self(escaped)
    }

    /// Markup that the caller has made: text in it must be escaped already.
    pub fn markup(markup: impl Into<String>) -> Self {
        Self(markup.into())
    }

    /// An element around markup; the class may be empty.
    pub fn element(tag: &str, class: &str, content: impl Display) -> Self {
        match class {
            "" => Self(format!("<{tag}>{content}</{tag}>")),
            class => Self(format!("<{tag} class=\"{class}\">{content}</{tag}>")),
        }
    }

    /// Parts one after another.
    pub fn joined(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect::<Vec<_>>().join("\n"))
    }
}

impl Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_says_is_no_markup() {
        assert_eq!(
            Html::text("<a b=\"c\"> & 'd'\0").to_string(),
            "&lt;a b=&quot;c&quot;&gt; &amp; &#39;d&#39;\u{fffd}"
        );
        assert_eq!(Html::element("p", "lead", Html::text("<")).to_string(), "<p class=\"lead\">&lt;</p>");
    }
}
