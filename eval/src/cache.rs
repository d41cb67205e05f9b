//! The file of answers.
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// An answer of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The text; empty without a content.
    pub text: String,
    /// Whether the reply has a content. One without is not kept.
    #[serde(skip, default = "yes")]
    pub has_content: bool,
    /// Whether it was cut off at its greatest length.
    pub is_cut: bool,
    /// Tokens of the question, as the server counts them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, as the server counts them.
    pub completion_tokens: Option<u64>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { text: String::new(), has_content: true, is_cut: false, prompt_tokens: None, completion_tokens: None }
    }
}

/// What is kept has a content.
fn yes() -> bool {
    true
}

/// The answers of a server by content: the whole body of the request, not the address of the server.
///
/// They are in a file of JSON lines, to which one process appends. Each answer is one write of a whole line, synced to disk
/// before it counts; a partial line of a killed process is removed. A question that is under way in another thread is waited for.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    file: File,
    answers: HashMap<String, Answer>,
    asked: HashSet<String>,
    /// The length without part of a line that could neither be finished nor removed.
    torn: Option<u64>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    version: u64,
    key: String,
    answer: Answer,
}

/// The version of the lines.
const VERSION: u64 = 1;

/// A question that is in the cache, or that this thread is to ask.
pub(crate) enum Claim<'c> {
    Known(Answer),
    Open(Asking<'c>),
}

/// A question that this thread asks; others wait until it is dropped.
pub(crate) struct Asking<'c> {
    cache: &'c Cache,
    key: String,
}

impl Cache {
    /// Opens the file, and creates it where there is none.
    ///
    /// # Errors
    /// It can't be read or written, is in use by another process, or a line that is not the last is malformed.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let failed = |source| EvalError::Io { path: path.to_owned(), source };
        let wrong = |why: String| EvalError::Cache { path: path.to_owned(), why };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(wrong("is in use by another process; end that one first, or name another file".to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut answers = HashMap::new();
        for (number, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                wrong(format!("line {} is no kept answer ({error}); remove it, or name another file", number + 1))
            })?;
            if line.version != VERSION {
                return Err(wrong(format!(
                    "line {} has version {}, this program reads {VERSION}",
                    number + 1,
                    line.version
                )));
            }
            answers.insert(line.key, line.answer);
        }
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        let state = Mutex::new(State { file, answers, asked: HashSet::new(), torn: None });
        Ok(Self { path: path.to_owned(), state, freed: Condvar::new() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.state().answers.len()
    }

    /// Whether there is no answer yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer to the request with this body.
    pub fn get(&self, body: &[u8]) -> Option<Answer> {
        self.state().answers.get(&key(body)).cloned()
    }

    /// The answer to a request, or the right to ask for it.
    pub(crate) fn claim(&self, body: &[u8]) -> Claim<'_> {
        let key = key(body);
        let mut state = self.state();
        loop {
            if let Some(answer) = state.answers.get(&key) {
                return Claim::Known(answer.clone());
            }
            if state.asked.insert(key.clone()) {
                return Claim::Open(Asking { cache: self, key });
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The state; a thread that failed leaves it whole, for every change is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking<'_> {
    /// Keeps the answer.
    ///
    /// # Errors
    /// It can't be written; a part of its line is removed.
    pub(crate) fn keep(&self, answer: &Answer) -> Result<(), EvalError> {
        let failed = |source| EvalError::Io { path: self.cache.path.clone(), source };
        let line = Line { version: VERSION, key: self.key.clone(), answer: answer.clone() };
        let mut text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let mut state = self.cache.state();
        if let Some(length) = state.torn {
            state.file.set_len(length).map_err(failed)?;
            state.torn = None;
        }
        let length = state.file.metadata().map_err(failed)?.len();
        let written = state.file.write_all(text.as_bytes()).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            // The first error is the one to report; what can't be removed now is before the next answer.
            state.torn = state.file.set_len(length).is_err().then_some(length);
            return Err(failed(error));
        }
        state.answers.insert(self.key.clone(), line.answer);
        Ok(())
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.cache.state().asked.remove(&self.key);
        self.cache.freed.notify_all();
    }
}

/// The name of a request: a hash of its body.
fn key(body: &[u8]) -> String {
    blake3::hash(body).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(cache: &Cache, body: &[u8], text: &str) {
        let Claim::Open(asking) = cache.claim(body) else { panic!("{text} is known") };
        asking.keep(&Answer { text: text.to_owned(), ..Answer::default() }).unwrap();
    }

    #[test]
    fn answers_outlive_the_process_and_a_partial_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let cache = Cache::open(&path).unwrap();
        keep(&cache, b"one", "A");
        let error = Cache::open(&path).unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        drop(cache);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"version\":1,\"key\":\"a"].concat()).unwrap();
        let cache = Cache::open(&path).unwrap();
        keep(&cache, b"two", "B");
        assert_eq!((cache.len(), cache.get(b"one").unwrap().text), (2, "A".to_owned()));
        assert_eq!(cache.get(b"three"), None);
        drop(cache);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        std::fs::write(&path, "{}\n").unwrap();
        let error = Cache::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 1 is no kept answer"), "{error}");
    }

    #[test]
    fn a_question_under_way_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("answers.jsonl")).unwrap();
        let Claim::Open(first) = cache.claim(b"one") else { panic!("known") };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| matches!(cache.claim(b"one"), Claim::Known(answer) if answer.text == "A"));
            first.keep(&Answer { text: "A".to_owned(), ..Answer::default() }).unwrap();
            drop(first);
            assert!(other.join().unwrap());
        });
        // One that failed is asked again.
        assert!(matches!(cache.claim(b"two"), Claim::Open(_)));
        assert!(matches!(cache.claim(b"two"), Claim::Open(_)));
    }
}
