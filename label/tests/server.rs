//! Labelling, alone and together, and what is left when the server goes.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use datasets::PairFolder;
use datasets::pairs::LabelChoice;
use label::{LabelError, Server, ServerSettings};
use serde_json::{Value, json};

use super::{Running, pictures};

#[test]
fn a_labeller_answers_all_pairs() {
    let (_parent, path) = pictures(4);
    let running =
        Running::start(&path, ServerSettings { labeller: Some("anna".to_owned()), ..ServerSettings::default() });
    let client = running.client();
    assert_eq!(client.get("/api/session").json(), json!({"pairs": 4, "modality": "hybrid", "labeller": "anna"}));
    let progress = client.get("/api/progress?labeller=anna").json();
    assert_eq!(progress, json!({"pairs": 4, "done": 0, "next": 0, "last": null, "agreement": null}));
    for (index, choice) in ["left", "right", "tie", "skip"].into_iter().enumerate() {
        let pair = client.get(&format!("/api/pairs/{index}?labeller=anna"));
        let shown = json!({"index": index, "request": format!("<b>{index}</b>"), "left": {"text": null}, "right": {"text": null}});
        assert_eq!(pair.json(), shown, "nothing of the refined prompts is told before");
        let revealed = client.choose("anna", index, choice).json();
        let left = client.get(&format!("/api/pairs/{index}/left?labeller=anna"));
        assert_eq!((left.status, left.header("content-type")), (200, Some("image/png")));
        // The picture that stands left was made of the prompt that is said to be the left one's.
        let is_red = left.body == std::fs::read(path.join("images/00000-a.png")).unwrap();
        let name = if is_red { "red" } else { "green" };
        assert_eq!(revealed["revealed"]["left"], format!("{name} {index}"));
        assert_eq!(revealed["progress"]["done"], index + 1);
        let side = |is_left: bool| if is_left == is_red { LabelChoice::A } else { LabelChoice::B };
        let expected = [side(true), side(false), LabelChoice::Tie, LabelChoice::Skip][index];
        assert_eq!(PairFolder::open(&path).unwrap().labels().unwrap().choice(index, "anna"), Some(expected));
    }
    let progress = client.get("/api/progress?labeller=anna").json();
    assert_eq!((&progress["next"], &progress["last"]), (&json!(null), &json!(3)));
    let undone = client.post(r#"{"labeller":"anna","index":1,"undo":true}"#).json();
    assert_eq!((&undone["progress"]["next"], &undone["progress"]["done"]), (&json!(1), &json!(3)));
    assert_eq!(client.post(r#"{"labeller":"anna","index":1,"undo":true}"#).status, 409);
    assert_eq!(running.end().count("anna"), 3);
}

#[test]
fn an_answer_sent_twice_is_one_line() {
    let (_parent, path) = pictures(2);
    let running = Running::start(&path, ServerSettings::default());
    for choice in ["tie", "tie", "left", "left"] {
        assert_eq!(running.client().choose("anna", 1, choice).status, 200);
    }
    running.end();
    let found = written(&path);
    let line = |choice: &str| (1, "anna".to_owned(), choice.to_owned());
    // Which side stands left is the seed's to say; it is one of the two.
    assert_eq!((found.len(), &found[0]), (2, &line("tie")));
    assert!([line("a"), line("b")].contains(&found[1]), "{found:?}");
}

#[test]
fn many_at_once_lose_nothing() {
    let (_parent, path) = pictures(25);
    let running = Running::start(&path, ServerSettings::default());
    let threads: Vec<_> = ["anna", "ben", "anna", "carl"]
        .into_iter()
        .map(|labeller| {
            let client = running.client();
            std::thread::spawn(move || {
                for index in 0..25 {
                    let choice = if index % 5 == 0 { "tie" } else { "left" };
                    assert_eq!(client.choose(labeller, index, choice).status, 200);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let agreement = running.client().get("/api/progress?labeller=anna").json()["agreement"].clone();
    assert_eq!((&agreement["labellers"], &agreement["pairs"]), (&json!(3), &json!(25)));
    let labels = running.end();
    for labeller in ["anna", "ben", "carl"] {
        assert_eq!(labels.count(labeller), 25);
    }
    assert_eq!(PairFolder::open(&path).unwrap().labels().unwrap(), labels);
    // Anna answers everything twice, and the second time nothing is written.
    let found = written(&path);
    assert_eq!(found.len(), 75);
    for labeller in ["anna", "ben", "carl"] {
        let of_one = found.iter().filter(|(_, name, _)| name == labeller);
        let mut answered: Vec<(u64, bool)> = of_one.map(|(index, _, choice)| (*index, choice == "tie")).collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..25).map(|index| (index, index % 5 == 0)).collect::<Vec<_>>());
    }
}

/// Pair, labeller and choice of every line of the judgements.
fn written(folder: &Path) -> Vec<(u64, String, String)> {
    let text = std::fs::read_to_string(folder.join("labels.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    lines.map(|line| (line["index"].as_u64().unwrap(), word(&line["labeller"]), word(&line["choice"]))).collect()
}

#[test]
fn a_new_server_goes_on_where_the_old_one_was_cut_off() {
    let (_parent, path) = pictures(3);
    let running = Running::start(&path, ServerSettings::default());
    running.client().choose("anna", 0, "left");
    running.client().choose("anna", 1, "right");
    running.end();
    let mut file = OpenOptions::new().append(true).open(path.join("labels.jsonl")).unwrap();
    file.write_all(br#"{"version":1,"pairs":"bla"#).unwrap();
    drop(file);
    let running = Running::start(&path, ServerSettings::default());
    assert_eq!(running.client().get("/api/progress?labeller=anna").json()["next"], 2);
    running.client().choose("anna", 2, "tie");
    running.end();
    let labels = PairFolder::open(&path).unwrap().labels().unwrap();
    assert_eq!((labels.count("anna"), labels.cut()), (3, None));
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let (_parent, path) = pictures(1);
    let open = || PairFolder::open(&path).unwrap();
    let elsewhere = ServerSettings { host: [0, 0, 0, 0].into(), port: 0, ..ServerSettings::default() };
    for token in [None, Some(String::new())] {
        let error = Server::bind(open(), ServerSettings { token, ..elsewhere.clone() }).unwrap_err();
        assert!(matches!(error, LabelError::TokenDemanded { .. }), "{error}");
    }
    for host in [elsewhere.host, ServerSettings::default().host] {
        let short = ServerSettings { host, token: Some("0123456789abcde".to_owned()), ..elsewhere.clone() };
        let error = Server::bind(open(), short).unwrap_err();
        assert!(matches!(error, LabelError::TokenTooShort { length: 15, shortest: 16 }), "{error}");
    }
    // Characters, not bytes: these are 16 letters of two bytes each.
    Server::bind(open(), ServerSettings { token: Some("é".repeat(16)), ..elsewhere.clone() }).unwrap();
    Server::bind(open(), ServerSettings { token: Some("0123456789abcdef".to_owned()), ..elsewhere }).unwrap();
    let first = Server::bind(open(), ServerSettings { port: 0, ..ServerSettings::default() }).unwrap();
    let error =
        Server::bind(open(), ServerSettings { port: first.address().port(), ..ServerSettings::default() }).unwrap_err();
    assert!(error.to_string().contains(&format!("port {} is in use", first.address().port())), "{error}");
    let error = Server::bind(open(), ServerSettings { port: 0, ..ServerSettings::default() }).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    let named = ServerSettings { port: 0, labeller: Some(" ".to_owned()), ..ServerSettings::default() };
    assert!(matches!(Server::bind(open(), named).unwrap_err(), LabelError::Name { .. }));
}
