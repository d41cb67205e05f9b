//! Conversation trees as training items: whole, or pair by pair.
use std::sync::Arc;

use datasets::synthetic::dialogue::{Tree, question_tokens, reply_tokens};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, Episode, EpisodeOf, Piece};
use models::causal::CausalLm;
use objectives::{Comparison, Logistic, Objective as _, Pairwise, Scores};
use policies::{BoxError, Policy};
use serde::{Deserialize, Serialize};
use train::{Item, Source};

use super::{Way, said};
use crate::Result;
use crate::small::Small;
use crate::statistics::mean;

/// A tree's replies as episodes from one prompt, in lists of siblings, best first.
pub(super) struct Conversation {
    pub(super) lists: Vec<Vec<EpisodeOf<TokenMdp>>>,
}

impl Conversation {
    /// The first user turn is the prompt; all turns between it and a reply are given.
    pub(super) fn of(tree: &Tree) -> Self {
        let first = tree.lists.first().and_then(|list| list.things.first()).copied().unwrap_or_default();
        let prompt: Arc<[u32]> = Arc::from(question_tokens(first));
        let lists = tree.lists.iter().map(|list| {
            let asked = list.things.last().copied().unwrap_or_default();
            let whole = [&said(&list.before)[..], &question_tokens(asked)].concat();
            let start = TokenState { prompt: Arc::clone(&prompt), response: whole[prompt.len()..].to_vec() };
            let reply = |reply| Episode {
                pieces: vec![Piece { start: start.clone(), actions: reply_tokens(reply), weight: 1.0 }],
            };
            list.replies.iter().map(reply).collect()
        });
        Self { lists: lists.collect() }
    }

    /// All replies, and the comparisons of siblings, the better one first.
    pub(super) fn whole(&self, way: Way) -> (Vec<EpisodeOf<TokenMdp>>, Vec<(usize, usize)>) {
        let (mut episodes, mut comparisons) = (Vec::new(), Vec::new());
        for list in &self.lists {
            let at = episodes.len();
            let pairs = way.pairs().of(list.len()).into_iter();
            comparisons.extend(pairs.map(|(better, worse)| (at + better, at + worse)));
            episodes.extend(list.iter().cloned());
        }
        (episodes, comparisons)
    }
}

/// An item: episodes and comparisons of them.
type Compared = (Vec<EpisodeOf<TokenMdp>>, Vec<(usize, usize)>);

/// Items to learn from: forests, or pairs.
pub(super) struct Forests {
    items: Vec<Compared>,
}

impl Forests {
    /// The items of conversations in one way.
    pub(super) fn of(conversations: &[Conversation], way: Way) -> Self {
        let of = |conversation: &Conversation| -> Vec<Compared> {
            let (episodes, comparisons) = conversation.whole(way);
            if way == Way::Forest {
                return vec![(episodes, comparisons)];
            }
            let pair = |(a, b): (usize, usize)| (vec![episodes[a].clone(), episodes[b].clone()], vec![(0, 1)]);
            comparisons.into_iter().map(pair).collect()
        };
        Self { items: conversations.iter().flat_map(of).collect() }
    }

    pub(super) fn n_items(&self) -> usize {
        self.items.len()
    }

    pub(super) fn n_comparisons(&self) -> usize {
        self.items.iter().map(|(_, comparisons)| comparisons.len()).sum()
    }

    /// The tokens that a pass computes, each item by itself.
    pub(super) fn n_computed(&self, model: &CausalLm) -> Result<usize> {
        self.items.iter().try_fold(0, |n, (episodes, _)| Ok(n + model.n_computed_tokens(episodes)?))
    }

    /// The tokens of all episodes, with nothing shared.
    pub(super) fn n_unshared(&self) -> usize {
        let tokens = |piece: &Piece<TokenState, u32>| piece.start.len() + piece.actions.len() - 1;
        self.items.iter().flat_map(|(episodes, _)| episodes).flat_map(|episode| &episode.pieces).map(tokens).sum()
    }
}

impl Source for Forests {
    type Mdp = TokenMdp;
    type Feedback = Comparison;
    const UNIT: &'static str = "tokens";
    const DECISION: &'static str = "token";

    fn len(&self) -> usize {
        self.items.len()
    }

    fn item(&self, index: usize) -> std::result::Result<Item<TokenMdp, Comparison>, BoxError> {
        let (episodes, comparisons) = self.items.get(index).ok_or_else(|| format!("there is no item {index}"))?;
        let feedback = comparisons.iter().map(|&(better, worse)| Comparison::new(better, worse)).collect();
        let size = episodes.iter().map(EpisodeOf::<TokenMdp>::n_decisions).sum();
        Ok(Item { episodes: episodes.clone(), feedback, size })
    }
}

/// The share of pairs of siblings that the log-ratio of a policy and its reference orders rightly.
pub(super) fn accuracy(
    small: &Small,
    (model, base): (&CausalLm, &CausalLm),
    conversations: &[Conversation],
) -> Result<f64> {
    let mut right = Vec::new();
    for conversation in conversations {
        let (episodes, comparisons) = conversation.whole(Way::Forest);
        let (ours, theirs) =
            (model.score(&small.mdp, &episodes)?.log_probs, base.score(&small.mdp, &episodes)?.log_probs);
        let reward = |at: usize| ours.row(at).iter().sum::<f64>() - theirs.row(at).iter().sum::<f64>();
        right.extend(comparisons.iter().map(|&(better, worse)| f64::from(u8::from(reward(better) > reward(worse)))));
    }
    Ok(mean(right))
}

/// The loss of conversations as forests and as pairs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Losses {
    /// The mean loss over forests.
    pub(super) forests: f64,
    /// The greatest difference between a forest's loss and the mean of its pairs' losses.
    pub(super) difference: f64,
}

/// Computes the loss of DPO of every conversation in both ways.
pub(super) fn losses(
    small: &Small,
    (model, base): (&CausalLm, &CausalLm),
    conversations: &[Conversation],
    beta: f64,
) -> Result<Losses> {
    let objective = Pairwise::new(Logistic::new(beta)?);
    let loss = |episodes: &[EpisodeOf<TokenMdp>], comparisons: &[(usize, usize)]| -> Result<f64> {
        let policy: Channels = model.score(&small.mdp, episodes)?;
        let reference = base.score(&small.mdp, episodes)?.log_probs;
        let weights = policy.log_probs.filled(1.0);
        let feedback: Vec<Comparison> = comparisons.iter().map(|&(a, b)| Comparison::new(a, b)).collect();
        let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
        Ok(objective.evaluate(&feedback, scores)?.loss)
    };
    let (mut forests, mut difference) = (Vec::new(), 0.0_f64);
    for conversation in conversations {
        let (episodes, comparisons) = conversation.whole(Way::Forest);
        let whole = loss(&episodes, &comparisons)?;
        let pair = |&(a, b): &(usize, usize)| loss(&[episodes[a].clone(), episodes[b].clone()], &[(0, 1)]);
        let pairs: Vec<f64> = comparisons.iter().map(pair).collect::<Result<_>>()?;
        difference = difference.max((whole - mean(pairs)).abs());
        forests.push(whole);
    }
    Ok(Losses { forests: mean(forests), difference })
}

#[cfg(test)]
mod tests {
    use datasets::synthetic::dialogue::{DialogueProblem, Split};

    use super::*;

    #[test]
    fn a_forest_has_the_comparisons_of_its_pairs() {
        let conversations = [Conversation::of(&DialogueProblem::new(0).tree(Split::Train, 0))];
        let counts = Way::ALL.map(|way| {
            let forests = Forests::of(&conversations, way);
            (forests.n_items(), forests.n_comparisons())
        });
        assert_eq!(counts, [(1, 42), (42, 42), (21, 21), (7, 7)]);
        let forest = Forests::of(&conversations, Way::Forest).item(0).unwrap();
        assert_eq!(forest.episodes.len(), 28);
        let prompt = &forest.episodes[0].pieces[0].start.prompt;
        assert!(forest.episodes.iter().all(|episode| Arc::ptr_eq(&episode.pieces[0].start.prompt, prompt)));
        // The deepest replies stand behind two turns of four tokens each and their replies.
        let deepest = &forest.episodes[27].pieces[0];
        assert_eq!((deepest.start.len(), deepest.actions.len()), (4 + 4 + 4 + 5 + 4, 6));
    }
}
