//! Addresses of servers.
use std::fmt;

use crate::EvalError;

/// The address of a server's chat completions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    is_encrypted: bool,
    is_azure: bool,
    host: String,
}

/// Parts of names of parameters that bring a key.
const SECRETS: [&str; 6] = ["key", "token", "secret", "password", "sig", "code"];

impl Endpoint {
    /// Reads the base address of an API, such as `https://api.openai.com/v1`; `/chat/completions` is added where it is missing,
    /// in front of a query (Azure's `?api-version=2024-10-21`).
    ///
    /// # Errors
    /// It is no address, has another scheme than http or https, or holds a password or a key.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        let wrong = |why: &str| EvalError::Endpoint { endpoint: without_login(text), why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no http:// or https://"))?;
        let is_encrypted = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("the scheme is neither http nor https")),
        };
        if rest.contains('#') || rest.contains(char::is_whitespace) {
            return Err(wrong("there is a `#` or white space in it"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_secret = |name: &str| SECRETS.iter().any(|secret| name.to_ascii_lowercase().contains(secret));
        if names_in(query).any(is_secret) {
            return Err(wrong("a key in its query would be shown; keys come from the environment"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(wrong("a name or password in it would be shown; keys come from the environment"));
        }
        let host = host_of(authority).ok_or_else(|| wrong("there is no host in it, or its port is none"))?;
        let path = path.trim_end_matches('/');
        let path = match path {
            "" => "chat/completions".to_owned(),
            whole if whole.ends_with("chat/completions") => whole.to_owned(),
            base => format!("{base}/chat/completions"),
        };
        let scheme = if is_encrypted { "https" } else { "http" };
        let is_azure = names_in(query).any(|name| name == "api-version");
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{scheme}://{authority}/{path}{mark}{query}");
        Ok(Self { url, is_encrypted, is_azure, host: host.to_owned() })
    }

    /// The whole address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether it has Azure's form, with an `api-version`: its keys are in the header `api-key`.
    pub(crate) fn is_azure(&self) -> bool {
        self.is_azure
    }

    /// Whether the server runs on this machine, by its name.
    pub fn is_local(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// The names of the parameters in a query.
fn names_in(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').map(|part| part.split_once('=').map_or(part, |(name, _)| name))
}

/// An address without the name and the password in it, and without its query, which may hold a key.
fn without_login(text: &str) -> String {
    let text = text.split_once('?').map_or(text, |(text, _)| text);
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
        (_, None) => text.to_owned(),
    }
}

/// The host of `host:port`; `None` where there is none, or the port is no number.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            (&authority[..end + 2], &rest[end + 1..])
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (!host.is_empty() && host != "[]" && is_port).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_path_of_chat_completions() {
        for (text, url) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1/chat/completions"),
            ("HTTP://localhost:80", "http://localhost:80/chat/completions"),
            ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
            (
                "https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
                "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            ("https://openai.x/v1/chat/completions?a=1&b", "https://openai.x/v1/chat/completions?a=1&b"),
            ("http://localhost/?", "http://localhost/chat/completions"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.url(), url);
            assert_eq!(endpoint.is_encrypted(), url.starts_with("https"));
            assert_eq!(endpoint.is_local(), !url.contains("openai"));
            assert_eq!(endpoint.is_azure(), url.contains("azure"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_is_repeated() {
        for (text, says) in [
            ("api.openai.com/v1", "no http:// or https://"),
            ("ftp://x/v1", "neither http nor https"),
            ("http://", "no host"),
            ("http://x:99999/v1", "port"),
            ("https://me:secret@x/v1", "environment"),
            ("me:secret@x", "no http://"),
            ("https://x/v1?key=secret", "environment"),
            ("https://x/v1?a=b&access_token=secret", "environment"),
            ("https://x/v1?secret=secret#a", "`#`"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(says) && error.starts_with("`judge.endpoint` takes"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
