//! Prompts from standard input.
use std::io::{IsTerminal as _, Read as _};

use recipes::{Call, Failure, Ranks};

use crate::{Invocation, console};

/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// What comes from standard input, which launchers give to the first of several processes.
fn read(ranks: &dyn Ranks) -> Result<Vec<u8>, Failure> {
    let (mut input, mut bytes) = (std::io::stdin(), Vec::new());
    if ranks.is_leader() {
        if input.is_terminal() {
            console::notice("prompts from the terminal, one a line; ctrl-D ends them");
        }
        input.read_to_end(&mut bytes).map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    }
    ranks.broadcast(&mut bytes);
    Ok(bytes)
}

/// Does work whose prompts may come from standard input: they are kept in a temporary file until it is done, which errors do
/// not name.
pub(crate) fn prompts<T>(asked: &Invocation, work: impl Fn(Call<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut call = asked.call();
    if call.values.sample.prompts() != Some(STANDARD_INPUT) {
        return work(call);
    }
    let bytes = read(call.reporter.ranks())?;
    let start = bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if start.is_none() {
        return Err(Failure::failed("standard input: there are no prompts in it"));
    }
    // Lines of text have to be named so; records are known by how they begin.
    let is_records =
        matches!(start, Some(b'{' | b'[')) || bytes.starts_with(b"PAR1") || bytes.starts_with(&[0x1f, 0x8b]);
    let file = tempfile::Builder::new().suffix(if is_records { "" } else { ".txt" }).tempfile()?;
    std::fs::write(file.path(), &bytes).map_err(Failure::of_file(file.path()))?;
    let path = file.path().display().to_string();
    call.values.set(|settings| settings.sample.prompts = Some(path.clone()));
    work(call).map_err(|failure| failure.naming(&path, "standard input"))
}
