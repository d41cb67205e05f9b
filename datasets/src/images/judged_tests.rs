//! Ranked lists of pictures, and pictures that are liked or not.
use serde_json::json;

use super::tests::{folder, line, red, settings};
use super::*;
use crate::records::ReadOptions;

#[test]
fn ranked_lists_are_read() {
    let paths = |numbers: &[u8]| numbers.iter().map(|n| format!("images/{n}.png")).collect::<Vec<_>>();
    let lines = [
        json!({"prompt": "best first", "images": paths(&[3, 1, 2])}),
        json!({"prompt": "ranked", "images": paths(&[4, 5, 6]), "ranks": [2, 3, 1]}),
        json!({"prompt": "scored", "images": paths(&[7, 8]), "scores": [0.1, 0.5]}),
        json!({"prompt": "tied", "images": paths(&[7, 8]), "scores": [0.5, 0.5]}),
        line("a pair", 1, 2),
    ];
    let folder = folder(&lines);
    let path = folder.path().join("data.jsonl");
    let data = open(&path, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap();
    let reds = |index| data.judged(index).unwrap().1.iter().map(red).collect::<Vec<_>>();
    assert_eq!((0..4).map(reds).collect::<Vec<_>>(), [vec![30, 10, 20], vec![60, 40, 50], vec![80, 70], vec![10, 20]]);
    assert!(!data.is_plain() && data.select(&[2, 3]).unwrap().is_plain());
    let text = data.audit().to_string();
    assert!(text.starts_with("4 examples: 2 pairs, 2 ranked lists\n") && text.contains("1 ties left out"), "{text}");
    assert_eq!(picture_kind(&path).unwrap(), Some(ImageKind::Pairs));
    let captioned = open(&path, ReadOptions::default(), settings(ImageKind::Captioned)).unwrap();
    assert_eq!([0, 1].map(|index| red(&captioned.captioned(index).unwrap().image)), [30, 60]);
    for (bad, says) in [
        (json!({"prompt": "x", "images": ["images/1.png"]}), "a list of two or more paths"),
        (json!({"prompt": "x", "images": paths(&[1, 2]), "ranks": [1]}), "a number for each of `images`"),
    ] {
        let folder = self::folder(&[bad]);
        let opened = open(&folder.path().join("data.jsonl"), ReadOptions::default(), settings(ImageKind::Pairs));
        assert!(opened.unwrap_err().to_string().contains(says));
    }
}

#[test]
fn liked_pictures_are_read() {
    let labelled = [
        json!({"prompt": "good", "image": "images/1.png", "label": true}),
        json!({"prompt": "bad", "image": "images/2.png", "label": 0}),
        json!({"prompt": "unknown", "image": "images/3.png"}),
        line("a pair", 4, 5),
    ];
    let folder = folder(&labelled);
    let path = folder.path().join("data.jsonl");
    let data = open(&path, ReadOptions::default(), settings(ImageKind::Judged)).unwrap();
    let judged = |index| data.judged(index).map(|(_, pictures, is_liked)| (pictures.len(), is_liked)).unwrap();
    assert_eq!((0..3).map(judged).collect::<Vec<_>>(), [(1, true), (1, false), (2, true)]);
    let text = data.audit().to_string();
    assert!(text.starts_with("3 examples: 1 pairs, 1 liked pictures, 1 disliked pictures\n"), "{text}");
    assert_ne!(data.select(&[0]).unwrap().fingerprint(), data.select(&[1]).unwrap().fingerprint());
    let folder = self::folder(&[json!({"prompt": "x", "image": "images/1.png", "label": "good"})]);
    let opened = open(&folder.path().join("data.jsonl"), ReadOptions::default(), settings(ImageKind::Judged));
    assert!(opened.unwrap_err().to_string().contains("true, false, 1 or 0"));
}
