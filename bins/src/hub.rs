//! The user's Hugging Face cache and hub, as the environment names them to huggingface_hub.
#![expect(clippy::disallowed_methods, reason = "only the command line reads the environment")]

use std::env::var;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ::hub::{Cache, Hub, Proxy, Token};

static HUB: OnceLock<Hub> = OnceLock::new();

/// The hub of the user.
pub(crate) fn of_user() -> &'static Hub {
    HUB.get_or_init(|| read(&|name| var(name).ok().filter(|value| !value.trim().is_empty())))
}

/// Makes the user's cache that in which adapters find their base.
pub(crate) fn start() {
    ::hub::install(of_user().cache.clone());
}

/// A variable of the environment; none where it is empty.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn read(variable: Variable<'_>) -> Hub {
    let home = home(variable);
    let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].iter().find_map(|name| variable(name));
    let cache = named.map_or_else(|| home.join("hub"), |path| expanded(variable, &path));
    let mut hub = Hub::new(Cache::new(cache));
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        endpoint.trim().clone_into(&mut hub.endpoint);
    }
    hub.token = token(variable, &home);
    hub.is_offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|name| is_on(variable, name));
    hub.proxy = proxy(variable, &hub.endpoint);
    let authorities = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"].iter().find_map(|name| variable(name));
    // A file that can't be read has no certificate, which is said when one is needed.
    hub.authorities = authorities.map(|path| std::fs::read(path).unwrap_or_default());
    hub
}

/// The folder of Hugging Face programs.
fn home(variable: Variable<'_>) -> PathBuf {
    let named = variable("HF_HOME").map(|path| expanded(variable, &path));
    named.unwrap_or_else(|| {
        let caches = variable("XDG_CACHE_HOME").map(|path| expanded(variable, &path));
        caches.unwrap_or_else(|| expanded(variable, "~/.cache")).join("huggingface")
    })
}

/// A path whose `~` is the user's folder.
fn expanded(variable: Variable<'_>, path: &str) -> PathBuf {
    let user = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
    match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => user().unwrap_or_default().join(rest.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

fn is_on(variable: Variable<'_>, name: &str) -> bool {
    variable(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_ascii_uppercase().as_str()))
}

/// The token of the environment, else that of the file which a login writes.
fn token(variable: Variable<'_>, home: &Path) -> Option<Token> {
    // It switches off what was not given in a call, and nothing is given so here.
    if is_on(variable, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    if let Some(given) = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].iter().find_map(|name| variable(name)) {
        return Token::new(&given);
    }
    let file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), |path| expanded(variable, &path));
    Token::new(&std::fs::read_to_string(file).ok()?)
}

/// The proxy for an address.
fn proxy(variable: Variable<'_>, endpoint: &str) -> Option<Proxy> {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
    let scheme = if endpoint.starts_with("http://") { "http_proxy" } else { "https_proxy" };
    let address = either(scheme).or_else(|| either("all_proxy"))?;
    let except = either("no_proxy").unwrap_or_default();
    Some(Proxy { address, except: except.split(',').map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_huggingface_hub_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let home = folder.path().display().to_string();
        let of = |pairs: &[(&str, &str)]| {
            read(&|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let cache = |pairs: &[(&str, &str)]| of(pairs).cache.folder().display().to_string();
        assert_eq!(cache(&[("HOME", "/me")]), "/me/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/me"), ("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/me"), ("HF_HOME", "~/hf")]), "/me/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")]), "/new");
        let token = |pairs: &[(&str, &str)]| of(pairs).token;
        assert_eq!(token(&[("HF_HOME", &home)]), Token::new("hf_file"));
        assert_eq!(token(&[("HF_HOME", &home), ("HF_TOKEN", "hf_given")]), Token::new("hf_given"));
        let off = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(token(&[("HF_HOME", &home), off]), None);
        assert_eq!(token(&[("HF_TOKEN", "hf_given"), off]), None);
        assert_eq!(token(&[("HF_HOME", "/none"), ("HF_TOKEN_PATH", &format!("{home}/token"))]), Token::new("hf_file"));
        assert!(of(&[("TRANSFORMERS_OFFLINE", "yes")]).is_offline && !of(&[("HF_HUB_OFFLINE", "0")]).is_offline);
        let hub = of(&[("HF_ENDPOINT", "http://mirror"), ("HTTP_PROXY", "http://p:1"), ("no_proxy", "a,.b")]);
        let except = vec!["a".to_owned(), ".b".to_owned()];
        assert_eq!(hub.proxy, Some(Proxy { address: "http://p:1".to_owned(), except }));
        assert_eq!(of(&[("http_proxy", "http://p:1")]).proxy, None);
    }
}
