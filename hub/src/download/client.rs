//! Requests to the hub.
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::address::{encoded, host, is_excepted, joined, origin};
use crate::{Hub, HubError, Kind, Name};

/// The most requests for one thing that bring nothing.
const TRIES: u32 = 5;
/// The most redirections of one request.
const HOPS: usize = 10;
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// The longest reply to a question, in bytes; files have their own limit.
const LONGEST_REPLY: u64 = 64 << 20;

/// Why a request brought nothing.
pub(super) enum Trouble {
    /// It may bring something at another time; the server may say after what time.
    Temporary { text: String, wait: Option<Duration>, has_progressed: bool },
    /// It won't.
    Final(HubError),
}

impl Trouble {
    pub(super) fn temporary(text: impl Into<String>) -> Self {
        Self::Temporary { text: text.into(), wait: None, has_progressed: false }
    }
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// A reply, and where it came from.
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    address: String,
}

/// Asks the hub about one repository.
pub(super) struct Client<'h> {
    hub: &'h Hub,
    name: &'h Name,
    endpoint: &'h str,
    direct: Agent,
    by_proxy: Option<Agent>,
}

impl<'h> Client<'h> {
    /// Makes the client; nothing is sent yet.
    pub(super) fn new(hub: &'h Hub, name: &'h Name) -> Result<Self, HubError> {
        let endpoint = hub.endpoint.trim_end_matches('/');
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            let text = format!("HF_ENDPOINT takes an address with http:// or https://, not `{endpoint}`");
            return Err(HubError::Connection(text));
        }
        let proxy = hub.proxy.as_ref().map(|proxy| ureq::Proxy::new(&proxy.address)).transpose();
        let proxy =
            proxy.map_err(|error| HubError::Connection(format!("the address of the proxy can't be used: {error}")))?;
        let by_proxy = proxy.map(|proxy| agent(hub, Some(proxy))).transpose()?;
        Ok(Self { hub, name, endpoint, direct: agent(hub, None)?, by_proxy })
    }

    pub(super) fn name(&self) -> &'h Name {
        self.name
    }

    pub(super) fn host(&self) -> &'h str {
        self.endpoint
    }

    /// The address of a question about the repository.
    pub(super) fn question(&self, what: &str) -> String {
        format!("{}/api/{}/{}/{what}", self.endpoint, self.name.kind.plural(), self.name.repository)
    }

    /// The address of a file at a commit.
    pub(super) fn file(&self, commit: &str, path: &str) -> String {
        let kind = match self.name.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        format!("{}/{kind}{}/resolve/{commit}/{}", self.endpoint, self.name.repository, encoded(path, "/"))
    }

    /// Asks a question, and returns the reply's JSON with the address of its next page.
    pub(super) fn ask(&self, address: &str) -> Result<(Value, Option<String>), HubError> {
        self.repeat(address, || {
            let mut reply = self.get(address, None)?;
            if reply.response.status().as_u16() != 200 {
                return Err(self.explain(&reply));
            }
            let next = header(&reply.response, "link").and_then(|link| next_page(&link));
            let next = next.map(|next| joined(&reply.address, &next));
            let body = reply.response.body_mut().with_config().limit(LONGEST_REPLY).read_to_vec();
            let body = body.map_err(|error| Trouble::temporary(error.to_string()))?;
            match serde_json::from_slice(&body) {
                Ok(value) => Ok((value, next)),
                Err(_) => Err(self.strange(address, "the reply is not JSON, so this is no hub").into()),
            }
        })
    }

    /// Tries something until it brings a result, fails for good, or has failed too often without any progress.
    pub(super) fn repeat<T>(
        &self,
        address: &str,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        let mut failed = 0;
        loop {
            match attempt() {
                Ok(found) => return Ok(found),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Temporary { text, wait, has_progressed }) => {
                    failed = if has_progressed { 1 } else { failed + 1 };
                    if failed == TRIES {
                        let text = format!("{text}; given up after {TRIES} tries (what has arrived is kept)");
                        return Err(self.strange(address, &text));
                    }
                    let usual = self.hub.pause * 2_u32.pow(failed - 1);
                    // A hub without pauses is a test's.
                    let wait = if self.hub.pause.is_zero() { Duration::ZERO } else { wait.unwrap_or(usual) };
                    std::thread::sleep(wait.min(LONGEST_PAUSE));
                }
            }
        }
    }

    /// Sends one request, along redirections. The token goes to the hub itself alone.
    pub(super) fn get(&self, address: &str, from: Option<u64>) -> Result<Reply, Trouble> {
        let mut address = address.to_owned();
        for _ in 0..=HOPS {
            let mut request = self.agent(&address).get(&address).header("Accept-Encoding", "identity");
            if let Some(token) = self.hub.token.as_ref().filter(|_| origin(&address) == origin(self.endpoint)) {
                request = request.header("Authorization", token.header());
            }
            if let Some(from) = from {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.unanswered(&address, &error))?;
            let location = header(&response, "location").filter(|_| response.status().is_redirection());
            match location {
                Some(location) => address = joined(&address, &location),
                None => return Ok(Reply { response, address }),
            }
        }
        Err(self.strange(&address, "too many redirections").into())
    }

    fn agent(&self, address: &str) -> &Agent {
        let is_excepted = || self.hub.proxy.as_ref().is_some_and(|proxy| is_excepted(&host(address), &proxy.except));
        self.by_proxy.as_ref().filter(|_| !is_excepted()).unwrap_or(&self.direct)
    }

    /// What a request without a reply means.
    fn unanswered(&self, address: &str, error: &ureq::Error) -> Trouble {
        let text = self.hidden(&error.to_string());
        let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if is(&["invalid peer certificate", "UnknownIssuer", "NotValidForName"]) {
            let text =
                format!("its certificate does not fit ({text}); SSL_CERT_FILE names those of a private authority");
            return self.strange(address, &text).into();
        }
        if matches!(error, ureq::Error::RequireHttpsOnly(_)) {
            return self.strange(address, "a redirection to an address without TLS is not followed").into();
        }
        if matches!(error, ureq::Error::HostNotFound) {
            return self.strange(address, "there is no such host, or no network").into();
        }
        Trouble::temporary(text)
    }

    /// What a reply without the thing means.
    pub(super) fn explain(&self, reply: &Reply) -> Trouble {
        let (status, response) = (reply.response.status().as_u16(), &reply.response);
        let code = header(response, "x-error-code").unwrap_or_default();
        let said = header(response, "x-error-message").map(|text| self.hidden(&text));
        match status {
            _ if origin(&reply.address) != origin(self.endpoint) => match status {
                // A signed address that has run out is made anew by the hub.
                400..=499 => Trouble::temporary(format!("{} answers with status {status}", origin(&reply.address))),
                _ => busy(response, status, said),
            },
            401 | 403 => self.refused(status, &code, said).into(),
            404 if code == "RevisionNotFound" => HubError::NoRevision {
                name: self.name.to_string(),
                kind: self.name.kind,
                repository: self.name.repository.clone(),
                revision: self.name.revision_or_main().to_owned(),
                host: self.endpoint.to_owned(),
            }
            .into(),
            404 => self.unknown().into(),
            408 | 429 | 500..=599 => busy(response, status, said),
            _ => {
                let said = said.map_or_else(String::new, |said| format!(": {said}"));
                self.strange(&reply.address, &format!("status {status}{said}")).into()
            }
        }
    }

    fn unknown(&self) -> HubError {
        HubError::Unknown {
            name: self.name.to_string(),
            kind: self.name.kind,
            host: self.endpoint.to_owned(),
            near: self.hub.cache.near(self.name.kind, &self.name.repository),
        }
    }

    fn refused(&self, status: u16, code: &str, said: Option<String>) -> HubError {
        let (repository, token) = (&self.name.repository, self.hub.token.is_some());
        let page = match self.name.kind {
            Kind::Model => format!("{}/{repository}", self.endpoint),
            Kind::Dataset => format!("{}/datasets/{repository}", self.endpoint),
        };
        let advice = "give one in HF_TOKEN, or log in with `hf auth login`";
        let reason = match (code, token) {
            ("GatedRepo", false) => {
                format!(
                    "it is gated: accept its conditions at {page}, and then a token of that account is needed ({advice})"
                )
            }
            ("GatedRepo", true) => {
                format!("it is gated: accept its conditions at {page} with the account of the token")
            }
            // The hub answers so for what is not there too.
            ("RepoNotFound", _) => return self.unknown(),
            (_, false) => format!("{} answers with status {status}: a token is needed ({advice})", self.endpoint),
            (_, true) => {
                let said = said.map_or_else(String::new, |said| format!(" ({said})"));
                format!("{} does not accept the token for it{said}: status {status}; {advice}", self.endpoint)
            }
        };
        HubError::Refused { name: self.name.to_string(), reason }
    }

    /// An error of an address.
    pub(super) fn strange(&self, address: &str, message: &str) -> HubError {
        // What is signed stands behind the question mark.
        let address = address.split('?').next().unwrap_or(address).to_owned();
        HubError::Server { name: self.name.to_string(), address, message: message.to_owned() }
    }

    fn hidden(&self, text: &str) -> String {
        self.hub.token.as_ref().map_or_else(|| text.to_owned(), |token| token.hide(text))
    }
}

/// A server that can't answer now.
fn busy(response: &Response<Body>, status: u16, said: Option<String>) -> Trouble {
    let wait = header(response, "retry-after").and_then(|text| text.trim().parse::<f64>().ok());
    let wait = wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    Trouble::Temporary { text: format!("status {status}{said}"), wait, has_progressed: false }
}

/// A header of a response as text.
pub(super) fn header(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// The next page in a header `Link`.
fn next_page(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0.to_owned())
}

fn agent(hub: &Hub, proxy: Option<ureq::Proxy>) -> Result<Agent, HubError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(hub.endpoint.starts_with("https://"))
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        // A connection that goes silent ends so; what arrived until then counts as progress, and the rest is asked for anew.
        .timeout_recv_body(Some(Duration::from_secs(300)))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .user_agent(concat!("hybrid-dpo/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(authorities(hub.authorities.as_deref())?).build())
        .build();
    Ok(Agent::new_with_config(config))
}

/// The certificates that are trusted.
fn authorities(pem: Option<&[u8]>) -> Result<RootCerts, HubError> {
    let Some(pem) = pem else { return Ok(RootCerts::WebPki) };
    let certificates: Vec<Certificate<'static>> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(HubError::Connection("SSL_CERT_FILE names no file of certificates in PEM".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
