//! Checks of every request, and security headers of every answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::refusal::Refusal;
use crate::server_limits::Peer;
use crate::tries::{Tries, WINDOW};

/// Maximum length of a URL.
const ADDRESS_LIMIT: usize = 2048;
/// Maximum size of a request body, in bytes.
pub(crate) const BODY_LIMIT: usize = 4096;
/// Timeout of a request, from arrival to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Security headers of every answer: no foreign content, no inline scripts, no type sniffing, no referrer, no framing,
/// no caching.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Access rules.
#[derive(Debug)]
pub(crate) struct Guard {
    is_loopback: bool,
    /// Hash of the token, so that comparison takes constant time.
    token: Option<blake3::Hash>,
    tries: Tries,
}

impl Guard {
    pub(crate) fn new(host: IpAddr, token: Option<&str>) -> Arc<Self> {
        let token = token.map(|token| blake3::hash(token.as_bytes()));
        Arc::new(Self { is_loopback: host.is_loopback(), token, tries: Tries::default() })
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        if request.uri().to_string().len() > ADDRESS_LIMIT {
            let message = format!("the address is longer than {ADDRESS_LIMIT} bytes");
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
        }
        let host = self.check_host(headers)?;
        check_length(headers)?;
        check_origin(headers, &host)?;
        // The page itself holds nothing: it asks for the token.
        if request.uri().path().starts_with("/api/") { self.check_token(request) } else { Ok(()) }
    }

    /// Rejects foreign host names (DNS rebinding).
    fn check_host(&self, headers: &HeaderMap) -> Result<Authority, Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
        let Some(host) = host.filter(|host| hosts.next().is_none() && !host.as_str().contains('@')) else {
            return Err(Refusal::bad("one Host header is needed"));
        };
        if self.is_loopback && !is_this_machine(host.host()) {
            let message = "this server answers to localhost and 127.0.0.1 only";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(host)
    }

    fn check_token(&self, request: &Request) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let Some(given) = given.and_then(|given| given.strip_prefix(b"Bearer ")) else {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "a token is needed"));
        };
        let peer = request.extensions().get::<Peer>();
        let address = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address);
        match self.tries.compare(address, || blake3::hash(given) == *token) {
            Some(true) => {
                if let Some(peer) = peer {
                    peer.pass();
                }
                Ok(())
            }
            Some(false) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "this is not the token")),
            None => {
                let message = format!("too many wrong tokens; wait {} seconds", WINDOW.as_secs());
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message))
            }
        }
    }
}

/// Rejects a declared body length above the limit before reading it.
fn check_length(headers: &HeaderMap) -> Result<(), Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_LIMIT as u64) { Err(Refusal::too_long(BODY_LIMIT)) } else { Ok(()) }
}

/// Rejects cross-origin requests by their `Origin`.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Refusal> {
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| origin.strip_prefix("http://").or(origin.strip_prefix("https://")));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
    };
    if headers.get_all(header::ORIGIN).iter().all(is_own) {
        Ok(())
    } else {
        Err(Refusal::new(StatusCode::FORBIDDEN, "requests of other pages are not answered"))
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_loopback_v6 = || address.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || is_loopback_v6()
}

/// Checks a request and adds the headers to its answer.
pub(crate) async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
        },
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, WINDOW.as_secs().into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_names() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_this_machine(name), "{name}");
        }
        for name in ["localhost.example", "127.0.0.1.example", "10.0.0.1", "[::2]", "::1]", "0.0.0.0", ""] {
            assert!(!is_this_machine(name), "{name}");
        }
    }
}
