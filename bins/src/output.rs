//! What the program says: a reader that goes away wants nothing more, and stops nothing.
use std::io::{Error, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use recipes::Failure;

/// Whether this process says nothing, as those that another leads.
static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on.
#[cfg(feature = "mpi")]
pub(crate) fn silence() {
    IS_SILENT.store(true, Ordering::Relaxed);
}

/// Says everything again.
#[cfg(feature = "mpi")]
pub(crate) fn speak() {
    IS_SILENT.store(false, Ordering::Relaxed);
}

/// Whether nothing is said.
pub(crate) fn is_silent() -> bool {
    IS_SILENT.load(Ordering::Relaxed)
}

/// Joins words that a line break must not part: it is shown as a space.
pub(crate) const TIE: char = '\u{a0}';

/// The columns of a terminal that tells no number, and of logs.
pub(crate) const COLUMNS: usize = 80;

/// Writes a line to stderr, broken between words where a terminal is narrower. A closed pipe (a dead `tee`) means that
/// nobody listens any more: the work goes on.
pub(crate) fn say(line: &str) {
    if is_silent() {
        return;
    }
    let text = if stderr().is_terminal() { wrapped(line, columns()) } else { line.to_owned() };
    let _ = writeln!(stderr(), "{}", text.replace(TIE, " "));
}

/// Writes a result to stdout; a closed pipe (`| head`) is not an error.
pub(crate) fn result(text: &str) {
    if is_silent() {
        return;
    }
    let mut lost = lost();
    if lost.is_none() {
        *lost = writeln!(stdout(), "{text}").err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    }
}

/// Why a result could not be written, if so.
static LOST: Mutex<Option<Error>> = Mutex::new(None);

fn lost() -> MutexGuard<'static, Option<Error>> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks that all results were written.
///
/// # Errors
/// One was not, and the reader has not gone away: the disk is full, for example.
pub(crate) fn complete() -> Result<(), Failure> {
    let flushed = stdout().flush().err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    match lost().take().or(flushed) {
        None => Ok(()),
        Some(error) => Err(Failure::failed(format!("the result could not be written to the standard output: {error}"))),
    }
}

/// The columns of the terminal.
pub(crate) fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns).max(40))
}

/// Breaks lines between words so that each has fewer than `columns` columns; what follows a break is indented.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    text.lines().map(|line| wrapped_line(line, columns)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, columns: usize) -> String {
    const INDENT: &str = "  ";
    if line.chars().count() < columns {
        return line.to_owned();
    }
    let (mut shown, mut width) = (String::new(), 0);
    for word in line.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length >= columns {
            shown.push('\n');
            shown.push_str(INDENT);
            width = INDENT.len();
        } else if !shown.is_empty() {
            shown.push(' ');
            width += 1;
        }
        shown.push_str(word);
        width += length;
    }
    shown
}

/// As many parts, the most important first, as fit below a number of columns, with spaces between.
pub(crate) fn fitted(parts: &[String], columns: usize) -> String {
    let mut shown = String::new();
    for part in parts {
        if shown.chars().count() + 1 + part.chars().count() < columns {
            if !shown.is_empty() {
                shown.push(' ');
            }
            shown.push_str(part);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_never_within_a_number() {
        let line = format!("held out: loss{TIE}0.6931 accuracy{TIE}0.6200 margin{TIE}0.0123");
        let shown = wrapped(&line, 30);
        assert_eq!(shown, format!("held out: loss{TIE}0.6931\n  accuracy{TIE}0.6200\n  margin{TIE}0.0123"));
        for columns in 20..60 {
            let shown = wrapped(&line, columns);
            assert!(shown.lines().all(|line| line.chars().count() < columns), "{columns}: {shown}");
            assert_eq!(shown.replace("\n  ", " "), line);
        }
        assert_eq!(wrapped("short\nlines", 80), "short\nlines");
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let parts = ["loss 0.6931", "12 s left", "accuracy 0.62"].map(str::to_owned);
        assert_eq!(fitted(&parts, 40), "loss 0.6931 12 s left accuracy 0.62");
        assert_eq!(fitted(&parts, 30), "loss 0.6931 12 s left");
        assert_eq!(fitted(&parts, 15), "loss 0.6931");
    }
}
