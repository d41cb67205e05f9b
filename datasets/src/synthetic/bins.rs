//! Segments of bin picking, scored by the oracle's advantage.
//!
//! [`mdp::control::BinPicking`] is the problem and its oracle. The recorded policies are clumsy: each follows the oracle with a
//! share of its velocity that is drawn for the episode, with noise, and with one command in ten the wrong way round. A segment
//! is a part of an episode, and its score the sum of the oracle's advantages in it: minus the regret, which
//! [CPL](https://arxiv.org/abs/2310.13639) takes people to compare.
//!
//! ```
//! use datasets::synthetic::bins::BinSegments;
//!
//! let judged = BinSegments::new(7).segments(20, 8);
//! assert_eq!((judged.segments.len(), judged.segments.length()), (20, 8));
//! assert_eq!(judged, BinSegments::new(7).segments(20, 8));
//! ```
use mdp::chance::{below, named, standard_normal, unit};
use mdp::control::{BinPicking, Continuous, Control, Picking, Scene};
use mdp::{Mdp, Rng};

use crate::control::{JudgedSegments, Segments, Verdicts};

/// The name of the problem's random streams.
const FAMILY: &str = "bin picking";

/// The segments of a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinSegments {
    /// The problem.
    pub mdp: BinPicking,
    seed: u64,
}

/// A segment with its score and rewards.
struct Recording {
    observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    score: f64,
}

impl BinSegments {
    /// The largest share of the oracle's velocity that a recorded policy has; the least is 0.
    pub const MOST_SKILL: f64 = 0.9;
    /// The standard deviation of noise on the velocity.
    pub const NOISE: f64 = 0.4;
    /// The probability that a command of the gripper is the opposite of the oracle's.
    pub const WRONG_COMMANDS: f64 = 0.1;
    /// The standard deviation of noise on the command, which is 1 or -1 otherwise.
    pub const COMMAND_NOISE: f64 = 0.2;

    /// The segments of a seed, of the usual problem.
    pub fn new(seed: u64) -> Self {
        Self { mdp: BinPicking::default(), seed }
    }

    /// The first `n` segments of `length` decisions, with rewards of -1 for each decision. More segments have the fewer as their first.
    ///
    /// # Panics
    /// If `n` is below 2, or if `length` is 0 or beyond the problem's horizon.
    pub fn segments(&self, n: usize, length: usize) -> JudgedSegments {
        assert!(n >= 2 && length > 0 && length <= self.mdp.horizon, "no such segments: {n} of {length}");
        let (mut observations, mut actions, mut rewards, mut scores) = (vec![], vec![], vec![], vec![]);
        for index in 0..n {
            let recording = self.recording(index as u64, length);
            observations.extend(recording.observations);
            actions.extend(recording.actions);
            rewards.extend(recording.rewards);
            scores.push(recording.score);
        }
        let sizes = (self.mdp.observation_size(), self.mdp.action_size());
        let segments = Segments::new(observations, actions, length, sizes);
        let judged =
            segments.and_then(|segments| JudgedSegments::new(segments, Verdicts::Scores(scores), Some(rewards)));
        judged.expect("the problem's segments are of its sizes, and finite")
    }

    /// Scenes that no segment begins in, for policies to act in.
    pub fn scenes(&self, n: usize) -> Vec<Scene> {
        (0..n as u64).map(|index| Scene::draw(&mut named(FAMILY, "test scene", &[self.seed, index]))).collect()
    }

    fn recording(&self, index: u64, length: usize) -> Recording {
        for attempt in 0.. {
            let mut rng = named(FAMILY, "segment", &[self.seed, index, attempt]);
            let episode = self.episode(&mut rng);
            // Episodes that end too early have no segment.
            if let Some(n_starts) = (episode.len() + 1).checked_sub(length).filter(|n| *n > 0) {
                let begin = below(&mut rng, n_starts as u64) as usize;
                return self.recorded(&episode[begin..begin + length]);
            }
        }
        unreachable!("some episode is longer: the slowest last to the horizon")
    }

    /// An episode of a clumsy policy.
    fn episode(&self, rng: &mut Rng) -> Vec<(Picking, Control)> {
        let mut state = self.mdp.start(&Scene::draw(rng));
        let skill = Self::MOST_SKILL * unit(rng);
        let mut episode = Vec::new();
        while !self.mdp.is_terminal(&state) {
            let oracle = self.mdp.oracle(&state);
            let mut velocity = |ahead: f64| skill * ahead + Self::NOISE * standard_normal(rng);
            let mut action = vec![velocity(oracle[0]), velocity(oracle[1])];
            let command = if unit(rng) < Self::WRONG_COMMANDS { -oracle[2] } else { oracle[2] };
            action.push(command + Self::COMMAND_NOISE * standard_normal(rng));
            let next = self.mdp.step(&state, &action);
            episode.push((state, action));
            state = next;
        }
        episode
    }

    fn recorded(&self, decisions: &[(Picking, Control)]) -> Recording {
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32);
        Recording {
            observations: decisions.iter().flat_map(|(state, _)| narrow(self.mdp.observe(state))).collect(),
            actions: decisions.iter().flat_map(|(_, action)| narrow(action.clone())).collect(),
            rewards: vec![-1.0; decisions.len()],
            score: decisions.iter().map(|(state, action)| self.mdp.advantage(state, action)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_parts_of_episodes_and_more_have_the_fewer_as_their_first() {
        let problem = BinSegments::new(3);
        let (few, more) = (problem.segments(5, 8), problem.segments(9, 8));
        assert_eq!(few.segments.observations(), &more.segments.observations()[..few.segments.observations().len()]);
        let (Verdicts::Scores(scores), Some(rewards)) = (&few.verdicts, &few.rewards) else { panic!("scores") };
        assert!(scores.iter().all(|score| (-24.0..=1e-9).contains(score)), "{scores:?}");
        assert!(rewards.iter().all(|reward| *reward == -1.0));
        assert_ne!(few, BinSegments::new(4).segments(5, 8));
        // The gripper moves by at most its reach between two observations of a segment.
        for segment in 0..few.segments.len() {
            let places: Vec<&[f32]> =
                few.segments.decisions(segment).map(|(observation, _)| &observation[..2]).collect();
            assert!(places.windows(2).all(|two| (two[0][0] - two[1][0]).hypot(two[0][1] - two[1][1]) < 0.2001));
        }
    }

    #[test]
    fn segments_are_frozen() {
        // A change of these changes every run on them.
        let judged = BinSegments::new(0).segments(2, 8);
        let Verdicts::Scores(scores) = &judged.verdicts else { panic!("scores") };
        let numbers = judged.segments.observations().iter().chain(judged.segments.actions());
        let sum: f64 = numbers.map(|number| f64::from(*number)).sum();
        assert_eq!(format!("{:.4} {:.4} {sum:.3}", scores[0], scores[1]), "-7.1180 -5.1761 -48.928");
    }

    #[test]
    fn scores_tell_skills_apart() {
        let judged = BinSegments::new(1).segments(400, 8);
        let Verdicts::Scores(scores) = &judged.verdicts else { panic!("scores") };
        let mean = scores.iter().sum::<f64>() / 400.0;
        let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / 400.0).sqrt();
        // Progress of about two decisions in eight, with a wide spread.
        assert!((-6.5..-4.5).contains(&mean) && deviation > 1.0, "{mean} {deviation}");
    }
}
