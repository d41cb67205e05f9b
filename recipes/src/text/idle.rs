//! Choices of reading that the data has no use for.
use datasets::Audit;

use crate::Failure;
use crate::settings::{Field, TreePairsName, Values, at};

/// Refuses choices that were typed and that no record of the data is read by.
///
/// # Errors
/// There is one; the message names it.
pub(crate) fn refuse_idle(values: &Values, audit: &Audit) -> Result<(), Failure> {
    let data = &values.data;
    if data.assistant_only && audit.conversations == 0 {
        refuse(values, &at::data::assistant_only, "no record is a conversation with one answer (`messages`)")?;
    }
    if data.tree_pairs != TreePairsName::List && audit.trees == 0 {
        refuse(values, &at::data::tree_pairs, "no record is a conversation tree")?;
    }
    refuse_idle_template(values, audit.chats > 0)
}

/// Refuses arguments of the chat template that were typed where nothing is a chat.
///
/// # Errors
/// They were, and nothing is.
pub(crate) fn refuse_idle_template(values: &Values, has_chats: bool) -> Result<(), Failure> {
    if has_chats || values.data.template.is_empty() {
        return Ok(());
    }
    refuse(values, &at::data::template, "all texts are plain, and the chat template writes none of them")
}

fn refuse(values: &Values, field: &Field, why: &str) -> Result<(), Failure> {
    if values.is_typed(field) { Err(Failure::usage(format!("{field} would do nothing: {why}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_without_use_is_refused_by_name_if_it_was_typed() {
        let plain = Audit { examples: 4, ..Audit::default() };
        for (set, says, used) in [
            ("data.assistant_only=true", "one answer", Audit { conversations: 4, chats: 4, ..plain.clone() }),
            ("data.tree_pairs=forest", "conversation tree", Audit { trees: 4, chats: 4, ..plain.clone() }),
            ("data.template=a=1", "all texts are plain", Audit { chats: 1, ..plain.clone() }),
        ] {
            let mut values = Values::default();
            values.merge_set(set).unwrap();
            let refused = refuse_idle(&values, &plain).unwrap_err();
            let field = set.split('=').next().unwrap();
            assert!(refused.is_usage() && refused.to_string().starts_with(&format!("`{field}` would do nothing")));
            assert!(refused.to_string().contains(says), "{refused}");
            assert_eq!(refuse_idle(&values, &used), Ok(()), "{set}");
            let config = Values::from((*values).clone());
            assert_eq!(refuse_idle(&config, &plain), Ok(()), "a config file may hold it");
        }
        let mut off = Values::default();
        off.merge_set("data.assistant_only=false").unwrap();
        off.merge_set("data.tree_pairs=list").unwrap();
        assert_eq!(refuse_idle(&off, &plain), Ok(()));
    }
}
