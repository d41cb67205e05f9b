//! The scored tokens of answers with several turns, by hand.
use serde_json::{Value, json};

use super::*;
use crate::chat::Date;
use crate::formats::{Format, ReadingChoices, TreePairs};
use crate::test_data::{EOS, tokenizer};

/// A template that ends turns with the end token and a line break.
const TEMPLATE: &str = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</s>\n{% endfor %}\
    {% if add_generation_prompt %}<a>{% endif %}";

/// The same with generation blocks, which leave the end token out.
const MARKED: &str = "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' %}\
    {%- generation -%}{{ m.content }}{%- endgeneration -%}{% else %}{{ m.content }}{% endif %}</s>\n{% endfor %}\
    {% if add_generation_prompt %}<a>{% endif %}";

fn tokenise(template: &str, max_length: usize) -> Tokenise {
    let settings = TokenSettings { max_length, max_prompt_length: Some(max_length / 2), ..TokenSettings::new(EOS) };
    Tokenise::new(&tokenizer(), Some(ChatTemplate::new(template, &[], Date::default()).unwrap()), settings).unwrap()
}

fn records(row: &Value, choices: ReadingChoices) -> Result<Vec<PreferenceRecord>, DatasetError> {
    let origin = Origin::generated("talks", 3);
    Format::detect(&origin, row)?.read_with(&origin, row, choices).map(|read| read.records)
}

fn run(tokenise: &Tokenise, row: &Value, choices: ReadingChoices) -> (Example, Observation) {
    let (example, seen) = tokenise.example(0, &records(row, choices).unwrap()[0], Truncation::KeepEnd).unwrap();
    (example.unwrap(), seen)
}

/// An answer as text, with brackets around what is scored, and `;` for the end token.
fn shown(response: &Response) -> String {
    let mut text = String::new();
    let weights = response.weights();
    let weight = |at: Option<usize>| at.and_then(|at| weights.get(at).copied()).unwrap_or(0.0);
    for (at, token) in response.iter().enumerate() {
        if weight(Some(at)) > 0.0 && weight(at.checked_sub(1)) == 0.0 {
            text.push('[');
        }
        let piece = if *token == EOS { ";".to_owned() } else { tokenizer().id_to_token(*token).unwrap() };
        text.push_str(&piece);
        if weight(Some(at)) > 0.0 && weight(Some(at + 1)) == 0.0 {
            text.push(']');
        }
    }
    text
}

fn talk() -> Value {
    json!({"prompt": [{"role": "user", "content": "hi"}], "rejected": [{"role": "assistant", "content": "x"}], "chosen": [
        {"role": "assistant", "content": "yo", "tool_calls": [{"id": "i", "function": {"name": "f"}}]},
        {"role": "tool", "content": "r", "tool_call_id": "i"},
        {"role": "user", "content": "and"}, {"role": "assistant", "content": "so"},
    ]})
}

#[test]
fn users_and_tools_are_given_and_the_end_of_a_turn_is_the_policys() {
    let (example, seen) = run(&tokenise(TEMPLATE, 512), &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo;]\n<t>r;\n<u>and;\n<a>[so;]");
    assert_eq!((shown(&example.responses[1]), example.responses[1].is_plain()), ("[x;]".to_owned(), true));
    assert_eq!((seen.n_given, seen.eos_inside, seen.ends_added), (18, 0, 0));
    let joint = tokenise(TEMPLATE, 512);
    let settings = TokenSettings { tokenization: Tokenization::Joint, ..joint.settings().clone() };
    let joint = Tokenise { settings, ..joint };
    let (example, _) = run(&joint, &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo;\n]<t>r;\n<u>and;\n<a>[so;\n]");
}

#[test]
fn generation_blocks_say_what_is_scored() {
    let (example, _) = run(&tokenise(MARKED, 512), &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo];\n<t>r;\n<u>and;\n<a>[so];\n");
    assert_eq!(shown(&example.responses[1]), "[x];\n");
}

#[test]
fn a_conversation_is_its_last_turn_or_all_turns_of_the_assistant() {
    let row = json!({"messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "and"}, {"role": "assistant", "content": "so"},
    ]});
    let tokenise = tokenise(TEMPLATE, 512);
    let (last, _) = run(&tokenise, &row, ReadingChoices::default());
    assert_eq!((last.prompt.len(), shown(&last.responses[0])), (29, "[so;]".to_owned()));
    let choices = ReadingChoices { assistant_only: true, ..ReadingChoices::default() };
    let (all, _) = run(&tokenise, &row, choices);
    assert_eq!((all.prompt.len(), shown(&all.responses[0])), (14, "[yo;]\n<u>and;\n<a>[so;]".to_owned()));
    assert_eq!([&last.prompt[..], &last.responses[0]].concat(), [&all.prompt[..], &all.responses[0]].concat());
}

#[test]
fn truncation_keeps_turns_whole_and_counts_what_it_costs() {
    // A prompt of ten tokens: there are twelve for the answer, and its second turn does not fit.
    let (example, seen) = run(&tokenise(TEMPLATE, 22), &talk(), ReadingChoices::default());
    assert_eq!((example.prompt.len(), shown(&example.responses[0])), (10, "[yo;]".to_owned()));
    assert_eq!(seen.cut_tokens, CutTokens { prompt: 0, scored: 3, given: 18 });
    assert_eq!(roles(&seen), [("assistant", 7, 1, 0), ("tool", 6, 1, 0), ("user", 8, 1, 0)]);
    assert_eq!((seen.cut_responses, seen.eos_lost), (1, 0));
    let (example, _) = run(&tokenise(TEMPLATE, 12), &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo;]");
    let mut given = talk();
    given["chosen"][0]["train"] = json!(false);
    let record = &records(&given, ReadingChoices::default()).unwrap()[0];
    let (none, seen) = tokenise(TEMPLATE, 22).example(0, record, Truncation::KeepEnd).unwrap();
    assert!(none.is_none() && seen.is_unscored && !seen.is_left_out);
}

/// What truncation cost each role: tokens, whole messages, parts of messages.
fn roles(seen: &Observation) -> Vec<(&str, usize, usize, usize)> {
    seen.cut_roles.iter().map(|(role, cut)| (role.as_str(), cut.tokens, cut.turns, cut.parts)).collect()
}

/// A text of a prompt, `;` for the end token and `$` for the token of beginnings.
fn asked(example: &Example) -> String {
    let piece = |token: &u32| tokenizer().id_to_token(*token).unwrap();
    example.prompt.iter().map(piece).collect::<String>().replace("</s>", ";").replace("<s>", "$")
}

#[test]
fn one_rule_says_what_of_a_header_is_scored_in_every_turn() {
    // A thought that the generation prompt opens, and that the template writes in the last turn only: it is given on the side
    // whose last turn has it, though the other side's first turn has none.
    let headed = "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' and loop.last %}<z>{% endif %}\
        {{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<a><z>{% endif %}";
    for tokenization in [Tokenization::Separate, Tokenization::Joint] {
        let tokenise = tokenise(headed, 512);
        let settings = TokenSettings { tokenization, ..tokenise.settings().clone() };
        let (example, _) = run(&Tokenise { settings, ..tokenise }, &talk(), ReadingChoices::default());
        assert_eq!(asked(&example), "<u>hi;\n<a>");
        let is_joint = tokenization == Tokenization::Joint;
        let (long, short) = if is_joint {
            ("[yo;\n]<t>r;\n<u>and;\n<a><z>[so;\n]", "<z>[x;\n]")
        } else {
            ("[yo;]\n<t>r;\n<u>and;\n<a><z>[so;]", "<z>[x;]")
        };
        assert_eq!(example.responses.iter().map(shown).collect::<Vec<_>>(), [long, short]);
    }
    // What a template marks is scored in the first turn as in later ones, though the generation prompt has it.
    let marked = "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' %}{% generation %}<z>\
        {{ m.content }}</s>\n{% endgeneration %}{% else %}{{ m.content }}</s>\n{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<a><z>{% endif %}";
    let (example, _) = run(&tokenise(marked, 512), &talk(), ReadingChoices::default());
    assert_eq!(asked(&example), "<u>hi;\n<a>");
    assert_eq!(shown(&example.responses[0]), "[<z>yo;\n]<t>r;\n<u>and;\n<a>[<z>so;\n]");
    assert_eq!(shown(&example.responses[1]), "[<z>x;\n]");
}

#[test]
fn joint_tokens_of_a_header_that_an_answer_changes_are_scored_in_every_turn() {
    // The header `ab` is one token alone, and two in front of a space.
    let mut file: Value = serde_json::from_str(&tokenizer().to_string(false).unwrap()).unwrap();
    file["model"]["merges"].as_array_mut().unwrap().reverse();
    let tokenizer: Tokenizer = file.to_string().parse().unwrap();
    let template = TEMPLATE
        .replace("<{{ m.role[0] }}>", "<{{ 'ab' if m.role == 'assistant' else m.role[0] }}")
        .replace("<a>", "<ab");
    let settings = TokenSettings { tokenization: Tokenization::Joint, ..TokenSettings::new(EOS) };
    let template = ChatTemplate::new(&template, &[], Date::default()).unwrap();
    let tokenise = Tokenise::new(&tokenizer, Some(template), settings).unwrap();
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = json!({"prompt": [say("user", "hi")], "rejected": [say("assistant", "x")],
        "chosen": [say("assistant", " y"), say("user", "and"), say("assistant", " so")]});
    let (example, _) = run(&tokenise, &row, ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[ab y;\n]<uand;\n<[ab so;\n]");
    // Tokenised on their own, turns begin with the tokens that have a part of them, in the first as in the last, also where one
    // side leaves the generation prompt before its end.
    let thought = "{% for m in messages %}<{% if m.role == 'assistant' %}{{ 'z' if loop.last }}ab{% else %}u{% endif %}\
        {{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<zab{% endif %}";
    let template = ChatTemplate::new(thought, &[], Date::default()).unwrap();
    let tokenise = Tokenise::new(&tokenizer, Some(template), TokenSettings::new(EOS)).unwrap();
    let row = json!({"prompt": row["prompt"], "chosen": row["chosen"], "rejected": [say("assistant", " x")]});
    let (example, _) = run(&tokenise, &row, ReadingChoices::default());
    assert_eq!(example.responses.iter().map(shown).collect::<Vec<_>>(), ["[ab y;]\n<uand;\n<za[b so;]", "za[b x;]"]);
}

#[test]
fn a_prompt_that_changes_once_it_is_answered_is_not_scored() {
    // The thought of a call is dropped once an answer follows the call's result.
    let source = "{% for m in messages %}<{{ m.role[0] }}>{% if m.thought and messages[-1].role != 'assistant' %}<z>{% endif %}\
        {{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<a>{% endif %}";
    let row = json!({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "f", "thought": "t"},
        {"role": "tool", "content": "r"}], "chosen": [{"role": "assistant", "content": "yo"}],
        "rejected": [{"role": "assistant", "content": "x"}]});
    let (example, _) = run(&tokenise(source, 512), &row, ReadingChoices::default());
    assert_eq!(
        (asked(&example), shown(&example.responses[0])),
        ("<u>q;\n<a>".to_owned(), "f;\n<t>r;\n<a>[yo;]".to_owned())
    );
}

#[test]
fn roles_that_no_one_knows_are_given_and_a_greeting_is_context() {
    let mut row = talk();
    row["chosen"][2]["role"] = json!("narrator");
    let (example, _) = run(&tokenise(TEMPLATE, 512), &row, ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo;]\n<t>r;\n<n>and;\n<a>[so;]");
    let greeting = json!({"messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "q"},
        {"role": "assistant", "content": "yo"}, {"role": "user", "content": "and"}, {"role": "assistant", "content": "so"}]});
    let choices = ReadingChoices { assistant_only: true, ..ReadingChoices::default() };
    let (example, _) = run(&tokenise(TEMPLATE, 512), &greeting, choices);
    assert_eq!(asked(&example), "<a>hi;\n<u>q;\n<a>");
    assert_eq!(shown(&example.responses[0]), "[yo;]\n<u>and;\n<a>[so;]");
}

#[test]
fn a_long_prompt_loses_its_oldest_exchanges_whole() {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let prompt = [
        message("system", "s"),
        message("user", "cccc"),
        message("assistant", "dddd"),
        message("user", "ee"),
        message("assistant", "ff"),
        message("user", "gg"),
    ];
    let row = |answer: &str| json!({"prompt": prompt, "chosen": [message("assistant", answer)], "rejected": [message("assistant", "y")]});
    let cut = |max_length: usize, truncation, answer: &str| {
        let tokenise = tokenise(TEMPLATE, max_length);
        let settings = TokenSettings { truncation, ..tokenise.settings().clone() };
        run(&Tokenise { settings, ..tokenise }, &row(answer), ReadingChoices::default())
    };
    // 46 tokens and 22 are more than 56: the prompt is cut to 28.
    let long = "x".repeat(21);
    let (example, seen) = cut(56, None, &long);
    assert_eq!(asked(&example), "$s;\n<u>ee;\n<a>ff;\n<u>gg;\n<a>");
    assert_eq!((seen.is_prompt_cut, seen.cut_tokens.prompt, seen.prompt_length), (true, 18, 46));
    assert_eq!(roles(&seen), [("assistant", 9, 1, 0), ("user", 9, 1, 0)]);
    let (example, _) = cut(66, Some(Truncation::KeepStart), &long);
    assert_eq!(asked(&example), "$s;\n<u>cccc;\n<a>dddd;\n<u>gg;\n<a>");
    let (example, seen) = cut(47, None, "x");
    assert_eq!(asked(&example), "$s;\n<u>gg;\n<a>");
    assert_eq!(roles(&seen), [("assistant", 16, 2, 0), ("user", 16, 2, 0)]);
    // What is answered stays, and is cut inside if it alone is too long.
    let alone = json!({"prompt": [message("user", "ccccccccccdddddddddd")], "chosen": [message("assistant", "x")],
        "rejected": [message("assistant", "y")]});
    let (example, seen) = run(&tokenise(TEMPLATE, 24), &alone, ReadingChoices::default());
    assert_eq!((asked(&example), roles(&seen)), ("<u>dddd;\n<a>".to_owned(), vec![("user", 16, 0, 1)]));
}

#[test]
fn masks_that_cover_nothing_and_results_without_a_call_are_refused_by_name() {
    let said = |row: &Value| {
        let found = records(row, ReadingChoices::default());
        let found = found.and_then(|found| tokenise(TEMPLATE, 512).example(0, &found[0], Truncation::KeepEnd));
        let said = found.unwrap_err().to_string();
        assert!(said.starts_with("talks, row 3: "), "{said}");
        said
    };
    let mut nothing = talk();
    nothing["rejected"][0]["weight"] = json!(0);
    assert!(said(&nothing).contains("no token of an answer is scored"));
    for (field, value) in [("weight", json!(-1)), ("train", json!("no"))] {
        let mut wrong = talk();
        wrong["chosen"][3][field] = value;
        assert!(said(&wrong).contains(&format!("`chosen[3].{field}`")));
    }
    let mut uncalled = talk();
    uncalled["chosen"][1]["tool_call_id"] = json!("j");
    assert!(said(&uncalled).contains("a message of a tool does not follow a call"));
    uncalled["chosen"][0].as_object_mut().unwrap().remove("tool_calls");
    // Models that write their calls as text name no ids; but a user calls no tool.
    assert!(records(&uncalled, ReadingChoices::default()).is_ok());
    uncalled["chosen"][0]["role"] = json!("user");
    uncalled["chosen"][0]["content"] = json!("q");
    assert!(records(&uncalled, ReadingChoices::default()).is_err());
}

#[test]
fn results_under_every_name_need_a_call() {
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "i", "function": {"name": "f"}}]});
    let old = json!({"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}});
    let (user, end) = (json!({"role": "user", "content": "q"}), json!({"role": "assistant", "content": "a"}));
    let is_read = |messages: &[&Value]| records(&json!({ "messages": messages }), ReadingChoices::default()).is_ok();
    for role in ["tool", "function", "ipython", "observation", "tool_response"] {
        let result = json!({"role": role, "content": "r", "name": "f"});
        assert!(is_read(&[&user, &call, &result, &end]) && is_read(&[&user, &old, &result, &end]), "{role}");
        assert!(!is_read(&[&user, &result, &end]), "{role}");
        assert!(!is_read(&[&user, &call, &user, &result, &end]), "{role}");
    }
    let other = json!({"role": "function", "content": "r", "name": "g"});
    assert!(!is_read(&[&user, &old, &other, &end]));
    let named = json!({"role": "environment", "content": "r", "tool_call_id": "j"});
    assert!(!is_read(&[&user, &call, &named, &end]));
    let inside = json!({"role": "assistant", "content": "b", "tool_responses": [{"name": "f", "response": 3}]});
    assert!(!is_read(&[&user, &call, &json!({"role": "user", "content": "p"}), &inside, &user, &end]));
    // A prompt's results are checked also where the answers are plain texts.
    let plain = json!({"prompt": [user, {"role": "tool", "content": "r"}], "chosen": "a", "rejected": "b"});
    assert!(records(&plain, ReadingChoices::default()).is_err());
}

#[test]
fn a_column_of_weights_holds_numbers_in_every_row_or_in_none() {
    use crate::formats::weights::WeighingColumns;

    let check = |rows: &[Value]| {
        let mut columns = WeighingColumns::default();
        rows.iter().zip(1..).try_for_each(|(row, at)| columns.check(&Origin::generated("rows", at), row))
    };
    assert!(check(&[json!({"weight": 1}), json!({"weight": null}), json!({}), json!({"weight": "0.5"})]).is_ok());
    assert!(check(&[json!({"weight": "heavy"}), json!({"weight": "light"})]).is_ok());
    assert!(check(&[json!({"margin": "1"}), json!({"margin": "nan"})]).is_ok());
    for rows in [[json!({"weight": 1}), json!({"weight": "heavy"})], [json!({"weight": "heavy"}), json!({"weight": 1})]]
    {
        let said = check(&rows).unwrap_err().to_string();
        assert!(said.starts_with("rows, row 2: ") && said.contains("`weight` should be"), "{said}");
    }
}

fn tree() -> Value {
    let reply = |text: &str, rank: u64, replies: Value| json!({"text": text, "role": "assistant", "rank": rank, "replies": replies});
    let more = json!({"text": "and", "role": "prompter", "replies": [
        reply("d", 0, json!([])), reply("e", 1, json!([])), reply("f", 2, json!([])),
    ]});
    json!({"prompt": {"text": "hi", "role": "prompter", "replies": [
        reply("b", 1, json!([])), reply("a", 0, json!([more])), reply("c", 2, json!([])),
    ]}})
}

#[test]
fn a_tree_is_lists_or_pairs_or_one_forest() {
    let of = |tree_pairs| records(&tree(), ReadingChoices { tree_pairs, ..ReadingChoices::default() }).unwrap();
    assert_eq!(of(TreePairs::List).len(), 2);
    let sides = |tree_pairs| {
        let side =
            |text: &&Text| if let Text::Chat(all) = text { all[0].content.words().into_owned() } else { String::new() };
        of(tree_pairs)
            .iter()
            .map(|record| record.answers.texts().iter().map(side).collect::<String>())
            .collect::<Vec<_>>()
    };
    assert_eq!(sides(TreePairs::Adjacent), ["ab", "bc", "de", "ef"]);
    assert_eq!(sides(TreePairs::All), ["ab", "ac", "bc", "de", "df", "ef"]);
    assert_eq!(sides(TreePairs::BestWorst), ["ac", "df"]);
    let choices = ReadingChoices { tree_pairs: TreePairs::Forest, ..ReadingChoices::default() };
    let (example, seen) = run(&tokenise(TEMPLATE, 512), &tree(), choices);
    let answers: Vec<String> = example.responses.iter().map(shown).collect();
    let deeper = |reply: &str| format!("a;\n<u>and;\n<a>[{reply};]");
    let expected = ["[a;]".to_owned(), "[b;]".to_owned(), "[c;]".to_owned(), deeper("d"), deeper("e"), deeper("f")];
    assert_eq!(answers, expected);
    assert_eq!(example.comparisons, [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]);
    assert_eq!((example.kind, seen.kind), (ExampleKind::Forest, Some(ExampleKind::Forest)));
}

#[test]
fn a_branch_that_does_not_fit_is_left_out_alone() {
    let mut tree = tree();
    tree["prompt"]["replies"][1]["replies"][0]["text"] = json!("long".repeat(20));
    let choices = ReadingChoices { tree_pairs: TreePairs::Forest, ..ReadingChoices::default() };
    let (example, seen) = run(&tokenise(TEMPLATE, 60), &tree, choices);
    assert_eq!(example.responses.iter().map(shown).collect::<Vec<_>>(), ["[a;]", "[b;]", "[c;]"]);
    assert_eq!((example.comparisons, seen.left_answers), (vec![(0, 1), (0, 2), (1, 2)], 3));
}

#[test]
fn a_tree_may_begin_with_the_assistant_and_what_is_left_out_of_one_is_counted() {
    let reply = |text: &str, rank: Value| json!({"text": text, "role": "assistant", "rank": rank});
    let ask = |text: &str, replies: &[Value]| json!({"text": text, "role": "prompter", "replies": replies});
    let both = |one: &str, other: &str| [reply(one, json!(0)), reply(other, json!(1))];
    let root = json!({"prompt": {"text": "hi", "role": "assistant", "replies": [ask("u", &both("a", "b")), ask("v", &both("c", "d"))]}});
    let choices = ReadingChoices { tree_pairs: TreePairs::Forest, ..ReadingChoices::default() };
    let (example, _) = run(&tokenise(TEMPLATE, 512), &root, choices);
    assert_eq!((asked(&example), example.comparisons), ("<a>hi;\n<".to_owned(), vec![(0, 1), (2, 3)]));
    let answers: Vec<String> = example.responses.iter().map(shown).collect();
    assert_eq!(
        answers,
        ["a", "b", "c", "d"].map(|end| format!("u>{};\n<a>[{end};]", if end < "c" { "u" } else { "v" }))
    );

    let left = |tree: &Value| {
        let origin = Origin::generated("trees", 1);
        let read = Format::Tree.read_with(&origin, tree, choices).unwrap();
        (read.records.len(), read.not_read.into_iter().filter(|name| name.starts_with('(')).collect::<Vec<_>>())
    };
    let mut deleted = reply("x", json!(2));
    deleted["deleted"] = json!(true);
    deleted["replies"] = json!([ask("w", &both("e", "f"))]);
    let [one, other] = both("a", "b");
    let tree = json!({ "prompt": ask("q", &[one.clone(), other, deleted, reply("z", json!(null))]) });
    let expected = ["(deleted replies with replies to them)", "(replies without a rank beside others)"];
    assert_eq!(left(&tree), (1, expected.map(str::to_owned).to_vec()));
    let (n, said) = left(&json!({ "prompt": ask("q", &[one]) }));
    assert_eq!((n, said.len()), (0, 1));
}

#[test]
fn weights_margins_and_soft_labels_come_from_columns() {
    let mut row =
        json!({"prompt": "p", "chosen": "a", "rejected": "b", "weight": 0.5, "margin": "1.5", "soft_label": 0.75});
    let record = &records(&row, ReadingChoices::default()).unwrap()[0];
    assert_eq!((record.weight, record.margin, record.preference), (0.5, 1.5, 0.75));
    row["soft_label"] = json!(1.5);
    let said = records(&row, ReadingChoices::default()).unwrap_err().to_string();
    assert!(said.contains("`soft_label` should be a probability from 0 to 1"), "{said}");
}
