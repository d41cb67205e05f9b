//! The laws of the problem, over a few thousand draws.

use mdp::chance::below;
use mdp::laws::{Walks, check_world};
use mdp::token::{TokenMdp, TokenState};
use mdp::{InWorld, Mdp, Rng, World};
use rand_chacha::rand_core::SeedableRng;

use super::tokens::{token, words};
use super::*;

fn in_world() -> InWorld<TokenMdp, Clerk> {
    let vocabulary = 1 + 256 + 2 + words().count() as u32;
    InWorld { mdp: TokenMdp { vocabulary, eos: vec![0], max_length: 48 }, world: Clerk }
}

fn ids(text: &str) -> Vec<u32> {
    text.split_whitespace().map(token).collect()
}

/// The response of a demonstration, with the clerk's replies.
fn response(shown: &Demonstration) -> Vec<u32> {
    let mdp = in_world();
    let episode = mdp.episode(TokenState::new(prompt_tokens(&shown.question)), shown.decisions.clone());
    episode.end(&mdp).unwrap().response
}

fn demonstrations(count: u64) -> impl Iterator<Item = Demonstration> {
    (0..count).map(|index| LookupProblem::new(0).demonstration(Split::Train, index))
}

#[test]
fn data_are_a_function_of_seed_split_and_index_and_splits_share_no_question() {
    for split in Split::ALL {
        for index in 0..100 {
            let problem = LookupProblem::new(3);
            let shown = problem.demonstration(split, index);
            assert_eq!(shown, problem.demonstration(split, index));
            assert_eq!(Split::of(&shown.question.to_string()), split);
            assert_eq!(Split::of(&problem.question(split, index).to_string()), split);
        }
    }
    let first = |seed| LookupProblem::new(seed).question(Split::Test, 0);
    assert_ne!(first(3), first(4));
}

#[test]
fn the_clerk_replies_to_calls_with_the_entries_of_the_day() {
    let question = Question { day: 471, attribute: Attribute::Home, relation: Relation::Built, thing: "mill" };
    assert_eq!(question.to_string(), "0 4 7 1 where lives who built the mill");
    let state = |text: &str| TokenState { prompt: prompt_tokens(&question).into(), response: ids(text) };
    let person = Register::Plans.entry(471, "mill").unwrap();
    assert_eq!(Clerk.reply(&state("look plans mill ;")), ids(&format!("found {person} .")));
    let home = Register::Homes.entry(471, person).unwrap();
    assert_eq!(Clerk.reply(&state(&format!("look homes {person} ;"))), ids(&format!("found {home} .")));
    for strange in [";", "look plans anna ;", "look homes mill ;", "plans mill ;", "look look look ;"] {
        assert_eq!(Clerk.reply(&state(strange)), ids("nothing ."), "{strange}");
    }
    for unfinished in ["", "look plans mill", "look plans mill ; found anna ."] {
        assert!(Clerk.reply(&state(unfinished)).is_empty(), "{unfinished}");
    }
    assert_eq!((question.person(), question.answer()), (person, home));
    let without_day = TokenState { prompt: ids("who").into(), response: ids("look plans mill ;") };
    assert_eq!(Clerk.reply(&without_day), ids("nothing ."));
}

#[test]
fn the_clerk_is_a_lawful_world() {
    let mdp = in_world();
    let contexts: Vec<std::sync::Arc<[u32]>> =
        demonstrations(20).map(|shown| prompt_tokens(&shown.question).into()).collect();
    let first = token("look");
    let n = words().count() as u64;
    let choose = |_: &TokenState, rng: &mut Rng| Some(first + below(rng, n) as u32);
    check_world(&mdp, &contexts, Walks::default(), &mut Rng::seed_from_u64(0), choose).unwrap();
}

#[test]
fn entries_change_with_the_day_and_nobody_bought_what_he_built() {
    for register in Register::ALL {
        for key in register.keys() {
            let mut seen: Vec<&str> = (0..200).filter_map(|day| register.entry(day, key)).collect();
            assert_eq!(seen.len(), 200);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 8, "{register:?} {key}");
        }
        assert_eq!(register.entry(0, "where"), None);
    }
    let both = |day| ["barn", "shop"].map(|thing| [Register::Deeds, Register::Plans].map(|of| of.entry(day, thing)));
    assert!((0..500).flat_map(both).all(|[bought, built]| bought != built));
}

#[test]
fn demonstrations_are_as_wrong_as_they_should_be() {
    let mut counts = [[0.0_f64; 2]; 4];
    let (mut right, mut faithful) = (0.0, 0.0);
    for shown in demonstrations(4000) {
        let reading = Oracle::read(&shown.question, &response(&shown));
        let [first, second] = [0, 1].map(|nth| reading.lookups[nth].1.register);
        let kinds = [shown.question.relation as usize, 2 + shown.question.attribute as usize];
        let wrong = [first != shown.question.relation.register(), second != shown.question.attribute.register()];
        for (kind, wrong) in kinds.into_iter().zip(wrong) {
            counts[kind][0] += 1.0;
            counts[kind][1] += f64::from(u8::from(wrong));
        }
        right += f64::from(u8::from(reading.is_right)) / 4000.0;
        faithful += f64::from(u8::from(reading.is_faithful)) / 4000.0;
        assert!(reading.answer.is_some());
        // A right outcome by wrong lookups is luck.
        let place = reading.first_wrong(&shown.question);
        assert_eq!(place.is_none(), reading.looks_right);
        assert!(place.is_none_or(|place| place == 1 || place == 8));
    }
    let rates = counts.map(|[n, wrong]| wrong / n);
    for (rate, expected) in rates.into_iter().zip([0.15, 0.6, 0.15, 0.6]) {
        assert!((rate - expected).abs() < 0.04, "{rates:?}");
    }
    assert!((faithful - 0.956).abs() < 0.02 && (right - 0.40).abs() < 0.05, "{faithful} {right}");
}

#[test]
fn strange_trajectories_are_wrong() {
    let question = LookupProblem::new(0).question(Split::Test, 0);
    let read = |text: &str, end: &[u32]| Oracle::read(&question, &[&ids(text), end].concat());
    let nothing = read("", &[]);
    assert!(nothing.lookups.is_empty() && nothing.answer.is_none() && !nothing.looks_right && !nothing.is_faithful);
    assert_eq!(read("answer oslo", &[]).answer, None);
    assert_eq!(read("answer oslo", &[0]).answer, Some("oslo"));
    let lucky = read(&format!("answer {}", question.answer()), &[0]);
    assert!(lucky.is_right && !lucky.looks_right && !lucky.is_faithful);
    assert_eq!(read("; look deeds", &[5, 0]).lookups, []);
}

#[test]
fn tokens_are_those_of_the_tokenizer() {
    let tokenizer = tokenizer().unwrap();
    let encoded = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
    for shown in demonstrations(50) {
        assert_eq!(encoded(&format!("day: {}\nagent:", shown.question)), prompt_tokens(&shown.question));
        let tokens = response(&shown);
        assert_eq!([encoded(&response_text(&tokens)), vec![0]].concat(), tokens);
        assert_eq!(tokens.len(), shown.decisions.len() + 6);
    }
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    assert_eq!(tokenizer.get_vocab_size(true), in_world().mdp.vocabulary as usize);
}
