//! Pairs whose two sides a search found.
use std::path::Path;

use ::search::Found;
use datasets::pairs::PairWriter;
use policies::Persist;
use serde_json::{Map, Value, json};

use super::Cast;
use crate::settings::{SearchMethod, SearchScore, Values, at};
use crate::{Call, Failure, sampling};

/// The number of episodes that a search for pairs returns: all that its method has anyway, of which sides are chosen.
pub(super) fn n_searched(values: &Values) -> usize {
    let (search, n) = (&values.search, values.sample.n());
    match search.method() {
        SearchMethod::Greedy => 1,
        SearchMethod::Sample => n.saturating_mul(2),
        SearchMethod::Mcts => search.simulations(),
        SearchMethod::Refinements => search.width().saturating_mul(search.pictures()),
        SearchMethod::BestOf
        | SearchMethod::Beam
        | SearchMethod::Diverse
        | SearchMethod::Verifier
        | SearchMethod::Smc => search.width(),
    }
}

/// The place of each among what was found, from 1: the finished before the unfinished, and the best score first.
pub(super) fn ranks<S, A>(found: &[Found<S, A>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    let key = |index: &usize| (found[*index].is_finished, found[*index].score);
    order.sort_by(|a, b| key(b).0.cmp(&key(a).0).then(key(b).1.total_cmp(&key(a).1)));
    let mut ranks = vec![0; found.len()];
    order.iter().zip(1..).for_each(|(&index, rank)| ranks[index] = rank);
    ranks
}

/// Chooses the sides of up to `n` pairs among the episodes of one prompt.
///
/// Side a is the best episode that is left, side b the one that parts from it first: of those that share the fewest first
/// decisions with it, the best. (The second best of a beam often differs from the best in its last word alone, and such a
/// pair teaches little.) No episode is in two pairs. Of fewer than two different episodes one is both sides.
pub(super) fn sides<S, A: PartialEq>(found: &[Found<S, A>], n: usize) -> Vec<[&Found<S, A>; 2]> {
    let mut ranked: Vec<(usize, &Found<S, A>)> = ranks(found).into_iter().zip(found).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut left: Vec<&Found<S, A>> = Vec::new();
    for (_, found) in ranked {
        if !left.iter().any(|other| is_same(other, found)) {
            left.push(found);
        }
    }
    let mut pairs = Vec::with_capacity(n);
    while pairs.len() < n && left.len() > 1 {
        let best = left.remove(0);
        let other = (0..left.len()).min_by_key(|&other| shared(best, left[other])).unwrap_or(0);
        pairs.push([best, left.remove(other)]);
    }
    match left.first() {
        Some(only) if pairs.is_empty() => vec![[only, only]],
        _ => pairs,
    }
}

fn actions<S, A>(found: &Found<S, A>) -> impl Iterator<Item = &A> {
    found.episode.pieces.iter().flat_map(|piece| &piece.actions)
}

fn is_same<S, A: PartialEq>(a: &Found<S, A>, b: &Found<S, A>) -> bool {
    a.length() == b.length() && shared(a, b) == a.length()
}

/// The number of first decisions that two episodes share.
fn shared<S, A: PartialEq>(a: &Found<S, A>, b: &Found<S, A>) -> usize {
    actions(a).zip(actions(b)).take_while(|(a, b)| a == b).count()
}

/// Adds the search to the settings that reproduce a folder of pairs; its models by the fingerprints of their parts.
pub(super) fn with_search<P>(
    mut settings: Map<String, Value>,
    values: &Values,
    cast: &Cast<P>,
    parts: impl Fn(&P) -> Vec<&dyn Persist>,
) -> Result<Map<String, Value>, Failure> {
    let mut search = Map::new();
    for field in at::search::ALL {
        if let Some(value) = field.value(values) {
            search.insert(field.name.to_owned(), serde_json::to_value(value)?);
        }
    }
    let guides = cast.guides.as_ref();
    let roles = [
        ("reference", cast.reference.as_ref()),
        ("guide", guides.map(|[tuned, _]| tuned)),
        ("guide-reference", guides.map(|[_, untuned]| untuned)),
        ("verifier", cast.verifier.as_ref()),
    ];
    for (role, model) in roles {
        let Some(model) = model else { continue };
        let fingerprints = parts(model).into_iter().map(Persist::fingerprint).collect::<Result<Vec<_>, _>>()?;
        search.insert(format!("{role}-fingerprint"), json!(fingerprints));
    }
    if values.search.score() == SearchScore::Implicit {
        search.insert(at::objective::beta.name.to_owned(), json!(values.objective.beta()));
    }
    settings.insert("search".to_owned(), Value::Object(search));
    Ok(settings)
}

/// Moves the finished pairs into place; `wanted` is how many there could be. Of several processes the leader has a writer.
pub(super) fn finish(
    call: &Call<'_>,
    writer: Option<PairWriter>,
    (wanted, folder): (usize, &Path),
) -> Result<(), Failure> {
    let Some(writer) = writer else { return Ok(()) };
    let n = writer.len();
    writer.finish()?;
    if n < wanted {
        call.reporter.info(&format!("{n} of {wanted} pairs are made: the search found no more different sides"));
    }
    call.reporter.info(&sampling::describe_pairs(n, folder));
    Ok(())
}

#[cfg(test)]
mod tests {
    use mdp::Episode;

    use super::*;

    fn found(words: &str, score: f64) -> Found<(), u8> {
        let actions = words.bytes().collect::<Vec<u8>>();
        let (log_probs, gains) = (vec![0.0; actions.len()], vec![0.0; actions.len()]);
        let episode = Episode::whole((), actions);
        Found { episode, score, log_probs, gains, weight: 1.0, is_finished: true }
    }

    fn words(found: &[Found<(), u8>], n: usize) -> Vec<[String; 2]> {
        let text = |found: &Found<(), u8>| actions(found).map(|&byte| char::from(byte)).collect();
        sides(found, n).into_iter().map(|pair| pair.map(text)).collect()
    }

    fn pairs<const N: usize>(pairs: [[&str; 2]; N]) -> Vec<[String; 2]> {
        pairs.map(|pair| pair.map(str::to_owned)).to_vec()
    }

    #[test]
    fn side_a_is_the_best_and_side_b_parts_from_it_first() {
        // Unsorted, as samples and particles are; the last shares nothing with the best but is worse than `bc`.
        let all = [found("abd", -2.0), found("abc", -1.0), found("bc", -3.0), found("axc", -2.5), found("b", -9.0)];
        assert_eq!(words(&all, 1), pairs([["abc", "bc"]]));
        assert_eq!(words(&all, 2), pairs([["abc", "bc"], ["abd", "b"]]));
        assert_eq!(words(&all, 3).len(), 2, "no episode is in two pairs");
    }

    #[test]
    fn equal_episodes_are_one_and_a_single_one_is_both_sides() {
        assert_eq!(words(&[found("ab", -1.0), found("ab", -1.0), found("a", -4.0)], 2), pairs([["ab", "a"]]));
        assert_eq!(words(&[found("ab", -1.0), found("ab", -1.0)], 2), pairs([["ab", "ab"]]));
        assert!(words(&[], 2).is_empty());
    }

    #[test]
    fn an_unfinished_episode_is_worse_than_any_finished_one() {
        let cut = Found { is_finished: false, ..found("abc", -0.5) };
        assert_eq!(words(&[cut, found("b", -9.0)], 1), pairs([["b", "abc"]]));
    }
}
