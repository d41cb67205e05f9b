//! Posts: facts to text, and back.

use super::facts::{Event, Facts};
use super::template::{Readings, fill, read};
use crate::synthetic::draw::Draw;

/// Titles; all but the last name the person of the story.
pub(super) const TITLES: &[&str] = &[
    "My {relation} {name} and a {thing}",
    "Trouble with my {relation} {name}",
    "{name} and my money",
    "I need advice about my {relation}",
];

/// Where the person of the story is from.
const ORIGINS: &[&str] = &["{name} is from {place}.", "{name} grew up in {place}.", "{name} came here from {place}."];

/// Somebody else.
const STRANGERS: &[&str] = &[
    "I live in {place2} with my {relation2} {name2} ({age2}).",
    "My {relation2} {name2} ({age2}) knows about it and is from {place2}.",
    "I told my {relation2} {name2} ({age2}) in {place2} about it.",
];

/// What somebody else did and says.
const OPINIONS: &[&str] = &[
    "{name2} lost {amount2} and a {thing2} once and says that I should {question2}.",
    "{name2} says that I should {question2} and gave me {amount2} and a {thing2}.",
    "{name2} thinks that I should {question2} and buy a {thing2} for {amount2}.",
];

/// Sentences without facts.
const ASIDES: &[&str] =
    &["I am so tired of it.", "We were always close.", "It was a bad week.", "I can not sleep.", "I am sorry."];

/// How a post ends.
const QUESTIONS: &[&str] =
    &["Should I {question}?", "Do you think that I should {question}?", "Would it be wrong to {question}?"];

impl Event {
    /// The forum that posts about this event go to.
    pub(super) fn subreddit(self) -> &'static str {
        match self {
            Event::Asked => "personalfinance",
            Event::Sold => "legaladvice",
            Event::Broke => "relationships",
            Event::Took => "relationship_advice",
            Event::Lost => "tifu",
            Event::Owes => "Advice",
        }
    }

    /// The sentences that tell the event.
    pub(super) fn sentences(self) -> &'static [&'static str] {
        match self {
            Event::Asked => &[
                "My {relation} {name} ({age}) asked me for {amount} to buy a {thing}.",
                "Last week my {relation} {name} ({age}) asked me for {amount} because of a {thing}.",
            ],
            Event::Sold => &[
                "My {relation} {name} ({age}) sold me a {thing} for {amount} and it does not work.",
                "I paid {amount} to my {relation} {name} ({age}) for a {thing} that does not work.",
            ],
            Event::Broke => &[
                "My {relation} {name} ({age}) broke a {thing} that I got for {amount}.",
                "Last week my {relation} {name} ({age}) broke a {thing} and I paid {amount} to mend it.",
            ],
            Event::Took => &[
                "My {relation} {name} ({age}) took {amount} of mine to buy a {thing}.",
                "Last week my {relation} {name} ({age}) got a {thing} with {amount} of my money.",
            ],
            Event::Lost => &[
                "I gave my {relation} {name} ({age}) a {thing} and {amount} and now both are gone.",
                "My {relation} {name} ({age}) lost a {thing} of mine and {amount} too.",
            ],
            Event::Owes => &[
                "My {relation} {name} ({age}) still owes me {amount} for a {thing}.",
                "I sold my {relation} {name} ({age}) a {thing} and never got the {amount}.",
            ],
        }
    }
}

/// Every sentence without an event, for reading posts back and for the vocabulary.
pub(super) fn sentences() -> impl Iterator<Item = &'static str> {
    [ORIGINS, STRANGERS, OPINIONS, ASIDES, QUESTIONS].into_iter().flatten().copied()
}

/// Writes a post about the facts; wording and order are drawn.
pub(super) fn render(facts: &Facts, draw: &mut Draw) -> String {
    let mut body = vec![
        draw.choose(facts.event.sentences()),
        draw.choose(ORIGINS),
        draw.choose(STRANGERS),
        draw.choose(OPINIONS),
        draw.choose(ASIDES),
    ];
    draw.shuffle(&mut body);
    body.push(draw.choose(QUESTIONS));
    let sentences: Vec<String> =
        body.into_iter().map(|sentence| fill(sentence, facts.story, facts.distraction)).collect();
    let title = fill(draw.choose(TITLES), facts.story, facts.distraction);
    format!("SUBREDDIT: r/{}\n\nTITLE: {title}\n\nPOST: {}\n\nTL;DR:", facts.event.subreddit(), sentences.join(" "))
}

impl Facts {
    /// Reads the facts of a post of this grammar back from the prompt's text.
    ///
    /// Nothing but whole posts is understood: text of any other kind, or a post that was cut, gives nothing.
    pub fn from_prompt(prompt: &str) -> Option<Self> {
        let rest = prompt.strip_prefix("SUBREDDIT: r/")?;
        let (subreddit, rest) = rest.split_once("\n\nTITLE: ")?;
        let (title, rest) = rest.split_once("\n\nPOST: ")?;
        let mut body = rest.strip_suffix("\n\nTL;DR:")?;
        let event = Event::ALL.into_iter().find(|event| event.subreddit() == subreddit)?;

        let mut readings = TITLES.iter().find_map(|template| {
            let (rest, readings) = read(template, title, &Readings::default())?;
            rest.is_empty().then_some(readings)
        })?;
        loop {
            let mut known = event.sentences().iter().copied().chain(sentences());
            (body, readings) = known.find_map(|template| read(template, body, &readings))?;
            if body.is_empty() {
                break;
            }
            body = body.strip_prefix(' ')?;
        }
        let (story, distraction) = readings.complete()?;
        Some(Self { event, story, distraction })
    }
}
