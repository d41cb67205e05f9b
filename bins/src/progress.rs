//! Progress and logs of work on stderr.
#![expect(clippy::print_stderr, reason = "this is where printing happens")]

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use recipes::{Bar, Reporter, Trained};
use train::{Evaluated, Monitor, Record};

use crate::console::{notice, with_flags};
use crate::{stop, trained as ended};

/// Progress and logs, to stderr.
#[derive(Debug)]
pub(crate) struct Console {
    quiet: bool,
    json: bool,
    bar: Option<ProgressBar>,
    reported_at: Instant,
    total: usize,
}

impl Console {
    pub(crate) fn start(quiet: bool, json: bool) -> Self {
        Self { quiet, json, bar: None, reported_at: Instant::now(), total: 0 }
    }

    /// A line of information.
    pub(crate) fn info(&self, line: &str) {
        if self.quiet {
            return;
        }
        let line = with_flags(line);
        let text = if self.json { serde_json::json!({"level": "info", "message": line}).to_string() } else { line };
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.suspend(|| eprintln!("{text}")),
            _ => eprintln!("{text}"),
        }
    }

    /// A progress bar for work of `total` parts; hidden where stderr is not a terminal.
    fn progress(&self, what: &'static str, total: usize) -> ProgressBar {
        let visible = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_prefix(what);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} {eta} left") {
            bar.set_style(style);
        }
        bar
    }
}

impl Reporter for Console {
    fn info(&self, line: &str) {
        Self::info(self, line);
    }

    fn notice(&self, line: &str) {
        notice(line);
    }

    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar> {
        Box::new(Shown(self.progress(what, total)))
    }

    fn monitor(&self) -> Box<dyn Monitor + '_> {
        Box::new(Self::start(self.quiet, self.json))
    }

    fn trained(&self, trained: &Trained) {
        ended::print(trained);
    }

    fn stop(&self) -> &AtomicBool {
        &stop::WANTED
    }
}

/// A bar on the terminal.
struct Shown(ProgressBar);

impl Bar for Shown {
    fn set_position(&self, done: u64) {
        self.0.set_position(done);
    }

    fn inc(&self, more: u64) {
        self.0.inc(more);
    }

    fn finish_and_clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Monitor for Console {
    fn started(&mut self, step: usize, total: usize) {
        let bar = self.progress("train", total);
        bar.set_position(step as u64);
        bar.reset_eta();
        self.bar = Some(bar);
        self.total = total;
    }

    fn stepped(&mut self, record: &Record) {
        let value = |name: &str| record.value(name).unwrap_or(f64::NAN);
        let mut message = format!("loss {:.4}", value("loss"));
        if let Some(accuracy) = record.value("rewards/accuracies") {
            let _ = write!(message, " accuracy {accuracy:.2} margin {:.3}", value("rewards/margins"));
        }
        for (name, value) in &record.values {
            if let Some(unit) = name.strip_suffix("_per_second") {
                let _ = write!(message, " {value:.*} {unit}/s", usize::from(unit == "pairs"));
            }
        }
        let Some(bar) = &self.bar else { return };
        if !bar.is_hidden() {
            bar.set_position(record.step as u64);
            bar.set_message(message);
        } else if self.reported_at.elapsed() >= Duration::from_secs(5) || record.step == self.total {
            self.reported_at = Instant::now();
            let left = self.total.saturating_sub(record.step) as f64 * record.examples as f64
                / (record.step as f64 * value("pairs_per_second")).max(1e-9);
            self.info(&format!("step {}/{} {message}, {left:.0} s left", record.step, self.total));
        }
    }

    fn evaluated(&mut self, step: usize, evaluated: &Evaluated) {
        let mut line = format!("held out, step {step}, {} examples:", evaluated.examples);
        for (short, name) in [
            ("loss", "loss"),
            ("accuracy", "rewards/accuracies"),
            ("margin", "rewards/margins"),
            ("chosen", "rewards/chosen"),
            ("rejected", "rewards/rejected"),
            ("KL(ref, policy)", "divergence"),
        ] {
            if let Some(value) = evaluated.metrics.get(name) {
                let _ = write!(line, " {short} {value:.4}");
            }
        }
        self.info(&line);
    }

    fn note(&mut self, line: &str) {
        self.info(line);
    }

    fn finished(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
