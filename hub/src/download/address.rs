//! Addresses.
use std::fmt::Write as _;

/// A text with all but letters, digits, `-._~` and the signs in `kept` percent-encoded.
pub(super) fn encoded(text: &str, kept: &str) -> String {
    let mut found = String::new();
    for byte in text.bytes() {
        let sign = char::from(byte);
        if sign.is_ascii_alphanumeric() || "-._~".contains(sign) || sign.is_ascii() && kept.contains(sign) {
            found.push(sign);
        } else {
            let _ = write!(found, "%{byte:02X}");
        }
    }
    found
}

/// The scheme, host and port of an address, in lower case.
pub(super) fn origin(address: &str) -> String {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    address[..end].to_ascii_lowercase()
}

/// The host of an address, without its port.
pub(super) fn host(address: &str) -> String {
    let origin = origin(address);
    let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
    let end = if host.starts_with('[') {
        host.find(']').map_or(host.len(), |at| at + 1)
    } else {
        host.find(':').unwrap_or(host.len())
    };
    host[..end].to_owned()
}

/// Where a redirection leads that was found at an address.
pub(super) fn joined(from: &str, location: &str) -> String {
    if location.contains("://") && !location.starts_with('/') {
        return location.to_owned();
    }
    if location.starts_with("//") {
        let scheme = from.split_once("//").map_or("https:", |(scheme, _)| scheme);
        return format!("{scheme}{location}");
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(from));
    }
    let path = from.split(['?', '#']).next().unwrap_or(from);
    let folder = path.rfind('/').filter(|at| *at >= origin(from).len()).map_or(path.len(), |at| at);
    format!("{}/{location}", &path[..folder])
}

/// Whether a host is among those that need no proxy, as `NO_PROXY` lists them.
pub(super) fn is_excepted(host: &str, except: &[String]) -> bool {
    except.iter().map(|entry| entry.trim().trim_start_matches("*.").trim_start_matches('.')).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let is_below = || host.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || !entry.is_empty() && (host == entry || is_below())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_joined_as_browsers_do() {
        let from = "https://Hub.co:8443/api/models/a?x=/y";
        assert_eq!(origin(from), "https://hub.co:8443");
        assert_eq!(host(from), "hub.co");
        assert_eq!(host("http://[::1]:80/x"), "[::1]");
        assert_eq!(joined(from, "https://cdn.co/x?u=http://y"), "https://cdn.co/x?u=http://y");
        assert_eq!(joined(from, "/api/models/b"), "https://hub.co:8443/api/models/b");
        assert_eq!(joined(from, "//cdn.co/x"), "https://cdn.co/x");
        assert_eq!(joined(from, "b"), "https://Hub.co:8443/api/models/b");
        assert_eq!(joined("http://hub.co", "b"), "http://hub.co/b");
    }

    #[test]
    fn signs_that_paths_do_not_have_are_encoded() {
        assert_eq!(encoded("a b/\u{e9}+%.json", "/"), "a%20b/%C3%A9%2B%25.json");
        assert_eq!(encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
    }

    #[test]
    fn hosts_without_proxy_are_found_by_domain() {
        let except = ["hub.co".to_owned(), " .local".to_owned(), "*.org".to_owned()];
        for (host, expected) in [
            ("hub.co", true),
            ("cdn.hub.co", true),
            ("myhub.co", false),
            ("a.local", true),
            ("b.org", true),
            ("c.com", false),
        ] {
            assert_eq!(is_excepted(host, &except), expected, "{host}");
        }
        assert!(is_excepted("c.com", &["*".to_owned()]));
    }
}
