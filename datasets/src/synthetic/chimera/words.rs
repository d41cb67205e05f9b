//! The vocabulary of requests and refined prompts.

/// Every word of requests and refined prompts, in alphabetical order; words are separated by one space.
pub const WORDS: [&str; 51] = [
    "a",
    "an",
    "anubis",
    "before",
    "bird",
    "black",
    "blue",
    "body",
    "bull",
    "capricorn",
    "centaur",
    "chimera",
    "cockatrice",
    "creature",
    "cyan",
    "draw",
    "eagle",
    "elephant",
    "field",
    "fish",
    "gajasimha",
    "goat",
    "green",
    "griffin",
    "half",
    "harpy",
    "head",
    "hippogriff",
    "horse",
    "human",
    "in",
    "jackal",
    "lamia",
    "like",
    "lion",
    "makara",
    "man",
    "mermaid",
    "minotaur",
    "of",
    "on",
    "ophiotaurus",
    "paint",
    "pink",
    "red",
    "satyr",
    "snake",
    "sphinx",
    "the",
    "white",
    "yellow",
];

/// The article before a word.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The index of the known word that occurs, if exactly one does, once.
pub(super) fn only(words: &[&str], known: &[&str]) -> Option<usize> {
    let mut told = words.iter().filter_map(|word| known.iter().position(|name| name == word));
    told.next().filter(|_| told.next().is_none())
}
