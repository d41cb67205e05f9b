//! What `sample` is asked, and how: prompts on the command line and from standard input, chats, ends of answers.
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::{MODEL, Ran, Scene, ran, training, unbroken};

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{% endif %}";

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn piped(scene: &Scene, arguments: &str, input: &str) -> Ran {
    let mut child = scene.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ran(&child.wait_with_output().unwrap())
}

#[test]
fn prompts_come_from_flags_and_from_standard_input() {
    let scene = Scene::new();
    let asked = format!("sample --model {MODEL} --max-new-tokens 4 --quiet");
    let flags = lines(&scene.done(&format!("{asked} --prompt one,two --prompt three")));
    let prompts: Vec<&str> = flags.iter().map(|line| line["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts, ["one,two", "three"]);
    assert!(flags.iter().all(|line| line["tokens"].as_array().unwrap().len() <= 4), "{flags:?}");
    assert_eq!(lines(&piped(&scene, &format!("{asked} --prompts -"), "one,two\nthree\n")), flags);
    let records = "{\"prompt\": \"one,two\"}\n{\"prompt\": \"three\"}\n";
    assert_eq!(lines(&piped(&scene, &format!("{asked} --prompts -"), records)), flags);
    let empty = piped(&scene, &format!("{asked} --prompts -"), " \n");
    assert_eq!((empty.code, empty.err.trim()), (Some(1), "error: standard input: there are no prompts in it"));
    let broken = piped(&scene, &format!("{asked} --prompts -"), "{\"prompt\": 3}\n");
    assert!(
        broken.code == Some(1) && broken.err.contains("standard input") && !broken.err.contains("/tmp"),
        "{broken:?}"
    );
    let search = format!("search --model {MODEL} --max-new-tokens 3 --method greedy --prompt one --quiet");
    assert_eq!(lines(&scene.done(&search))[0]["tokens"].as_array().unwrap().len(), 3);
}

#[test]
fn a_model_of_ones_own_has_no_prompts_of_its_own() {
    let scene = Scene::new();
    scene.done("export --model builtin:tldr --out plain --quiet");
    let says = ["there is nothing to answer", "--prompt TEXT", "--prompts FILE"];
    scene.refused("sample --model plain", 2, &says);
    scene.refused("search --model plain", 2, &says);
    // What came from an embedded model still knows its problem.
    scene.done(&training("run", "--max-steps 1"));
    assert_eq!(lines(&scene.done("sample --model run --limit-prompts 2 --max-new-tokens 2 --quiet")).len(), 2);
}

#[test]
fn chats_go_through_the_template_and_come_back_as_messages() {
    let scene = Scene::new();
    scene.write("chat.jinja", TEMPLATE);
    let asked = format!("sample --model {MODEL} --chat-template chat.jinja --max-new-tokens 4 --quiet");
    let chat = lines(&scene.done(&format!("{asked} --chat --system brief --prompt hi")));
    let plain = lines(&scene.done(&format!("{asked} --prompt <system>brief<user>hi<assistant>")));
    assert_eq!(chat[0]["tokens"], plain[0]["tokens"], "the template is what a person would have typed");
    let messages = chat[0]["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert_eq!(messages[2]["content"], chat[0]["response"]);
    assert!(plain[0].get("messages").is_none());
    // A file of messages keeps its own system prompt.
    scene.write(
        "chats.jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"own\"},{\"role\":\"user\",\"content\":\"hi\"}]}\n\
         {\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n",
    );
    let files = lines(&scene.done(&format!("{asked} --system brief --prompts chats.jsonl")));
    let systems: Vec<&Value> = files.iter().map(|line| &line["messages"][0]["content"]).collect();
    assert_eq!(systems, ["own", "brief"]);
    let found = lines(&scene.done(&format!(
        "search --model {MODEL} --chat-template chat.jinja --max-new-tokens 2 --method greedy --chat --prompt hi --quiet"
    )));
    assert_eq!(found[0]["messages"][1]["role"], "assistant");
    scene.refused(&format!("sample --model {MODEL} --chat --prompt hi"), 1, &["no chat template", "--chat-template"]);
    scene.refused(&format!("{asked} --system brief --prompt hi"), 2, &["--system is for chats", "--chat"]);
}

#[test]
fn answers_end_where_they_are_told_to() {
    let scene = Scene::new();
    let asked = format!("sample --model {MODEL} --prompt hello --temperature 0 --max-new-tokens 12 --quiet");
    let whole = lines(&scene.done(&asked)).remove(0);
    let response = whole["response"].as_str().unwrap();
    let words: Vec<&str> = response.split_whitespace().filter(|word| word.len() > 1).collect();
    let word = words[words.len() / 2];
    let cut = lines(&scene.done(&format!("{asked} --stop {word}"))).remove(0);
    let expected = &response[..response.find(word).unwrap()];
    assert_eq!((cut["response"].as_str(), &cut["finished"]), (Some(expected), &true.into()));
    assert!(cut["tokens"].as_array().unwrap().len() <= whole["tokens"].as_array().unwrap().len());
    let other = lines(&scene.done(&format!("{asked} --stop no-such-text"))).remove(0);
    assert_eq!(other["response"], whole["response"]);
}

#[test]
fn laws_of_drawing() {
    let scene = Scene::new();
    let asked = format!("sample --model {MODEL} --prompt hello --max-new-tokens 16 --quiet");
    let tokens = |more: &str| lines(&scene.done(&format!("{asked} {more}"))).remove(0)["tokens"].clone();
    assert_eq!(tokens("--min-p 1"), tokens("--temperature 0"));
    assert_ne!(tokens("--min-p 0.01"), tokens("--temperature 0"));
    let penalised = tokens("--temperature 0 --repetition-penalty 1000000");
    let mut seen: Vec<u64> = penalised.as_array().unwrap().iter().map(|token| token.as_u64().unwrap()).collect();
    let n = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), n, "{penalised}");
}

#[test]
fn what_nothing_would_read_is_refused() {
    let scene = Scene::new();
    scene.write("prompts.txt", "one\n");
    let asked = format!("sample --model {MODEL} --prompts prompts.txt");
    for (more, says) in [
        ("--prompt two", "--prompt is not for --prompts"),
        ("--stop x --search beam", "--stop is not for --search"),
        ("--temperature 0 --min-p 0.5", "--min-p would do nothing"),
        ("--min-p 2", "--min-p takes a number from 0 to 1"),
        ("--repetition-penalty 0", "--repetition-penalty takes a positive number"),
        ("--max-new-tokens 0", "--max-new-tokens takes at least 1"),
        ("--mdp diffusion --chat", "--chat is for --mdp token"),
        ("--mdp hybrid --chat-template x", "--chat-template is for --mdp token"),
    ] {
        scene.refused(&format!("{asked} {more}"), 2, &[says]);
    }
    scene.refused(&format!("{asked} --chat-template none.jinja"), 1, &["none.jinja"]);
}

#[test]
fn plain_pairs_for_a_chat_model_are_said() {
    let scene = Scene::new();
    scene.write("chat.jinja", TEMPLATE);
    let audit = scene.done(&format!("inspect {MODEL} --data pairs.jsonl --chat-template chat.jinja")).out;
    assert!(audit.contains("8 records of plain text: the model has a chat template"), "{audit}");
    assert!(!scene.done(&format!("inspect {MODEL} --data pairs.jsonl")).out.contains("plain text"));
    let run = training("run", "--max-steps 1 --chat-template chat.jinja");
    let said = scene.done(&run).out;
    assert!(said.contains("sample --model run --chat --prompt"), "{said}");
    assert_eq!(scene.read("run/model/chat_template.jinja"), TEMPLATE);
    let said = unbroken(&scene.done(&training("other", "--max-steps 1")).out);
    assert!(said.contains("sample --model other --prompts pairs.jsonl --n 2 --limit-prompts 4"), "{said}");
}
