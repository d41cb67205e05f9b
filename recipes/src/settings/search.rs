use super::choices::{EarlyStoppingName, SearchMethod, SearchScore};
use super::section;

section! {
    /// Search over a policy's decisions.
    search: Search {
        /// Search method; refinements: hybrid, beam search over refined prompts with pictures sampled for each
        method: SearchMethod = SearchMethod::Beam, "method";
        /// Score to maximise: log-likelihood; implicit reward against `model.reference`; ratio: log-likelihood plus the
        /// log-ratio of `search.guide` to `search.guide_reference` (weak-to-strong); with `search.method` verifier,
        /// that of `search.verifier`
        score: SearchScore = SearchScore::Likelihood, "score";
        /// Beam width; samples of best-of and verifier, particles of smc, candidate actions of greedy and mcts
        width: usize = 5, "width";
        /// Maximum policy evaluations for each prompt; else unlimited
        budget: Option<usize> = None, "budget";
        /// Exponent of the length that a beam divides scores by: above 0 favours long answers, below 0 short ones
        length_penalty: f64 = 1.0, "length-penalty";
        /// Stopping rule of a beam with `search.width` finished answers, as in transformers
        early_stopping: EarlyStoppingName = EarlyStoppingName::False, "early-stopping";
        /// diverse: number of groups that `search.width` is divided into
        groups: usize = 5, "groups";
        /// diverse: penalty of an action for each row of an earlier group that took it
        diversity: f64 = 1.0, "diversity";
        /// mcts: simulations for each prompt
        simulations: usize = 32, "simulations";
        /// mcts: exploration constant of PUCT
        exploration: f64 = 1.25, "exploration";
        /// smc: resamples when the effective sample size falls below this share of the particles
        threshold: f64 = 0.5, "resample-below";
        /// refinements: pictures sampled for each refined prompt
        pictures: usize = 2, "pictures";
        /// verifier: model that ranks the samples
        verifier: Option<String> = None, "verifier";
        /// ratio: tuned model of the guiding pair
        guide: Option<String> = None, "guide";
        /// ratio: untuned model of the guiding pair
        guide_reference: Option<String> = None, "guide-reference";
        /// ratio: weight of the guiding log-ratio
        strength: f64 = 1.0, "strength";
    }
}

impl SearchMethod {
    /// Whether it draws actions by chance.
    pub fn draws(self) -> bool {
        match self {
            Self::Sample | Self::BestOf | Self::Mcts | Self::Verifier | Self::Smc => true,
            Self::Greedy | Self::Beam | Self::Diverse | Self::Refinements => false,
        }
    }
}
