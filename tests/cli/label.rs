//! `label`: the page's process, asked over a socket of this machine.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};

use hybrid_dpo::datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult};
use hybrid_dpo::datasets::{PairFolder, PairWriter};
use serde_json::Map;

use super::Scene;

fn scene() -> Scene {
    let scene = Scene::new();
    let mut writer = PairWriter::create(&scene.path("pairs"), Modality::Token, Map::new(), None).unwrap();
    for index in 0..6 {
        let side = |text| GeneratedResult { refined: None, made: NewResult::Response(text), seed: 0, log_probs: None };
        writer.push(&GeneratedPair { request: format!("say {index}"), a: side("yes"), b: side("no") }).unwrap();
    }
    writer.finish().unwrap();
    scene
}

/// A server that was started, and the address it said.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(scene: &Scene) -> Self {
        let mut child = scene.interruptible("label --pairs pairs --port 0").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address }
    }

    fn answer(&self, index: usize) {
        let body = format!(r#"{{"labeller":"anna","index":{index},"choice":"tie"}}"#);
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /api/answers HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

#[test]
fn a_killed_server_has_lost_nothing_and_an_interrupted_one_ends_well() {
    let scene = scene();
    let mut first = Served::start(&scene);
    (0..3).for_each(|index| first.answer(index));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let second = Served::start(&scene);
    (3..5).for_each(|index| second.answer(index));
    let labels = PairFolder::open(&scene.path("pairs")).unwrap().labels().unwrap();
    let written: Vec<serde_json::Value> =
        scene.read("pairs/labels.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indices: Vec<u64> = written.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!((labels.count("anna"), indices), (5, vec![0, 1, 2, 3, 4]));
    assert!(written.iter().all(|line| line["labeller"] == "anna" && line["by"] == "person"), "{written:?}");
    if cfg!(unix) {
        let id = second.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let output = second.child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), err.contains("anna: 5 of 6 pairs")), (Some(0), true), "{err}");
    }
}

#[test]
fn what_cannot_be_served_is_one_clear_message() {
    let scene = scene();
    scene.refused("label", 2, &["--pairs DIR"]);
    scene.refused("label --pairs nowhere", 1, &["nowhere/pairs.json"]);
    scene.refused("label --pairs pairs --host 0.0.0.0 --port 0", 2, &["0.0.0.0", "--token"]);
    let guess = ["15 characters", "at least 16", "--token"];
    scene.refused("label --pairs pairs --port 0 --token 0123456789abcde", 2, &guess);
    scene.refused("label --pairs pairs --host example.org", 2, &["--host takes an address"]);
    scene.refused("label --pairs pairs --port 70000", 2, &["--port takes 0 to 65535"]);
    let mut served = Served::start(&scene);
    let port = served.address.rsplit(':').next().unwrap().to_owned();
    scene.refused(&format!("label --pairs pairs --port {port}"), 1, &[&format!("port {port} is in use")]);
    scene.refused("label --pairs pairs --port 0", 1, &["labels.jsonl", "by another process"]);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
}
