//! Stop requests: ctrl-C, hang-ups and termination signals.
use std::sync::atomic::{AtomicBool, Ordering};

use recipes::Failure;

use crate::{console, ranks};

/// The exit code of what was interrupted.
pub(crate) const CODE: u8 = 130;
/// What is said where an interrupt leaves nothing behind.
pub(crate) const NOTHING_KEPT: &str = "stopped; nothing of what was under way is kept";

/// Whether a stop was requested.
pub(crate) static WANTED: AtomicBool = AtomicBool::new(false);

/// Installs the signal handler: the first signal requests a stop and prints `answer`; the second ends the program at
/// once. Signals that are ignored at the start stay ignored, as `nohup` and background jobs of scripts want it.
///
/// Later calls keep the first handler, so rounds install it once.
pub(crate) fn listen(answer: &'static str) -> Result<(), Failure> {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if LISTENING.swap(true, Ordering::Relaxed) { Ok(()) } else { handle(move || hear(answer)) }
}

/// Of several processes, makes the first signal end this one at once with the code of an interrupt, for work that no step divides:
/// a launcher passes that code on, and makes another one of a process that a signal has killed.
pub(crate) fn end_at_once() -> Result<(), Failure> {
    if ranks::of_job().is_none() {
        return Ok(());
    }
    handle(|| {
        console::notice(NOTHING_KEPT);
        leave();
    })
}

/// Ends this process with the code of an interrupt.
#[expect(clippy::disallowed_methods, reason = "such an interrupt must not wait for the step to end")]
fn leave() {
    std::process::exit(CODE.into())
}

/// Calls `act` at every signal that is not ignored at the start.
#[cfg(unix)]
pub(crate) fn handle(act: impl Fn() + Send + 'static) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let ignored = ignored_signals(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_in(ignored, *signal));
    let mut signals = signal_hook::iterator::Signals::new(heard).map_err(|error| Failure::of(&error))?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            act();
        }
    })?;
    Ok(())
}

/// Calls `act` at every signal that asks for an end.
#[cfg(not(unix))]
pub(crate) fn handle(act: impl Fn() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(act).map_err(|error| Failure::of(&error))
}

/// The ignored signals of a process as bits, the lowest for signal 1, from Linux's `/proc/PID/status`; none elsewhere, where
/// there is no such file.
#[cfg(unix)]
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(unix)]
fn is_in(mask: u64, signal: i32) -> bool {
    signal > 0 && mask >> (signal - 1) & 1 == 1
}

fn hear(answer: &str) {
    if WANTED.swap(true, Ordering::Relaxed) {
        console::notice("stopped at once; only what was saved before is kept");
        leave();
    }
    console::notice(&format!("{answer}; once more stops at once"));
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let mask = ignored_signals("Name:\thybrid-dpo\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n");
        assert_eq!([1, 2, 13, 15].map(|signal| is_in(mask, signal)), [true, true, true, false]);
        assert_eq!(ignored_signals(""), 0);
    }
}
