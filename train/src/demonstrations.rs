use mdp::{EpisodeOf, Mdp};
use objectives::Demonstration;
use policies::BoxError;

use crate::{Item, Source};

/// In-memory episodes to imitate, for [`objectives::Sft`].
pub struct Demonstrations<M: Mdp> {
    episodes: Vec<EpisodeOf<M>>,
}

impl<M: Mdp> Demonstrations<M> {
    /// Imitates episodes.
    pub fn new(episodes: Vec<EpisodeOf<M>>) -> Self {
        Self { episodes }
    }
}

impl<M: Mdp> std::fmt::Debug for Demonstrations<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demonstrations").field("episodes", &self.episodes.len()).finish()
    }
}

impl<M: Mdp> FromIterator<EpisodeOf<M>> for Demonstrations<M> {
    fn from_iter<I: IntoIterator<Item = EpisodeOf<M>>>(episodes: I) -> Self {
        Self::new(episodes.into_iter().collect())
    }
}

impl<M: Mdp> Source for Demonstrations<M> {
    type Mdp = M;
    type Feedback = Demonstration;
    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.episodes.len()
    }

    fn item(&self, index: usize) -> Result<Item<M, Demonstration>, BoxError> {
        let episode = self.episodes.get(index).ok_or_else(|| format!("there is no demonstration {index}"))?;
        let size = episode.n_decisions();
        Ok(Item { episodes: vec![episode.clone()], feedback: vec![Demonstration { episode: 0 }], size })
    }
}

#[cfg(test)]
mod tests {
    use mdp::{Episode, Finite, FiniteState};
    use objectives::Sft;
    use policies::Tabular;

    use super::*;
    use crate::{Settings, Training};

    #[test]
    fn a_policy_imitates_what_it_is_shown() {
        let mdp = Finite::bandit(3);
        let take = |action| Episode::whole(mdp.start(&0), vec![action]);
        let data: Demonstrations<Finite> = [2, 2, 2, 1].map(take).into_iter().collect();
        let settings =
            Settings { batch_size: 4, max_steps: Some(3000), rate: 1.0, warmup_steps: 0, ..Settings::default() };
        let mut policy = Tabular::new(&mdp);
        let objective = Sft::default();
        let training = Training::new(&mdp, &data, &objective).settings(settings);
        training.steps(&mut policy).unwrap().for_each(|step| drop(step.unwrap()));
        let learned = policy.log_probs(&mdp, &FiniteState { time: 0, place: 0 }).unwrap();
        assert!((learned[2].exp() - 0.75).abs() < 1e-2 && (learned[1].exp() - 0.25).abs() < 1e-2, "{learned:?}");
        assert!(data.item(4).unwrap_err().to_string().contains("no demonstration 4"));
    }
}
