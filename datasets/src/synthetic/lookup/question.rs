//! Questions and registers.

use std::fmt;

use crate::synthetic::draw::RandomDraws;

pub(super) const PEOPLE: [&str; 8] = ["anna", "bela", "carl", "dora", "emil", "fred", "gina", "hugo"];
pub(super) const THINGS: [&str; 8] = ["barn", "boat", "car", "cart", "house", "mill", "organ", "shop"];
pub(super) const CITIES: [&str; 8] = ["bern", "cairo", "delhi", "kyiv", "lima", "oslo", "paris", "rome"];
pub(super) const TRADES: [&str; 8] = ["baking", "fishing", "law", "mining", "nursing", "sailing", "singing", "trade"];

/// Number of days, each of which has entries of its own.
pub(super) const DAYS: usize = 10_000;

/// A register: an entry for each of eight keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// Who bought a thing.
    Deeds,
    /// Who built a thing.
    Plans,
    /// Where a person lives.
    Homes,
    /// What a person earns money by.
    Jobs,
}

impl Register {
    /// Every register.
    pub const ALL: [Self; 4] = [Self::Deeds, Self::Plans, Self::Homes, Self::Jobs];

    /// Its name in calls.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deeds => "deeds",
            Self::Plans => "plans",
            Self::Homes => "homes",
            Self::Jobs => "jobs",
        }
    }

    /// The words that it has entries for.
    pub fn keys(self) -> &'static [&'static str; 8] {
        match self {
            Self::Deeds | Self::Plans => &THINGS,
            Self::Homes | Self::Jobs => &PEOPLE,
        }
    }

    /// The entry of a key on a day: the buyer and the builder of a thing are never the same person. `None` for a word that is
    /// no key.
    pub fn entry(self, day: usize, key: &str) -> Option<&'static str> {
        let key = self.keys().iter().position(|known| *known == key)?;
        let draw = |purpose: &str| RandomDraws::new("hybrid-dpo lookup", purpose, &[day as u64, key as u64]);
        Some(match self {
            Self::Deeds => PEOPLE[draw("deeds").below(8)],
            Self::Plans => PEOPLE[(draw("deeds").below(8) + 1 + draw("plans").below(7)) % 8],
            Self::Homes => CITIES[draw("homes").below(8)],
            Self::Jobs => TRADES[draw("jobs").below(8)],
        })
    }
}

/// What a person has to do with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Who bought it: in [`Register::Deeds`].
    Bought,
    /// Who built it: in [`Register::Plans`].
    Built,
}

impl Relation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bought, Self::Built];

    /// The register that has it.
    pub fn register(self) -> Register {
        match self {
            Self::Bought => Register::Deeds,
            Self::Built => Register::Plans,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Bought => "bought",
            Self::Built => "built",
        }
    }
}

/// What is asked about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// Where one lives: in [`Register::Homes`].
    Home,
    /// What one earns money by: in [`Register::Jobs`].
    Job,
}

impl Attribute {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Home, Self::Job];

    /// The register that has it.
    pub fn register(self) -> Register {
        match self {
            Self::Home => Register::Homes,
            Self::Job => Register::Jobs,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Home => "where lives",
            Self::Job => "how earns",
        }
    }
}

/// A call: a register and the word that is looked up in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// The register.
    pub register: Register,
    /// The word.
    pub key: &'static str,
}

/// A question about the person who bought or built a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The day on which it is asked, below 10,000.
    pub day: usize,
    /// What is asked about the person.
    pub attribute: Attribute,
    /// What the person has to do with the thing.
    pub relation: Relation,
    /// The thing.
    pub thing: &'static str,
}

impl Question {
    /// The lookups that answer it, in order.
    pub fn lookups(&self) -> [Lookup; 2] {
        [
            Lookup { register: self.relation.register(), key: self.thing },
            Lookup { register: self.attribute.register(), key: self.person() },
        ]
    }

    /// The person it is about.
    pub fn person(&self) -> &'static str {
        // A thing is a key of both registers of things.
        self.relation.register().entry(self.day, self.thing).unwrap_or_default()
    }

    /// The answer.
    pub fn answer(&self) -> &'static str {
        self.attribute.register().entry(self.day, self.person()).unwrap_or_default()
    }

    /// Draws a question uniformly.
    pub(super) fn draw(draw: &mut RandomDraws) -> Self {
        Self {
            day: draw.below(DAYS),
            attribute: draw.choose(&Attribute::ALL),
            relation: draw.choose(&Relation::ALL),
            thing: draw.choose(&THINGS),
        }
    }
}

/// The digits of the day, then the question.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in format!("{:04}", self.day).chars() {
            write!(f, "{digit} ")?;
        }
        write!(f, "{} who {} the {}", self.attribute.words(), self.relation.word(), self.thing)
    }
}
