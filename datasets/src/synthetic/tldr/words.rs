//! The closed lists of fact values.
//!
//! The lists are disjoint and share no word with the grammar's sentences, so that a word identifies its fact anywhere;
//! a test checks this.

/// Female, then male, then neutral relations.
pub(super) const RELATIONS: &[&str] = &[
    "sister",
    "aunt",
    "niece",
    "wife",
    "girlfriend",
    "brother",
    "uncle",
    "nephew",
    "husband",
    "boyfriend",
    "friend",
    "boss",
    "roommate",
    "cousin",
    "neighbor",
    "coworker",
];
/// Number of female relations in [`RELATIONS`]; as many male ones follow.
pub(super) const N_GENDERED_RELATIONS: usize = 5;

/// Female, then male names.
pub(super) const NAMES: &[&str] = &[
    "Anna", "Beth", "Carla", "Dora", "Emma", "Fiona", "Grace", "Helen", "Iris", "Julia", "Kate", "Laura", "Maria",
    "Nora", "Olga", "Paula", "Adam", "Ben", "Carl", "David", "Eric", "Frank", "George", "Henry", "Ivan", "Jack",
    "Kevin", "Leo", "Mark", "Nick", "Oscar", "Peter",
];
/// Number of female names in [`NAMES`].
pub(super) const N_WOMEN: usize = 16;

pub(super) const AGES: &[&str] = &[
    "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35", "36",
    "37", "38", "39", "40", "41",
];

pub(super) const PLACES: &[&str] = &[
    "Paris", "London", "Oslo", "Rome", "Berlin", "Madrid", "Vienna", "Dublin", "Boston", "Chicago", "Denver", "Dallas",
    "Seattle", "Miami", "Toronto", "Tokyo", "Lima", "Cairo", "Delhi", "Sydney",
];

pub(super) const AMOUNTS: &[&str] = &[
    "$50", "$80", "$100", "$150", "$200", "$250", "$300", "$350", "$400", "$450", "$500", "$600", "$700", "$750",
    "$800", "$900", "$1000", "$1200", "$1500", "$2000", "$2500", "$3000", "$4000", "$5000",
];

pub(super) const THINGS: &[&str] = &[
    "car", "bike", "boat", "phone", "piano", "guitar", "laptop", "camera", "sofa", "ring", "truck", "tent", "watch",
    "drone", "lamp", "desk", "bed", "clock", "violin", "printer",
];

pub(super) const QUESTIONS: &[&str] =
    &["wait", "refuse", "agree", "forgive", "leave", "complain", "apologize", "help", "forget", "sue", "insist", "lie"];
