//! Stop requests: ctrl-C and termination signals.
use std::sync::atomic::{AtomicBool, Ordering};

use recipes::Failure;

use crate::console;

/// Whether a stop was requested.
pub(crate) static WANTED: AtomicBool = AtomicBool::new(false);

/// Installs the signal handler: the first interrupt requests a stop and prints `answer`; the second ends the program at
/// once.
///
/// Later calls keep the first handler, so rounds install it once.
pub(crate) fn listen(answer: &'static str) -> Result<(), Failure> {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        ctrlc::set_handler(move || hear(answer)).map_err(|error| Failure::of(&error))?;
    }
    Ok(())
}

fn hear(answer: &str) {
    if WANTED.swap(true, Ordering::Relaxed) {
        console::notice("stopped without saving");
        #[expect(clippy::disallowed_methods, reason = "the second interrupt must not wait for the step to end")]
        std::process::exit(130);
    }
    console::notice(&format!("{answer}; once more stops at once"));
}
