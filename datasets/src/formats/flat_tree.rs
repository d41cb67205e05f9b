//! Conversation trees of which each row is one message, as in OpenAssistant's tables: `message_id`, `parent_id`.
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::tree::{NODE, name_of};
use crate::error::DatasetError;
use crate::reading::Row;
use crate::record::Origin;

/// The most messages from the first one of a tree to a last.
const DEEPEST: usize = 256;

/// Whether a row is one message of a tree.
pub(crate) fn is_flat(row: &Value) -> bool {
    let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
    ["message_id", "text", "role"].into_iter().all(has) && !has("replies") && !has("prompt")
}

/// The messages of all trees, which may be in any order.
#[derive(Debug, Default)]
pub(crate) struct FlatTrees {
    messages: Vec<FlatMessage>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct FlatMessage {
    origin: Origin,
    name: String,
    parent: Option<String>,
    node: Map<String, Value>,
}

/// Messages by their places: the replies to each, those that begin a tree, and replies to none that there is.
struct Links {
    replies: Vec<Vec<usize>>,
    first: Vec<usize>,
    lost: Vec<usize>,
}

impl FlatTrees {
    /// Adds a row; returns the names of its columns that are not read.
    ///
    /// # Errors
    /// It has no `message_id`, that of another row, or replies of its own.
    pub(crate) fn add(&mut self, (origin, row): Row) -> Result<BTreeSet<String>, DatasetError> {
        let Some(name) = name_of(&row, "message_id") else {
            let message = "is no name, and every row is one message of a tree";
            return Err(refused(&origin, "message_id", message.to_owned()));
        };
        if row.get("replies").is_some_and(|replies| !super::fields::is_empty(replies)) {
            let message = format!("is in the row of the message `{name}`, and in other rows there is one message each");
            return Err(refused(&origin, "replies", message));
        }
        if let Some(at) = self.by_name.get(&name) {
            let message = format!("is `{name}` here and in {}", self.messages[*at].origin);
            return Err(refused(&origin, "message_id", message));
        }
        let parent = name_of(&row, "parent_id");
        let (mut node, mut not_read) = (Map::new(), BTreeSet::new());
        let Value::Object(columns) = row else { return Ok(not_read) };
        for (column, value) in columns.into_iter().filter(|(_, value)| !value.is_null()) {
            match column.as_str() {
                "message_id" | "parent_id" | "replies" => {}
                "rank" => _ = as_number(value).map(|rank| node.insert(column, rank)),
                read if NODE.contains(&read) => _ = node.insert(column, value),
                _ => _ = not_read.insert(column),
            }
        }
        self.by_name.insert(name.clone(), self.messages.len());
        self.messages.push(FlatMessage { origin, name, parent, node });
        Ok(not_read)
    }

    /// The trees as rows of whole ones, in the order of their first messages. What belongs to no tree goes to `fault`: replies to
    /// messages that are in no row with all that follows them, messages that reply to one another in a circle.
    ///
    /// # Errors
    /// Those of `fault`.
    pub(crate) fn rows(
        mut self,
        mut fault: impl FnMut(DatasetError) -> Result<(), DatasetError>,
    ) -> Result<Vec<Row>, DatasetError> {
        let Links { replies, first, lost } = self.links(&mut fault)?;
        let mut is_reached = vec![false; self.messages.len()];
        for at in lost {
            drop(below(&replies, at, &mut is_reached));
        }
        let mut rows = Vec::with_capacity(first.len());
        for at in first {
            let order = below(&replies, at, &mut is_reached);
            if let Some((deep, _)) = order.iter().find(|(_, depth)| *depth >= DEEPEST) {
                let FlatMessage { origin, name, .. } = &self.messages[*deep];
                let message =
                    format!("puts the message `{name}` behind {DEEPEST} others, more than a conversation has");
                fault(refused(origin, "parent_id", message))?;
                continue;
            }
            rows.push((self.messages[at].origin.clone(), self.whole(&replies, &order)));
        }
        for at in 0..self.messages.len() {
            if !is_reached[at] {
                fault(self.circle(at))?;
                // All of the circle, and what follows it.
                drop(below(&replies, self.in_circle(at), &mut is_reached));
            }
        }
        Ok(rows)
    }

    /// Who replies to whom.
    fn links(&self, fault: &mut impl FnMut(DatasetError) -> Result<(), DatasetError>) -> Result<Links, DatasetError> {
        let mut links = Links { replies: vec![Vec::new(); self.messages.len()], first: Vec::new(), lost: Vec::new() };
        for (at, FlatMessage { origin, name, parent, .. }) in self.messages.iter().enumerate() {
            match parent.as_ref().map(|parent| (parent, self.by_name.get(parent))) {
                None => links.first.push(at),
                Some((_, Some(above))) => links.replies[*above].push(at),
                Some((parent, None)) => {
                    let message = format!("of the message `{name}` is `{parent}`, which is the `message_id` of no row");
                    fault(refused(origin, "parent_id", message))?;
                    links.lost.push(at);
                }
            }
        }
        Ok(links)
    }

    /// Puts the messages of a tree together; each is in `order` before the replies to it.
    fn whole(&mut self, replies: &[Vec<usize>], order: &[(usize, usize)]) -> Value {
        for (at, _) in order.iter().rev() {
            let of = |reply: &usize| Value::Object(std::mem::take(&mut self.messages[*reply].node));
            let under = replies[*at].iter().map(of).collect();
            self.messages[*at].node.insert("replies".to_owned(), Value::Array(under));
        }
        Value::Object(order.first().map(|(at, _)| std::mem::take(&mut self.messages[*at].node)).unwrap_or_default())
    }

    /// A message of the circle that the messages above this one end in.
    fn in_circle(&self, mut at: usize) -> usize {
        let mut passed = HashSet::new();
        while passed.insert(at) {
            at = self.above(at);
        }
        at
    }

    fn above(&self, at: usize) -> usize {
        self.messages[at].parent.as_ref().and_then(|parent| self.by_name.get(parent)).copied().unwrap_or(at)
    }

    fn circle(&self, at: usize) -> DatasetError {
        let first = self.in_circle(at);
        let mut names = vec![format!("`{}`", self.messages[first].name)];
        let mut next = self.above(first);
        while next != first {
            names.push(format!("`{}`", self.messages[next].name));
            next = self.above(next);
        }
        if names.len() > 4 {
            let more = names.len() - 3;
            names.truncate(3);
            names.push(format!("{more} more"));
        }
        names.push("the first of them again".to_owned());
        let message = format!("goes in a circle: {}", names.join(" replies to "));
        refused(&self.messages[first].origin, "parent_id", message)
    }
}

/// The messages from one on downwards and their depths below it, each before the replies to it; marks them as reached.
fn below(replies: &[Vec<usize>], from: usize, is_reached: &mut [bool]) -> Vec<(usize, usize)> {
    let (mut order, mut next) = (Vec::new(), VecDeque::from([(from, 0)]));
    while let Some((at, depth)) = next.pop_front() {
        if !std::mem::replace(&mut is_reached[at], true) {
            order.push((at, depth));
            next.extend(replies[at].iter().map(|reply| (*reply, depth + 1)));
        }
    }
    order
}

/// A rank, which a table of comma-separated values has as a text; `None` for an empty cell and NaN.
fn as_number(value: Value) -> Option<Value> {
    let Some(text) = value.as_str().map(str::trim) else { return Some(value) };
    match text.parse::<f64>() {
        Ok(number) => number.is_finite().then(|| Value::from(number)),
        Err(_) => (!text.is_empty()).then_some(value),
    }
}

fn refused(origin: &Origin, field: &str, message: String) -> DatasetError {
    DatasetError::Column { origin: origin.clone(), field: field.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn message(name: &str, parent: Option<&str>, rank: Option<f64>) -> Value {
        let role = if name.starts_with('q') { "prompter" } else { "assistant" };
        json!({"message_id": name, "parent_id": parent, "text": format!("says {name}"), "role": role, "rank": rank,
            "lang": "en", "deleted": false})
    }

    /// The trees of rows, and what is wrong with them.
    fn trees(rows: Vec<Value>) -> (Vec<Value>, Vec<String>) {
        let (mut trees, mut faults, file) = (FlatTrees::default(), Vec::new(), Arc::from(Path::new("oasst")));
        for (at, row) in rows.into_iter().enumerate() {
            match trees.add((Origin::row(&file, at as u64 + 1), row)) {
                Ok(not_read) => assert_eq!(not_read, ["lang".to_owned()].into()),
                Err(error) => faults.push(error.to_string()),
            }
        }
        let rows = trees.rows(|error| {
            faults.push(error.to_string());
            Ok(())
        });
        (rows.unwrap().into_iter().map(|(_, tree)| tree).collect(), faults)
    }

    #[test]
    fn rows_in_any_order_are_put_together() {
        let rows = vec![
            message("a2", Some("q1"), Some(0.0)),
            message("q2", None, None),
            message("q3", Some("a2"), None),
            message("q1", None, None),
            message("a1", Some("q1"), Some(1.0)),
        ];
        assert!(rows.iter().all(is_flat));
        let (found, faults) = trees(rows);
        let node = |name: &str, role: &str, rest: Value| {
            let mut node = json!({"text": format!("says {name}"), "role": role, "deleted": false});
            node.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            node
        };
        let third = node("q3", "prompter", json!({"replies": []}));
        let replies = [
            node("a2", "assistant", json!({"rank": 0.0, "replies": [third]})),
            node("a1", "assistant", json!({"rank": 1.0, "replies": []})),
        ];
        let expected =
            [node("q2", "prompter", json!({"replies": []})), node("q1", "prompter", json!({"replies": replies}))];
        assert_eq!((found, faults), (expected.to_vec(), Vec::new()));
        assert!(!is_flat(&json!({"message_id": "q", "text": "q", "role": "prompter", "replies": []})));
    }

    #[test]
    fn what_is_no_tree_is_named_and_the_others_are_read() {
        let (found, faults) = trees(vec![
            message("q1", None, None),
            message("a1", Some("q1"), Some(0.0)),
            message("a1", Some("q1"), Some(1.0)),
            message("a2", Some("gone"), None),
            message("q3", Some("a2"), None),
            message("a4", Some("q4"), None),
            message("q4", Some("a4"), None),
            message("q5", Some("q5"), None),
            message("a6", Some("q4"), None),
        ]);
        assert_eq!((found.len(), &found[0]["text"]), (1, &json!("says q1")));
        let expected = [
            "oasst, row 3: field `message_id` is `a1` here and in oasst, row 2",
            "oasst, row 4: field `parent_id` of the message `a2` is `gone`, which is the `message_id` of no row",
            "oasst, row 6: field `parent_id` goes in a circle: `a4` replies to `q4` replies to the first of them again",
            "oasst, row 8: field `parent_id` goes in a circle: `q5` replies to the first of them again",
        ];
        assert_eq!(faults, expected);
        let mut chain = vec![message("q0", None, None)];
        chain.extend((1..=DEEPEST).map(|at| message(&format!("q{at}"), Some(&format!("q{}", at - 1)), None)));
        let (found, faults) = trees(chain);
        assert!(found.is_empty() && faults[0].contains("puts the message `q256` behind 256 others"), "{faults:?}");
        let (_, faults) = trees(vec![json!({"message_id": " ", "text": "", "role": "prompter", "lang": "en"})]);
        assert!(faults[0].contains("`message_id` is no name"), "{faults:?}");
    }

    #[test]
    fn numbers_of_text_tables_are_ranks() {
        for (value, read) in [(json!("0.0"), json!(0.0)), (json!(" 2"), json!(2.0)), (json!("x"), json!("x"))] {
            assert_eq!(as_number(value), Some(read));
        }
        assert_eq!([json!(" "), json!("nan")].map(as_number), [None, None]);
    }
}
