//! Requests over HTTP and TLS.
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::{ApiKey, Endpoint, EvalError};

/// The way to a server; tests have their own.
pub trait Transport: Sync {
    /// Sends a body of JSON and returns the reply, whatever its status.
    ///
    /// # Errors
    /// There is no reply, or only a part of one.
    fn post(&self, body: &[u8]) -> Result<Reply, TransportError>;
}

/// The reply of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The time that the server asks to wait before the next request (`Retry-After` in seconds).
    pub retry_after: Option<Duration>,
    /// Where the server says it is instead (`Location`).
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request without a whole reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It may work at another time: a timeout, a closed or refused connection.
    #[error("{0}")]
    Temporary(String),
    /// It can't work: a certificate that does not fit, a server without TLS.
    #[error("{0}")]
    Permanent(String),
}

/// The longest reply that is read, in bytes.
const LONGEST: u64 = 8 << 20;

/// The settings of a connection.
#[derive(Clone, Debug)]
pub struct HttpOptions<'a> {
    /// The time for a whole request.
    pub timeout: Duration,
    /// Certificates in PEM that are trusted in place of the usual ones.
    pub authorities: Option<&'a [u8]>,
    /// The address of a proxy.
    pub proxy: Option<&'a str>,
}

/// A server behind HTTP. Addresses with https never fall back to a connection without TLS, and redirections are not followed.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    endpoint: Endpoint,
    key: Option<ApiKey>,
}

impl Http {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificates, the proxy or the key can't be used.
    pub fn new(endpoint: Endpoint, key: Option<ApiKey>, options: &HttpOptions<'_>) -> Result<Self, EvalError> {
        if key.as_ref().is_some_and(|key| key.header().is_none()) {
            return Err(EvalError::Client("the key has white space or other signs that no header can hold".to_owned()));
        }
        let proxy = options.proxy.map(ureq::Proxy::new).transpose();
        let proxy = proxy.map_err(|error| EvalError::Client(format!("`judge.proxy` takes an address: {error}")))?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(endpoint.is_encrypted())
            .timeout_global(Some(options.timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(concat!("hybrid-dpo/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(authorities(options.authorities)?).build())
            .build();
        Ok(Self { agent: Agent::new_with_config(config), endpoint, key })
    }

    fn send(&self, body: &[u8]) -> Result<Reply, ureq::Error> {
        let mut request = self.agent.post(self.endpoint.url()).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            let bearer = key.header().unwrap_or_default();
            request = if self.endpoint.is_azure() {
                request.header("api-key", key.bare())
            } else {
                request.header("Authorization", bearer)
            };
        }
        let mut response = request.send(body)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let retry_after = header("retry-after").and_then(|text| text.trim().parse::<f64>().ok());
        let retry_after = retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let (status, location) = (response.status().as_u16(), header("location"));
        let body = response.body_mut().with_config().limit(LONGEST).read_to_vec()?;
        // A server may repeat the key in what it says and in where it sends us.
        let (body, location) = match &self.key {
            Some(key) => (key.hide(&String::from_utf8_lossy(&body)).into_bytes(), location.map(|to| key.hide(&to))),
            None => (body, location),
        };
        Ok(Reply { status, retry_after, location, body })
    }
}

impl Transport for Http {
    fn post(&self, body: &[u8]) -> Result<Reply, TransportError> {
        self.send(body).map_err(|error| explain(&error, &self.endpoint))
    }
}

/// The certificates that are trusted.
fn authorities(pem: Option<&[u8]>) -> Result<RootCerts, EvalError> {
    let Some(pem) = pem else { return Ok(RootCerts::WebPki) };
    let wrong = |why: String| EvalError::Client(format!("`judge.ca` names no file of certificates in PEM: {why}"));
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("there is none in it".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// What a failure means.
fn explain(error: &ureq::Error, endpoint: &Endpoint) -> TransportError {
    let text = error.to_string();
    let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if is(&["invalid peer certificate", "UnknownIssuer", "NotValidForName"]) {
        return TransportError::Permanent(format!(
            "{endpoint}: its certificate does not fit ({text}); for a private authority `judge.ca` FILE names its certificate"
        ));
    }
    if is(&["InvalidContentType", "corrupt message", "peer is incompatible", "received fatal alert"]) {
        return TransportError::Permanent(format!(
            "{endpoint}: TLS was asked for, and the server does not speak it ({text}); nothing is sent without it unless the \
             address says http://"
        ));
    }
    TransportError::Temporary(text)
}
