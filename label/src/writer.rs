//! The thread that writes judgements: one sync for all that wait.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::http::StatusCode;
use datasets::pairs::{Judge, Judgement, JudgementChange, JudgementFile, JudgementLog, Judgements, LabelChoice};
use tokio::sync::oneshot;

use crate::refusal::Refusal;
use crate::{LabelError, Result};

/// Maximum number of judgements that are synced together.
const MOST: usize = 1024;

type Outcome = std::result::Result<(), Refusal>;

/// A judgement that waits for its place in the file.
#[derive(Debug)]
struct Waiting {
    judgement: Judgement,
    taken: oneshot::Sender<Outcome>,
}

/// The judgements of a folder, and the only thread that changes them.
///
/// While it syncs, others arrive; they are written and synced together next. So the rate of answers does not depend on how
/// long a sync takes, and each is on disk before it is confirmed.
#[derive(Debug)]
pub(crate) struct Writer {
    labels: Arc<Mutex<Judgements>>,
    queue: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(log: JudgementLog) -> Result<Self> {
        let (labels, mut file) = log.split();
        let labels = Arc::new(Mutex::new(labels));
        let (queue, waiting) = channel();
        let shared = Arc::clone(&labels);
        let thread = std::thread::Builder::new().name("judgements".to_owned());
        let thread = thread.spawn(move || write(&waiting, &mut file, &shared)).map_err(LabelError::Start)?;
        Ok(Self { labels, queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// The judgements that are on disk.
    pub(crate) fn labels(&self) -> MutexGuard<'_, Judgements> {
        locked(&self.labels)
    }

    /// Writes a judgement; it is on disk when the future is ready. Who drops the future can't stop that.
    pub(crate) fn take(&self, judgement: Judgement) -> impl Future<Output = Outcome> + use<> {
        let (taken, outcome) = oneshot::channel();
        let sent = locked(&self.queue).as_ref().is_some_and(|queue| queue.send(Waiting { judgement, taken }).is_ok());
        async move {
            let ended = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
            if !sent {
                return Err(ended());
            }
            outcome.await.unwrap_or_else(|_| Err(ended()))
        }
    }

    /// Waits for what is being written; nothing more is taken.
    pub(crate) fn end(&self) {
        drop(locked(&self.queue).take());
        if let Some(thread) = locked(&self.thread).take() {
            // A thread that panicked has said so, and its answers were not confirmed.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes until nobody can send any more.
fn write(queue: &Receiver<Waiting>, file: &mut JudgementFile, labels: &Mutex<Judgements>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Waiting> = std::iter::once(first).chain(queue.try_iter().take(MOST - 1)).collect();
        let outcomes = commit(file, labels, &batch.iter().map(|one| &one.judgement).collect::<Vec<_>>());
        for (one, outcome) in batch.into_iter().zip(outcomes) {
            // Who has gone meanwhile has lost the confirmation, not the answer.
            let _ = one.taken.send(outcome);
        }
    }
}

/// Writes judgements in their order, and says of each what came of it.
fn commit(file: &mut JudgementFile, labels: &Mutex<Judgements>, batch: &[&Judgement]) -> Vec<Outcome> {
    let planned = plan(&locked(labels), batch);
    let changes: Vec<Judgement> =
        batch.iter().zip(&planned).filter(|(_, plan)| **plan == Plan::Write).map(|(one, _)| (*one).clone()).collect();
    match file.append(&changes) {
        Ok(()) => {
            let mut labels = locked(labels);
            for change in &changes {
                labels.apply(change);
            }
            planned.into_iter().map(Plan::outcome).collect()
        }
        Err(error) => match batch {
            [_] => vec![Err(error.into())],
            // There may be room for some of them, and one may depend on another that is not taken.
            several => several.iter().flat_map(|one| commit(file, labels, &[*one])).collect(),
        },
    }
}

/// What is to be done with a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Write,
    /// It stands already, or will when those before it are written.
    Stands,
    /// It takes back what does not stand.
    NothingToUndo,
}

impl Plan {
    fn outcome(self) -> Outcome {
        match self {
            Self::Write | Self::Stands => Ok(()),
            Self::NothingToUndo => Err(Refusal::new(StatusCode::CONFLICT, "there is no answer to take back")),
        }
    }
}

fn plan(labels: &Judgements, batch: &[&Judgement]) -> Vec<Plan> {
    // What will stand of pairs and labellers that those before have changed.
    let mut changed: HashMap<(usize, &str), Option<LabelChoice>> = HashMap::new();
    let mut plans = Vec::with_capacity(batch.len());
    for one in batch {
        let key = (one.index, one.labeller.as_str());
        let stands = *changed.entry(key).or_insert_with(|| labels.choice(one.index, &one.labeller));
        plans.push(match (one.change, stands) {
            (JudgementChange::Chosen(choice), Some(before)) if choice == before => Plan::Stands,
            (JudgementChange::Chosen(choice), _) => {
                changed.insert(key, Some(choice));
                Plan::Write
            }
            (JudgementChange::Undone, None) => Plan::NothingToUndo,
            (JudgementChange::Undone, Some(_)) => {
                changed.insert(key, None);
                Plan::Write
            }
        });
    }
    plans
}

/// A person's judgement.
pub(crate) fn judgement(index: usize, labeller: &str, change: JudgementChange) -> Judgement {
    Judgement { index, labeller: labeller.to_owned(), by: Judge::Person, change }
}

#[cfg(test)]
mod tests {
    use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult};
    use datasets::{PairFolder, PairWriter};

    use super::*;

    fn folder() -> (tempfile::TempDir, PairFolder) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("pairs");
        let mut writer = PairWriter::create(&path, Modality::Token, serde_json::Map::new(), None).unwrap();
        let side = |text| GeneratedResult { refined: None, made: NewResult::Response(text), seed: 0, log_probs: None };
        for _ in 0..4 {
            writer.push(&GeneratedPair { request: "a pet".to_owned(), a: side("a dog"), b: side("a cat") }).unwrap();
        }
        writer.finish().unwrap();
        (parent, PairFolder::open(&path).unwrap())
    }

    fn chosen(index: usize, choice: LabelChoice) -> Judgement {
        judgement(index, "anna", JudgementChange::Chosen(choice))
    }

    #[test]
    fn judgements_that_are_written_together_see_those_before_them() {
        let (_parent, pairs) = folder();
        let (labels, mut file) = JudgementLog::open(&pairs).unwrap().split();
        let labels = Mutex::new(labels);
        let undo = judgement(0, "anna", JudgementChange::Undone);
        let batch =
            [undo.clone(), chosen(0, LabelChoice::A), chosen(0, LabelChoice::A), undo, chosen(0, LabelChoice::B)];
        let outcomes = commit(&mut file, &labels, &batch.iter().collect::<Vec<_>>());
        assert_eq!(outcomes.iter().map(Outcome::is_ok).collect::<Vec<_>>(), [false, true, true, true, true]);
        assert_eq!(*locked(&labels), pairs.labels().unwrap());
        let text = std::fs::read_to_string(pairs.path().join("labels.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 3, "the first undo and the second answer change nothing: {text}");
        assert_eq!(locked(&labels).choice(0, "anna"), Some(LabelChoice::B));
    }

    #[test]
    fn what_was_sent_before_the_end_is_written_and_nothing_after() {
        let (_parent, pairs) = folder();
        let writer = Writer::start(JudgementLog::open(&pairs).unwrap()).unwrap();
        let waiting: Vec<_> = (0..4).map(|index| writer.take(chosen(index, LabelChoice::Tie))).collect();
        drop(waiting);
        writer.end();
        drop(writer.take(chosen(0, LabelChoice::A)));
        assert_eq!(pairs.labels().unwrap().preferences().len(), 4);
        assert_eq!(*writer.labels(), pairs.labels().unwrap());
        drop(writer);
        JudgementLog::open(&pairs).expect("the lock is gone with the writer");
    }
}
