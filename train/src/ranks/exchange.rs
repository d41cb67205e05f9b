//! The numbers of slices, from those who scored them to all.
use mdp::{Channels, Steps};

use super::Ranks;
use crate::{Measures, TrainError};

/// What is known of a slice's episodes once they are scored: the policy's numbers and the reference's.
pub(crate) type Numbers = (Channels, Option<Steps>);

/// The numbers of all slices in their order, from the ranks that scored them: slice `k` belongs to rank `k` modulo their number.
///
/// # Errors
/// This rank or another could not score its slices; all ranks return an error then.
pub(crate) fn exchange(
    ranks: &dyn Ranks,
    own: Result<Vec<Numbers>, TrainError>,
    slices: usize,
) -> Result<Vec<Numbers>, TrainError> {
    let mut sent = vec![f64::from(u8::from(own.is_ok()))];
    for numbers in own.iter().flatten() {
        write(&mut sent, numbers);
    }
    let all = ranks.gather(&sent);
    own?;
    if let Some(rank) = all.iter().position(|values| values.first() != Some(&1.0)) {
        return Err(TrainError::OtherRank { rank });
    }
    let mut read: Vec<_> = all.iter().map(|values| values[1..].iter().copied()).collect();
    let size = read.len();
    let numbers = (0..slices).map(|slice| (slice % size, numbers(&mut read[slice % size])));
    numbers.map(|(rank, numbers)| numbers.ok_or(TrainError::OtherRank { rank })).collect()
}

/// Joins the measures of all ranks in their order; each has the same names or none.
///
/// # Errors
/// A rank has failed; all ranks return an error then.
pub(crate) fn join_measures(ranks: &dyn Ranks, own: Result<Measures, TrainError>) -> Result<Measures, TrainError> {
    let mut sent = vec![f64::from(u8::from(own.is_ok()))];
    let mut names = Vec::new();
    for (name, sum, count) in own.iter().flat_map(Measures::totals) {
        names.push(name.to_owned());
        sent.extend([sum, count]);
    }
    let all = ranks.gather(&sent);
    own?;
    if let Some(rank) = all.iter().position(|values| values.first() != Some(&1.0)) {
        return Err(TrainError::OtherRank { rank });
    }
    let mut joined = Measures::default();
    for totals in all.iter().map(|values| &values[1..]) {
        let totals = names.iter().zip(totals.chunks_exact(2));
        joined.join(totals.map(|(name, total)| (name.as_str(), total[0], total[1])).collect());
    }
    Ok(joined)
}

fn write(to: &mut Vec<f64>, (policy, reference): &Numbers) {
    let Channels { log_probs, divergence, entropy, mean_logit, is_likeliest, collision } = policy;
    let some = [divergence, entropy, mean_logit, is_likeliest, collision, reference].map(Option::as_ref);
    for steps in std::iter::once(Some(log_probs)).chain(some) {
        let Some(steps) = steps else {
            to.push(-1.0);
            continue;
        };
        to.push(steps.len() as f64);
        to.extend(steps.rows().map(|row| row.len() as f64));
        to.extend_from_slice(steps.values());
    }
}

/// The numbers of the next slice.
fn numbers(from: &mut impl Iterator<Item = f64>) -> Option<Numbers> {
    let log_probs = steps(from)??;
    let channels = Channels {
        log_probs,
        divergence: steps(from)?,
        entropy: steps(from)?,
        mean_logit: steps(from)?,
        is_likeliest: steps(from)?,
        collision: steps(from)?,
    };
    Some((channels, steps(from)?))
}

/// The next steps; the inner option is of a channel that may not be there.
#[expect(clippy::option_option, reason = "the outer one is the end of what was sent")]
fn steps(from: &mut impl Iterator<Item = f64>) -> Option<Option<Steps>> {
    let rows = from.next()?;
    if rows < 0.0 {
        return Some(None);
    }
    let lens: Vec<usize> = from.by_ref().take(rows as usize).map(|len| len as usize).collect();
    let rows = lens.into_iter().map(|len| from.by_ref().take(len).collect::<Vec<f64>>());
    Some(Some(rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alone;

    #[test]
    fn numbers_arrive_as_they_were_sent() {
        let of = |rows: &[&[f64]]| rows.iter().collect::<Steps>();
        let first = Channels { entropy: Some(of(&[&[0.5], &[]])), ..of(&[&[-1.0, f64::MIN_POSITIVE], &[]]).into() };
        let sent = vec![(first, Some(of(&[&[2.0, 3.0], &[]]))), (Channels::default(), None)];
        assert_eq!(exchange(&Alone, Ok(sent.clone()), 2).unwrap(), sent);
        let error = exchange(&Alone, Err(TrainError::NoReference), 0).unwrap_err();
        assert!(matches!(error, TrainError::NoReference), "{error}");
        let mut measures = Measures::default();
        measures.add("a", 2.0);
        assert_eq!(join_measures(&Alone, Ok(measures.clone())).unwrap(), measures);
    }
}
