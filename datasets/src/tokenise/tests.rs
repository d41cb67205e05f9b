use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Answers;
use crate::chat::Date;
use crate::formats::Format;
use crate::test_data::{BOS, EOS, tokenizer};

fn settings(max_length: usize, max_prompt_length: usize) -> TokenSettings {
    TokenSettings { max_length, max_prompt_length: Some(max_prompt_length), ..TokenSettings::new(EOS) }
}

fn pair(prompt: &str, chosen: &str, rejected: &str) -> PreferenceRecord {
    let answers = Answers::Pair { chosen: chosen.into(), rejected: rejected.into() };
    PreferenceRecord::new(Origin::generated("test", 1), prompt.into(), answers)
}

fn run(settings: TokenSettings, record: &PreferenceRecord, truncation: Truncation) -> (Example, Observation) {
    let (example, seen) = Tokenise::new(&tokenizer(), None, settings).unwrap().example(0, record, truncation).unwrap();
    (example.unwrap(), seen)
}

/// The test tokeniser with a post-processor that puts BOS before every text, and EOS behind where `ends` is set.
fn beginning(ends: bool) -> Tokenizer {
    let mut file: Value = serde_json::from_str(&tokenizer().to_string(false).unwrap()).unwrap();
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let mut single = vec![special("<s>"), json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    if ends {
        single.push(special("</s>"));
    }
    let token = |token: &str, id: u32| json!({ "id": token, "ids": [id], "tokens": [token] });
    file["post_processor"] = json!({ "type": "TemplateProcessing", "single": single,
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "<s>": token("<s>", BOS), "</s>": token("</s>", EOS) } });
    file.to_string().parse().unwrap()
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
    assert_eq!((example.responses[0].tokens(), seen.blank_answers), (&[EOS][..], 1));
}

#[test]
fn prompts_are_cut_first_and_answers_get_the_room_that_is_left() {
    let check = |record: &PreferenceRecord, truncation, prompt: &str, responses: [Vec<u32>; 2]| {
        let (example, seen) = run(settings(8, 4), record, truncation);
        assert_eq!(example.prompt[..], ids(prompt));
        assert_eq!(example.responses, responses);
        seen
    };
    // 5 + 3 tokens fit, though the prompt is over 4.
    let seen = check(&pair("cdefg", "xy", "z"), Truncation::KeepStart, "cdefg", [with_eos("xy"), with_eos("z")]);
    assert!(!seen.is_prompt_cut);
    // 6 + 3 do not: the prompt is cut to 4, and then all fits.
    let seen = check(&pair("cdefgh", "xy", "z"), Truncation::KeepStart, "cdef", [with_eos("xy"), with_eos("z")]);
    assert!(seen.is_prompt_cut && seen.eos_lost == 0);
    check(&pair("cdefgh", "xy", "z"), Truncation::KeepEnd, "efgh", [with_eos("xy"), with_eos("z")]);
    // A quarter of 4 from the end, the rest from the start.
    check(&pair("cdefgh", "xy", "z"), Truncation::KeepBoth, "cdeh", [with_eos("xy"), with_eos("z")]);
    // 2 + 7 don't fit: the answer has the 6 that the prompt of 2 leaves, not 8 - 4.
    let seen = check(&pair("cd", "uvwxyz", "z"), Truncation::KeepStart, "cd", [ids("uvwxyz"), with_eos("z")]);
    assert_eq!((seen.cut_responses, seen.eos_lost, seen.is_prompt_cut), (1, 1, false));
    let seen = check(&pair("cdefgh", "uvwx", "uvwxy"), Truncation::KeepStart, "cdef", [ids("uvwx"), ids("uvwx")]);
    assert_eq!((seen.cut_responses, seen.eos_lost, seen.is_identical), (2, 2, true));
}

#[test]
fn without_a_limit_of_their_own_prompts_are_whole_or_left_out() {
    let settings = TokenSettings { max_prompt_length: None, ..settings(8, 4) };
    let tokenise = Tokenise::new(&tokenizer(), None, settings.clone()).unwrap();
    let example =
        |prompt: &str, chosen: &str| tokenise.example(0, &pair(prompt, chosen, "z"), Truncation::KeepStart).unwrap();
    let (found, _) = example("cdefgh", "uvw");
    let found = found.unwrap();
    assert_eq!(found.prompt[..], ids("cdefgh"));
    assert_eq!(found.responses, [ids("uv"), with_eos("z")]);
    let (found, seen) = example("cdefghij", "u");
    assert!(found.is_none() && seen.is_left_out);
    let kept = TokenSettings { truncation: Some(Truncation::KeepEnd), ..settings };
    let error = Tokenise::new(&tokenizer(), None, kept).unwrap_err().to_string();
    assert!(error.contains("no prompt is cut"), "{error}");
}

#[test]
fn the_post_processor_begins_a_text_and_a_chat_begins_itself() {
    let begun = |tokenizer: Tokenizer, settings: TokenSettings, prompt: &str, truncation| {
        let tokenise = Tokenise::new(&tokenizer, None, settings).unwrap();
        let (example, seen) = tokenise.example(0, &pair(prompt, "x", "yy"), truncation).unwrap();
        let example = example.unwrap();
        assert_eq!(example.responses, [with_eos("x"), with_eos("yy")]);
        (example.prompt.to_vec(), seen.double_bos, seen.empty_prompt)
    };
    let keep_start = Truncation::KeepStart;
    let bos = TokenSettings { bos: Some(BOS), ..settings(8, 4) };
    let check = |prompt: &str, truncation| begun(beginning(false), bos.clone(), prompt, truncation);
    assert_eq!(check("c", keep_start), ([vec![BOS], ids("c")].concat(), false, false));
    assert_eq!(check("<s>c", keep_start), ([vec![BOS], ids("c")].concat(), true, false));
    assert_eq!(check("", keep_start), (vec![BOS], false, true));
    // A cut from the front leaves BOS where it is.
    assert_eq!(check("cdefghij", Truncation::KeepEnd), ([vec![BOS], ids("hij")].concat(), false, false));
    assert_eq!(check("cdefghij", keep_start), ([vec![BOS], ids("cde")].concat(), false, false));
    // What it puts behind a text is no part of a prompt, and one end is enough.
    for tokenization in [Tokenization::Separate, Tokenization::Joint] {
        let settings = TokenSettings { tokenization, ..bos.clone() };
        let found = begun(beginning(false), settings, "c", keep_start);
        assert_eq!(found, ([vec![BOS], ids("c")].concat(), false, false));
    }
    let found = begun(beginning(true), bos.clone(), "c", keep_start);
    assert_eq!(found, ([vec![BOS], ids("c")].concat(), false, false));
    // Without a post-processor nothing begins a text but an empty one.
    assert_eq!(begun(tokenizer(), bos.clone(), "c", keep_start), (ids("c"), false, false));
    assert_eq!(begun(tokenizer(), bos, "", keep_start), (vec![EOS], false, true));
    assert_eq!(begun(tokenizer(), settings(8, 4), "", keep_start), (vec![EOS], false, true));
}

/// A tokeniser in SentencePiece's manner, where every text begins as if a space stood before it.
fn spaced() -> Tokenizer {
    let pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "▁b", "ab", "\n", "[", "]"];
    let vocab: serde_json::Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), id.into())).collect();
    let added = json!({ "id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true });
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let file = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace] },
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "vocab": vocab,
            "merges": [["▁", "a"], ["▁", "b"], ["a", "b"]] } });
    file.to_string().parse().unwrap()
}

#[test]
fn an_answer_has_no_space_that_is_not_in_its_text() {
    let tokenizer = spaced();
    let tokenise = Tokenise::new(&tokenizer, None, TokenSettings::new(2)).unwrap();
    let pieces = |prompt: &str, answer: &str| -> Vec<Vec<String>> {
        let (example, _) = tokenise.example(0, &pair(prompt, answer, "b"), Truncation::KeepStart).unwrap();
        let example = example.unwrap();
        [&example.prompt[..], &example.responses[0]]
            .map(|ids| ids.iter().map(|id| tokenizer.id_to_token(*id).unwrap()).collect())
            .to_vec()
    };
    assert_eq!(pieces("a", " b"), [vec!["▁a"], vec!["▁b", "</s>"]]);
    assert_eq!(pieces("a\n", "b"), [vec!["▁a", "\n"], vec!["b", "</s>"]]);
    // As one text "ab" is a piece of its own: the answer is read behind something that no piece shares with it.
    assert_eq!(pieces("[a", "b"), [vec!["▁", "[", "a"], vec!["b", "</s>"]]);
    assert_eq!(tokenise.continuation(&Origin::generated("test", 1), " a").unwrap(), [6]);
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
    let example = example.unwrap();
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

/// A chat whose template says nothing but what it is told to.
fn chat(template: &str, settings: TokenSettings) -> (Vec<u32>, Vec<Vec<u32>>, Observation) {
    let template = ChatTemplate::new(template, &[], Date::default()).unwrap();
    let tokenise = Tokenise::new(&tokenizer(), Some(template), settings).unwrap();
    let said = |role: &str, content: &str| Text::Chat(vec![Message::new(role, content)]);
    let answers = Answers::Pair { chosen: said("assistant", "x"), rejected: said("assistant", "y") };
    let record = PreferenceRecord { prompt: said("user", "cdefgh"), answers, ..pair("", "", "") };
    let (example, seen) = tokenise.example(0, &record, Truncation::KeepStart).unwrap();
    let example = example.unwrap();
    let responses = example.responses.iter().map(|response| response.to_vec());
    (example.prompt.to_vec(), responses.collect(), seen)
}

#[test]
fn a_chat_ends_where_its_template_ends_it() {
    let joint = TokenSettings { tokenization: Tokenization::Joint, ..settings(512, 256) };
    // BOS stands for a special token that ends turns and is not EOS.
    let turns = "{% for m in messages %}{{ m.content }}<s>q{% endfor %}";
    let (_, answers, _) = chat(turns, joint.clone());
    assert_eq!(answers, [[ids("x"), vec![BOS], ids("q")].concat(), [ids("y"), vec![BOS], ids("q")].concat()]);
    let turns = "{% for m in messages %}{{ m.content }}<s>{% endfor %}";
    for settings in [joint.clone(), settings(512, 256)] {
        let (_, answers, seen) = chat(turns, settings);
        assert_eq!((&answers[0], seen.ends_added), (&[ids("x"), vec![BOS]].concat(), 0));
    }
    let open = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let (_, answers, seen) = chat(open, settings(512, 256));
    assert_eq!((&answers[0], seen.ends_added), (&with_eos("x"), 2));
    let (_, answers, seen) = chat(open, joint);
    assert_eq!((&answers[0], seen.ends_added), (&ids("x"), 0));
}

#[test]
fn any_end_token_ends_an_answer() {
    let settings = TokenSettings { ends: vec![EOS, BOS], ..settings(512, 256) };
    let (example, seen) = run(settings.clone(), &pair("p", "x<s>", "y"), Truncation::KeepStart);
    assert_eq!(seen.eos_inside, 0);
    assert_eq!(example.responses, [[ids("x"), vec![BOS]].concat(), with_eos("y")]);
    let joint = TokenSettings { tokenization: Tokenization::Joint, ..settings };
    let (example, _) = run(joint, &pair("p", "x<s>", "y</s>"), Truncation::KeepStart);
    assert_eq!(example.responses, [[ids("x"), vec![BOS]].concat(), with_eos("y")]);
}

#[test]
fn a_template_that_opens_a_thought_parts_where_the_two_differ() {
    let thinks = "{% for m in messages %}{{ m.content }}{% if m.role == 'user' %}r{% endif %}{% endfor %}\
        {% if add_generation_prompt %}st{% endif %}";
    for tokenization in [Tokenization::Separate, Tokenization::Joint] {
        let (prompt, answers, seen) = chat(thinks, TokenSettings { tokenization, ..settings(512, 256) });
        assert_eq!((prompt, answers[0][0], seen.boundary_merges), (ids("cdefghr"), ids("x")[0], 2));
    }
}

#[test]
fn a_cut_chat_keeps_the_header_of_the_answer() {
    let headed = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}st{% endif %}";
    // The header stands in whole texts too, or prompt and answer would part before it.
    let headed = headed.replace("{{ m.content }}", "{% if m.role == 'assistant' %}st{% endif %}{{ m.content }}");
    let cut = |truncation| chat(&headed, TokenSettings { truncation, ..settings(7, 5) }).0;
    assert_eq!(cut(None), ids("fghst"));
    assert_eq!(cut(Some(Truncation::KeepStart)), ids("cdest"));
    assert_eq!(cut(Some(Truncation::KeepBoth)), ids("cdest"));
}

#[test]
fn conversations_with_tools_have_a_template_of_their_own() {
    let template = |source: &str| ChatTemplate::new(source, &[], Date::default()).unwrap();
    let tokenise = Tokenise::new(&tokenizer(), Some(template("c")), settings(8, 4)).unwrap();
    let tokenise = tokenise.with_tool_template(Some(template("{{ tools[0] }}")));
    let prompt = |variables: Value| {
        let asked = Text::Chat(vec![Message::new("user", "q")]);
        tokenise.prompt(&Origin::generated("test", 1), &asked, variables.as_object().unwrap()).unwrap()
    };
    assert_eq!((prompt(json!({})), prompt(json!({ "tools": ["t"] }))), (ids("c"), ids("t")));
    assert_eq!(prompt(json!({ "tools": null })), ids("c"));
}

#[test]
fn tokens_that_the_model_does_not_know_are_seen() {
    let known = |vocabulary| TokenSettings { vocabulary, ..settings(512, 256) };
    let seen = |vocabulary| run(known(vocabulary), &pair("c", "x", "y"), Truncation::KeepStart).1.has_unknown_tokens;
    let y = ids("y")[0] as usize;
    assert_eq!((seen(None), seen(Some(y + 1)), seen(Some(y))), (false, false, true));
}

#[test]
fn impossible_settings_are_named() {
    let check = |settings: TokenSettings, part: &str| {
        let error = Tokenise::new(&tokenizer(), None, settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(settings(8, 0), "max_prompt_length is 0");
    check(settings(8, 8), "max_length is 8 (max_prompt_length is 8)");
    check(TokenSettings { ends: vec![999], ..settings(8, 4) }, "eos is 999: the tokeniser has no such token");
    check(TokenSettings { bos: Some(999), ..settings(8, 4) }, "bos is 999");
}

/// Against the ids that TRL's trainer makes (`tests/golden/datasets/tokenise.py`).
#[test]
fn pairs_become_the_tokens_that_trl_makes() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/datasets/tokenise.json")).unwrap();
    let tokenizer: Tokenizer = include_str!("../../../tests/golden/datasets/tokenizer.json").parse().unwrap();
    let eos = golden["eos"].as_u64().unwrap() as u32;
    let list = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    // The separate ids are the tokeniser's own; EOS is ours to add.
    let ended = |name: &str, mut ids: Vec<u32>| {
        if name == "separate" {
            ids.push(eos);
        }
        ids
    };
    for (kind, name) in [("plain", "separate"), ("plain", "joint"), ("chats", "joint")] {
        let settings = TokenSettings {
            max_length: 4096,
            max_prompt_length: Some(2048),
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
            let example = example.unwrap();
            assert_eq!(example.prompt[..], list(&expected["prompt"])[..], "{pair}");
            let sides = ["chosen", "rejected"].map(|side| ended(name, list(&expected[side])));
            assert_eq!(example.responses, sides, "{name}: {pair}");
        }
    }
}

proptest! {
    /// What every example may rely on, whatever is cut.
    #[test]
    fn cuts_keep_pairs_comparable(
        prompt in "[c-z]{1,20}", chosen in "[c-z]{1,20}", rejected in "[c-z]{1,20}",
        max_prompt_length in 1_usize..10, room in 1_usize..10,
        truncation in prop::sample::select(vec![Truncation::KeepStart, Truncation::KeepEnd, Truncation::KeepBoth]),
    ) {
        let max_length = max_prompt_length + room;
        let (example, seen) = run(settings(max_length, max_prompt_length), &pair(&prompt, &chosen, &rejected), truncation);
        let whole = ids(&prompt);
        // A prompt is whole, or as long as it may be, made of its own start and end.
        let kept = &example.prompt[..];
        if seen.is_prompt_cut {
            prop_assert_eq!(kept.len(), max_prompt_length);
            let n_start = kept.iter().zip(&whole).take_while(|(kept, whole)| kept == whole).count();
            prop_assert!(whole.ends_with(&kept[n_start..]));
        } else {
            prop_assert_eq!(kept, &whole[..]);
        }
        // Answers are the starts of what was said, all with the same room, and none gives up room that there is.
        for (side, said) in example.responses.iter().zip([&chosen, &rejected]) {
            let said = with_eos(said);
            prop_assert!(said.starts_with(side));
            prop_assert_eq!(side.len(), said.len().min(max_length - kept.len()));
        }
        prop_assert_eq!(example.responses.len(), 2);
        prop_assert_eq!(seen.eos_lost, example.responses.iter().filter(|side| side.last() != Some(&EOS)).count());
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
