use super::choices::{SamplerName, SearchMethod};
use super::{Texts, section};

section! {
    /// Sampling of answers and pictures.
    sample: Sample {
        /// Prompts: a file of records, .txt (one a line), - for standard input, or builtin:NAME; train: for `rounds.rounds`
        prompts: Option<String> = None, "prompts";
        /// A prompt; once for each
        prompt: Texts = Texts::default(), "prompt";
        /// Makes user turns of plain prompts and puts them through the model's chat template
        chat: bool = false, "chat";
        /// The system prompt of chats that have none
        system: Option<String> = None, "system";
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
        /// Draws from tokens that have at least this share of the likeliest one's probability
        min_p: Option<f64> = None, "min-p";
        /// Divides the logits of tokens that the text has already (multiplies negative ones); 1: none
        repetition_penalty: f64 = 1.0, "repetition-penalty";
        /// The most tokens of an answer; without it `data.max_length` bounds prompt and answer together
        max_new_tokens: Option<usize> = None, "max-new-tokens";
        /// A text that ends an answer, which is cut before it; once for each
        stop: Texts = Texts::default(), "stop";
        /// How images are drawn
        sampler: SamplerName = SamplerName::Ddim, "sampler";
        /// Denoising steps of an image
        steps: usize = 20, "sample-steps";
        /// ddim: the share of fresh noise in every step; flow-sde: its factor (0.7 in Flow-GRPO)
        eta: f64 = 0.0, "eta";
        /// Classifier-free guidance; 1 or less (Z-Image: 0 or less), or not given: none. FLUX.1 dev is told of it as a
        /// number, in training too; else 3.5
        guidance: Option<f64> = None, "guidance";
        /// A file for every latent on the way and its log-density; with `data.data` builtin:shapes judged by the oracle
        save_trajectories: Option<String> = None, "save-trajectories";
        /// Share of sampled pairs (`label.pairs`, `rounds.rounds`, builtin:chimera) that skip the refiner: both
        /// pictures are generated from the raw request
        null_share: f64 = 0.25, "null-share";
    }
}
