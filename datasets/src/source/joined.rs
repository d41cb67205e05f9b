//! Several data sets as one.
use std::sync::Arc;

use super::{Dataset, Entry};
use crate::audit::Audit;
use crate::disk_buffer::SpoolWriter;
use crate::error::DatasetError;
use crate::holdout;

/// The examples of several data sets, one data set after the other.
#[derive(Clone, Debug)]
pub struct Joined {
    data: Dataset,
    sizes: Vec<usize>,
}

impl Joined {
    /// Joins data sets that were tokenised alike, under their names; examples are numbered anew.
    ///
    /// # Errors
    /// The temporary file can't be read or written.
    pub fn new(parts: &[(&str, Dataset)]) -> Result<Self, DatasetError> {
        let (mut writer, mut entries) = (SpoolWriter::new(), Vec::new());
        let mut audit = Audit::default();
        for (name, part) in parts {
            (audit.max_length, audit.max_prompt_length) = (part.audit.max_length, part.audit.max_prompt_length);
            audit.join(name, &part.audit);
            for (entry, example) in part.entries.iter().zip(part.iter()) {
                let mut example = example?;
                example.index = entries.len() as u64;
                entries.push(Entry { offset: writer.push(&example)?, prompt: entry.prompt });
            }
        }
        let (spool, fingerprint) = writer.finish()?;
        let (spool, entries, audit) = (Arc::new(spool), entries.into(), Arc::new(audit));
        let sizes = parts.iter().map(|(_, part)| part.len()).collect();
        Ok(Self { data: Dataset { spool, entries, audit, fingerprint }, sizes })
    }

    /// The examples of all data sets.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// Number of examples of each data set, in their order.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Splits by prompt into (the rest, the held-out part), as [`Dataset::hold_out`]: a prompt that several data sets have is on
    /// one side with all of them.
    ///
    /// # Errors
    /// The share is not between 0 and 1.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Dataset), DatasetError> {
        let (rest, held_out) = holdout::hold_out(self.data.entries.iter().map(|entry| entry.prompt), share, seed)?;
        let mut first = 0;
        let of_part = |&size: &usize| {
            let range = first..first + size;
            first += size;
            rest.iter().filter(|position| range.contains(position)).count()
        };
        let sizes = self.sizes.iter().map(of_part).collect();
        Ok((Self { data: self.data.select(&rest)?, sizes }, self.data.select(&held_out)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Answers, Origin, PreferenceRecord};
    use crate::skipped::OnBad;
    use crate::source::tests::tokenise;

    use super::*;

    fn data(prompts: &[&str], answer: &str) -> Dataset {
        let record = |prompt: &&str| {
            let answers = Answers::Pair { chosen: answer.into(), rejected: "na".into() };
            PreferenceRecord::new(Origin::generated("made", 1), (*prompt).into(), answers)
        };
        Dataset::from_records("made", prompts.iter().map(record), &tokenise(16), OnBad::Fail).unwrap()
    }

    #[test]
    fn joined_data_are_those_of_all_in_their_order() {
        let (first, second) = (data(&["qa", "qb"], "yc"), data(&["qc", "qa", "qd"], "ye"));
        let joined = Joined::new(&[("a.jsonl", first.clone()), ("b.jsonl", second.clone())]).unwrap();
        assert_eq!(joined.sizes(), [2, 3]);
        let expected: Vec<_> = first.iter().chain(second.iter()).map(Result::unwrap).collect();
        let found: Vec<_> = joined.data().iter().map(Result::unwrap).collect();
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(
                (found.index, &found.prompt, &found.responses),
                (at as u64, &expected.prompt, &expected.responses)
            );
        }
        let audit = joined.data().audit();
        assert_eq!((audit.examples, audit.kinds["pairs"], audit.prompt.count()), (5, 5, 5));
        let said = audit.to_string();
        assert!(
            said.contains("a.jsonl: 2 examples: 2 pairs") && said.contains("b.jsonl: 3 examples: 3 pairs"),
            "{said}"
        );
        let again = Joined::new(&[("b.jsonl", second), ("a.jsonl", first)]).unwrap();
        assert_ne!(again.data().fingerprint(), joined.data().fingerprint());
    }

    #[test]
    fn a_prompt_of_several_data_sets_is_held_out_of_all() {
        let prompts: Vec<String> = (b'c'..=b'n').map(|letter| format!("q{}", char::from(letter))).collect();
        let all: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let joined = Joined::new(&[("a", data(&all, "yc")), ("b", data(&all[4..], "ye"))]).unwrap();
        for seed in 0..5 {
            let (rest, held_out) = joined.hold_out(0.4, seed).unwrap();
            assert_eq!(rest.sizes().iter().sum::<usize>(), rest.data().len());
            assert_eq!(rest.data().len() + held_out.len(), 20);
            let of = |data: &Dataset| data.iter().map(|example| example.unwrap().prompt).collect::<Vec<_>>();
            let (rest_prompts, held_prompts) = (of(rest.data()), of(&held_out));
            assert!(rest_prompts.iter().all(|prompt| !held_prompts.contains(prompt)));
            let first = rest.data().iter().take(rest.sizes()[0]).map(|example| example.unwrap().index);
            assert!(first.into_iter().all(|index| index < 12));
        }
    }
}
