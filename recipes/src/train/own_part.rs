//! The held-out part that a folder of data brings along.
use std::path::Path;

use datasets::SplitChoice;
use datasets::reading::shards;

use crate::Reporter;
use crate::embedded::is_embedded;
use crate::judged_pairs::is_pair_folder;
use crate::settings::{Modality, Scheme, Values, at};
use crate::sources::names;

/// Evaluates on the validation or test part of a folder of data that has one, unless the settings say what is held out.
pub(super) fn take(values: &mut Values, reporter: &dyn Reporter) {
    let reads_records = match values.run.mdp {
        Modality::Token => true,
        Modality::Diffusion => values.diffusion.scheme != Scheme::Trajectory && values.data.latents.is_none(),
        Modality::Hybrid => false,
    };
    if !reads_records || values.rounds.rounds.is_some() {
        return;
    }
    let is_said = [&at::data::eval_data, &at::data::eval_share].into_iter().any(|field| values.is_given(field));
    if is_said || values.data.split != "auto" {
        return;
    }
    if values.data.data.are_several() {
        for (name, part) in names(values.data.data.all()).into_iter().filter_map(|name| Some((name, part_of(name)?))) {
            reporter.info(&format!(
                "{name}: its own part {part} is not read; of several sources a share of all prompts is held out \
                 (`data.eval_data` names another)"
            ));
        }
        return;
    }
    let Some(folder) = values.data.data.first().map(str::to_owned) else { return };
    if let Some(part) = part_of(&folder) {
        reporter
            .info(&format!("{folder}: its own part {part} is held out (`data.eval_share` holds out a share instead)"));
        values.set(|settings| settings.data.eval_data = Some(folder));
    }
}

/// The name of the held-out part of a folder whose files are named after parts.
fn part_of(name: &str) -> Option<String> {
    let path = Path::new(name);
    if is_embedded(name) || !path.is_dir() || is_pair_folder(path) {
        return None;
    }
    let part = |split| shards(path, Some(&split)).ok().filter(|found| found.is_named)?.part;
    part(SplitChoice::Train)?;
    let held_out = part(SplitChoice::HeldOut)?;
    Some(held_out.split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QUIET;

    #[test]
    fn a_folders_own_part_is_held_out_unless_the_settings_say_what() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().display().to_string();
        let held_out = |sets: &[&str]| {
            let mut values = Values::default();
            values.merge_set(&format!("data.data={name}")).unwrap();
            for set in sets {
                values.merge_set(set).unwrap();
            }
            take(&mut values, &QUIET);
            values.data.eval_data.clone()
        };
        std::fs::write(folder.path().join("train-00000-of-00001.jsonl"), "{}").unwrap();
        assert_eq!(held_out(&[]), None);
        std::fs::write(folder.path().join("test-00000-of-00001.jsonl"), "{}").unwrap();
        assert_eq!(held_out(&[]), Some(name.clone()));
        assert_eq!(held_out(&["data.eval_share=0.1"]), None);
        assert_eq!(held_out(&["data.split=all"]), None);
        assert_eq!(held_out(&["data.eval_data=other.jsonl"]).as_deref(), Some("other.jsonl"));
    }
}
