//! Pages: one HTML file with sections, tables and figures, which loads nothing from elsewhere.
//!
//! A page follows the reader's choice of light or dark, fits a phone, and prints in black on white. It can be read without
//! its script. Its security policy forbids any request.
mod figure;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;

pub use self::figure::{Figure, data_url};
pub use self::table::{Cell, Table};
pub use crate::html::Html;

/// The style of every page. Plots add their own.
const STYLE: &str = include_str!("style.css");

/// A part of a page with a heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    title: String,
    parts: Vec<Html>,
}

impl Section {
    /// A section without content.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), parts: Vec::new() }
    }

    /// Adds a paragraph of plain text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.html(Html::element("p", "", Html::text(text)))
    }

    /// Adds a small heading.
    #[must_use]
    pub fn heading(self, text: &str) -> Self {
        self.html(Html::element("h3", "", Html::text(text)))
    }

    /// Adds a table.
    #[must_use]
    pub fn table(self, table: &Table) -> Self {
        self.html(table.to_html())
    }

    /// Adds figures, side by side where there is room.
    #[must_use]
    pub fn figures(self, figures: impl IntoIterator<Item = Figure>) -> Self {
        let all: Vec<Html> = figures.into_iter().map(|figure| figure.to_html()).collect();
        if all.is_empty() { self } else { self.html(Html::element("div", "figures", Html::joined(all))) }
    }

    /// Adds markup.
    #[must_use]
    pub fn html(mut self, html: Html) -> Self {
        self.parts.push(html);
        self
    }

    /// The heading.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// A page.
///
/// # Examples
/// ```
/// use report::page::{Cell, Page, Section, Table};
///
/// let table = Table::new(["width", "win rate"]).row([Cell::text("5"), Cell::number("0.71")]);
/// let page = Page::new("Beams").lead("The win rate rises up to 5 beams.").section(Section::new("Widths").table(&table));
/// assert!(page.to_html().starts_with("<!doctype html>"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    title: String,
    lead: Vec<Html>,
    sections: Vec<Section>,
    styles: Vec<&'static str>,
    scripts: Vec<&'static str>,
}

impl Page {
    /// A page without content.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a paragraph of plain text below the title.
    #[must_use]
    pub fn lead(self, text: &str) -> Self {
        self.lead_html(Html::element("p", "lead", Html::text(text)))
    }

    /// Adds a paragraph that warns, below the title.
    #[must_use]
    pub fn notice(self, text: &str) -> Self {
        self.lead_html(Html::element("p", "notice", Html::text(text)))
    }

    /// Adds markup below the title.
    #[must_use]
    pub fn lead_html(mut self, html: Html) -> Self {
        self.lead.push(html);
        self
    }

    /// Adds a section; one without content is left out.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        if !section.is_empty() {
            self.sections.push(section);
        }
        self
    }

    /// Adds CSS behind the page's own.
    #[must_use]
    pub fn style(mut self, css: &'static str) -> Self {
        self.styles.push(css);
        self
    }

    /// Adds a script at the end. The page must be readable without it.
    #[must_use]
    pub fn script(mut self, script: &'static str) -> Self {
        self.scripts.push(script);
        self
    }

    /// Writes the page.
    pub fn to_html(&self) -> String {
        let title = Html::text(&self.title);
        let mut text = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        text.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
        text.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; ");
        text.push_str("style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n");
        // Without an icon of its own, a browser asks the server for one.
        let _ = writeln!(text, "<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}");
        for css in std::iter::once(&crate::plot::STYLE).chain(&self.styles) {
            let _ = writeln!(text, "{css}");
        }
        let _ = writeln!(text, "</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>");
        self.lead.iter().for_each(|part| _ = writeln!(text, "{part}"));
        let names = self.names();
        if self.sections.len() > 1 {
            text.push_str("<nav aria-label=\"Sections\"><ul>");
            for (section, name) in self.sections.iter().zip(&names) {
                let _ = write!(text, "<li><a href=\"#{name}\">{}</a></li>", Html::text(&section.title));
            }
            text.push_str("</ul></nav>\n");
        }
        text.push_str("</header>\n<main>\n");
        for (section, name) in self.sections.iter().zip(&names) {
            let _ = writeln!(text, "<section id=\"{name}\">\n<h2>{}</h2>", Html::text(&section.title));
            section.parts.iter().for_each(|part| _ = writeln!(text, "{part}"));
            text.push_str("</section>\n");
        }
        text.push_str("</main>\n");
        self.scripts.iter().for_each(|script| _ = writeln!(text, "<script>\n{script}\n</script>"));
        text.push_str("</body>\n</html>\n");
        text
    }

    /// The names of the sections in links, each once.
    fn names(&self) -> Vec<String> {
        let mut taken = BTreeSet::new();
        let name = |section: &Section| {
            let letters = section.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
            let base = letters.collect::<String>().to_ascii_lowercase();
            let more = (2..).map(|n: usize| format!("{base}-{n}"));
            let name = std::iter::once(base.clone()).chain(more).find(|name| !taken.contains(name)).unwrap_or_default();
            taken.insert(name.clone());
            name
        };
        self.sections.iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup_and_sections_have_names_of_their_own() {
        let section = || Section::new("Loss & more").text("<script>alert(1)</script>");
        let page = Page::new("a < b").section(section()).section(section()).section(Section::new("empty")).to_html();
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
        assert!(page.contains("<title>a &lt; b</title>") && !page.contains("empty"));
        assert!(page.contains("id=\"loss---more\"") && page.contains("href=\"#loss---more-2\""));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = Page::new("x").section(Section::new("y").text("z")).to_html();
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("));
    }
}
