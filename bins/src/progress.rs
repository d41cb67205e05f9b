//! Progress and logs of work on stderr.
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use datasets::TokenCache;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use recipes::amounts::{count, duration};
use recipes::{ApiKey, Bar, Hub, PREFERENCE_PART, Ranks, Reporter, SFT_PART, Trained};
use train::{Alone, Course, Evaluated, Monitor, Record};

use crate::console::{notice, with_flags};
use crate::left::TimeLeft;
use crate::output::{COLUMNS, TIE, columns, fitted, say};
use crate::{cache, hub, ranks, stop, trained as ended};

/// Progress and logs, to stderr.
#[derive(Debug)]
pub(crate) struct Console {
    quiet: bool,
    json: bool,
    bar: Option<ProgressBar>,
    /// The bar of an evaluation under way.
    look: Option<ProgressBar>,
    reported_at: Instant,
    /// When the evaluation under way began; `None` between evaluations.
    look_began: Option<Instant>,
    scored: usize,
    course: Course,
    left: TimeLeft,
    /// Training examples before the next step.
    examples: Option<usize>,
}

impl Console {
    pub(crate) fn start(quiet: bool, json: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            json,
            bar: None,
            look: None,
            reported_at: now,
            look_began: None,
            scored: 0,
            course: Course::default(),
            left: TimeLeft::default(),
            examples: None,
        }
    }

    /// A line of information.
    pub(crate) fn info(&self, line: &str) {
        if self.quiet {
            return;
        }
        let line = with_flags(line);
        let text = if self.json {
            serde_json::json!({"level": "info", "message": line.replace(TIE, " ")}).to_string()
        } else {
            line
        };
        match self.look.as_ref().or(self.bar.as_ref()) {
            Some(bar) if !bar.is_hidden() => bar.suspend(|| say(&text)),
            _ => say(&text),
        }
    }

    /// A progress bar for work of `total` parts; hidden where stderr is not a terminal.
    fn progress(&self, what: &'static str, total: usize, template: &str) -> ProgressBar {
        let visible = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_prefix(what);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }

    /// Whether it is time for the next line of a log.
    fn is_due(&mut self) -> bool {
        let is_due = self.reported_at.elapsed() >= BETWEEN_LINES;
        if is_due {
            self.reported_at = Instant::now();
        }
        is_due
    }

    /// Shows the bar of the steps again after an evaluation has taken its place.
    fn resume_bar(&mut self, step: usize) {
        let bar = self.progress("train", self.course.total, STEPS_BAR);
        bar.set_position(step as u64);
        self.bar = Some(bar);
    }
}

/// The time between lines of progress in a log.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// A bar of work whose end can be estimated.
const WORK_BAR: &str = "{prefix} {bar:20} {pos}/{len} {msg} {eta} left";
/// A count of work whose total is unknown.
const COUNT_BAR: &str = "{prefix} {human_pos}";
/// The bar of the steps; the message has the time left.
const STEPS_BAR: &str = "{prefix} {bar:10} {pos}/{len} {msg}";

impl Reporter for Console {
    fn info(&self, line: &str) {
        Self::info(self, line);
    }

    fn notice(&self, line: &str) {
        notice(line);
    }

    fn wants_plan(&self) -> bool {
        !self.quiet
    }

    fn token_cache(&self) -> Option<TokenCache> {
        cache::tokens()
    }

    #[expect(clippy::disallowed_methods, reason = "only the command line reads the environment")]
    fn key(&self, variable: &str) -> Option<ApiKey> {
        ApiKey::new(&std::env::var(variable).ok()?)
    }

    fn hub(&self) -> Option<&Hub> {
        Some(hub::of_user())
    }

    fn ranks(&self) -> &dyn Ranks {
        match ranks::of_job() {
            Some(ranks) => ranks,
            None => &Alone,
        }
    }

    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar> {
        let template = if total == 0 { COUNT_BAR } else { WORK_BAR };
        let bar = self.progress(what, total, template);
        // A bar that may not be seen says now and then how far it is, unless nothing is to be said.
        let log = (bar.is_hidden() && !self.quiet).then(|| Log {
            json: self.json,
            what,
            total,
            said_at: Cell::new(Instant::now()),
        });
        Box::new(Shown { bar, log })
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

/// A bar on the terminal, or lines in a log.
struct Shown {
    bar: ProgressBar,
    log: Option<Log>,
}

/// Lines about work in a log.
struct Log {
    json: bool,
    what: &'static str,
    total: usize,
    said_at: Cell<Instant>,
}

impl Log {
    /// Says how far the work is, if the last line is some time ago.
    fn note(&self, done: u64) {
        if self.said_at.get().elapsed() < BETWEEN_LINES {
            return;
        }
        self.said_at.set(Instant::now());
        let of = if self.total == 0 { String::new() } else { format!(" of {}", count(self.total)) };
        Console::start(false, self.json).info(&format!("{}: {}{of}", self.what, count(done as usize)));
    }
}

impl Bar for Shown {
    fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        self.log.iter().for_each(|log| log.note(done));
    }

    fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.log.iter().for_each(|log| log.note(self.bar.position()));
    }

    fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Monitor for Console {
    fn started(&mut self, course: Course) {
        (self.course, self.left) = (course, TimeLeft::of(course));
        self.resume_bar(course.step);
    }

    fn evaluating(&mut self, step: usize, examples: usize) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        (self.look_began, self.reported_at, self.scored) = (Some(Instant::now()), Instant::now(), 0);
        let bar = self.progress("evaluate", examples, WORK_BAR);
        bar.set_message(format!("after step {step}"));
        self.look = Some(bar);
    }

    fn scored(&mut self, examples: usize) {
        self.scored += examples;
        let Some(bar) = &self.look else { return };
        bar.inc(examples as u64);
        if let (true, Some(of)) = (bar.is_hidden(), bar.length())
            && self.is_due()
        {
            self.info(&format!("evaluated {} of {of}", self.scored));
        }
    }

    fn sampling(&mut self, _step: usize) {
        self.look_began.get_or_insert_with(Instant::now);
        if let Some(bar) = self.look.take().or_else(|| self.bar.take()) {
            bar.finish_and_clear();
        }
    }

    fn looked(&mut self) {
        if let Some(bar) = self.look.take() {
            bar.finish_and_clear();
        }
        if let Some(began) = self.look_began.take() {
            self.left.evaluation(began.elapsed().as_secs_f64());
        }
    }

    fn stepped(&mut self, record: &Record) {
        let value = |name: &str| record.value(name).unwrap_or(f64::NAN);
        // The first record of a resumed run does not tell how many examples its step had.
        let before = self.examples.replace(record.examples).or((self.course.step == 0).then_some(0));
        if let Some(before) = before {
            self.left.step((record.examples - before) as f64 / value("pairs_per_second").max(1e-9));
        }
        if self.bar.is_none() {
            self.resume_bar(record.step);
        }
        let (left, course) = (self.left.after(record.step), self.course);
        let parts = parts(record, left);
        let Some(bar) = &self.bar else { return };
        if !bar.is_hidden() {
            bar.set_position(record.step as u64);
            let beside = format!("train {:10} {}/{} ", "", record.step, course.total).len();
            bar.set_message(fitted(&parts, columns().saturating_sub(beside)));
        } else if self.is_due() || record.step == course.total {
            let step = format!("step {}/{} ", record.step, course.total);
            self.info(&format!("{step}{}", fitted(&parts, COLUMNS - step.len())));
        }
    }

    fn evaluated(&mut self, step: usize, evaluated: &Evaluated) {
        self.info(&of_evaluation(step, evaluated));
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

/// What is shown of a step, the most important first.
fn parts(record: &Record, left: Option<f64>) -> Vec<String> {
    let shown =
        |name: &str, label: &str, digits: usize| record.value(name).map(|value| format!("{label} {value:.digits$}"));
    let accuracy =
        if record.is_all_tied() { Some("all tied".to_owned()) } else { shown("rewards/accuracies", "accuracy", 2) };
    let first = [shown("loss", "loss", 4), shown(PREFERENCE_PART, "preference", 4)];
    let then = [accuracy, shown("rewards/margins", "margin", 3)];
    let mut parts: Vec<String> = first.into_iter().chain(then).flatten().collect();
    if let Some(left) = left {
        parts.insert(1, format!("{} left", duration(left)));
    }
    for (name, value) in &record.values {
        if let Some(unit) = name.strip_suffix("_per_second") {
            parts.push(format!("{value:.*} {unit}/s", usize::from(unit == "pairs")));
        }
    }
    parts
}

/// What is shown of an evaluation.
fn of_evaluation(step: usize, evaluated: &Evaluated) -> String {
    let mut line = format!("held{TIE}out, step{TIE}{step}, {}{TIE}examples:", evaluated.examples);
    for (short, name) in [
        ("loss", "loss"),
        ("preference", PREFERENCE_PART),
        ("sft", SFT_PART),
        ("accuracy", "rewards/accuracies"),
        ("margin", "rewards/margins"),
        ("chosen", "rewards/chosen"),
        ("rejected", "rewards/rejected"),
        ("KL(ref,policy)", "divergence"),
        ("win rate", "win_rate"),
    ] {
        let Some(value) = evaluated.metrics.get(name) else { continue };
        if name == "win_rate" {
            let _ = write!(line, " {short}{TIE}{value:.4}{}", of_interval(evaluated));
        } else if name == "rewards/accuracies" {
            let _ = write!(line, " {short}{TIE}{}", evaluated.accuracy_text().replace(' ', &TIE.to_string()));
        } else {
            let _ = write!(line, " {short}{TIE}{value:.4}");
        }
    }
    line
}

/// The 95% interval of the win rate over the start.
fn of_interval(evaluated: &Evaluated) -> String {
    let of = |name: &str| evaluated.metrics.get(name).copied();
    let interval = of("win_rate/low").zip(of("win_rate/high"));
    interval.map_or_else(String::new, |(low, high)| format!("{TIE}({low:.3}{TIE}to{TIE}{high:.3})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(values: &[(&str, f64)]) -> Record {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Record { split: "train", step: 1, examples: 4, values }
    }

    #[test]
    fn a_step_of_ties_has_no_accuracy() {
        let tied = [("loss", 0.625), ("rewards/accuracies", 0.0), ("rewards/margins", 0.0)];
        assert_eq!(parts(&record(&tied), Some(0.0))[2..], ["all tied", "margin 0.000"]);
        let better = [("loss", 0.6), ("rewards/accuracies", 0.75), ("rewards/margins", 0.25)];
        assert_eq!(parts(&record(&better), Some(0.0))[2..], ["accuracy 0.75", "margin 0.250"]);
    }

    #[test]
    fn a_win_rate_has_its_interval() {
        let metrics = [("loss", 0.6), ("win_rate", 0.625), ("win_rate/low", 0.4), ("win_rate/high", 0.8)];
        let evaluated = Evaluated { examples: 8, metrics: metrics.into(), ..Evaluated::default() };
        let line = of_evaluation(4, &evaluated).replace(TIE, " ");
        assert_eq!(line, "held out, step 4, 8 examples: loss 0.6000 win rate 0.6250 (0.400 to 0.800)");
    }
}
