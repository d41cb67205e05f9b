//! The names of columns that something reads.
use std::collections::BTreeSet;

use super::{meanings, pairs, prompt_columns, ranked, single, tree, weights, winner};

/// Columns that are read by their own names alone.
const OTHERS: [&str; 8] =
    ["prompt", "responses", "info", "summaries", "split", "history", "tools", "chat_template_kwargs"];

/// The names under which texts' records have columns: those of all formats, and those that are checked beside them.
pub fn column_names() -> BTreeSet<&'static str> {
    let sides = pairs::SIDES.iter().chain(&pairs::SCORES).chain([&pairs::CHATS]).chain(&winner::SIDES);
    let mut names: BTreeSet<&str> = sides.flat_map(|&(one, other)| [one, other]).collect();
    names.extend(OTHERS);
    names.extend(meanings::COLUMNS.iter().map(|(name, _)| *name));
    names
        .extend(prompt_columns::QUESTIONS.iter().chain(&prompt_columns::SYSTEMS).chain(&prompt_columns::CONVERSATIONS));
    names.extend(winner::VERDICTS.iter().chain(&winner::FLAGS));
    names.extend(ranked::ORDERS.iter().map(|(name, _)| name));
    names.extend(single::ANSWERS.iter().chain(&single::LABELS));
    names.extend(tree::NODE);
    names.extend(weights::WEIGHTS.iter().chain(&weights::PREFERENCES).chain([&weights::MARGIN]));
    names
}

#[cfg(test)]
mod tests {
    use super::column_names;
    use crate::formats::Format;

    #[test]
    fn the_names_are_those_of_all_formats() {
        let names = column_names();
        for format in Format::ALL {
            let words = format.fields().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '\\'));
            let said = ["may", "be", "absent", "dialogues", "with", "or", "\\n", "\\n\\nAssistant", ""];
            for word in words.filter(|word| !said.contains(word)) {
                assert!(names.contains(word), "{format}: {word}");
            }
        }
        for name in ["question", "system", "margin", "winner", "ranks", "rejected_response", "kto_tag", "images"] {
            assert!(names.contains(name), "{name}");
        }
        assert!(!names.contains("promtp") && !names.contains(""));
    }
}
