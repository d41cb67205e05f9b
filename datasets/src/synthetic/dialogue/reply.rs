//! Turns of conversations.

/// What users bring.
pub const THINGS: [&str; 16] = [
    "apple", "ball", "clock", "drum", "egg", "flute", "glove", "hat", "iron", "jar", "key", "lamp", "map", "nail",
    "oar", "pen",
];

/// A reply: the list that it gives, and its manner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// Whether it is in the good manner.
    pub is_polite: bool,
    /// The things that it names, as indices of [`THINGS`].
    pub list: Vec<usize>,
}

impl Reply {
    /// From 0 to 3: the right list counts 2, the good manner 1.
    pub fn grade(&self, things: &[usize]) -> usize {
        2 * usize::from(self.list == things) + usize::from(self.is_polite)
    }
}

/// A turn of a conversation: what the user brings, and the reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// What the user brings, as an index of [`THINGS`].
    pub thing: usize,
    /// The reply.
    pub reply: Reply,
}
