use super::Html;
use crate::Error;
use crate::plot::Chart;

/// A picture with a caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    content: Html,
    caption: String,
}

impl Figure {
    /// A plot.
    ///
    /// # Errors
    /// It can't be drawn.
    pub fn chart(chart: &Chart) -> Result<Self, Error> {
        Ok(Self { content: Html::markup(chart.to_svg()?), caption: String::new() })
    }

    /// Anything else.
    pub fn html(content: Html) -> Self {
        Self { content, caption: String::new() }
    }

    /// Sets the caption.
    #[must_use]
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// Writes the figure.
    pub fn to_html(&self) -> Html {
        let caption = match self.caption.as_str() {
            "" => String::new(),
            caption => Html::element("figcaption", "", Html::text(caption)).to_string(),
        };
        Html::element("figure", "", format!("{}{caption}", self.content))
    }
}

/// Bytes as an address that holds them, such as `data:image/png;base64,..`.
pub fn data_url(media_type: &str, bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("data:{media_type};base64,");
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64() {
        let texts = ["", "f", "fo", "foo", "foob"].map(|text| data_url("a/b", text.as_bytes()));
        // Test vectors of RFC 4648, section 10.
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="].map(|code| format!("data:a/b;base64,{code}")));
    }
}
