//! The summary of credit made by hand.
use super::*;
use crate::Estimate;

/// An answer of four tokens and its end: `a`, ` b` (wrong), and two halves of one character.
fn answer(wrong: Option<Vec<bool>>, ratio: [f64; 5]) -> CreditedAnswer {
    CreditedAnswer {
        index: 0,
        origin: "a.jsonl, line 1".to_owned(),
        side: "response",
        text: "a b é".to_owned(),
        spans: wrong.as_ref().map(|_| std::iter::once(2..3).collect()),
        tokens: vec![1, 2, 3, 4, 0],
        places: vec![0..1, 1..3, 4..5, 4..5, 5..5],
        wrong,
        given: None,
        unmeasured: None,
        columns: vec![("log_ratio", ratio.to_vec()), ("bellman", vec![0.0; 5])],
    }
}

#[test]
fn only_answers_with_wrong_spans_count_and_end_tokens_do_not() {
    let wrong = Some(vec![false, true, false, false, false]);
    let answers = [
        // The end token has the least of all, and is not asked.
        answer(wrong.clone(), [0.5, -1.0, 0.0, 0.25, -9.0]),
        answer(Some(vec![false; 5]), [-5.0; 5]),
        answer(None, [-5.0; 5]),
        // Wrong is second of four: two of three pairs.
        answer(wrong, [0.5, -1.0, -2.0, 0.25, -9.0]),
    ];
    let summary = summarise(&answers, 0).unwrap();
    assert_eq!((summary.examples, summary.places, summary.wrong), (2, 8, 2));
    let row = &summary.rows[0];
    let value = |estimate: Option<Estimate>| estimate.unwrap().value;
    // -2 is right and the least; then both wrong ones tie: 5 of 6 right ones are above. One threshold of 2 in 3.
    assert!((value(row.auroc) - 5.0 / 6.0).abs() < 1e-12);
    assert!((value(row.average_precision) - 2.0 / 3.0).abs() < 1e-12);
    assert!((value(row.pointing) - 0.5).abs() < 1e-12);
    // What is the same everywhere is a coin.
    let coin = &summary.rows[1];
    assert_eq!([value(coin.auroc), value(coin.average_precision), value(coin.pointing)], [0.5, 0.25, 0.25]);
    assert_eq!(summary.rows.len(), 2);
    assert!(summary.to_string().contains("log-ratio (Eq. 11)        0.833 ("), "{summary}");
    assert_eq!(summarise(&answers[1..3], 0), None);
}
