//! Keys of servers.
use std::fmt;

/// The key of a server. Its text goes into the header of a request and nowhere else: it has no `Display`, its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key without the white space around it; `None` for an empty one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The header that brings it; `None` for a key that no header can hold.
    pub(crate) fn header(&self) -> Option<String> {
        self.0.chars().all(|c| c.is_ascii_graphic()).then(|| format!("Bearer {}", self.0))
    }

    /// The key alone, as Azure's header has it.
    pub(crate) fn bare(&self) -> &str {
        &self.0
    }

    /// A text of the server without the key, should the server repeat it.
    pub(crate) fn hide(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::new(" sk-123\n").unwrap();
        assert_eq!(format!("{key:?} {:?}", Some(&key)), "ApiKey(..) Some(ApiKey(..))");
        assert_eq!(key.hide("no such key: sk-123"), "no such key: ***");
        assert_eq!(key.header().as_deref(), Some("Bearer sk-123"));
        assert_eq!(ApiKey::new("sk 1\n2").unwrap().header(), None);
        assert_eq!(ApiKey::new("  "), None);
    }
}
