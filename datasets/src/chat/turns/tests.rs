use serde_json::json;

use super::*;
use crate::chat::Date;

/// ChatML, in which a thought stands in the last turn only.
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
    {% if m.thought and loop.last %}<think>{{ m.thought }}</think>{% endif %}{{ m.content }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn messages(list: &serde_json::Value) -> Vec<Message> {
    serde_json::from_value(list.clone()).unwrap()
}

/// The scored parts of an answer with their weights.
fn scored(source: &str, answer: &serde_json::Value) -> Result<Option<Vec<(String, f64)>>, DatasetError> {
    let template = ChatTemplate::new(source, &[], Date::default())?;
    let prompt = [Message::new("user", "é?")];
    let opened = template.render(&prompt, true, &Map::new())?;
    let rendered = template.rendered_answer(&prompt, &opened, &messages(answer), &Map::new())?;
    let text: Vec<char> = rendered.text.chars().collect();
    let part = |turn: &WrittenTurn| (text[turn.span.clone()].iter().collect(), turn.weight);
    Ok(rendered.turns.map(|turns| turns.iter().map(part).collect()))
}

fn by_hand(parts: &[(&str, f64)]) -> Vec<(String, f64)> {
    parts.iter().map(|(text, weight)| ((*text).to_owned(), *weight)).collect()
}

#[test]
fn an_answer_of_one_message_is_scored_as_it_is() {
    assert_eq!(scored(CHATML, &json!([{"role": "assistant", "content": "a"}])).unwrap(), None);
}

#[test]
fn turns_begin_behind_the_header_and_end_with_their_end_token() {
    let answer = json!([
        {"role": "assistant", "content": "Wie?"}, {"role": "user", "content": "Wie é?"},
        {"role": "tool", "content": "3"}, {"role": "assistant", "content": "So.", "weight": 0.5},
    ]);
    let first = "Wie?<|im_end|>\n";
    assert_eq!(scored(CHATML, &answer).unwrap().unwrap(), by_hand(&[(first, 1.0), ("So.<|im_end|>\n", 0.5)]));
}

#[test]
fn given_turns_and_those_of_weight_0_are_not_scored() {
    let answer = json!([
        {"role": "assistant", "content": "a", "train": false}, {"role": "user", "content": "u"},
        {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "v"},
        {"role": "assistant", "content": "c"},
    ]);
    assert_eq!(scored(CHATML, &answer).unwrap().unwrap(), by_hand(&[("c<|im_end|>\n", 1.0)]));
    assert_eq!(scored(CHATML, &json!([{"role": "user", "content": "u"}])).unwrap().unwrap(), by_hand(&[]));
    let wrong = json!([{"role": "assistant", "content": "a", "weight": "much"}]);
    assert!(scored(CHATML, &wrong).unwrap_err().to_string().contains("`weight`"));
}

#[test]
fn a_result_that_is_written_before_the_words_of_its_call_is_refused_not_scored() {
    // Calls, then the results that follow, then what the message says besides.
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}<a>{% if m.tool_calls %}<call>\
        {% for r in messages[loop.index:] %}{% if r.role == 'tool' %}<r>{{ r.content }}</r>{% endif %}{% endfor %}{% endif %}\
        {{ m.content }}</a>\
        {% elif m.role != 'tool' %}<u>{{ m.content }}</u>{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<a>{% endif %}";
    let answer = |content: &str| {
        let call = json!({"role": "assistant", "content": content, "tool_calls": [{"function": {"name": "f"}}]});
        json!([call, {"role": "tool", "content": "RESULT"}, {"role": "assistant", "content": "seven"}])
    };
    let refused = scored(source, &answer("Wait.")).unwrap_err().to_string();
    assert!(refused.contains("message 2 of the answer"), "{refused}");
    let turns = scored(source, &answer("")).map(Option::unwrap_or_default);
    assert!(turns.is_err() || turns.unwrap().iter().all(|(text, _)| !text.contains("RESULT")));
}

#[test]
fn a_turn_is_found_though_it_loses_its_thoughts_later() {
    let answer = json!([
        {"role": "assistant", "content": "a", "thought": "hm"}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thought": "hm"},
    ]);
    let first = "a<|im_end|>\n";
    let last = "<think>hm</think>b<|im_end|>\n";
    assert_eq!(scored(CHATML, &answer).unwrap().unwrap(), by_hand(&[(first, 1.0), (last, 1.0)]));
}

#[test]
fn a_template_that_ends_only_the_last_turn_gives_the_others_no_end() {
    let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if loop.last %}</s>{% endif %}{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% endif %}";
    let answer = json!([
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "b"},
    ]);
    let expected = by_hand(&[("a", 1.0), ("b</s>", 1.0)]);
    assert_eq!(scored(source, &answer).unwrap().unwrap(), expected);
}

#[test]
fn a_message_that_a_template_does_not_write_is_nowhere() {
    let source = "{% for m in messages %}{% if m.role != 'tool' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% else %}</s>{% endif %}";
    let answer = json!([
        {"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}, {"role": "assistant", "content": "b"},
    ]);
    let expected = by_hand(&[("a", 1.0), ("b</s>", 1.0)]);
    assert_eq!(scored(source, &answer).unwrap().unwrap(), expected);
}

#[test]
fn generation_blocks_decide_where_a_template_has_them() {
    let source = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}\
        {%- generation -%}{{ m.content }}.{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let turn = |weight: f64| {
        json!([
            {"role": "assistant", "content": "a", "weight": weight}, {"role": "user", "content": "u"},
            {"role": "assistant", "content": "b"},
        ])
    };
    assert_eq!(scored(source, &turn(1.0)).unwrap().unwrap(), by_hand(&[("a.", 1.0), ("b.", 1.0)]));
    assert_eq!(scored(source, &turn(0.25)).unwrap().unwrap(), by_hand(&[("a.", 0.25), ("b.", 1.0)]));
    assert_eq!(scored(source, &turn(0.0)).unwrap().unwrap(), by_hand(&[("b.", 1.0)]));
    assert_eq!(
        scored(source, &json!([{"role": "assistant", "content": "a"}])).unwrap().unwrap(),
        by_hand(&[("a.", 1.0)])
    );
}

#[test]
fn turns_that_cannot_be_found_are_told_so() {
    let source = "{{ messages | length }}{% for m in messages %}{{ m.content | length }}{% endfor %}";
    let answer = json!([
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "b"},
    ]);
    let said = scored(source, &answer).unwrap_err().to_string();
    assert!(said.contains("message 1 of the answer") && said.contains("generation blocks"), "{said}");
}

#[test]
fn only_a_tag_is_a_generation_block() {
    let has = |source: &str| ChatTemplate::new(source, &[], Date::default()).unwrap().has_generation_blocks();
    assert!(has("{%- generation -%}{% endgeneration %}") && has("a{%generation%}{%endgeneration%}"));
    assert!(!has("{% if add_generation_prompt %}generation{% endif %}"));
}
