//! Judged segments in numpy's files.
use std::io::{self, Seek, Write};
use std::path::Path;

use tensorfile::{NpzFile, NpzValues, TensorFileError, write_npz};

use super::{JudgedSegments, Segments, Verdicts};
use crate::DatasetError;

/// The labels that are looked for unless one is named, in this order.
const LABELS: [&str; 2] = ["rl_sum", "label"];

impl JudgedSegments {
    /// Reads an `.npz` file of either layout; `label` names the array of scores or labels, `rl_sum` or else `label` by default.
    ///
    /// # Errors
    /// A file that is none or is damaged, or has both `rl_sum` and `label` where none is named; an array that is missing, of the wrong shape or type, or holds a number that
    /// is not finite. The message names the file, the array, what is expected and what was found.
    pub fn read(path: &Path, label: Option<&str>) -> Result<Self, DatasetError> {
        let file = Arrays(NpzFile::open(path).map_err(unread)?);
        if file.0.has("action_1") { file.pairs(label.unwrap_or("label")) } else { file.scored(label) }
    }

    /// Writes the layout that was read: `obs`, `action` and `rl_sum`, or `obs_1`, `obs_2`, `action_1`, `action_2` and `label`;
    /// with rewards, if there are any. `numpy.load` reads it.
    ///
    /// # Errors
    /// What the system refuses to write.
    pub fn write_npz(&self, to: impl Write + Seek) -> io::Result<()> {
        let segments = &self.segments;
        let (length, rewards) = (segments.length(), self.rewards.as_deref());
        let (n, names, halves): (usize, [&[&str]; 4], usize) = match &self.verdicts {
            Verdicts::Scores(_) => (segments.len(), [&["obs"], &["action"], &["reward"], &["rl_sum"]], 1),
            Verdicts::Pairs(labels) => {
                let sides: [&[&str]; 4] =
                    [&["obs_1", "obs_2"], &["action_1", "action_2"], &["reward_1", "reward_2"], &["label"]];
                (labels.len(), sides, 2)
            }
        };
        let (Verdicts::Scores(verdicts) | Verdicts::Pairs(verdicts)) = &self.verdicts;
        let shapes =
            [vec![n, length, segments.observation_size()], vec![n, length, segments.action_size()], vec![n, length]];
        let numbers = [Some(segments.observations()), Some(segments.actions()), rewards];
        let mut arrays: Vec<(&str, &[usize], NpzValues<'_>)> = Vec::new();
        for ((names, shape), numbers) in names.iter().zip(&shapes).zip(numbers) {
            let Some(numbers) = numbers else { continue };
            for (name, half) in names.iter().zip(numbers.chunks_exact(numbers.len() / halves)) {
                arrays.push((name, shape, NpzValues::F32(half)));
            }
        }
        let of_verdicts = [n];
        arrays.push((names[3][0], &of_verdicts, NpzValues::F64(verdicts)));
        write_npz(to, &arrays)
    }
}

/// The arrays of a file.
struct Arrays(NpzFile);

impl Arrays {
    /// Segments with scores.
    fn scored(&self, label: Option<&str>) -> Result<JudgedSegments, DatasetError> {
        let [n, length, observation] = self.shape("obs", "[N, L, observation]")?;
        let of_actions = self.shape::<3>("action", "[N, L, action]")?;
        self.same("action", &of_actions[..2], &[n, length], "obs")?;
        if label.is_none() && LABELS.into_iter().all(|name| self.0.has(name)) {
            let message = "has the arrays `rl_sum` and `label`: name the one that has the scores of segments";
            return Err(DatasetError::Tensors { path: self.0.path().to_owned(), message: message.to_owned() });
        }
        let label = label.or_else(|| LABELS.into_iter().find(|name| self.0.has(name)));
        // Where there is none, the message about the usual one lists what there is.
        let scores = self.sums(label.unwrap_or(LABELS[0]), n, length)?;
        let rewards = self.rewards("reward", n, length)?;
        let numbers = (self.finite("obs")?, self.finite("action")?);
        self.judged(numbers, (length, observation, of_actions[2]), Verdicts::Scores(scores), rewards)
    }

    /// Pairs with labels.
    fn pairs(&self, label: &str) -> Result<JudgedSegments, DatasetError> {
        let shape = self.shape::<3>("obs_1", "[N, L, observation]")?;
        let [n, length, observation] = shape;
        let of_actions = self.shape::<3>("action_1", "[N, L, action]")?;
        self.same("action_1", &of_actions[..2], &[n, length], "obs_1")?;
        self.same("obs_2", &self.shape::<3>("obs_2", "[N, L, observation]")?, &shape, "obs_1")?;
        self.same("action_2", &self.shape::<3>("action_2", "[N, L, action]")?, &of_actions, "action_1")?;
        let labels = self.sums(label, n, 0)?;
        if let Some((at, found)) = labels.iter().enumerate().find(|(_, label)| !(0.0..=1.0).contains(*label)) {
            let expected = "a label is the probability, 0 to 1, that the second is better";
            return Err(self.wrong(label, format!("is {found} at [{at}]; {expected}")));
        }
        let both = |names: [&str; 2]| Ok::<_, DatasetError>([self.finite(names[0])?, self.finite(names[1])?].concat());
        let rewards = match (self.rewards("reward_1", n, length)?, self.rewards("reward_2", n, length)?) {
            (Some(first), Some(second)) => Some([first, second].concat()),
            (None, _) | (_, None) => None,
        };
        let numbers = (both(["obs_1", "obs_2"])?, both(["action_1", "action_2"])?);
        self.judged(numbers, (length, observation, of_actions[2]), Verdicts::Pairs(labels), rewards)
    }

    /// Puts checked arrays together; what makes no sense as a whole is an error of the file.
    fn judged(
        &self,
        (observations, actions): (Vec<f32>, Vec<f32>),
        (length, observation_size, action_size): (usize, usize, usize),
        verdicts: Verdicts,
        rewards: Option<Vec<f32>>,
    ) -> Result<JudgedSegments, DatasetError> {
        let segments = Segments::new(observations, actions, length, (observation_size, action_size));
        segments.and_then(|segments| JudgedSegments::new(segments, verdicts, rewards)).map_err(|error| {
            DatasetError::Tensors { path: self.0.path().to_owned(), message: format!("can't be used: {error}") }
        })
    }

    /// The shape of an array of so many dimensions, none of which is 0.
    fn shape<const N: usize>(&self, name: &str, expected: &str) -> Result<[usize; N], DatasetError> {
        let found = self.0.shape(name).map_err(unread)?;
        let shape = found.try_into().ok().filter(|shape: &[usize; N]| !shape.contains(&0));
        shape.ok_or_else(|| self.wrong(name, format!("should have the shape {expected}, but has {found:?}")))
    }

    /// Refuses a shape that is not another array's.
    fn same(&self, name: &str, found: &[usize], expected: &[usize], of: &str) -> Result<(), DatasetError> {
        if found == expected {
            return Ok(());
        }
        Err(self
            .wrong(name, format!("should begin with {expected:?} as `{of}` does, but with {found:?} does not fit it")))
    }

    /// One number for each of `n` items: the array's own, or their sums if it has `length` for each.
    fn sums(&self, name: &str, n: usize, length: usize) -> Result<Vec<f64>, DatasetError> {
        let found = self.0.shape(name).map_err(unread)?;
        let per_item = match found {
            [items] | [items, 1] if *items == n => 1,
            [items, numbers] if *items == n && *numbers == length => length,
            _ => {
                let expected = if length > 0 { format!("[{n}] or [{n}, {length}]") } else { format!("[{n}]") };
                return Err(self.wrong(name, format!("should have the shape {expected}, but has {found:?}")));
            }
        };
        let numbers = self.0.doubles(name).map_err(unread)?;
        self.check(name, &numbers, |number| number.is_finite())?;
        Ok(numbers.chunks_exact(per_item).map(|numbers| numbers.iter().sum()).collect())
    }

    /// Rewards, if the file has them.
    fn rewards(&self, name: &str, n: usize, length: usize) -> Result<Option<Vec<f32>>, DatasetError> {
        if !self.0.has(name) {
            return Ok(None);
        }
        match self.0.shape(name).map_err(unread)? {
            shape if shape == [n, length] || shape == [n, length, 1] => self.finite(name).map(Some),
            found => Err(self.wrong(name, format!("should have the shape [{n}, {length}], but has {found:?}"))),
        }
    }

    /// The numbers of an array, all finite.
    fn finite(&self, name: &str) -> Result<Vec<f32>, DatasetError> {
        let numbers = self.0.floats(name).map_err(unread)?;
        self.check(name, &numbers, |number| number.is_finite())?;
        Ok(numbers)
    }

    fn check<T: std::fmt::Display>(
        &self,
        name: &str,
        numbers: &[T],
        is_finite: impl Fn(&T) -> bool,
    ) -> Result<(), DatasetError> {
        let Some(at) = numbers.iter().position(|number| !is_finite(number)) else { return Ok(()) };
        let (mut place, mut rest) = (Vec::new(), at);
        for size in self.0.shape(name).map_err(unread)?.iter().rev() {
            place.insert(0, rest % size);
            rest /= size;
        }
        Err(self.wrong(name, format!("is {} at {place:?}; every number must be finite (in f32)", numbers[at])))
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> DatasetError {
        let (path, tensor) = (self.0.path().to_owned(), name.to_owned());
        unread(TensorFileError::Tensor { path, tensor, reason: reason.into() })
    }
}

/// The message names the file and the array.
fn unread(error: TensorFileError) -> DatasetError {
    match error {
        TensorFileError::Io { path, source } => DatasetError::Io { path, source },
        TensorFileError::File { path, reason } => {
            DatasetError::Tensors { path, message: format!("is wrong: {reason}") }
        }
        TensorFileError::Tensor { path, tensor, reason } => {
            // `not in this file` stands behind a colon elsewhere.
            let is = if reason.starts_with("not ") { "is " } else { "" };
            DatasetError::Tensors { path, message: format!("is wrong: the array `{tensor}` {is}{reason}") }
        }
    }
}
