//! What travels between processes, as numbers.
use ::search::{Found, Outcome, Spent};
use mdp::Steps;
use mdp::diffusion::{DenoisingAction, Latent};
use mdp::hybrid::Half;

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
}
