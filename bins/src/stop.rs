//! The wish to stop: ctrl-C, or the system's.
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Failure, console};

/// Whether somebody wants the program to stop.
static WANTED: AtomicBool = AtomicBool::new(false);

/// From here on the first interrupt is a wish, which is answered with these words; the second ends the program at once.
///
/// Who listens already is not asked again: rounds go on listening as they began.
pub(crate) fn listen(answer: &'static str) -> Result<&'static AtomicBool, Failure> {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        ctrlc::set_handler(move || hear(answer))?;
    }
    Ok(&WANTED)
}

fn hear(answer: &str) {
    if WANTED.swap(true, Ordering::Relaxed) {
        console::notice("stopped without saving");
        #[expect(clippy::disallowed_methods, reason = "the second interrupt must not wait for the step to end")]
        std::process::exit(130);
    }
    console::notice(&format!("{answer}; once more stops at once"));
}

/// Whether somebody wants the program to stop.
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Progress that ends the work where somebody wants it to.
pub(crate) fn unless_wanted(mut progress: impl FnMut(usize)) -> impl FnMut(usize) -> ControlFlow<()> {
    move |step| {
        progress(step);
        if is_wanted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
