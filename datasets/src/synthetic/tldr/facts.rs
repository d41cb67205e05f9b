//! The facts of a post.

use super::words;
use crate::synthetic::draw::RandomDraws;

/// A kind of fact; every post has one of each for its story and one of each for a second person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The person's relation to the writer, such as `sister`.
    Relation,
    /// The person's name.
    Name,
    /// The person's age in years.
    Age,
    /// The town the person is from.
    Place,
    /// An amount of money, such as `$300`.
    Amount,
    /// The item the money was for.
    Thing,
    /// The decision that the writer asks about.
    Question,
}

impl Slot {
    /// Every slot, in the order that [`Values`] keeps.
    pub const ALL: [Slot; 7] =
        [Slot::Relation, Slot::Name, Slot::Age, Slot::Place, Slot::Amount, Slot::Thing, Slot::Question];

    /// The slot's name in templates and reports.
    pub fn name(self) -> &'static str {
        match self {
            Slot::Relation => "relation",
            Slot::Name => "name",
            Slot::Age => "age",
            Slot::Place => "place",
            Slot::Amount => "amount",
            Slot::Thing => "thing",
            Slot::Question => "question",
        }
    }

    /// The possible values of the fact.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Slot::Relation => words::RELATIONS,
            Slot::Name => words::NAMES,
            Slot::Age => words::AGES,
            Slot::Place => words::PLACES,
            Slot::Amount => words::AMOUNTS,
            Slot::Thing => words::THINGS,
            Slot::Question => words::QUESTIONS,
        }
    }

    /// The slot of a name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name() == name)
    }
}

/// One value for each [`Slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Values([u8; Slot::ALL.len()]);

impl Values {
    /// The value of one slot, as it occurs in the text.
    pub fn get(self, slot: Slot) -> &'static str {
        slot.values()[usize::from(self.0[slot as usize])]
    }

    /// The values at these indices of [`Slot::values`], in the order of [`Slot::ALL`].
    pub(super) fn from_positions(positions: [u8; Slot::ALL.len()]) -> Self {
        Self(positions)
    }

    /// Draws a person's facts; names match relations.
    pub(super) fn draw(draw: &mut RandomDraws) -> Self {
        let mut positions = Slot::ALL.map(|slot| draw.below(slot.values().len()) as u8);
        let relation = usize::from(positions[Slot::Relation as usize]);
        let n_men = words::NAMES.len() - words::N_WOMEN;
        positions[Slot::Name as usize] = match relation / words::N_GENDERED_RELATIONS {
            0 => draw.below(words::N_WOMEN),
            1 => words::N_WOMEN + draw.below(n_men),
            _ => draw.below(words::NAMES.len()),
        } as u8;
        Self(positions)
    }

    /// Whether no slot has the same value in both.
    pub(super) fn is_disjoint(self, other: Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine != theirs)
    }
}

/// The event of a post's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The person asks for money.
    Asked,
    /// The person sold something that does not work.
    Sold,
    /// The person broke something expensive.
    Broke,
    /// The person took money and bought something.
    Took,
    /// The person lost money and something else.
    Lost,
    /// The person still owes money.
    Owes,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 6] = [Event::Asked, Event::Sold, Event::Broke, Event::Took, Event::Lost, Event::Owes];
}

/// The facts of a post that a summary may get right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The event.
    pub event: Event,
    /// The facts of the story, which a good summary contains.
    pub story: Values,
    /// The facts of the second person in the post; each differs from the story's.
    pub distraction: Values,
}

impl Facts {
    /// Draws a story and a distraction without common facts.
    pub(super) fn draw(draw: &mut RandomDraws) -> Self {
        let event = draw.choose(&Event::ALL);
        let story = Values::draw(draw);
        loop {
            let distraction = Values::draw(draw);
            if story.is_disjoint(distraction) {
                return Self { event, story, distraction };
            }
        }
    }
}
