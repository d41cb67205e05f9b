//! Columns that order answers: ranks, scores, labels.
use serde_json::json;

use super::column_tests::{error, one, origin, read, with};
use super::*;

#[test]
fn scores_order_responses_the_largest_first() {
    let record = json!({"prompt": "q", "responses": ["b", "a", "c"]});
    let best_first = Answers::Ranked(["a", "b", "c"].map(Text::from).to_vec());
    for (name, numbers) in [("scores", [2, 3, 1]), ("rewards", [0, 9, -9]), ("ranks", [2, 1, 3]), ("rank", [1, 0, 2])] {
        assert_eq!(one(&with(&record, &[(name, json!(numbers))])).answers, best_first, "{name}");
    }
    let both = [("scores", json!([2, 3, 1])), ("ranks", json!([2, 1, 3]))];
    assert_eq!(one(&with(&record, &both)).answers, best_first);
    let other = [("scores", json!([2, 3, 1])), ("ranks", json!([1, 2, 3]))];
    assert!(error(&with(&record, &other)).contains("`scores` orders the answers in another way than `ranks`"));
    assert!(error(&with(&record, &[("scores", json!([1, 1, 2]))])).contains("one different number"));
    assert!(error(&with(&record, &[("ranking", json!([1, 0, 2]))])).contains("`ranking` may say how"));
}

#[test]
fn scores_count_as_numbers_or_are_told() {
    let pair = |first: Value, second: Value| {
        let pair =
            json!({ "prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": first, "score_rejected": second });
        let read = Format::Trl.read(&origin(), &pair).unwrap();
        (read.records[0].is_tied, Vec::from_iter(read.not_read))
    };
    assert_eq!(pair(json!("9"), json!("1")), (false, vec![]));
    assert_eq!(pair(json!("1"), json!(1.0)), (true, vec![]));
    assert_eq!(pair(json!("1"), json!("9")), (false, vec!["score_chosen below score_rejected".to_owned()]));
    assert_eq!(pair(json!(null), json!(1)), (false, vec!["score_rejected".to_owned()]));
    assert_eq!(pair(json!("good"), json!(1)), (false, vec!["score_chosen".to_owned(), "score_rejected".to_owned()]));
    assert_eq!(pair(json!("NaN"), json!("1")).1.len(), 2);
}

#[test]
fn columns_of_the_whole_record_order_no_answers() {
    let ranked = json!({ "prompt": "q", "responses": ["a", "b"], "scores": [1, 2] });
    for (name, value) in [
        ("label", json!("math")),
        ("label", json!(7)),
        ("label", json!(true)),
        ("rating", json!(5)),
        ("rating", json!("high")),
        ("best", json!(1)),
        ("best", json!("b")),
        ("winner", json!(1.0)),
        ("label", json!(1)),
    ] {
        let read = read(&with(&ranked, &[(name, value.clone())])).unwrap();
        assert_eq!(Vec::from_iter(read.not_read), [name], "{name} {value}");
    }
    for (name, value) in [
        ("best", json!(0)),
        ("best", json!("a")),
        ("winner", json!("model_a")),
        ("label", json!(0)),
        ("label", json!("a")),
        ("labels", json!([1, 0])),
        ("rating", json!("[2, 1]")),
        ("choice", json!(2)),
    ] {
        let error = error(&with(&ranked, &[(name, value.clone())]));
        assert!(error.contains("may say how the answers are ordered"), "{name} {value}: {error}");
    }
}

#[test]
fn columns_that_speak_against_the_order_are_not_passed_over() {
    for (name, value) in [("best", json!(1)), ("winner", json!("b")), ("choice", json!(1)), ("labels", json!([1, 0]))] {
        let mut record = json!({"prompt": "q", "responses": ["a", "b"]});
        record[name] = value;
        assert!(error(&record).contains("may say how the answers are ordered"), "{name}: {}", error(&record));
    }
    let pair = json!({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": 1, "rejected_score": 5});
    let read = Format::Trl.read(&origin(), &pair).unwrap();
    assert_eq!(Vec::from_iter(read.not_read), ["chosen_score below rejected_score"]);
}
