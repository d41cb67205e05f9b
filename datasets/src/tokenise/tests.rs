use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::chat::Date;
use crate::formats::Format;
use crate::test_data::{BOS, EOS, tokenizer};

fn settings(max_length: usize, max_prompt_length: usize) -> TokenSettings {
    TokenSettings { max_length, max_prompt_length, ..TokenSettings::new(EOS) }
}

fn pair(prompt: &str, chosen: &str, rejected: &str) -> PreferenceRecord {
    let answers = Answers::Pair { chosen: chosen.into(), rejected: rejected.into() };
    PreferenceRecord::new(Origin::generated("test", 1), prompt.into(), answers)
}

fn run(settings: TokenSettings, record: &PreferenceRecord, truncation: Truncation) -> (Example, Observation) {
    Tokenise::new(&tokenizer(), None, settings).unwrap().example(0, record, truncation).unwrap()
}

/// The ids of a text of letters, one a letter.
fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(|letter| u32::from(letter - b'a') + 3).collect()
}

fn with_eos(text: &str) -> Vec<u32> {
    [ids(text), vec![EOS]].concat()
}

const AB: u32 = 36;

#[test]
fn separate_tokenising_keeps_the_border() {
    let (example, seen) = run(settings(512, 256), &pair("xa", "bc", "cd"), Truncation::KeepStart);
    assert_eq!(example.prompt[..], ids("xa"));
    assert_eq!(example.responses, [with_eos("bc"), with_eos("cd")]);
    assert_eq!((seen.boundary_merges, seen.prompt_length, seen.response_lengths), (1, 2, vec![3, 3]));
    assert_eq!((example.kind, example.preference), (ExampleKind::Pair, 1.0));
}

#[test]
fn joint_tokenising_slices_one_text_as_trl_does() {
    let settings = TokenSettings { tokenization: Tokenization::Joint, ..settings(512, 256) };
    let (example, seen) = run(settings, &pair("xa", "bc", "cd"), Truncation::KeepStart);
    // "xabc" is [x, ab, c]: it parts from "xa" after x, and so both answers begin there.
    assert_eq!(example.prompt[..], ids("x"));
    assert_eq!(example.responses, [vec![AB, 5, EOS], with_eos("acd")]);
    assert_eq!(seen.boundary_merges, 1);
}

#[test]
fn an_answer_ends_with_one_eos() {
    let (example, seen) = run(settings(512, 256), &pair("p", "x</s>", "x</s>y"), Truncation::KeepStart);
    assert_eq!(example.responses, [with_eos("x"), [ids("x"), vec![EOS], with_eos("y")].concat()]);
    assert_eq!((seen.eos_inside, seen.blank_answers), (1, 0));
    let (example, seen) = run(settings(512, 256), &pair("p", "</s>", "y"), Truncation::KeepStart);
    assert_eq!((&example.responses[0], seen.blank_answers), (&vec![EOS], 1));
}

#[test]
fn the_originals_rule_for_lengths() {
    let check = |record: &PreferenceRecord, truncation, prompt: &str, responses: [Vec<u32>; 2]| {
        let (example, seen) = run(settings(8, 4), record, truncation);
        assert_eq!((&example.prompt[..], &example.responses[..]), (&ids(prompt)[..], &responses[..]));
        seen
    };
    // 5 + 3 tokens fit, though the prompt is over 4.
    let seen = check(&pair("cdefg", "xy", "z"), Truncation::KeepStart, "cdefg", [with_eos("xy"), with_eos("z")]);
    assert!(!seen.is_prompt_cut);
    // 6 + 3 do not: the prompt is cut to 4, and then all fits.
    let seen = check(&pair("cdefgh", "xy", "z"), Truncation::KeepStart, "cdef", [with_eos("xy"), with_eos("z")]);
    assert!(seen.is_prompt_cut && seen.eos_lost == 0);
    check(&pair("cdefgh", "xy", "z"), Truncation::KeepEnd, "efgh", [with_eos("xy"), with_eos("z")]);
    // The longest answer decides for both sides; answers are cut to 8 - 4 although the prompt is shorter than 4.
    let seen = check(&pair("cd", "uvwxyz", "z"), Truncation::KeepStart, "cd", [ids("uvwx"), with_eos("z")]);
    assert_eq!((seen.cut_responses, seen.eos_lost, seen.is_prompt_cut), (1, 1, false));
    let seen = check(&pair("cdefgh", "uvwx", "uvwxy"), Truncation::KeepStart, "cdef", [ids("uvwx"), ids("uvwx")]);
    assert_eq!((seen.cut_responses, seen.eos_lost, seen.is_identical), (2, 2, true));
}

#[test]
fn bos_and_empty_prompts() {
    let bos = TokenSettings { bos: Some(BOS), prepend_bos: true, ..settings(8, 4) };
    let prompt = |settings: &TokenSettings, prompt: &str, truncation| {
        let (example, seen) = run(settings.clone(), &pair(prompt, "x", "yy"), truncation);
        (example.prompt.to_vec(), seen.double_bos, seen.empty_prompt)
    };
    let keep_start = Truncation::KeepStart;
    assert_eq!(prompt(&bos, "c", keep_start), ([vec![BOS], ids("c")].concat(), false, false));
    assert_eq!(prompt(&bos, "<s>c", keep_start), ([vec![BOS], ids("c")].concat(), true, false));
    assert_eq!(prompt(&bos, "", keep_start), (vec![BOS], false, true));
    // A cut from the front leaves BOS where it is.
    assert_eq!(prompt(&bos, "cdefghij", Truncation::KeepEnd), ([vec![BOS], ids("hij")].concat(), false, false));
    assert_eq!(prompt(&bos, "cdefghij", keep_start), ([vec![BOS], ids("cde")].concat(), false, false));
    let without = TokenSettings { prepend_bos: false, ..bos };
    assert_eq!(prompt(&without, "c", keep_start), (ids("c"), false, false));
    assert_eq!(prompt(&without, "", keep_start), (vec![BOS], false, true));
    assert_eq!(prompt(&settings(8, 4), "", keep_start), (vec![EOS], false, true));
}

#[test]
fn a_chat_goes_through_the_template() {
    let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}\
        {% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}\
        {% if add_generation_prompt %}assistant:{% endif %}";
    let template = ChatTemplate::new(source, &[("bos_token", "<s>"), ("eos_token", "</s>")], Date::default()).unwrap();
    let chat = |role: &str, content: &str| Text::Chat(vec![Message::new(role, content)]);
    let answers = Answers::Ranked(vec![chat("assistant", "x"), chat("assistant", "y"), chat("assistant", "z")]);
    let record = PreferenceRecord { prompt: chat("user", "q"), answers, ..pair("", "", "") };
    let tokenise = Tokenise::new(&tokenizer(), Some(template), settings(512, 256)).unwrap();
    let (example, seen) = tokenise.example(7, &record, Truncation::KeepStart).unwrap();
    let text = |tokens: &[u32]| tokenizer().decode(tokens, false).unwrap().replace(' ', "");
    assert_eq!(text(&example.prompt), "<s>user:q\nassistant:");
    // What the template writes after EOS is no part of the answer.
    assert_eq!(example.responses, [with_eos("x"), with_eos("y"), with_eos("z")]);
    assert_eq!((example.index, example.kind, seen.double_bos), (7, ExampleKind::Ranked, false));
    let without = Tokenise::new(&tokenizer(), None, settings(512, 256)).unwrap();
    let error = without.example(0, &record, Truncation::KeepStart).unwrap_err();
    assert!(error.to_string().contains("test, row 1: the record is a chat"), "{error}");
    assert!(!error.is_about_one_record());
}

#[test]
fn impossible_settings_are_named() {
    let check = |settings: TokenSettings, part: &str| {
        let error = Tokenise::new(&tokenizer(), None, settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(settings(8, 0), "max_prompt_length is 0");
    check(settings(8, 8), "max_length is 8 (max_prompt_length is 8)");
    check(TokenSettings { eos: 999, ..settings(8, 4) }, "eos is 999: the tokeniser has no such token");
    check(TokenSettings { bos: Some(999), ..settings(8, 4) }, "bos is 999");
}

/// Against the ids that TRL's trainer makes (`tests/golden/datasets/tokenise.py`).
#[test]
fn pairs_become_the_tokens_that_trl_makes() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/datasets/tokenise.json")).unwrap();
    let tokenizer: Tokenizer = include_str!("../../../tests/golden/datasets/tokenizer.json").parse().unwrap();
    let eos = golden["eos"].as_u64().unwrap() as u32;
    let list = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    // The separate ids are the tokeniser's own; EOS is ours to add. What follows a chat's last EOS is cut.
    let ended = |mut ids: Vec<u32>| {
        ids.truncate(ids.iter().rposition(|&id| id == eos).map_or(ids.len(), |last| last + 1));
        if ids.last() != Some(&eos) {
            ids.push(eos);
        }
        ids
    };
    for (kind, name) in [("plain", "separate"), ("plain", "joint"), ("chats", "joint")] {
        let settings = TokenSettings {
            max_length: 4096,
            max_prompt_length: 2048,
            tokenization: name.parse().unwrap(),
            ..TokenSettings::new(eos)
        };
        let template = ChatTemplate::new(golden["template"].as_str().unwrap(), &[], Date::default()).unwrap();
        let tokenise = Tokenise::new(&tokenizer, Some(template), settings).unwrap();
        let (pairs, expected) = (golden[kind]["pairs"].as_array().unwrap(), golden[kind][name].as_array().unwrap());
        assert_eq!(pairs.len(), expected.len());
        for (pair, expected) in pairs.iter().zip(expected) {
            let records = Format::Trl.parse(&Origin::generated(kind, 1), pair).unwrap();
            let (example, _) = tokenise.example(0, &records[0], Truncation::KeepStart).unwrap();
            assert_eq!(example.prompt[..], list(&expected["prompt"])[..], "{pair}");
            let sides = ["chosen", "rejected"].map(|side| ended(list(&expected[side])));
            assert_eq!(example.responses, sides, "{name}: {pair}");
        }
    }
}

proptest! {
    /// The rule restated in one expression, and what every example may rely on.
    #[test]
    fn cuts_keep_pairs_comparable(
        prompt in "[c-z]{0,20}", chosen in "[c-z]{1,20}", rejected in "[c-z]{1,20}",
        max_prompt_length in 1_usize..10, room in 1_usize..10, keep_end: bool,
    ) {
        let max_length = max_prompt_length + room;
        let truncation = if keep_end { Truncation::KeepEnd } else { Truncation::KeepStart };
        let (example, seen) = run(settings(max_length, max_prompt_length), &pair(&prompt, &chosen, &rejected), truncation);
        let mut expected = if prompt.is_empty() { vec![EOS] } else { ids(&prompt) };
        let mut sides = [with_eos(&chosen), with_eos(&rejected)];
        let longest = sides[0].len().max(sides[1].len());
        if expected.len() + longest > max_length && expected.len() > max_prompt_length {
            let start = if keep_end { expected.len() - max_prompt_length } else { 0 };
            expected = expected[start..start + max_prompt_length].to_vec();
        }
        if expected.len() + longest > max_length {
            for side in &mut sides {
                side.truncate(room);
            }
        }
        prop_assert_eq!(&example.prompt[..], &expected[..]);
        prop_assert_eq!(&example.responses[..], &sides[..]);
        prop_assert!(sides.iter().all(|side| !side.is_empty() && expected.len() + side.len() <= max_length));
        prop_assert_eq!(seen.eos_lost, sides.iter().filter(|side| side.last() != Some(&EOS)).count());
    }
}

#[test]
fn the_border_check_sees_merges_only() {
    let merges = |prompt: &str, answer: &str| {
        run(settings(512, 256), &pair(prompt, answer, "z"), Truncation::KeepStart).1.boundary_merges
    };
    assert_eq!((merges("xa", "b"), merges("xc", "b"), merges(&"a".repeat(99), &"b".repeat(99))), (1, 0, 1));
    assert_eq!(merges(&"ab".repeat(99), &"ab".repeat(99)), 0);
    assert_eq!(tokenizer().token_to_id("ab"), Some(AB));
}
