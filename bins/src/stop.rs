//! The wish to stop: ctrl-C, or the system's.
use std::sync::atomic::{AtomicBool, Ordering};

use recipes::Failure;

use crate::console;

/// Whether somebody wants the program to stop.
pub(crate) static WANTED: AtomicBool = AtomicBool::new(false);

/// From here on the first interrupt is a wish, which is answered with these words; the second ends the program at once.
///
/// Who listens already is not asked again: rounds go on listening as they began.
pub(crate) fn listen(answer: &'static str) -> Result<(), Failure> {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        ctrlc::set_handler(move || hear(answer))?;
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
