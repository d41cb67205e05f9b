//! Generation and parsing of posts.

use super::facts::{Event, Facts};
use super::template::{Readings, fill, read};
use crate::synthetic::draw::RandomDraws;

/// Titles; all but the last contain the name of the story's person.
pub(super) const TITLES: &[&str] = &[
    "My {relation} {name} and a {thing}",
    "Trouble with my {relation} {name}",
    "{name} and my money",
    "I need advice about my {relation}",
];

/// The origin of the story's person.
const ORIGINS: &[&str] = &["{name} is from {place}.", "{name} grew up in {place}.", "{name} came here from {place}."];

/// The second person.
const STRANGERS: &[&str] = &[
    "I live in {place2} with my {relation2} {name2} ({age2}).",
    "My {relation2} {name2} ({age2}) knows about it and is from {place2}.",
    "I told my {relation2} {name2} ({age2}) in {place2} about it.",
];

/// The second person's actions and opinions.
const OPINIONS: &[&str] = &[
    "{name2} lost {amount2} and a {thing2} once and says that I should {question2}.",
    "{name2} says that I should {question2} and gave me {amount2} and a {thing2}.",
    "{name2} thinks that I should {question2} and buy a {thing2} for {amount2}.",
];

/// Sentences without facts.
const ASIDES: &[&str] =
    &["I am so tired of it.", "We were always close.", "It was a bad week.", "I can not sleep.", "I am sorry."];

/// Final sentences of a post.
const QUESTIONS: &[&str] =
    &["Should I {question}?", "Do you think that I should {question}?", "Would it be wrong to {question}?"];

impl Event {
    /// The forum of posts about this event.
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

    /// The sentences about the event.
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

/// Every sentence without an event, for parsing and for the vocabulary.
pub(super) fn sentences() -> impl Iterator<Item = &'static str> {
    [ORIGINS, STRANGERS, OPINIONS, ASIDES, QUESTIONS].into_iter().flatten().copied()
}

/// Generates a post about the facts with random wording and order.
pub(super) fn render(facts: &Facts, draw: &mut RandomDraws) -> String {
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
    /// Parses the facts of a post of this grammar from the prompt's text.
    ///
    /// Other texts and truncated posts give `None`.
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
