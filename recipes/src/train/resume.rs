//! Runs that are taken up again.
use std::path::{Path, PathBuf};

use ::train::{RunFolder, Schedule, Settings, write_whole};

use crate::amounts::counted;
use crate::keys;
use crate::paths;
use crate::report;
use crate::settings::{Field, Values, at};
use crate::trained::open_run;
use crate::{Failure, Reporter};

/// Settings that may be given with a run's folder: how long it is, and those of [`OF_PROCESS`].
const GIVEN: [&Field; 3] = [&at::run::mdp, &at::train::epochs, &at::train::max_steps];

/// Settings that decide no number: where a process computes, and when it saves. Each start of a run has its own.
const OF_PROCESS: [&Field; 5] = [
    &at::run::device,
    &at::run::threads,
    &at::train::save_every,
    &at::train::save_minutes,
    &at::train::keep_checkpoints,
];

/// The length of a run before it was extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    epochs: Option<usize>,
    max_steps: Option<usize>,
}

/// Loads the settings with which a resumed run was started, and makes it longer if a length is given.
pub(super) fn load(values: &mut Values, path: &Path) -> Result<Option<Extension>, Failure> {
    let may_be_given = |field: &Field| GIVEN.iter().chain(&OF_PROCESS).any(|known| *known == field);
    if let Some(key) = keys::all().find(|key| values.is_given(key.field) && !may_be_given(key.field)) {
        let others: Vec<String> = OF_PROCESS.iter().map(ToString::to_string).collect();
        let text = format!(
            "{} can't be given with `resume`: the run goes on with the settings it has; `train.epochs` or \
             `train.max_steps` make it longer, and {} may differ",
            key.field,
            others.join(", ")
        );
        return Err(Failure::usage(text));
    }
    let given = values.clone();
    open_run(path)?;
    values.reset(&at::train::epochs);
    values.reset(&at::train::max_steps);
    values.merge_file(&path.join("config.toml"))?;
    if given.is_given(&at::train::save_minutes) && !given.is_given(&at::train::save_every) {
        values.reset(&at::train::save_every);
    }
    values.give_again(&given, &OF_PROCESS);
    let base = values.run.out().and_then(|out| paths::started_in(path, Path::new(out)));
    let here = std::path::absolute(".").ok();
    if let Some(base) = base.filter(|base| here.as_ref() != Some(base)) {
        paths::resolve(values, &base);
    }
    extend(values, &given)
}

/// Sets the length that is given; the old one is returned if it was another.
fn extend(values: &mut Values, given: &Values) -> Result<Option<Extension>, Failure> {
    let before = Extension { epochs: values.train.epochs(), max_steps: values.train.max_steps() };
    let (fields, length) =
        ([&at::train::epochs, &at::train::max_steps], (given.train.epochs(), given.train.max_steps()));
    let is_given = fields.iter().any(|field| given.is_given(field));
    if !is_given || length == (before.epochs, before.max_steps) {
        return Ok(None);
    }
    if values.rounds.rounds().is_some() {
        return Err(Failure::usage(
            "`train.epochs` and `train.max_steps` are those of every round: they stay as the rounds began",
        ));
    }
    // What is given decides alone, as in a new run: of both, what comes first.
    values.set(|settings| (settings.train.epochs, settings.train.max_steps) = length);
    values.give_again(given, &fields);
    Ok(Some(before))
}

/// Records the length of an extended run in its folder, whose end is no longer its end.
pub(super) fn record(folder: &RunFolder, values: &Values) -> Result<(), Failure> {
    report::reopen(folder.path())?;
    let path = folder.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(Failure::of_file(&path))?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| Failure::of(&error))?;
    if let Some(toml::Value::Table(train)) = table.get_mut("train") {
        for (name, value) in [("epochs", values.train.epochs()), ("max_steps", values.train.max_steps())] {
            match value {
                Some(value) => drop(train.insert(name.to_owned(), toml::Value::Integer(value as i64))),
                None => drop(train.remove(name)),
            }
        }
    }
    let text = table.to_string();
    Ok(write_whole(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

impl Extension {
    /// Whether the run has another number of steps now.
    pub(super) fn changes(self, settings: &Settings, examples: usize) -> bool {
        settings.total_steps(examples) != self.settings(settings).total_steps(examples)
    }

    /// Checks that the run has not done more steps than it is to have.
    ///
    /// # Errors
    /// It has.
    pub(super) fn check((settings, examples): (&Settings, usize), done: usize) -> Result<(), Failure> {
        let total = settings.schedule(examples).total;
        if total < done {
            let text = format!("the run has done {done} steps, more than the {total} that are asked for");
            return Err(Failure::usage(text));
        }
        Ok(())
    }

    /// Says what changes.
    pub(super) fn say(self, (settings, examples): (&Settings, usize), done: usize, reporter: &dyn Reporter) {
        let (now, before) = (settings.schedule(examples), self.settings(settings).schedule(examples));
        reporter.info(&format!(
            "the run has {} steps now, {} before ({}); all other settings stay",
            now.total,
            before.total,
            changes(self, settings)
        ));
        reporter.info(&of_schedule(now, before, done));
    }

    fn settings(self, now: &Settings) -> Settings {
        Settings { epochs: self.epochs, max_steps: self.max_steps, ..now.clone() }
    }
}

/// What was changed, such as `train.epochs` from 1 to 3.
fn changes(before: Extension, now: &Settings) -> String {
    let word = |value: Option<usize>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
    let lengths =
        [(&at::train::epochs, before.epochs, now.epochs), (&at::train::max_steps, before.max_steps, now.max_steps)];
    let changed = lengths.into_iter().filter(|(_, before, now)| before != now);
    let changed = changed.map(|(field, before, now)| format!("{field} from {} to {}", word(before), word(now)));
    changed.collect::<Vec<_>>().join(", ")
}

/// What another length does to the learning rates from a step on.
fn of_schedule(now: Schedule, before: Schedule, done: usize) -> String {
    let warmup = match now.warmup {
        0 => "the run has no warm-up".to_owned(),
        steps => format!("the warm-up stays the {} that the run began with", counted(steps, "step")),
    };
    if now.decay == ::train::Decay::Constant {
        return format!(
            "{warmup}, and the learning rate is constant after it: every step is that of a run of this length from the \
             start with `optimizer.warmup_steps` {}",
            now.warmup
        );
    }
    let decay = now.decay.name();
    format!(
        "{warmup}; the {decay} schedule is stretched to the new length from here on: the next step has a learning rate of \
         {:.3e}, it would have had {:.3e} before; the steps so far were taken at the rates of the shorter run, so this is \
         not the run of {} steps from the start",
        now.at(done),
        before.at(done),
        now.total
    )
}

/// Says how a resumed run goes on.
pub(super) fn say_start(folder: &RunFolder, reporter: &dyn Reporter) -> Result<(), Failure> {
    let name = folder.path().display();
    let Some(step) = folder.checkpoints()?.pop() else {
        reporter.info(&format!("{name} has no checkpoint yet: the run starts over, with the settings it has"));
        return Ok(());
    };
    reporter.info(&format!("{name} goes on after step {step}"));
    Ok(())
}

/// The path that a config file keeps of a run: as typed where that tells where the run was started.
pub(super) fn kept(values: &Values) -> Values {
    let mut kept = values.clone();
    let tells = values.run.out().is_some_and(|out| paths::tells_its_start(Path::new(out)));
    if let (false, Ok(here)) = (tells, std::path::absolute(PathBuf::from("."))) {
        paths::resolve(&mut kept, &here);
    }
    kept
}

#[cfg(test)]
mod tests {
    use ::train::Decay;

    use super::*;

    fn values(sets: &[&str]) -> Values {
        let mut values = Values::default();
        for set in sets {
            values.merge_set(set).unwrap();
        }
        values
    }

    #[test]
    fn the_length_that_is_given_decides_alone() {
        let one_epoch = Some(Extension { epochs: Some(1), max_steps: None });
        let mut longer = values(&["train.epochs=1"]);
        assert_eq!(extend(&mut longer, &values(&["train.max_steps=9"])).unwrap(), one_epoch);
        assert_eq!((longer.train.epochs, longer.train.max_steps), (None, Some(9)));
        let mut same = values(&["train.epochs=2"]);
        assert_eq!(extend(&mut same, &values(&["train.epochs=2"])).unwrap(), None);
        assert_eq!(extend(&mut same, &values(&[])).unwrap(), None);
        assert!(extend(&mut values(&["rounds.rounds=2"]), &values(&["train.epochs=2"])).unwrap_err().is_usage());
    }

    #[test]
    fn of_two_lengths_that_are_given_none_is_forgotten() {
        let both = values(&["train.epochs=1", "train.max_steps=100"]);
        for before in [&["train.epochs=1"][..], &["train.max_steps=100"], &["train.epochs=3"], &[]] {
            let mut longer = values(before);
            assert!(extend(&mut longer, &both).unwrap().is_some(), "{before:?}");
            super::super::decide_length(&mut longer);
            assert_eq!((longer.train.epochs, longer.train.max_steps), (Some(1), Some(100)), "{before:?}");
        }
        assert_eq!(extend(&mut both.clone(), &both).unwrap(), None);
        // The steps that come first are counted: 10 an epoch here.
        let settings = Settings { batch_size: 1, epochs: Some(1), max_steps: Some(100), ..Settings::DEFAULT };
        let of = |epochs, max_steps| Extension { epochs, max_steps };
        assert!(!of(Some(1), None).changes(&settings, 10) && of(Some(2), None).changes(&settings, 10));
        assert!(!of(None, Some(10)).changes(&settings, 10));
    }

    #[test]
    fn what_happens_to_the_schedule_is_said() {
        let schedule = |decay, total| Schedule { rate: 1e-3, warmup: 0, decay, total };
        let said = of_schedule(schedule(Decay::Constant, 20), schedule(Decay::Constant, 10), 10);
        assert!(said.contains("has no warm-up, and the learning rate is constant after it"), "{said}");
        let warm = |total| Schedule { warmup: 3, ..schedule(Decay::Constant, total) };
        let said = of_schedule(warm(20), warm(10), 10);
        for part in ["stays the 3 steps that the run began with", "from the start with `optimizer.warmup_steps` 3"] {
            assert!(said.contains(part), "{said}");
        }
        let said = of_schedule(schedule(Decay::Linear, 20), schedule(Decay::Linear, 10), 10);
        for part in ["linear schedule is stretched", "5.000e-4", "0.000e0 before", "20 steps from the start"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
