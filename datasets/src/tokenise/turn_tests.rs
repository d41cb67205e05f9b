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
    assert_eq!(shown(&example.responses[0]), "[yo;]\n<t>r;\n<u>and;\n<a>[so;\n]");
}

#[test]
fn generation_blocks_say_what_is_scored() {
    let (example, _) = run(&tokenise(MARKED, 512), &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo];\n<t>r;\n<u>and;\n<a>[so];");
    assert_eq!(shown(&example.responses[1]), "[x];");
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
    assert_eq!((seen.cut_responses, seen.eos_lost), (1, 0));
    let (example, _) = run(&tokenise(TEMPLATE, 12), &talk(), ReadingChoices::default());
    assert_eq!(shown(&example.responses[0]), "[yo;]");
    let mut given = talk();
    given["chosen"][0]["train"] = json!(false);
    let record = &records(&given, ReadingChoices::default()).unwrap()[0];
    let (none, seen) = tokenise(TEMPLATE, 22).example(0, record, Truncation::KeepEnd).unwrap();
    assert!(none.is_none() && seen.is_unscored && !seen.is_left_out);
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
fn weights_margins_and_soft_labels_come_from_columns() {
    let mut row =
        json!({"prompt": "p", "chosen": "a", "rejected": "b", "weight": 0.5, "margin": "1.5", "soft_label": 0.75});
    let record = &records(&row, ReadingChoices::default()).unwrap()[0];
    assert_eq!((record.weight, record.margin, record.preference), (0.5, 1.5, 0.75));
    row["soft_label"] = json!(1.5);
    let said = records(&row, ReadingChoices::default()).unwrap_err().to_string();
    assert!(said.contains("`soft_label` should be a probability from 0 to 1"), "{said}");
    let flat = json!({"message_id": "a", "parent_id": "b", "text": "t", "role": "assistant"});
    assert!(records(&flat, ReadingChoices::default()).unwrap_err().to_string().contains("whole trees"));
}
