//! Responses to prompts, many at once.

use engine::Rng;
use mdp::EpisodeOf;
use mdp::token::{TokenMdp, TokenState};
use policies::{act_until, one_each};

use super::cursor::{GROUP, TokenCursor};
use super::draw::GenerationConfig;
use super::model::CausalLm;
use super::packing::check_inputs;
use crate::ModelError;

impl CausalLm {
    /// Continues every prompt until it ends or its response has as many tokens as it may.
    ///
    /// Each prompt has its own generator, so what is drawn for one does not depend on the others. A response ends with
    /// the end token, where one was drawn.
    ///
    /// # Errors
    /// An empty prompt, tokens that the model does not know, a prompt beyond the model's positions, settings that make
    /// no sense, logits that are not finite, fewer generators than prompts.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        sampling: &GenerationConfig,
        rngs: &mut [Rng],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let longest = vec![sampling.max_new; prompts.len()];
        self.generate_within(prompts, &longest, sampling, rngs)
    }

    /// As [`CausalLm::generate`], with a limit for each prompt's response in place of one for all.
    ///
    /// # Errors
    /// As [`CausalLm::generate`].
    pub fn generate_within(
        &self,
        prompts: &[Vec<u32>],
        longest: &[usize],
        sampling: &GenerationConfig,
        rngs: &mut [Rng],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        self.generate_until(prompts, longest, sampling, rngs, &mut |_| false)
    }

    /// As [`CausalLm::generate_within`]; a response also ends behind the token where `ends` says so of its tokens.
    ///
    /// # Errors
    /// As [`CausalLm::generate`].
    pub fn generate_until(
        &self,
        prompts: &[Vec<u32>],
        longest: &[usize],
        sampling: &GenerationConfig,
        rngs: &mut [Rng],
        ends: &mut dyn FnMut(&[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        if rngs.len() != prompts.len() {
            return Err(ModelError::Argument {
                what: "the generators".into(),
                expected: format!("one for each of {} prompts", prompts.len()),
                got: rngs.len().to_string(),
            });
        }
        let vocabulary = sampling.vocabulary.unwrap_or(self.config().vocabulary).min(self.config().vocabulary);
        let mdp = TokenMdp { vocabulary: vocabulary as u32, eos: sampling.eos.clone(), max_length: usize::MAX };
        let starts: Vec<TokenState> = prompts.iter().map(|prompt| TokenState::new(prompt.as_slice())).collect();
        let episodes = self.act_from(&mdp, &starts, longest, sampling, rngs, ends)?;
        let response =
            |episode: EpisodeOf<TokenMdp>| episode.pieces.into_iter().flat_map(|piece| piece.actions).collect();
        Ok(episodes.into_iter().map(response).collect())
    }

    /// Acts from states, `GROUP` at a time, as far as the model's positions reach.
    pub(super) fn act_from(
        &self,
        mdp: &TokenMdp,
        starts: &[TokenState],
        longest: &[usize],
        sampling: &GenerationConfig,
        rngs: &mut [Rng],
        ends: &mut dyn FnMut(&[u32]) -> bool,
    ) -> Result<Vec<EpisodeOf<TokenMdp>>, ModelError> {
        sampling.check()?;
        one_each("lengths", starts.len(), longest.len())?;
        for (index, start) in starts.iter().enumerate() {
            check_inputs(self.limits(), index, start.len(), &start.tokens().collect::<Vec<_>>())?;
        }
        let room =
            |(start, longest): (&TokenState, &usize)| (self.config().max_positions + 1 - start.len()).min(*longest);
        let longest: Vec<usize> = starts.iter().zip(longest).map(room).collect();
        let mut episodes = Vec::with_capacity(starts.len());
        for ((starts, longest), rngs) in starts.chunks(GROUP).zip(longest.chunks(GROUP)).zip(rngs.chunks_mut(GROUP)) {
            let cursor = Box::new(TokenCursor::open(self, mdp, starts, sampling)?);
            episodes.extend(act_until(mdp, cursor, longest, rngs, &mut |_| Ok(()), ends)?);
        }
        Ok(episodes)
    }
}
