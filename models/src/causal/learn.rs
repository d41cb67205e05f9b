//! Scoring and training over prefix forests.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};
use engine::ops::{LogitForm, LogitQuery, VOCABULARY_NUMBERS, VocabularyQuery, logit_log_prob};
use engine::transfer::{from_host, to_host};
use mdp::token::TokenMdp;
use mdp::{Channels, EpisodeOf};

use super::decoder::Pass;
use super::external::RecordedLogits;
use super::model::CausalLm;
use super::packing::Packing;
use crate::ModelError;

/// Packed tokens per scoring pass: scoring stores nothing, so its memory is that of the widest activation of this many
/// tokens.
const SLICE_TOKENS: usize = 4096;

/// The numbers of a query.
type Numbers = [f64; VOCABULARY_NUMBERS];

/// The state of a forward pass that its backward pass needs.
#[derive(Debug)]
pub struct TokenTape {
    /// `None` if there is nothing to score.
    tape: Option<Tape<'static>>,
    packing: Arc<Packing>,
    /// The passes behind the logits at which `tape` begins, where another library computes the network.
    external: Option<RecordedLogits>,
}

impl CausalLm {
    /// The numbers of every decision, in passes of a bounded number of tokens.
    pub(super) fn score_episodes(&self, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, ModelError> {
        let mut all = self.no_numbers();
        for slice in slices(episodes, SLICE_TOKENS) {
            let numbers = self.score_slice(&episodes[slice.clone()])?;
            check_finite(&numbers, slice.start)?;
            append(&mut all, &numbers);
        }
        Ok(all)
    }

    fn score_slice(&self, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, ModelError> {
        let packing = Packing::of_episodes(episodes, self.limits())?;
        if packing.tokens.is_empty() {
            return Ok(self.channels(&packing, &[]));
        }
        if let Some(external) = self.decoder.external() {
            let reference = self.reference_logits(&packing)?;
            let numbers = self.numbers_of_logits(&external.logits(&packing)?, reference.as_ref(), &packing)?;
            return Ok(self.channels(&packing, &host_rows(&numbers)?));
        }
        let pass = Pass::Scoring;
        let hidden = self.decoder.hidden(packing.reading(), &mut &packing.forest, pass)?;
        let reference = self.reference_numbers(&packing)?;
        let (rows, targets) = packing.rows_and_tokens();
        let query = VocabularyQuery {
            rows: &rows,
            targets: &targets,
            reference: reference.as_ref().map(|(hidden, matrix)| (hidden, matrix)),
            forms: self.logit_forms(),
            diagnostics: self.with_diagnostics,
            collision: self.with_collision,
        };
        let numbers = self.decoder.numbers(&hidden, query, pass)?;
        Ok(self.channels(&packing, &host_rows(&numbers)?))
    }

    /// The numbers of every decision, with a tape for the backward pass.
    pub(super) fn forward_episodes(
        &self,
        episodes: &[EpisodeOf<TokenMdp>],
    ) -> Result<(Channels, TokenTape), ModelError> {
        let recompute = self.decoder.recompute()?;
        let packing = Arc::new(Packing::of_episodes(episodes, self.limits())?);
        if packing.tokens.is_empty() {
            return Ok((self.channels(&packing, &[]), TokenTape { tape: None, packing, external: None }));
        }
        if self.decoder.external().is_some() {
            return self.forward_external(packing);
        }
        let reference = self.reference_numbers(&packing)?;
        let pass = Pass::Training;
        let mut tape = Tape::from_source(|| self.decoder.embed(packing.reading(), pass), recompute)?;
        for layer in 0..self.config().n_layers {
            let (decoder, packing) = (Arc::clone(self.decoder.network()), Arc::clone(&packing));
            tape.run(move |x| decoder.block(layer, x, packing.reading(), &mut &packing.forest, pass))?;
        }
        let (rows, targets) = packing.rows_and_tokens();
        let query = VocabularyQuery {
            rows: &rows,
            targets: &targets,
            reference: reference.as_ref().map(|(hidden, matrix)| (hidden, matrix)),
            forms: self.logit_forms(),
            diagnostics: self.with_diagnostics,
            collision: self.with_collision,
        };
        let numbers = tape.run_kept(|x| self.decoder.numbers(&self.decoder.last_norm(x, pass)?, query, pass))?;
        let channels = self.channels(&packing, &host_rows(numbers)?);
        check_finite(&channels, 0)?;
        Ok((channels, TokenTape { tape: Some(tape), packing, external: None }))
    }

    /// The same where another library computes the network.
    fn forward_external(&self, packing: Arc<Packing>) -> Result<(Channels, TokenTape), ModelError> {
        let recorded = self.decoder.external().map(|external| external.record(&packing)).transpose()?;
        let Some((logits, external)) = recorded else {
            return Ok((self.channels(&packing, &[]), TokenTape { tape: None, packing, external: None }));
        };
        let reference = self.reference_logits(&packing)?;
        let mut tape = Tape::from_input(&logits, Recompute::Nothing)?;
        let numbers = tape.run_kept(|logits| self.numbers_of_logits(logits, reference.as_ref(), &packing))?;
        let channels = self.channels(&packing, &host_rows(numbers)?);
        check_finite(&channels, 0)?;
        Ok((channels, TokenTape { tape: Some(tape), packing, external: Some(external) }))
    }

    /// The numbers of every query, from the logits of the packing's rows.
    fn numbers_of_logits(
        &self,
        logits: &Tensor,
        reference: Option<&Tensor>,
        packing: &Packing,
    ) -> Result<Tensor, EngineError> {
        let (rows, targets) = packing.rows_and_tokens();
        let query = LogitQuery {
            rows: &rows,
            targets: &targets,
            reference,
            diagnostics: self.with_diagnostics,
            collision: self.with_collision,
        };
        Ok(logit_log_prob(logits, query)?)
    }

    /// The logits of the reference of the divergence channel.
    fn reference_logits(&self, packing: &Packing) -> Result<Option<Tensor>, ModelError> {
        self.reference.as_ref().map(|reference| reference.packed_logits(packing)).transpose()
    }

    /// The logits of a packing's rows, `[rows, vocabulary]`.
    pub(super) fn packed_logits(&self, packing: &Packing) -> Result<Tensor, ModelError> {
        if let Some(external) = self.decoder.external() {
            return external.logits(packing);
        }
        let hidden = self.decoder.hidden(packing.reading(), &mut &packing.forest, Pass::Scoring)?;
        Ok(self.decoder.logits(&hidden, Pass::Scoring)?)
    }

    /// Adds the gradient of the sum of slope times number.
    pub(super) fn backward_tape(&mut self, tape: TokenTape, slopes: &Channels) -> Result<(), ModelError> {
        let expected = tape.packing.steps(|_| 0.);
        for steps in [Some(&slopes.log_probs), slopes.divergence.as_ref()].into_iter().flatten() {
            if !steps.same_shape(&expected) {
                return Err(ModelError::Argument {
                    what: "the slopes".into(),
                    expected: format!("{} numbers of {} episodes", expected.values().len(), expected.len()),
                    got: format!("{} of {}, or otherwise divided", steps.values().len(), steps.len()),
                });
            }
        }
        if slopes.divergence.is_some() && self.reference.is_none() {
            return Err(ModelError::Argument {
                what: "the slopes of the divergence".into(),
                expected: "none, as the model has no reference".into(),
                got: "some".into(),
            });
        }
        let Some(passed) = tape.tape else { return Ok(()) };
        let gradient = query_slopes(&tape.packing, slopes, passed.output())?;
        let of_logits = self.decoder.backward(passed, &gradient)?;
        match (tape.external, of_logits) {
            (Some(external), Some(of_logits)) => {
                external.backward(&of_logits, &mut |slopes| self.decoder.add_gradients(slopes))
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// The forms of the model's logits and of its reference's.
    fn logit_forms(&self) -> [LogitForm; 2] {
        let form = |model: &Self| model.config().scales.logits;
        [form(self), self.reference.as_deref().map_or(LogitForm::PLAIN, form)]
    }

    fn no_numbers(&self) -> Channels {
        self.channels(&Packing::default(), &[])
    }

    /// Expands the numbers of queries to those of decisions.
    fn channels(&self, packing: &Packing, numbers: &[Numbers]) -> Channels {
        let column = |column: usize| packing.steps(|query| numbers[query][column]);
        Channels {
            log_probs: column(0),
            divergence: self.reference.is_some().then(|| column(1)),
            entropy: self.with_diagnostics.then(|| column(2)),
            mean_logit: self.with_diagnostics.then(|| column(3)),
            is_likeliest: self.with_diagnostics.then(|| column(4)),
            collision: self.with_collision.then(|| column(5)),
        }
    }
}

/// Sums the slopes of decisions by query, `[N, VOCABULARY_NUMBERS]` in the dtype of `like`.
fn query_slopes(packing: &Packing, slopes: &Channels, like: &Tensor) -> Result<Tensor, ModelError> {
    let mut sums = vec![0.; packing.queries.len() * VOCABULARY_NUMBERS];
    for (column, steps) in [(0, Some(&slopes.log_probs)), (1, slopes.divergence.as_ref())] {
        let Some(steps) = steps else { continue };
        for (&query, slope) in packing.query_of.iter().zip(steps.values()) {
            sums[query as usize * VOCABULARY_NUMBERS + column] += slope;
        }
    }
    Ok(from_host(sums, (packing.queries.len(), VOCABULARY_NUMBERS), like.device())?.to_dtype(like.dtype())?)
}

fn host_rows(numbers: &Tensor) -> Result<Vec<Numbers>, ModelError> {
    let flat = to_host::<f64>(numbers)?;
    Ok(flat.as_chunks::<VOCABULARY_NUMBERS>().0.to_vec())
}

fn check_finite(channels: &Channels, first_episode: usize) -> Result<(), ModelError> {
    let named = [
        ("the log-probability", Some(&channels.log_probs)),
        ("the divergence", channels.divergence.as_ref()),
        ("the entropy", channels.entropy.as_ref()),
        ("the mean logit", channels.mean_logit.as_ref()),
        ("the collision log-probability", channels.collision.as_ref()),
    ];
    for (what, steps) in named.into_iter().filter_map(|(what, steps)| Some((what, steps?))) {
        for (row, values) in steps.rows().enumerate() {
            if let Some(step) = values.iter().position(|value| !value.is_finite()) {
                let episode = first_episode + row;
                return Err(ModelError::not_finite(what, episode, step, values[step]));
            }
        }
    }
    Ok(())
}

fn append(all: &mut Channels, part: &Channels) {
    part.log_probs.rows().for_each(|row| all.log_probs.push(row));
    for (all, part) in [
        (&mut all.divergence, &part.divergence),
        (&mut all.entropy, &part.entropy),
        (&mut all.mean_logit, &part.mean_logit),
        (&mut all.is_likeliest, &part.is_likeliest),
        (&mut all.collision, &part.collision),
    ] {
        if let (Some(all), Some(part)) = (all, part) {
            part.rows().for_each(|row| all.push(row));
        }
    }
}

/// Ranges of episodes with at most `most` tokens each (or one episode); a prompt that repeats the previous one is not
/// counted.
fn slices(episodes: &[EpisodeOf<TokenMdp>], most: usize) -> Vec<std::ops::Range<usize>> {
    let mut slices: Vec<std::ops::Range<usize>> = Vec::new();
    let mut n_tokens = 0;
    let mut before: &[u32] = &[];
    for (index, episode) in episodes.iter().enumerate() {
        let mut own = 0;
        for piece in &episode.pieces {
            let prompt: &[u32] = &piece.start.prompt;
            own += piece.start.response.len() + piece.actions.len();
            own += if prompt == before { 0 } else { prompt.len() };
            before = prompt;
        }
        match slices.last_mut() {
            Some(slice) if n_tokens + own <= most => {
                slice.end = index + 1;
                n_tokens += own;
            }
            _ => {
                slices.push(index..index + 1);
                n_tokens = own + episode.pieces.first().map_or(0, |piece| piece.start.prompt.len());
            }
        }
    }
    slices
}
