//! Good summaries, and bad ones with recorded faults.

use std::ops::Range;

use super::facts::{Event, Facts, Slot};
use crate::synthetic::draw::RandomDraws;

/// The fault of a bad summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Some facts are wrong.
    Altered(Vec<AlteredFact>),
    /// Some facts are omitted.
    Omitted(Vec<Slot>),
    /// All facts are right, but the text rambles or repeats itself.
    Padded,
}

impl Damage {
    /// The name in reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Damage::Altered(_) => "altered",
            Damage::Omitted(_) => "omitted",
            Damage::Padded => "padded",
        }
    }
}

/// A wrong fact of a bad summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredFact {
    /// The kind of fact.
    pub slot: Slot,
    /// The value in the post.
    pub right: &'static str,
    /// The value in the bad summary.
    pub wrong: &'static str,
    /// Byte range of `wrong` in the bad summary.
    pub span: Range<usize>,
    /// Byte range of `right` in the good summary of the same wording.
    pub good_span: Range<usize>,
}

/// The final question of a summary: the text before and after the question's value.
const QUESTIONS: &[(&str, &str)] = &[(", should I ", "?"), (" and should I ", "?"), (". Should I ", "?")];

/// Rambling without content.
const RAMBLING: &[&str] = &[
    " and I do not know what to think about it any more",
    " and it is a long story that goes on and on",
    " and everybody I know has something to say about it",
    " and I am so tired of it that I can not sleep at all",
];

impl Event {
    /// The clauses about the event: `#` stands for the amount, `@` for the thing with its article.
    fn clauses(self) -> &'static [&'static str] {
        match self {
            Event::Asked => &[" wants # for @", " asked me for # for @"],
            Event::Sold => &[" sold me @ for #", " got # from me for @"],
            Event::Broke => &[" broke @ worth #", " broke @ that I got for #"],
            Event::Took => &[" took # to buy @", " got @ with # of mine"],
            Event::Lost => &[" lost @ and #", " lost # and @"],
            Event::Owes => &[" owes me # for @", " got @ and still owes me #"],
        }
    }
}

/// Every fragment of a summary, for the vocabulary.
pub(super) fn fragments() -> impl Iterator<Item = String> {
    let clauses = Event::ALL.into_iter().flat_map(Event::clauses).map(|clause| clause.replace(['#', '@'], "money"));
    let fixed = [" So", " my", " from", " somebody", " something", " money", " a", " (", "),", ")"];
    let questions = QUESTIONS.iter().flat_map(|(before, after)| [*before, *after]);
    clauses.chain(fixed.into_iter().chain(questions).chain(RAMBLING.iter().copied()).map(str::to_owned))
}

/// The wording that a good summary and its bad variant share.
#[derive(Clone, Copy)]
pub(super) struct Wording {
    clause: &'static str,
    question: (&'static str, &'static str),
}

impl Wording {
    pub(super) fn draw(event: Event, draw: &mut RandomDraws) -> Self {
        Self { clause: draw.choose(event.clauses()), question: draw.choose(QUESTIONS) }
    }
}

/// The value for each slot, if present.
type Told = [Option<&'static str>; Slot::ALL.len()];

/// A summary and the byte range of each fact in it.
struct Written {
    text: String,
    spans: [Option<Range<usize>>; Slot::ALL.len()],
}

impl Written {
    /// Appends a fact and records its range.
    fn tell(&mut self, slot: Slot, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.spans[slot as usize] = Some(start..self.text.len());
    }

    /// Appends a fact, if present, between two literals.
    fn tell_between(&mut self, before: &str, slot: Slot, told: &Told, after: &str) {
        if let Some(value) = told[slot as usize] {
            self.text.push_str(before);
            self.tell(slot, value);
            self.text.push_str(after);
        }
    }
}

/// Writes a summary; `rambling` goes before the question.
fn write(wording: Wording, told: &Told, rambling: &str) -> Written {
    let mut written = Written { text: String::with_capacity(96), spans: Default::default() };
    if told[Slot::Relation as usize].is_none() && told[Slot::Name as usize].is_none() {
        written.text.push_str(" somebody");
    }
    written.tell_between(" my ", Slot::Relation, told, "");
    written.tell_between(" ", Slot::Name, told, "");
    written.tell_between(" (", Slot::Age, told, ")");
    written.tell_between(" from ", Slot::Place, told, "");
    for piece in wording.clause.split_inclusive(['#', '@']) {
        written.text.push_str(piece.trim_end_matches(['#', '@']));
        match piece.chars().last() {
            Some('#') if told[Slot::Amount as usize].is_none() => written.text.push_str("money"),
            Some('#') => written.tell_between("", Slot::Amount, told, ""),
            Some('@') if told[Slot::Thing as usize].is_none() => written.text.push_str("something"),
            Some('@') => written.tell_between("a ", Slot::Thing, told, ""),
            _ => {}
        }
    }
    written.text.push_str(rambling);
    let (before, after) = wording.question;
    written.tell_between(before, Slot::Question, told, after);
    if told[Slot::Question as usize].is_none() {
        written.text.push('.');
    }
    written
}

/// The story's value for every slot.
fn truth(facts: &Facts) -> Told {
    Slot::ALL.map(|slot| Some(facts.story.get(slot)))
}

/// The summary with all facts right.
pub(super) fn good(facts: &Facts, wording: Wording) -> String {
    write(wording, &truth(facts), "").text
}

/// A bad summary of the same wording; half have altered facts, a quarter omit facts, a quarter are padded.
pub(super) fn bad(facts: &Facts, wording: Wording, draw: &mut RandomDraws) -> (String, Damage) {
    match draw.below(4) {
        0 | 1 => alter(facts, wording, draw),
        2 => omit(facts, wording, draw),
        _ => (pad(facts, wording, draw), Damage::Padded),
    }
}

/// Draws one to three slots.
fn some_slots(draw: &mut RandomDraws) -> Vec<Slot> {
    let count = 1 + draw.below(3);
    draw.sample(&Slot::ALL, count)
}

fn alter(facts: &Facts, wording: Wording, draw: &mut RandomDraws) -> (String, Damage) {
    let mut slots = some_slots(draw);
    slots.sort_unstable();
    let right = truth(facts);
    let mut told = right;
    for &slot in &slots {
        told[slot as usize] = Some(wrong_value(facts, slot, draw));
    }
    let good = write(wording, &right, "");
    let written = write(wording, &told, "");
    let altered = slots.into_iter().filter_map(|slot| {
        Some(AlteredFact {
            slot,
            right: facts.story.get(slot),
            wrong: told[slot as usize]?,
            span: written.spans[slot as usize].clone()?,
            good_span: good.spans[slot as usize].clone()?,
        })
    });
    let damage = Damage::Altered(altered.collect());
    (written.text, damage)
}

/// A wrong value: the distraction's half of the time, else any other.
fn wrong_value(facts: &Facts, slot: Slot, draw: &mut RandomDraws) -> &'static str {
    if draw.chance(0.5) {
        return facts.distraction.get(slot);
    }
    loop {
        let value = draw.choose(slot.values());
        if value != facts.story.get(slot) {
            return value;
        }
    }
}

fn omit(facts: &Facts, wording: Wording, draw: &mut RandomDraws) -> (String, Damage) {
    let mut slots = some_slots(draw);
    slots.sort_unstable();
    let mut told = truth(facts);
    for &slot in &slots {
        told[slot as usize] = None;
    }
    (write(wording, &told, "").text, Damage::Omitted(slots))
}

/// Adds rambling before the question or repeats everything.
fn pad(facts: &Facts, wording: Wording, draw: &mut RandomDraws) -> String {
    if draw.chance(0.25) {
        let good = good(facts, wording);
        return format!("{good} So{good}");
    }
    let count = 1 + draw.below(2);
    let rambling = draw.sample(RAMBLING, count).concat();
    write(wording, &truth(facts), &rambling).text
}
