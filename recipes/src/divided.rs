//! Work that several processes divide: what each has made travels as numbers.
use ::search::{Found, Outcome, Spent};
use ::train::Ranks;
use mdp::Steps;
use mdp::diffusion::{DenoisingAction, Latent};
use mdp::hybrid::Half;

use crate::Failure;

/// Does the chunks of a list, of which rank `r` of `n` works on `r`, `r + n`, ..; the leader's `done` gets the number of each and
/// what was made, in their order. One process does one chunk after the other.
///
/// # Errors
/// Those of the work; another process has failed; one was asked to stop, which ends the work of all.
pub(crate) fn in_turns<T: Travels>(
    ranks: &dyn Ranks,
    n_chunks: usize,
    mut work: impl FnMut(usize) -> Result<T, Failure>,
    mut done: impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if ranks.size() == 1 {
        return (0..n_chunks).try_for_each(|chunk| done(chunk, work(chunk)?));
    }
    for first in (0..n_chunks).step_by(ranks.size()) {
        let own = first + ranks.rank();
        let made = if own < n_chunks { work(own).map(Some) } else { Ok(None) };
        for (chunk, made) in (first..n_chunks).zip(exchange(ranks, made)?) {
            done(chunk, made)?;
        }
    }
    Ok(())
}

/// How the work of a process has ended.
const DONE: f64 = 0.0;
const INTERRUPTED: f64 = 1.0;
const FAILED: f64 = 2.0;

/// What all have made, by their ranks, for the leader; nothing for the others.
fn exchange<T: Travels>(ranks: &dyn Ranks, own: Result<Option<T>, Failure>) -> Result<Vec<T>, Failure> {
    let mut sent = vec![match &own {
        Ok(_) => DONE,
        Err(failure) if failure.is_interrupt() => INTERRUPTED,
        Err(_) => FAILED,
    }];
    if let Ok(Some(made)) = &own {
        made.write(&mut sent);
    }
    let all = ranks.gather(&sent);
    own?;
    if let Some(rank) = all.iter().position(|sent| sent[0] == FAILED) {
        return Err(Failure::OfOtherRank(rank));
    }
    if all.iter().any(|sent| sent[0] == INTERRUPTED) {
        return Err(Failure::Interrupted);
    }
    if !ranks.is_leader() {
        return Ok(Vec::new());
    }
    let read =
        |(rank, sent): (usize, &Vec<f64>)| T::read(&mut sent[1..].iter().copied()).ok_or(Failure::OfOtherRank(rank));
    // The last ranks may have had no chunk.
    all.iter().enumerate().filter(|(_, sent)| sent.len() > 1).map(read).collect()
}

/// The leader's values, for all.
///
/// # Errors
/// What the leader has sent can't be read.
pub(crate) fn told<T: Travels>(ranks: &dyn Ranks, own: T) -> Result<T, Failure> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    let mut sent = Vec::new();
    if ranks.is_leader() {
        own.write(&mut sent);
    }
    T::read(&mut ranks.gather(&sent)[0].iter().copied()).ok_or(Failure::OfOtherRank(0))
}

/// The number of chunks of so many.
pub(crate) fn chunks(len: usize, at_once: usize) -> usize {
    len.div_ceil(at_once.max(1))
}

/// The places of a chunk in its list.
pub(crate) fn places(chunk: usize, at_once: usize, len: usize) -> std::ops::Range<usize> {
    (chunk * at_once).min(len)..((chunk + 1) * at_once).min(len)
}

/// What can be sent as numbers: the same arrives.
pub(crate) trait Travels: Sized {
    /// Adds the numbers of this value.
    fn write(&self, to: &mut Vec<f64>);

    /// The next value; `None` where the numbers are those of another.
    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self>;
}

macro_rules! numbers_travel {
    ($($kind:ty),*) => {$(
        impl Travels for $kind {
            fn write(&self, to: &mut Vec<f64>) {
                to.push((*self).into());
            }

            fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
                Some(from.next()? as Self)
            }
        }
    )*};
}
numbers_travel!(u8, u32, f32);

impl Travels for f64 {
    fn write(&self, to: &mut Vec<f64>) {
        to.push(*self);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        from.next()
    }
}

/// Counts are far below 2^53.
impl Travels for usize {
    fn write(&self, to: &mut Vec<f64>) {
        to.push(*self as f64);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(from.next()? as Self)
    }
}

impl Travels for bool {
    fn write(&self, to: &mut Vec<f64>) {
        u8::from(*self).write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(u8::read(from)? != 0)
    }
}

fn write_all<'t, T: Travels + 't>(values: impl ExactSizeIterator<Item = &'t T>, to: &mut Vec<f64>) {
    values.len().write(to);
    values.for_each(|value| value.write(to));
}

impl<T: Travels> Travels for Vec<T> {
    fn write(&self, to: &mut Vec<f64>) {
        write_all(self.iter(), to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        (0..usize::read(from)?).map(|_| T::read(from)).collect()
    }
}

impl Travels for Latent {
    fn write(&self, to: &mut Vec<f64>) {
        write_all(self.iter(), to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Vec::read(from).map(Self::from)
    }
}

impl Travels for String {
    fn write(&self, to: &mut Vec<f64>) {
        write_all(self.as_bytes().iter(), to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Self::from_utf8(Vec::read(from)?).ok()
    }
}

impl<T: Travels> Travels for Option<T> {
    fn write(&self, to: &mut Vec<f64>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
}

impl<A: Travels, B: Travels> Travels for (A, B) {
    fn write(&self, to: &mut Vec<f64>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl<T: Travels> Travels for [T; 2] {
    fn write(&self, to: &mut Vec<f64>) {
        for value in self {
            value.write(to);
        }
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some([T::read(from)?, T::read(from)?])
    }
}

impl Travels for Steps {
    fn write(&self, to: &mut Vec<f64>) {
        self.len().write(to);
        self.rows().for_each(|row| write_all(row.iter(), to));
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        (0..usize::read(from)?).map(|_| Vec::<f64>::read(from)).collect()
    }
}

impl Travels for DenoisingAction {
    fn write(&self, to: &mut Vec<f64>) {
        let (first, noise) = match self {
            Self::Next(latent) => (latent, None),
            Self::Toward { clean, noise } => (clean, Some(noise.clone())),
        };
        first.write(to);
        noise.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        let first = Latent::read(from)?;
        Some(match Option::read(from)? {
            None => Self::Next(first),
            Some(noise) => Self::Toward { clean: first, noise },
        })
    }
}

impl<O: Travels, I: Travels> Travels for Half<O, I> {
    fn write(&self, to: &mut Vec<f64>) {
        match self {
            Self::Outer(outer) => {
                true.write(to);
                outer.write(to);
            }
            Self::Inner(inner) => {
                false.write(to);
                inner.write(to);
            }
        }
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(if bool::read(from)? { Self::Outer(O::read(from)?) } else { Self::Inner(I::read(from)?) })
    }
}

/// What a search found from one start, without the start, which every process has.
pub(crate) struct Sent<A> {
    found: Vec<(Vec<A>, Numbers)>,
    evaluations: usize,
    estimate: Option<f64>,
}

/// The numbers of an episode.
struct Numbers {
    log_probs: Vec<f64>,
    gains: Vec<f64>,
    score: f64,
    weight: f64,
    is_finished: bool,
}

impl<A> Sent<A> {
    /// An outcome without its start, from which every episode leads in one piece.
    pub(crate) fn of<S>(outcome: Outcome<S, A>) -> Self {
        let found = outcome.found.into_iter().map(|found| {
            let Found { episode, score, log_probs, gains, weight, is_finished } = found;
            let actions = episode.pieces.into_iter().flat_map(|piece| piece.actions).collect();
            (actions, Numbers { log_probs, gains, score, weight, is_finished })
        });
        Self { found: found.collect(), evaluations: outcome.spent.evaluations, estimate: outcome.estimate }
    }

    /// The outcome from its start.
    pub(crate) fn from<S: Clone>(self, start: &S) -> Outcome<S, A> {
        let found = self.found.into_iter().map(|(actions, numbers)| {
            let Numbers { log_probs, gains, score, weight, is_finished } = numbers;
            let episode = mdp::Episode::whole(start.clone(), actions);
            Found { episode, score, log_probs, gains, weight, is_finished }
        });
        let spent = Spent { evaluations: self.evaluations };
        Outcome { found: found.collect(), spent, estimate: self.estimate }
    }
}

impl Travels for Numbers {
    fn write(&self, to: &mut Vec<f64>) {
        self.log_probs.write(to);
        self.gains.write(to);
        self.score.write(to);
        self.weight.write(to);
        self.is_finished.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(Self {
            log_probs: Vec::read(from)?,
            gains: Vec::read(from)?,
            score: f64::read(from)?,
            weight: f64::read(from)?,
            is_finished: bool::read(from)?,
        })
    }
}

impl<A: Travels> Travels for Sent<A> {
    fn write(&self, to: &mut Vec<f64>) {
        self.found.write(to);
        self.evaluations.write(to);
        self.estimate.write(to);
    }

    fn read(from: &mut dyn Iterator<Item = f64>) -> Option<Self> {
        Some(Self { found: Vec::read(from)?, evaluations: usize::read(from)?, estimate: Option::read(from)? })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use ::train::{Alone, Threads};
    use mdp::Episode;

    use super::*;

    fn arrives<T: Travels + PartialEq + Debug>(sent: &T) {
        let mut numbers = Vec::new();
        sent.write(&mut numbers);
        let mut numbers = numbers.into_iter();
        assert_eq!(T::read(&mut numbers).as_ref(), Some(sent));
        assert_eq!(numbers.next(), None);
    }

    #[test]
    fn what_was_sent_arrives() {
        arrives(&(String::from("ä and b"), vec![3_u32, u32::MAX]));
        arrives(&[Some(0.1_f64), None]);
        arrives(&[vec![0.5_f64], vec![]].iter().collect::<Steps>());
        let latent = Latent::from([0.1_f32, f32::MIN_POSITIVE]);
        let toward = DenoisingAction::Toward { clean: latent.clone(), noise: latent.clone() };
        arrives(&vec![Half::<u32, _>::Outer(7), Half::Inner(DenoisingAction::Next(latent)), Half::Inner(toward)]);
        assert_eq!(Vec::<f64>::read(&mut [2.0, 1.0].into_iter()), None);
        assert_eq!(String::read(&mut [1.0, 255.0].into_iter()), None);
    }

    #[test]
    fn outcomes_arrive_with_their_starts() {
        let (log_probs, gains) = (vec![-1.0, -2.0], vec![0.5, 0.25]);
        let episode = Episode::whole('s', vec![4_u32, 5]);
        let found = Found { episode, score: -3.0, log_probs, gains, weight: 0.5, is_finished: true };
        let outcome = Outcome { found: vec![found], spent: Spent { evaluations: 9 }, estimate: Some(-0.5) };
        let mut numbers = Vec::new();
        Sent::of(outcome.clone()).write(&mut numbers);
        let read = Sent::<u32>::read(&mut numbers.into_iter()).unwrap();
        assert_eq!(read.from(&'s'), outcome);
    }

    #[test]
    fn the_leader_gets_every_chunk_in_order() {
        let work = |ranks: &dyn Ranks| {
            let (mut worked, mut made) = (Vec::new(), Vec::new());
            let work = |chunk| {
                worked.push(chunk);
                Ok((chunk, format!("made {chunk}")))
            };
            in_turns(ranks, 7, work, |chunk, of| {
                made.push((chunk, of));
                Ok(())
            })
            .unwrap();
            (worked, made)
        };
        let (worked, expected) = work(&Alone);
        assert_eq!(worked, [0, 1, 2, 3, 4, 5, 6]);
        std::thread::scope(|scope| {
            let running: Vec<_> = Threads::new(3).into_iter().map(|ranks| scope.spawn(move || work(&ranks))).collect();
            let of: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(of[0], (vec![0, 3, 6], expected));
            assert_eq!(of[1], (vec![1, 4], vec![]));
            assert_eq!(of[2], (vec![2, 5], vec![]));
        });
        std::thread::scope(|scope| {
            let told = |ranks: Threads| scope.spawn(move || told(&ranks, vec![ranks.rank() + 5]).unwrap());
            let running: Vec<_> = Threads::new(3).into_iter().map(told).collect();
            assert!(running.into_iter().all(|thread| thread.join().unwrap() == [5]));
        });
        assert_eq!((chunks(7, 3), places(2, 3, 7), chunks(0, 3)), (3, 6..7, 0));
    }

    #[test]
    fn an_error_of_the_work_is_the_error_of_all() {
        let failed = in_turns::<usize>(&Alone, 2, |_| Err(Failure::usage("no")), |_, _| Ok(()));
        assert!(failed.is_err());
    }
}
