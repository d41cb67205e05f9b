//! Pairs whose sides have neutral names, with a column that names the better one.
use serde_json::Value;

use super::fields::Fields;
use crate::error::DatasetError;
use crate::record::Text;

/// Column names of the two sides.
pub(super) const SIDES: [(&str, &str); 8] = [
    ("response_a", "response_b"),
    ("response_0", "response_1"),
    ("response_1", "response_2"),
    ("answer_a", "answer_b"),
    ("completion_a", "completion_b"),
    ("output_a", "output_b"),
    ("output_1", "output_2"),
    ("conversation_a", "conversation_b"),
];

/// Column names of the verdict.
pub(super) const VERDICTS: [&str; 6] = ["winner", "preference", "preferred", "choice", "better_response_id", "label"];

/// Column names of a verdict in three columns of 0 and 1.
pub(super) const FLAGS: [&str; 3] = ["winner_model_a", "winner_model_b", "winner_tie"];

/// The words for a tie.
const TIES: [&str; 7] = ["tie", "tie (bothbad)", "both", "both_bad", "equal", "draw", "neither"];

/// The words by which a labeller or a judge leaves a pair without a choice.
const SKIPS: [&str; 3] = ["skip", "skipped", "unparsed"];

/// The verdict on two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BetterSide {
    First,
    Second,
    Tie,
}

/// The better side, the worse one, and whether they are tied.
pub(super) struct JudgedSides {
    pub(super) better: Text,
    pub(super) worse: Text,
    pub(super) is_tied: bool,
}

/// The names of the sides and of the verdict, if these are the fields.
fn names(fields: &Fields<'_>) -> Option<((&'static str, &'static str), &'static str)> {
    let has = |&(first, second): &(&str, &str)| fields.has(first) && fields.has(second);
    let verdict = || VERDICTS.into_iter().find(|name| fields.has(name));
    let flags = || FLAGS.iter().all(|name| fields.has(name)).then_some(FLAGS[0]);
    Some((SIDES.into_iter().find(has)?, verdict().or_else(flags)?))
}

/// Whether the fields are those of a pair with a verdict.
pub(super) fn is_judged(fields: &Fields<'_>) -> bool {
    names(fields).is_some()
}

/// Whether the verdict says that the pair has none: it is no record then.
pub(super) fn is_skipped(fields: &Fields<'_>) -> bool {
    let verdict = names(fields).and_then(|(_, name)| fields.peek(name)).and_then(Value::as_str);
    verdict.is_some_and(|word| SKIPS.contains(&word.trim().to_ascii_lowercase().as_str()))
}

/// The sides, the better one first.
pub(super) fn parse(fields: &Fields<'_>) -> Result<Option<JudgedSides>, DatasetError> {
    let Some(((first, second), name)) = names(fields) else { return Ok(None) };
    let verdict = if name == FLAGS[0] { flagged(fields)? } else { named(fields, name, [first, second])? };
    let (first, second) = (fields.answer(first)?, fields.answer(second)?);
    let (better, worse) = if verdict == BetterSide::Second { (second, first) } else { (first, second) };
    Ok(Some(JudgedSides { better, worse, is_tied: verdict == BetterSide::Tie }))
}

/// The verdict in one column: a side's name or its end (`a`, `model_a`, `response_a`; `1` of `response_1`), or a tie.
fn named(fields: &Fields<'_>, name: &str, sides: [&str; 2]) -> Result<BetterSide, DatasetError> {
    let value = fields.required(name)?;
    let word = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.as_f64().map(|number| number.to_string()).unwrap_or_default(),
        _ => String::new(),
    };
    let names_side = |side: &str| {
        let end = side.rsplit('_').next().unwrap_or(side);
        word == side || word == end || word == format!("model_{end}")
    };
    if names_side(sides[0]) {
        Ok(BetterSide::First)
    } else if names_side(sides[1]) {
        Ok(BetterSide::Second)
    } else if TIES.contains(&word.as_str()) {
        Ok(BetterSide::Tie)
    } else {
        let [a, b] = sides;
        let end = |side: &'static str| side.rsplit('_').next().unwrap_or(side);
        let known = SIDES.into_iter().find(|&(first, second)| first == a && second == b).map(|(a, b)| (end(a), end(b)));
        let (a, b) = known.unwrap_or_default();
        Err(fields.refused(name, format!("says neither `{a}` nor `{b}` nor `tie`: which side is better?")))
    }
}

/// The verdict in three columns, one of which is 1.
fn flagged(fields: &Fields<'_>) -> Result<BetterSide, DatasetError> {
    let mut found = Vec::new();
    for (name, verdict) in FLAGS.into_iter().zip([BetterSide::First, BetterSide::Second, BetterSide::Tie]) {
        match fields.required(name)?.as_f64() {
            Some(1.0) => found.push(verdict),
            Some(0.0) => {}
            _ => return Err(fields.wrong(name, "0 or 1", fields.required(name)?)),
        }
    }
    match found[..] {
        [verdict] => Ok(verdict),
        _ => Err(fields.refused(FLAGS[0], "and its two neighbours must have one 1 among them")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::column_tests::{error, one};
    use crate::record::{Answers, Text};

    const LETTERS: [&str; 3] = ["response_a", "response_b", "winner"];

    fn record(names: [&str; 3], verdict: &super::Value) -> super::Value {
        json!({"prompt": "p", "model_a": "one", "model_b": "two", names[0]: "first", names[1]: "second", names[2]: verdict})
    }

    /// The chosen side, and the probability that it is better.
    fn chosen(record: &super::Value) -> (String, f64) {
        let record = one(record);
        match record.answers {
            Answers::Pair { chosen: Text::Plain(chosen), .. } if record.is_tied == (record.preference == 0.5) => {
                (chosen, record.preference)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_verdict_names_a_side_in_its_own_words() {
        for (names, verdict, side) in [
            (LETTERS, json!("a"), "first"),
            (LETTERS, json!("B"), "second"),
            (LETTERS, json!("model_b"), "second"),
            (LETTERS, json!("response_a"), "first"),
            (["response_0", "response_1", "better_response_id"], json!(0), "first"),
            (["response_0", "response_1", "better_response_id"], json!(1), "second"),
            (["response_1", "response_2", "preference"], json!(1.0), "first"),
            (["output_1", "output_2", "preference"], json!("2"), "second"),
        ] {
            assert_eq!(chosen(&record(names, &verdict)), (side.to_owned(), 1.0), "{names:?} {verdict}");
        }
        assert_eq!(chosen(&record(LETTERS, &json!("tie"))), ("first".to_owned(), 0.5));
        let refused = error(&record(LETTERS, &json!(1)));
        assert!(refused.contains("field `winner` says neither `a` nor `b` nor `tie`"), "{refused}");
    }

    /// The words of a folder's judgements, in `choice`, are those of a table too.
    #[test]
    fn what_a_judge_writes_is_read_again() {
        use crate::pairs::LabelChoice;
        use crate::record::Origin;
        use crate::{Format, ReadingChoices};

        for choice in LabelChoice::ALL {
            let row = record(["response_a", "response_b", "choice"], &json!(choice.name()));
            let origin = Origin::generated("judged", 1);
            let read =
                Format::detect(&origin, &row).unwrap().read_with(&origin, &row, ReadingChoices::default()).unwrap();
            let found: Vec<(String, f64)> = if read.records.is_empty() { Vec::new() } else { vec![chosen(&row)] };
            let expected = match choice {
                LabelChoice::A => vec![("first".to_owned(), 1.0)],
                LabelChoice::B => vec![("second".to_owned(), 1.0)],
                LabelChoice::Tie => vec![("first".to_owned(), 0.5)],
                LabelChoice::Skip => Vec::new(),
            };
            assert_eq!(found, expected, "{}", choice.name());
            let is_counted = read.not_read.iter().any(|name| name.contains("without a choice"));
            assert_eq!(is_counted, choice == LabelChoice::Skip);
        }
    }

    #[test]
    fn a_verdict_in_three_columns_has_one_1() {
        let arena = |flags: [u8; 3]| {
            json!({"prompt": "p", "response_a": "first", "response_b": "second",
                "winner_model_a": flags[0], "winner_model_b": flags[1], "winner_tie": flags[2]})
        };
        assert_eq!(chosen(&arena([0, 1, 0])).0, "second");
        assert_eq!(chosen(&arena([0, 0, 1])), ("first".to_owned(), 0.5));
        assert!(error(&arena([1, 1, 0])).contains("one 1 among them"));
    }
}
