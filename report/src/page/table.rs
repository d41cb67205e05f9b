use super::Html;

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    content: Html,
    class: &'static str,
}

impl Cell {
    /// Plain text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::html(Html::text(text.as_ref()))
    }

    /// A number, aligned right.
    pub fn number(text: impl AsRef<str>) -> Self {
        Self { content: Html::text(text.as_ref()), class: "number" }
    }

    /// Markup.
    pub fn html(content: Html) -> Self {
        Self { content, class: "" }
    }

    /// Marks the cell as good news: a claim that holds.
    #[must_use]
    pub fn good(mut self) -> Self {
        self.class = if self.class == "number" { "number good" } else { "good" };
        self
    }

    /// Marks the cell as bad news, or as what differs.
    #[must_use]
    pub fn bad(mut self) -> Self {
        self.class = if self.class == "number" { "number bad" } else { "bad" };
        self
    }
}

/// A table with a row of headings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    caption: Option<String>,
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { caption: None, head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; its first cell is its heading.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// Sets the caption.
    #[must_use]
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = Some(caption.into());
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table, in a frame that scrolls where it is too wide.
    pub fn to_html(&self) -> Html {
        let name = Html::text(self.caption.as_deref().unwrap_or("table"));
        let caption = self.caption.as_ref().map_or(String::new(), |_| format!("<caption>{name}</caption>"));
        // The head of a column of numbers is aligned as they are.
        let is_number = |at: usize| {
            self.rows.first().and_then(|row| row.get(at)).is_some_and(|cell| cell.class.starts_with("number"))
        };
        let head = |(at, text): (usize, &String)| {
            let class = if is_number(at) { " class=\"number\"" } else { "" };
            format!("<th scope=\"col\"{class}>{}</th>", Html::text(text))
        };
        let head: String = self.head.iter().enumerate().map(head).collect();
        let rows: String = self.rows.iter().map(|row| row_html(row)).collect();
        // The frame takes the focus, so that a keyboard can scroll it.
        Html::markup(format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table>{caption}\
             <thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>"
        ))
    }
}

fn row_html(row: &[Cell]) -> String {
    let cell = |(at, cell): (usize, &Cell)| {
        let class = if cell.class.is_empty() { String::new() } else { format!(" class=\"{}\"", cell.class) };
        let (tag, scope) = if at == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
        format!("<{tag}{scope}{class}>{}</{tag}>", cell.content)
    };
    format!("<tr>{}</tr>\n", row.iter().enumerate().map(cell).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_with_their_heads() {
        let table = Table::new(["a", "b<"]).row([Cell::text("x"), Cell::number("1").bad()]).to_html().to_string();
        assert!(table.contains("<th scope=\"col\" class=\"number\">b&lt;</th>"), "{table}");
        assert!(table.contains("<th scope=\"row\">x</th><td class=\"number bad\">1</td>"), "{table}");
    }
}
