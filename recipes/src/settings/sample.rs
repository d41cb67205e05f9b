use super::choices::{SamplerName, SearchMethod};
use super::section;

section! {
    /// Sampling of answers and pictures.
    sample: Sample {
        /// Prompts: a file of records, .txt (one a line), or builtin:NAME; train: for `rounds.rounds`
        prompts: Option<String> = None, "prompts";
        /// Answers to each prompt
        n: usize = 1, "n";
        /// Searches for answers by this method instead of drawing them; train: for the pairs of `rounds.rounds`
        search: Option<SearchMethod> = None, "search";
        /// Reads only this many prompts
        limit: Option<usize> = None, "limit-prompts";
        /// 0 takes the likeliest token
        temperature: f64 = 1.0, "temperature";
        /// Draws from the k likeliest tokens only
        top_k: Option<usize> = None, "top-k";
        /// Draws from the fewest tokens that have this probability together
        top_p: Option<f64> = None, "top-p";
        /// How images are drawn
        sampler: SamplerName = SamplerName::Ddim, "sampler";
        /// Denoising steps of an image
        steps: usize = 20, "sample-steps";
        /// ddim: the share of fresh noise in every step
        eta: f64 = 0.0, "eta";
        /// Classifier-free guidance; 1 or less: none
        guidance: f64 = 1.0, "guidance";
        /// A file for every latent on the way and its log-density; with `data.data` builtin:shapes judged by the oracle
        save_trajectories: Option<String> = None, "save-trajectories";
        /// Share of sampled pairs (`label.pairs`, `rounds.rounds`, builtin:chimera) that skip the refiner: both
        /// pictures are generated from the raw request
        null_share: f64 = 0.25, "null-share";
    }
}
