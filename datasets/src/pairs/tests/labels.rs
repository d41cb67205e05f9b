use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use super::{message, token};
use crate::error::DatasetError;
use crate::pairs::log::Appendable;
use crate::pairs::{Judge, Judgement, JudgementChange, JudgementLog, Judgements, LabelChoice, PairFolder};

fn label(index: usize, labeller: &str, choice: LabelChoice) -> Judgement {
    Judgement { index, labeller: labeller.to_owned(), by: Judge::Person, change: JudgementChange::Chosen(choice) }
}

fn undo(index: usize, labeller: &str) -> Judgement {
    Judgement { change: JudgementChange::Undone, ..label(index, labeller, LabelChoice::Skip) }
}

#[test]
fn later_judgements_replace_earlier_ones_and_undo_takes_back() {
    let (_parent, path) = token(5);
    let folder = PairFolder::open(&path).unwrap();
    assert_eq!(folder.labels().unwrap(), Judgements::default());
    let mut log = JudgementLog::open(&folder).unwrap();
    for entry in [
        label(0, "anna", LabelChoice::A),
        label(1, "anna", LabelChoice::B),
        label(0, "anna", LabelChoice::B),
        label(0, "ben", LabelChoice::A),
        label(2, "anna", LabelChoice::Tie),
        label(3, "anna", LabelChoice::Skip),
        label(4, "ben", LabelChoice::A),
        undo(4, "ben"),
    ] {
        log.append(&entry).unwrap();
    }
    let labels = folder.labels().unwrap();
    assert_eq!(&labels, log.labels());
    assert_eq!((labels.choice(0, "anna"), labels.choice(4, "ben")), (Some(LabelChoice::B), None));
    assert_eq!((labels.count("anna"), labels.count("ben"), labels.count("carl")), (4, 1, 0));
    assert_eq!((labels.last("anna"), labels.last("ben"), labels.last("carl")), (Some(3), Some(0), None));
    let found: Vec<_> = labels.preferences().iter().map(|p| (p.index, p.a_is_better, p.labellers)).collect();
    assert_eq!(found, [(0, 0.5, 2), (1, 0.0, 1), (2, 0.5, 1)]);
    assert_eq!(labels.agreement().unwrap().share, 0.0);
    assert!(labels.only(Judge::Model).preferences().is_empty());
}

#[test]
fn one_process_at_a_time_adds() {
    let (_parent, path) = token(1);
    let folder = PairFolder::open(&path).unwrap();
    let first = JudgementLog::open(&folder).unwrap();
    assert!(message(&JudgementLog::open(&folder).unwrap_err()).contains("by another process"));
    drop(first);
    JudgementLog::open(&folder).unwrap();
}

#[test]
fn a_line_that_was_cut_off_is_noted_and_removed_before_the_next() {
    let (_parent, path) = token(3);
    let folder = PairFolder::open(&path).unwrap();
    let mut log = JudgementLog::open(&folder).unwrap();
    log.append(&label(0, "anna", LabelChoice::A)).unwrap();
    log.append(&label(1, "anna", LabelChoice::A)).unwrap();
    drop(log);
    let whole = fs::read(path.join("labels.jsonl")).unwrap();
    let first = 1 + whole.iter().position(|byte| *byte == b'\n').unwrap();
    for end in first + 1..whole.len() {
        fs::write(path.join("labels.jsonl"), &whole[..end]).unwrap();
        let is_whole = end == whole.len() - 1;
        let labels = folder.labels().unwrap();
        assert_eq!((labels.count("anna"), labels.cut().is_some()), if is_whole { (2, false) } else { (1, true) });
        let mut log = JudgementLog::open(&folder).unwrap();
        log.append(&label(2, "anna", LabelChoice::B)).unwrap();
        drop(log);
        let labels = folder.labels().unwrap();
        assert_eq!((labels.count("anna"), labels.cut()), (2 + usize::from(is_whole), None), "cut at {end}");
    }
}

#[test]
fn any_other_broken_judgement_is_an_error() {
    let (_parent, path) = token(3);
    let folder = PairFolder::open(&path).unwrap();
    let line = |index: usize| label(index, "anna", LabelChoice::A).to_line(folder.id());
    for (bad, says) in [
        ("{\n".to_owned(), "labels.jsonl, line 2, column"),
        ("\n".to_owned(), "labels.jsonl, line 2, column"),
        (line(0).replace("blake3:", "blake3:0"), "line 2: field `pairs` should be the id of this folder's pairs"),
        (line(3), "line 2: field `index` should be the number of a pair in this folder, but is 3"),
        (line(0).replace("\"a\"", "\"c\""), "field `choice` should be a, b, tie or skip"),
        (line(0).replace("anna", ""), "field `labeller` should be a name"),
        (line(0).replace("person", "dog"), "field `by` should be person, oracle or model"),
        (line(0).replace("\"version\":1", "\"version\":2"), "field `version` should be 1"),
        (line(0).replace("\"choice\":\"a\",", ""), "field `choice` is missing"),
        (line(0).replace("\"choice\":\"a\"", "\"undo\":1"), "field `undo` should be true or false"),
    ] {
        fs::write(path.join("labels.jsonl"), format!("{}{bad}{}", line(1), line(2))).unwrap();
        let found = message(&folder.labels().unwrap_err());
        assert!(found.contains(says), "{bad}: {found}");
        assert_eq!(message(&JudgementLog::open(&folder).unwrap_err()), found);
    }
}

/// A disk on which only so many bytes fit.
#[derive(Debug)]
struct SmallDisk {
    file: Box<dyn Appendable>,
    room: usize,
    cuts_fail: usize,
}

impl Appendable for SmallDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        self.room -= fits;
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(&bytes[..fits])
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.cuts_fail > 0 {
            self.cuts_fail -= 1;
            return Err(io::ErrorKind::Other.into());
        }
        // Somebody has made room.
        self.room = 10_000;
        self.file.cut(length)
    }
}

/// A disk that notes what it is asked to do, and whose syncs may fail.
#[derive(Debug)]
struct NotingDisk {
    file: Box<dyn Appendable>,
    done: Arc<Mutex<Vec<&'static str>>>,
    syncs_fail: usize,
}

impl NotingDisk {
    fn note(&self, what: &'static str) {
        self.done.lock().unwrap().push(what);
    }
}

impl Appendable for NotingDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.note("append");
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.note("sync");
        if self.syncs_fail > 0 {
            self.syncs_fail -= 1;
            return Err(io::ErrorKind::Other.into());
        }
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.note("cut");
        self.file.cut(length)
    }
}

#[test]
fn a_judgement_is_synced_before_it_counts_and_taken_back_where_that_fails() {
    let (_parent, path) = token(3);
    let folder = PairFolder::open(&path).unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    let noted = done.clone();
    let log = JudgementLog::open(&folder).unwrap();
    let mut log = log.wrap_file(|file| Box::new(NotingDisk { file, done: noted, syncs_fail: 1 }));
    log.append(&label(0, "anna", LabelChoice::A)).unwrap_err();
    assert_eq!((log.labels().count("anna"), folder.labels().unwrap().count("anna")), (0, 0));
    log.append(&label(1, "anna", LabelChoice::B)).unwrap();
    assert_eq!((log.labels().count("anna"), folder.labels().unwrap().count("anna")), (1, 1));
    assert_eq!(*done.lock().unwrap(), ["append", "sync", "cut", "append", "sync"]);
}

#[test]
fn a_full_disk_is_said_and_leaves_no_half_line() {
    for cuts_fail in [0, 1] {
        let (_parent, path) = token(3);
        let folder = PairFolder::open(&path).unwrap();
        let mut log = JudgementLog::open(&folder).unwrap();
        log.append(&label(0, "anna", LabelChoice::A)).unwrap();
        let before = fs::read(path.join("labels.jsonl")).unwrap();
        let mut log = log.wrap_file(|file| Box::new(SmallDisk { file, room: 20, cuts_fail }));
        let error = log.append(&label(1, "anna", LabelChoice::B)).unwrap_err();
        assert!(matches!(&error, DatasetError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull));
        assert_eq!(log.labels().count("anna"), 1);
        let left = fs::read(path.join("labels.jsonl")).unwrap();
        assert!(if cuts_fail == 0 { left == before } else { left.len() == before.len() + 20 });
        assert_eq!(folder.labels().unwrap().count("anna"), 1, "what is left can be read");
        log.append(&label(2, "anna", LabelChoice::B)).unwrap();
        let labels = folder.labels().unwrap();
        assert_eq!((labels.choice(1, "anna"), labels.choice(2, "anna")), (None, Some(LabelChoice::B)));
        assert_eq!(labels.cut(), None);
    }
}
