//! Agreement of a judge with other labellers.
use datasets::pairs::{Agreement, Judge, Judgements, LabelChoice};

/// How far a labeller agrees with another.
#[derive(Clone, Debug, PartialEq)]
pub struct LabellerAgreement {
    /// The other labeller; `people` for the majority of all people.
    pub with: String,
    /// The pairs that both judged, and how often they agree.
    pub agreement: Agreement,
}

/// The agreement of a labeller with the majority of people, if there are any, and with every other labeller.
pub fn agreements(judgements: &Judgements, labeller: &str) -> Vec<LabellerAgreement> {
    let own = |index| judgements.choice(index, labeller).filter(|choice| *choice != LabelChoice::Skip);
    let people = judgements.only(Judge::Person).preferences();
    let majority = people.iter().filter_map(|preference| {
        let choice = match preference.a_is_better {
            share if share > 0.5 => LabelChoice::A,
            share if share < 0.5 => LabelChoice::B,
            _ => LabelChoice::Tie,
        };
        Some((own(preference.index)?, choice))
    });
    let mut found = Vec::new();
    let mut add = |with: &str, agreement: Option<Agreement>| {
        found.extend(agreement.map(|agreement| LabellerAgreement { with: with.to_owned(), agreement }));
    };
    if !judgements.only(Judge::Person).labellers().contains(labeller) {
        add("people", Agreement::between(majority));
    }
    for other in judgements.labellers().into_iter().filter(|other| *other != labeller) {
        add(other, judgements.agreement_of(labeller, other));
    }
    found
}

#[cfg(test)]
mod tests {
    use datasets::pairs::{
        GeneratedPair, GeneratedResult, Judgement, JudgementChange, JudgementLog, Kappa, Modality, NewResult,
        PairFolder, PairWriter,
    };

    use super::*;

    #[test]
    fn a_judge_agrees_with_the_majority_of_people_and_with_others() {
        use LabelChoice::{A, B, Skip, Tie};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs");
        let mut writer = PairWriter::create(&path, Modality::Token, serde_json::Map::new(), None).unwrap();
        let side = |text| GeneratedResult { refined: None, made: NewResult::Response(text), seed: 0, log_probs: None };
        for index in 0..4 {
            writer.push(&GeneratedPair { request: format!("{index}"), a: side("x"), b: side("y") }).unwrap();
        }
        writer.finish().unwrap();
        let mut log = JudgementLog::open(&PairFolder::open(&path).unwrap()).unwrap();
        let mut say = |labeller: &str, by, choices: [LabelChoice; 4]| {
            for (index, choice) in choices.into_iter().enumerate() {
                let change = JudgementChange::Chosen(choice);
                log.append(&Judgement { index, labeller: labeller.to_owned(), by, change }).unwrap();
            }
        };
        say("anna", Judge::Person, [A, A, B, B]);
        say("ben", Judge::Person, [A, B, B, B]);
        say("model", Judge::Model, [A, Tie, A, Skip]);
        say("oracle", Judge::Oracle, [A, B, A, A]);
        let found = agreements(log.labels(), "model");
        let shares: Vec<(&str, usize, f64)> =
            found.iter().map(|other| (other.with.as_str(), other.agreement.pairs, other.agreement.share)).collect();
        // The people's majority is A, tie, B, B, and the judge says nothing of the last.
        let third = 1.0 / 3.0;
        assert_eq!(
            shares,
            [("people", 3, 2.0 * third), ("anna", 3, third), ("ben", 3, third), ("oracle", 3, 2.0 * third)]
        );
        assert!(found.iter().all(|other| other.agreement.kind == Kappa::Cohen));
        assert!(!agreements(log.labels(), "anna").iter().any(|other| other.with == "people"));
    }
}
