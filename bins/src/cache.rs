//! The folder for what is kept between runs.
#![expect(clippy::disallowed_methods, reason = "only the command line reads the environment")]

use std::env::{current_exe, var_os};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use datasets::TokenCache;

/// The cache of tokens: in `$HYBRID_DPO_CACHE`, else in `hybrid-dpo` of the user's folder for caches. None where the variable
/// is empty, or the user has no such folder.
pub(crate) fn tokens() -> Option<TokenCache> {
    let folder = match var_os("HYBRID_DPO_CACHE") {
        Some(folder) if folder.is_empty() => return None,
        Some(folder) => PathBuf::from(folder),
        None => user_folder()?.join("hybrid-dpo"),
    };
    Some(TokenCache::new(folder.join("tokens"), program()))
}

fn user_folder() -> Option<PathBuf> {
    let named = |name| var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(named("HOME")?.join(".cache")))
}

/// The version, and which build of it: another build may tokenise otherwise.
fn program() -> String {
    let build = current_exe().and_then(std::fs::metadata).ok();
    let time = build.as_ref().and_then(|found| found.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    format!("{} {:?} {:?}", env!("CARGO_PKG_VERSION"), build.map(|found| found.len()), time)
}
