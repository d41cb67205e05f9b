//! The laws of the problem, over a few thousand draws.

use std::collections::HashSet;

use proptest::prelude::*;

use super::facts::{Event, Facts, Slot};
use super::summary::{AlteredFact, Damage};
use super::*;

const N: u64 = 1_000;

fn pairs(split: Split, count: u64) -> impl Iterator<Item = TldrPair> {
    (0..count).map(move |index| TldrProblem::new(0).pair(split, index))
}

#[test]
fn a_pair_is_a_function_of_seed_split_and_index() {
    for split in Split::ALL {
        for index in [0, 1, 7, u64::MAX] {
            assert_eq!(TldrProblem::new(3).pair(split, index), TldrProblem::new(3).pair(split, index));
            assert_eq!(
                TldrProblem::new(3).demonstration(split, index),
                TldrProblem::new(3).demonstration(split, index)
            );
            assert_ne!(TldrProblem::new(3).pair(split, index).prompt, TldrProblem::new(4).pair(split, index).prompt);
        }
    }
}

/// Weights are committed that were trained on these very words; whoever changes the grammar has to train them again.
#[test]
fn the_data_and_the_vocabulary_are_those_the_weights_were_trained_on() {
    let mut hasher = blake3::Hasher::new();
    for pair in pairs(Split::Train, 100) {
        hasher.update(format!("{}{}{}", pair.prompt, pair.chosen, pair.rejected).as_bytes());
    }
    let data = hasher.finalize().to_hex();
    let vocabulary = blake3::hash(tokenizer_json().as_bytes()).to_hex();
    assert_eq!((&data[..16], &vocabulary[..16]), ("2a7dd3bdedb71b49", "767a07a3f791c4f5"));
}

#[test]
fn ten_thousand_pairs_of_a_seed_are_distinct() {
    let prompts: HashSet<String> = pairs(Split::Train, 10_000).map(|pair| pair.prompt).collect();
    assert_eq!(prompts.len(), 10_000);
}

#[test]
fn splits_share_no_post_whatever_the_seed_or_purpose() {
    for split in Split::ALL {
        for seed in [0, 1] {
            for index in 0..300 {
                assert_eq!(Split::of(&TldrProblem::new(seed).pair(split, index).prompt), split);
                assert_eq!(Split::of(&TldrProblem::new(seed).demonstration(split, index).prompt), split);
            }
        }
    }
}

#[test]
fn a_post_reads_back_as_its_facts() {
    for pair in pairs(Split::Train, N) {
        assert_eq!(Facts::from_prompt(&pair.prompt), Some(pair.facts), "{}", pair.prompt);
        let body = pair.prompt.split_once("\n\nPOST: ").expect("a post").1;
        assert!(!body.trim_end_matches("\n\nTL;DR:").contains('\n'));
        assert!(pair.chosen.starts_with(' ') && pair.rejected.starts_with(' '));
        assert!(!pair.chosen.starts_with("  ") && !pair.rejected.starts_with("  "));
        assert_ne!(pair.chosen, pair.rejected);
    }
}

#[test]
fn text_of_another_kind_has_no_facts() {
    let prompt = TldrProblem::new(0).pair(Split::Train, 0).prompt;
    for text in ["", "SUBREDDIT: r/", "SUBREDDIT: r/tifu\n\nTITLE: \n\nPOST: \n\nTL;DR:", &prompt[1..], &prompt[..150]]
    {
        assert_eq!(Facts::from_prompt(text), None, "{text}");
    }
}

#[test]
fn values_are_disjoint_and_no_sentence_names_a_fact() {
    let mut values: Vec<String> =
        Slot::ALL.iter().flat_map(|slot| slot.values()).map(|value| value.to_lowercase()).collect();
    let count = values.len();
    let example = TldrProblem::new(0).pair(Split::Train, 0).facts;
    let sentences = post::sentences().chain(Event::ALL.into_iter().flat_map(|event| event.sentences().iter().copied()));
    let literals = sentences
        .chain(post::TITLES.iter().copied())
        .flat_map(|sentence| sentence.split('}').map(|piece| piece.split('{').next().unwrap_or_default().to_owned()));
    for literal in literals.chain(summary::fragments()) {
        let found = Oracle::score(&example, &literal);
        assert_eq!((found.right, found.wrong), (0, 0), "{literal}");
    }
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), count);
}

#[test]
fn the_oracle_finds_every_fact_of_a_good_summary() {
    for pair in pairs(Split::Validation, N) {
        let found = Oracle::score(&pair.facts, &pair.chosen);
        assert_eq!((found.right, found.wrong, found.missing, found.score), (7, 0, 0, 1.0), "{}", pair.chosen);
        assert!(
            found.words <= Oracle::WORD_LIMIT
                && found.checks.iter().all(|verdict| verdict.told && verdict.wrong.is_empty())
        );
        assert_eq!(Oracle::compare(&pair.facts, &pair.chosen, &pair.rejected), ComparisonOutcome::Win);
        assert_eq!(Oracle::compare(&pair.facts, &pair.rejected, &pair.chosen), ComparisonOutcome::Loss);
        assert_eq!(Oracle::compare(&pair.facts, &pair.chosen, &pair.chosen), ComparisonOutcome::Tie);
    }
}

#[test]
fn the_oracle_finds_the_damage_of_a_bad_summary() {
    for pair in pairs(Split::Test, N) {
        let found = Oracle::score(&pair.facts, &pair.rejected);
        let expected = match &pair.damage {
            Damage::Altered(altered) => (7 - altered.len(), altered.len()),
            Damage::Omitted(slots) => (7 - slots.len(), 0),
            Damage::Padded => (7, 0),
        };
        assert_eq!((found.right, found.wrong), expected, "{}", pair.rejected);
        assert_eq!(found.words > Oracle::WORD_LIMIT, pair.damage == Damage::Padded, "{}", pair.rejected);
        assert!(found.score < 0.9);
        if let Damage::Omitted(slots) = &pair.damage {
            assert!(found.checks.iter().all(|verdict| verdict.told != slots.contains(&verdict.slot)));
        }
    }
}

#[test]
fn every_kind_of_damage_has_its_share() {
    let kinds: Vec<&str> = pairs(Split::Train, N).map(|pair| pair.damage.kind()).collect();
    let share = |kind: &str| kinds.iter().filter(|known| **known == kind).count() as f64 / N as f64;
    assert!((share("altered") - 0.5).abs() < 0.05 && (share("omitted") - 0.25).abs() < 0.05);
    let good = (0..N).filter(|&index| TldrProblem::new(0).demonstration(Split::Train, index).damage.is_none()).count();
    assert!((good as f64 / N as f64 - 0.4).abs() < 0.05);
}

/// Takes the altered values out of both summaries: what is left is the same text.
#[test]
fn spans_cover_the_altered_facts_exactly() {
    for pair in pairs(Split::Train, N) {
        let Damage::Altered(altered) = &pair.damage else { continue };
        assert!((1..=3).contains(&altered.len()));
        let (mut good, mut bad) = (pair.chosen.clone(), pair.rejected.clone());
        let mut altered: Vec<&AlteredFact> = altered.iter().collect();
        altered.sort_by_key(|fact| std::cmp::Reverse(fact.span.start));
        for fact in altered {
            assert_eq!((&good[fact.good_span.clone()], &bad[fact.span.clone()]), (fact.right, fact.wrong));
            assert_ne!(fact.right, fact.wrong);
            good.replace_range(fact.good_span.clone(), "");
            bad.replace_range(fact.span.clone(), "");
        }
        assert_eq!(good, bad);
    }
}

#[test]
fn token_indices_name_the_altered_tokens() {
    let tokenizer = tokenizer().expect("our own tokenizer");
    for pair in pairs(Split::Train, 300) {
        let Damage::Altered(altered) = &pair.damage else { continue };
        let spans: Vec<_> = altered.iter().map(|fact| fact.span.clone()).collect();
        let indices = token_indices(&tokenizer, &pair.rejected, &spans).expect("encodable");
        let tokens = tokenizer.encode(pair.rejected.as_str(), false).expect("encodable");
        let mut found: Vec<String> = indices
            .iter()
            .map(|&index| {
                tokenizer.decode(&tokens.get_ids()[index..=index], false).expect("decodable").trim().to_owned()
            })
            .collect();
        let mut expected: Vec<String> = altered.iter().map(|fact| fact.wrong.to_owned()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
    let outside = std::iter::once(100..200).collect::<Vec<_>>();
    assert_eq!(token_indices(&tokenizer, " a b", &outside).expect("encodable"), Vec::<usize>::new());
}

#[test]
fn the_grammar_is_one_token_a_word_and_lengths_keep_their_limits() {
    let tokenizer = tokenizer().expect("our own tokenizer");
    assert_eq!(tokenizer.get_vocab_size(true), 512);
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    let encode = |text: &str| tokenizer.encode(text, false).expect("encodable");
    for pair in pairs(Split::Train, N) {
        let (prompt, chosen, rejected) = (encode(&pair.prompt), encode(&pair.chosen), encode(&pair.rejected));
        assert!((60..=90).contains(&prompt.len()), "{}", prompt.len());
        assert!((15..=24).contains(&chosen.len()), "{}", chosen.len());
        assert!((6..=52).contains(&rejected.len()), "{}", rejected.len());
        for (text, encoding) in [(&pair.prompt, &prompt), (&pair.chosen, &chosen), (&pair.rejected, &rejected)] {
            assert_eq!(&tokenizer.decode(encoding.get_ids(), false).expect("decodable"), text);
            assert!(encoding.get_tokens().iter().all(|token| token.chars().count() > 1 || ").,?:".contains(token)));
        }
        let whole = encode(&format!("{}{}", pair.prompt, pair.chosen));
        assert_eq!(whole.get_ids(), [prompt.get_ids(), chosen.get_ids()].concat());
    }
}

#[test]
fn label_noise_turns_pairs_round_and_changes_nothing_else() {
    let (clean, noisy) = (TldrProblem::new(0), TldrProblem::new(0).with_label_noise(0.25));
    let mut n_flipped = 0;
    for index in 0..N {
        let (clean, noisy) = (clean.pair(Split::Train, index), noisy.pair(Split::Train, index));
        assert!(!clean.flipped);
        let (good, bad) =
            if noisy.flipped { (&noisy.rejected, &noisy.chosen) } else { (&noisy.chosen, &noisy.rejected) };
        assert_eq!((&clean.prompt, &clean.chosen, &clean.rejected), (&noisy.prompt, good, bad));
        n_flipped += u64::from(noisy.flipped);
    }
    assert!((200..300).contains(&n_flipped));
}

#[test]
fn the_oracle_reads_words_however_they_are_written() {
    let check = |text: &str, right: usize, wrong: usize| {
        let facts = Facts {
            event: Event::Asked,
            story: facts::Values::from_positions([0; 7]),
            distraction: facts::Values::from_positions([1; 7]),
        };
        let found = Oracle::score(&facts, text);
        assert_eq!((found.right, found.wrong), (right, wrong), "{text}");
    };
    // The story: sister, Anna, 18, Paris, $50, car, wait.
    check("my sister Anna (18) from Paris wants $50 for a car, should I wait?", 7, 0);
    check("MY SISTER anna,18,paris: $50 car... wait", 7, 0);
    check("my sister's friend Anna", 2, 1);
    check("Anna Anna Beth Beth beth", 1, 1);
    check("she wants $1,250 and is 99", 0, 2);
    check("annabel carpet waiting $", 0, 0);
    check("", 0, 0);
}

proptest! {
    #[test]
    fn any_text_is_judged_and_tokenised(text in any::<String>()) {
        let facts = TldrProblem::new(0).pair(Split::Train, 0).facts;
        let found = Oracle::score(&facts, &text);
        prop_assert!(found.score.is_finite() && found.score <= 1.0 && found.right + found.missing == 7);
        prop_assert_eq!(Oracle::compare(&facts, &text, &text), ComparisonOutcome::Tie);
        prop_assert_eq!(Facts::from_prompt(&text), None);
        let tokenizer = tokenizer().expect("our own tokenizer");
        let ids = tokenizer.encode(text.as_str(), false).expect("encodable");
        prop_assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decodable"), text);
    }
}

#[test]
fn the_spans_of_wrong_facts_are_those_that_were_altered() {
    let characters = |text: &str, end: usize| text[..end].chars().count();
    let mut n_altered = 0;
    for pair in pairs(Split::Test, N) {
        assert!(Oracle::wrong_spans(&pair.facts, &pair.chosen).is_empty(), "{}", pair.chosen);
        let text = &pair.rejected;
        let altered = if let Damage::Altered(altered) = &pair.damage { &altered[..] } else { &[] };
        let mut spans: Vec<_> =
            altered.iter().map(|fact| characters(text, fact.span.start)..characters(text, fact.span.end)).collect();
        spans.sort_by_key(|span| span.start);
        assert_eq!(Oracle::wrong_spans(&pair.facts, text), spans, "{text}");
        n_altered += altered.len();
    }
    assert!(n_altered > N as usize / 2);
}

#[test]
fn spans_count_characters_and_leave_commas_out() {
    let facts = TldrProblem::new(0).pair(Split::Test, 0).facts;
    let wrong = if facts.story.get(Slot::Name) == "Anna" { "Bella" } else { "Anna" };
    let name = Slot::Name.values().iter().find(|value| value.eq_ignore_ascii_case(wrong)).unwrap_or(&"Emma");
    // Four characters of two and three bytes before it, and a comma right behind it.
    let text = format!("é€ü {name}, $7,777,123, {}", facts.story.get(Slot::Place));
    let (start, n) = (4, name.chars().count());
    let amount = start + n + 2;
    assert_eq!(Oracle::wrong_spans(&facts, &text), [start..start + n, amount..amount + 10]);
    assert!(Oracle::wrong_spans(&facts, "").is_empty());
}
