//! `label`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;

use datasets::{Judgements, PairFolder};
use label::{LabelError, Server, ServerSettings};

use recipes::Failure;

use crate::{Invocation, console};
use recipes::settings::Values;

pub(crate) fn label(call: &Invocation) -> Result<ExitCode, Failure> {
    let folder = call.values.label.pairs().ok_or_else(|| Failure::usage("label what? Name a folder: --pairs DIR"))?;
    let settings = settings(&call.values)?;
    let token = settings.token.clone();
    let pairs = PairFolder::open(Path::new(folder))?;
    if let Some(place) = pairs.labels()?.cut() {
        call.console.info(&format!("{place}: was cut off while it was written, and is left out"));
    }
    let n = pairs.len();
    let server = Server::bind(pairs, settings).map_err(|error| match error {
        LabelError::TokenDemanded { .. } => Failure::usage(format!("{error}: --token TOKEN")),
        LabelError::TokenTooShort { .. } => Failure::usage(format!("--token: {error}")),
        LabelError::Name { .. } => Failure::usage(format!("--labeller: {error}")),
        other => Failure::of(&other),
    })?;
    let (stop, stopped) = label::stop();
    crate::stop::handle(move || stop.now())?;
    // Browsers do not send the fragment after `#` to the server.
    let secret = token.map(|token| format!("#token={}", percent_encoded(&token))).unwrap_or_default();
    call.console.info(&format!("{n} pairs to compare; ctrl-C ends this, and nothing is lost"));
    console::result(&format!("http://{}/{secret}", server.address()));
    summarise(call, &server.run(stopped).map_err(|error| Failure::of(&error))?, n);
    Ok(ExitCode::SUCCESS)
}

fn settings(values: &Values) -> Result<ServerSettings, Failure> {
    let host = match values.label.host() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse::<IpAddr>().map_err(|_| Failure::usage(format!("--host takes an address, not `{host}`")))?,
    };
    let port = values.label.port();
    let port = u16::try_from(port).map_err(|_| Failure::usage(format!("--port takes 0 to 65535, not {port}")))?;
    let seed = values.run.seed();
    let (token, labeller) = (values.label.token().map(str::to_owned), values.label.labeller().map(str::to_owned));
    Ok(ServerSettings { host, port, token, labeller, seed, ..ServerSettings::default() })
}

/// Prints judgements per labeller and their agreement.
fn summarise(call: &Invocation, labels: &Judgements, n: usize) {
    for labeller in labels.labellers() {
        call.console.info(&format!("{labeller}: {} of {n} pairs", labels.count(labeller)));
    }
    if let Some(agreement) = labels.agreement() {
        let kappa = agreement.kappa.map(|kappa| format!(", {} {kappa:.2}", agreement.kind.name())).unwrap_or_default();
        let (labellers, share, pairs) = (agreement.labellers, agreement.share * 100.0, agreement.pairs);
        call.console.info(&format!("{labellers} labellers agree in {share:.0}% of {pairs} shared pairs{kappa}"));
    }
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_address() {
        assert_eq!(percent_encoded("a+b&c=%d é"), "a%2Bb%26c%3D%25d%20%C3%A9");
    }

    #[test]
    fn hosts_and_ports_that_are_none_are_refused() {
        for (set, says) in [
            ("label.host=example.org", "--host takes an address, not `example.org`"),
            ("label.port=65536", "--port takes 0 to 65535, not 65536"),
        ] {
            let mut values = Values::default();
            values.merge_set(set).unwrap();
            let error = settings(&values).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(settings(&Values::default()).unwrap(), ServerSettings::default());
    }
}
