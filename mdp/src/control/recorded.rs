use std::sync::Arc;

use super::{Continuous, Control, is_control};
use crate::{Episode, Mdp, Piece};

/// The problem of recorded decisions, whose dynamics are unknown: a state is an observation, and nothing is known of what
/// follows a decision but the next observation, which begins a piece of its own.
///
/// So a recorded segment is an episode with a piece for each decision ([`Recorded::episode`]), which every policy of observations
/// can score and learn from. It can't be acted in: `None`, the state after a decision, is terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Numbers of an observation.
    pub observation_size: usize,
    /// Numbers of an action.
    pub action_size: usize,
}

impl Recorded {
    /// The episode of a segment: a piece with one decision for each observation and the action taken there.
    pub fn episode<'s>(
        decisions: impl IntoIterator<Item = (&'s [f32], &'s [f32])>,
    ) -> Episode<Option<Arc<[f32]>>, Control> {
        let pieces = decisions.into_iter().map(|(observation, action)| Piece {
            start: Some(Arc::from(observation)),
            actions: vec![action.iter().map(|&number| f64::from(number)).collect()],
            weight: 1.0,
        });
        Episode { pieces: pieces.collect() }
    }
}

impl Mdp for Recorded {
    type Context = Arc<[f32]>;
    type State = Option<Arc<[f32]>>;
    type Action = Control;

    fn start(&self, observation: &Arc<[f32]>) -> Option<Arc<[f32]>> {
        Some(Arc::clone(observation))
    }

    fn step(&self, _state: &Option<Arc<[f32]>>, _action: &Control) -> Option<Arc<[f32]>> {
        None
    }

    fn is_terminal(&self, state: &Option<Arc<[f32]>>) -> bool {
        state.is_none()
    }

    fn allows(&self, state: &Option<Arc<[f32]>>, action: &Control) -> bool {
        state.is_some() && is_control(action, self.action_size)
    }
}

impl Continuous for Recorded {
    fn observation_size(&self) -> usize {
        self.observation_size
    }

    fn action_size(&self) -> usize {
        self.action_size
    }

    fn observe(&self, state: &Option<Arc<[f32]>>) -> Vec<f64> {
        state.iter().flat_map(|observation| observation.iter()).map(|&number| f64::from(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::{Rng, laws};

    #[test]
    fn a_segment_is_an_episode_of_single_decisions() {
        let mdp = Recorded { observation_size: 2, action_size: 1 };
        let decisions: [(&[f32], &[f32]); 2] = [(&[0.5, 1.0], &[0.25]), (&[2.0, 3.0], &[-1.0])];
        let episode = Recorded::episode(decisions);
        assert_eq!(episode.n_decisions(), 2);
        laws::check_episode(&mdp, &episode).unwrap();
        assert_eq!(mdp.observe(&episode.pieces[1].start), [2.0, 3.0]);
        assert_eq!(episode.pieces[1].actions, [[-1.0]]);
    }

    #[test]
    fn it_keeps_the_laws() {
        let mdp = Recorded { observation_size: 1, action_size: 1 };
        let contexts = [Arc::from([0.5f32])];
        let one = |_: &_, _: &mut _| Some(vec![0.5]);
        laws::check(&mdp, &contexts, laws::Walks::default(), &mut Rng::seed_from_u64(0), one).unwrap();
        let state = mdp.start(&contexts[0]);
        assert!(!mdp.allows(&state, &vec![f64::NAN]) && !mdp.allows(&state, &vec![0.0, 1.0]));
    }
}
