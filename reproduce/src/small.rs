//! Small language models that a figure trains from nothing, on problems of its own.
use std::path::{Path, PathBuf};

use candle_core::Device;
use engine::Noise;
use engine::optim::AdamW;
use mdp::chance::fork;
use mdp::token::TokenMdp;
use mdp::{EpisodeOf, Mdp};
use models::causal::{CausalConfig, CausalLm, LearnerOptions};
use models::formats::{Extras, ModelFiles, ModelTokenizer, load};
use objectives::{BoxObjective, ChosenLikelihood, Comparison, Logistic, Pairwise, Sft, WeightedSum};
use policies::{Policy, act};
use recipes::Failure;
use serde_json::json;
use train::{Decay, Demonstrations, Preferences, Settings, Source};

use crate::fit::fit;
use crate::{Result, Setup};

/// Episodes that are sampled at once.
const AT_ONCE: usize = 256;

/// The problem of a small language model, with its tokenizer.
pub(crate) struct Small {
    pub(crate) mdp: TokenMdp,
    extras: Extras,
    tokenizer: ModelTokenizer,
}

/// How a run learns: its length, and the peak of its learning rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lesson {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) rate: f64,
}

impl Lesson {
    /// Examples of a step.
    pub(crate) const BATCH: usize = 32;

    fn settings(self) -> Settings {
        self.settings_of(Self::BATCH)
    }

    /// The settings with another number of examples of a step.
    pub(crate) fn settings_of(self, batch: usize) -> Settings {
        Settings {
            seed: self.seed,
            batch_size: batch,
            micro_batch_size: batch,
            max_steps: Some(self.steps),
            rate: self.rate,
            warmup_steps: (self.steps / 20).max(1),
            decay: Decay::Cosine,
            max_gradient_norm: Some(20.0),
            keep_checkpoints: 1,
            ..Settings::default()
        }
    }
}

/// How DPO weighs: the strength of its KL penalty, and a weight of the better side's negative log-likelihood, which keeps a
/// small model from making both sides unlikely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preferring {
    pub(crate) beta: f64,
    pub(crate) sft_weight: f64,
}

impl Preferring {
    fn objective(self) -> Result<WeightedSum<Comparison>> {
        let mut terms: Vec<(f64, BoxObjective<Comparison>)> =
            vec![(1.0, Box::new(Pairwise::new(Logistic::new(self.beta)?)))];
        if self.sft_weight > 0.0 {
            terms.push((self.sft_weight, Box::new(Pairwise::new(ChosenLikelihood))));
        }
        Ok(WeightedSum::new(terms)?)
    }
}

impl Small {
    /// A problem with the tokenizer of its grammar.
    pub(crate) fn new(tokenizer_json: String, end: &str, max_length: usize) -> Result<Self> {
        let mut extras = Extras::default();
        extras.insert("tokenizer.json", tokenizer_json.into_bytes());
        let settings = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end });
        extras.insert("tokenizer_config.json", settings.to_string().into_bytes());
        let tokenizer = ModelTokenizer::from_extras(Path::new("small"), &extras, None)?;
        let tokenizer = tokenizer.ok_or_else(|| Failure::failed("a grammar without a tokenizer"))?;
        let mdp = TokenMdp { vocabulary: tokenizer.n_tokens() as u32, eos: tokenizer.eos.clone(), max_length };
        Ok(Self { mdp, extras, tokenizer })
    }

    /// A randomly initialised Llama of a width and so many layers.
    pub(crate) fn untrained(&self, (width, n_layers): (usize, usize), seed: u64) -> Result<ModelFiles> {
        let config = CausalConfig::from_json(json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": self.tokenizer.n_tokens(),
            "hidden_size": width, "intermediate_size": 8 * width / 3, "num_hidden_layers": n_layers,
            "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": width / 4,
            "max_position_embeddings": self.mdp.max_length, "hidden_act": "silu", "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": true, "initializer_range": 0.06, "bos_token_id": 0,
            "eos_token_id": 0,
        }))?;
        let tensors = config.initial_tensors(&Noise::new(seed), &Device::Cpu)?;
        let (path, extras, tokenizer) = (PathBuf::from("small"), self.extras.clone(), Some(self.tokenizer.clone()));
        Ok(ModelFiles { extras, ..ModelFiles::plain(&path, config, tensors, tokenizer) })
    }
}

fn learner(start: &ModelFiles) -> Result<CausalLm> {
    let optimizer = Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.01)?);
    Ok(start.clone().trainable(LearnerOptions::new(optimizer))?)
}

/// Samples an episode from each start, with generators forked from one.
pub(crate) fn sampled<M: Mdp>(
    setup: &Setup<'_>,
    mdp: &M,
    policy: &dyn Policy<M>,
    starts: &[M::State],
    rng: &mut mdp::Rng,
) -> Result<Vec<EpisodeOf<M>>> {
    let mut episodes = Vec::with_capacity(starts.len());
    for starts in starts.chunks(AT_ONCE) {
        setup.go_on()?;
        let mut rngs: Vec<mdp::Rng> = starts.iter().map(|_| fork(rng)).collect();
        let longest = vec![usize::MAX; starts.len()];
        episodes.extend(act(mdp, policy.cursor(mdp, starts)?, &longest, &mut rngs, &mut |_| Ok(()))?);
    }
    Ok(episodes)
}

/// The episodes of a problem, each with whether it is right.
pub(crate) type Tried<'e> = Vec<(&'e EpisodeOf<TokenMdp>, bool)>;

/// The right episodes of every problem, each once.
pub(crate) fn right_ones(tried: &[Tried<'_>]) -> Vec<EpisodeOf<TokenMdp>> {
    let mut all = Vec::new();
    for episodes in tried {
        let mut own: Vec<&EpisodeOf<TokenMdp>> = Vec::new();
        for (episode, _) in episodes.iter().filter(|(_, is_right)| *is_right) {
            if !own.contains(episode) {
                own.push(episode);
            }
        }
        all.extend(own.into_iter().cloned());
    }
    all
}

/// Pairs of a right and a wrong episode of every problem, in the order of the draws, at most so many of each.
pub(crate) fn right_and_wrong(tried: &[Tried<'_>], most: usize) -> Vec<[EpisodeOf<TokenMdp>; 2]> {
    let of_problem = |episodes: &Tried<'_>| {
        let of = |wanted: bool| episodes.iter().filter(move |(_, is_right)| *is_right == wanted);
        let both = of(true).zip(of(false)).take(most);
        both.map(|((right, _), (wrong, _))| [(*right).clone(), (*wrong).clone()]).collect::<Vec<_>>()
    };
    tried.iter().flat_map(of_problem).collect()
}

impl Setup<'_> {
    /// Imitates episodes from a start, or reads the model that did; what has nothing to imitate stays what it is.
    pub(crate) fn imitated(
        &self,
        name: &str,
        (mdp, start): (&TokenMdp, &ModelFiles),
        lesson: Lesson,
        episodes: impl FnOnce() -> Result<Vec<EpisodeOf<TokenMdp>>>,
    ) -> Result<ModelFiles> {
        self.learned(name, start, |folder| {
            let data = Demonstrations::<TokenMdp>::new(episodes()?);
            if data.is_empty() {
                return Ok(false);
            }
            let problem = (mdp, &data, None);
            fit(self, problem, &Sft::default(), &mut learner(start)?, &lesson.settings(), folder)?;
            Ok(true)
        })
    }

    /// Learns by DPO from pairs, the better one first, from a start that is its reference, or reads the model that did; what has
    /// no pair to learn from stays what it is.
    pub(crate) fn preferring(
        &self,
        name: &str,
        (mdp, start): (&TokenMdp, &ModelFiles),
        (lesson, preferring): (Lesson, Preferring),
        pairs: Vec<[EpisodeOf<TokenMdp>; 2]>,
    ) -> Result<ModelFiles> {
        let data: Preferences<TokenMdp> = pairs.into_iter().map(|[better, worse]| (better, worse)).collect();
        self.comparing(name, (mdp, start), (lesson.settings(), preferring), &data)
    }

    /// The same from any source of comparisons.
    pub(crate) fn comparing<S: Source<Mdp = TokenMdp, Feedback = Comparison>>(
        &self,
        name: &str,
        (mdp, start): (&TokenMdp, &ModelFiles),
        (settings, preferring): (Settings, Preferring),
        data: &S,
    ) -> Result<ModelFiles> {
        self.learned(name, start, |folder| {
            if data.is_empty() {
                return Ok(false);
            }
            let (reference, settings) = (start.clone().frozen()?, Settings { beta: preferring.beta, ..settings });
            let objective = preferring.objective()?;
            fit(self, (mdp, data, Some(&reference)), &objective, &mut learner(start)?, &settings, folder)?;
            Ok(true)
        })
    }

    /// The model that a run leaves, once it was trained; the start, if there is nothing to learn.
    fn learned(&self, name: &str, start: &ModelFiles, train: impl FnOnce(&Path) -> Result<bool>) -> Result<ModelFiles> {
        let folder = self.out.join("runs").join(name);
        if !folder.join("model").is_dir() && !train(&folder)? {
            return Ok(start.clone());
        }
        Ok(load(&folder.join("model"), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use mdp::Episode;
    use mdp::token::TokenState;

    use super::*;

    #[test]
    fn the_right_are_taken_once_and_the_wrong_beside_them() {
        let [a, b, c] = [1, 2, 3].map(|token| Episode::whole(TokenState::new([9]), vec![token]));
        let tried = [vec![(&a, true), (&a, true), (&b, false), (&c, true)], vec![(&b, false), (&c, false)], vec![]];
        assert_eq!(right_ones(&tried), [a.clone(), c.clone()]);
        assert_eq!(right_and_wrong(&tried, 5), [[a.clone(), b.clone()]]);
        assert!(right_and_wrong(&tried, 0).is_empty());
    }
}
