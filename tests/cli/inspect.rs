//! `inspect` of data with a model, of runs, and of folders that hold a model as a file.
use super::{MODEL, Scene, training};

#[test]
fn records_are_shown_as_the_model_reads_them() {
    let scene = Scene::new();
    let text = scene.done(&format!("inspect pairs.jsonl --model {MODEL} --show 2")).out;
    assert!(text.contains("format trl; columns: prompt, chosen, rejected"), "{text}");
    assert!(text.contains("record 0") && text.contains("record 1") && !text.contains("record 2"), "{text}");
    // The embedded tokenizer reads most words letter by letter.
    let record = text.split("record 0").nth(1).unwrap();
    let line = |begins: &str| record.lines().find(|line| line.starts_with(begins)).unwrap().to_owned();
    assert!(line("given ").contains("|d|o|g|"), "{text}");
    // The end is scored with the answer, and has its name in the vocabulary.
    assert!(line("chosen ").ends_with("<|endoftext|>") && line("rejected ").contains("4|"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody looks: {text}");
    assert_eq!(scene.done(&format!("inspect {MODEL} --data pairs.jsonl --show 2")).out, text);
    assert!(!scene.done(&format!("inspect pairs.jsonl --model {MODEL}")).out.contains("record 0"));
}

#[test]
fn a_chat_is_shown_through_its_template() {
    let scene = Scene::new();
    scene.write("chat.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
    scene.write(
        "chats.jsonl",
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}],\
         \"chosen\":[{\"role\":\"assistant\",\"content\":\"yes\"}],\
         \"rejected\":[{\"role\":\"assistant\",\"content\":\"no\"}]}\n",
    );
    let text = scene.done(&format!("inspect chats.jsonl --model {MODEL} --chat-template chat.jinja --show 1")).out;
    let record = text.split("record 0").nth(1).unwrap();
    let line = |begins: &str| record.lines().find(|line| line.starts_with(begins)).unwrap().replace('|', "");
    assert!(line("given ").contains("<user>hi"), "{text}");
    assert!(line("chosen ").contains("<assistant>yes"), "{text}");
}

#[test]
fn a_run_is_a_table() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2 --eval-share 0.3 --beta 0.3"));
    let text = scene.done("inspect run").out;
    for part in ["objective     dpo, beta 0.3", "data          pairs.jsonl", "steps         2, of 4 examples"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("loss")[..2], ["loss", "0.6931"]);
    assert!(text.contains("held out ") && text.contains("training "), "{text}");
    assert!(!text.contains('{') && text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn a_folder_with_a_gguf_file_names_it() {
    let scene = Scene::new();
    scene.write("folder/model-Q8_0.gguf", "GGUF");
    for verb in ["inspect folder", "sample --model folder --prompt x", "export --model folder --out new"] {
        scene.refused(verb, 1, &["the model in it is a file: name folder/model-Q8_0.gguf"]);
    }
}

#[test]
fn what_inspect_does_not_read_is_refused() {
    let scene = Scene::new();
    for (arguments, says) in [
        (format!("{MODEL} --data pairs.jsonl --model builtin:tldr"), "is the model that reads --data already"),
        ("pairs.jsonl --data pairs.jsonl".to_owned(), "pairs.jsonl and --data pairs.jsonl are two data sets"),
        (format!("{MODEL} --model builtin:tldr"), "--model is for embedded data"),
        (format!("{MODEL} --show 2"), "--show is for embedded data"),
    ] {
        scene.refused(&format!("inspect {arguments}"), 2, &[says]);
    }
    scene.refused("inspect pairs.jsonl --model nowhere", 1, &["nowhere"]);
    scene.write("runs/a/config.toml", "");
    scene.write("runs/a/checkpoints/x", "");
    scene.refused("inspect runs", 2, &["runs: a folder of runs (runs/a)"]);
}
