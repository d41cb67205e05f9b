use super::choices::{EarlyStoppingName, SearchMethod, SearchScore};
use super::section;

section! {
    /// How a policy's decisions are searched.
    search: Search {
        /// How it searches; refinements: hybrid, a beam of refined prompts with pictures below each
        method: SearchMethod = SearchMethod::Beam, "method";
        /// What it seeks: the log-likelihood, the implicit reward over --reference, or ratio, the log-likelihood and what
        /// --guide has over --guide-reference (weak-to-strong); verifier: the likelihood or implicit reward of --verifier
        score: SearchScore = SearchScore::Likelihood, "score";
        /// Rows of a beam, samples of best-of and verifier, particles of smc, actions that greedy and mcts look at
        width: usize = 5, "width";
        /// Evaluations of policies for each prompt, at most; else none
        budget: Option<usize> = None, "budget";
        /// Beams rank by score / length^this: above 0 favours long answers, below 0 short ones
        length_penalty: f64 = 1.0, "length-penalty";
        /// When a beam ends that has found --width answers; as transformers has it
        early_stopping: EarlyStoppingName = EarlyStoppingName::False, "early-stopping";
        /// diverse: the groups that --width is divided into
        groups: usize = 5, "groups";
        /// diverse: what an action costs for each earlier group's row that took it
        diversity: f64 = 1.0, "diversity";
        /// mcts: simulations for each prompt
        simulations: usize = 32, "simulations";
        /// mcts: the weight of the policy's prior
        exploration: f64 = 1.25, "exploration";
        /// smc: particles are resampled where their effective share falls below this
        threshold: f64 = 0.5, "resample-below";
        /// refinements: pictures drawn of each refined prompt
        pictures: usize = 2, "pictures";
        /// verifier: the model that ranks what was drawn
        verifier: Option<String> = None, "verifier";
        /// ratio: the small model that was tuned
        guide: Option<String> = None, "guide";
        /// ratio: the small model as it was before
        guide_reference: Option<String> = None, "guide-reference";
        /// ratio: the weight of what the guide says
        strength: f64 = 1.0, "strength";
    }
}
