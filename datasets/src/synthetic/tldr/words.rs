//! The closed lists that facts take their values from.
//!
//! The lists are disjoint and share no word with the grammar's sentences, so that a word names its fact wherever it
//! stands; a test holds them to it.

/// Relations of women, then of men, then of anybody.
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
/// How many of [`RELATIONS`] are women's; as many that follow are men's.
pub(super) const N_GENDERED_RELATIONS: usize = 5;

/// Names of women, then of men.
pub(super) const NAMES: &[&str] = &[
    "Anna", "Beth", "Carla", "Dora", "Emma", "Fiona", "Grace", "Helen", "Iris", "Julia", "Kate", "Laura", "Maria",
    "Nora", "Olga", "Paula", "Adam", "Ben", "Carl", "David", "Eric", "Frank", "George", "Henry", "Ivan", "Jack",
    "Kevin", "Leo", "Mark", "Nick", "Oscar", "Peter",
];
/// How many of [`NAMES`] are women's.
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
