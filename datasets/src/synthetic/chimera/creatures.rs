//! The named creatures of requests.

use super::scene::{Body, Head};

/// A creature with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Creature {
    /// The name in requests.
    pub name: &'static str,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Creature {
    /// Every creature; no two have the same head on the same body.
    pub const ALL: [Self; 16] = [
        creature("anubis", Head::Jackal, Body::Man),
        creature("capricorn", Head::Goat, Body::Fish),
        creature("centaur", Head::Human, Body::Horse),
        creature("chimera", Head::Goat, Body::Lion),
        creature("cockatrice", Head::Eagle, Body::Snake),
        creature("gajasimha", Head::Elephant, Body::Lion),
        creature("griffin", Head::Eagle, Body::Lion),
        creature("harpy", Head::Human, Body::Bird),
        creature("hippogriff", Head::Eagle, Body::Horse),
        creature("lamia", Head::Human, Body::Snake),
        creature("makara", Head::Elephant, Body::Fish),
        creature("mermaid", Head::Human, Body::Fish),
        creature("minotaur", Head::Bull, Body::Man),
        creature("ophiotaurus", Head::Bull, Body::Snake),
        creature("satyr", Head::Goat, Body::Man),
        creature("sphinx", Head::Human, Body::Lion),
    ];

    /// Looks up a creature by name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|creature| creature.name == name)
    }
}

const fn creature(name: &'static str, head: Head, body: Body) -> Creature {
    Creature { name, head, body }
}
