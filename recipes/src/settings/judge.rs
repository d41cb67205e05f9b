use super::{Texts, section};

section! {
    /// The judge of pairs.
    judge: Judge {
        /// The judge: oracle (of embedded problems), openai (a server's chat completions, at `judge.endpoint`), people
        /// (`rounds.rounds` wait for label), the folder of a reward model, or a run (by its implicit reward)
        judge: String = "oracle".to_owned(), "judge";
        /// A file of samples to compare with `judge.b`, as sample writes it; once for each system
        a: Texts = Texts::default(), "a";
        /// The file of samples that every `judge.a` is compared with: answers to the same prompts
        b: Option<String> = None, "b";
        /// openai: the base address of the server, with https:// or http://, up to /v1
        endpoint: Option<String> = None, "endpoint";
        /// openai: the name of the model at the server
        model: Option<String> = None, "judge-model";
        /// openai: the question, a text with {prompt}, {answer_a} and {answer_b}: a file, builtin:answers, builtin:summaries or
        /// builtin:pictures; without it answers, or pictures
        template: Option<String> = None, "judge-template";
        /// openai: asks about every pair in both orders, which must agree; without it the order is drawn for each pair
        both_orders: bool = false, "judge-both-orders";
        /// openai: the most tokens of a reply
        max_tokens: usize = 512, "judge-max-tokens";
        /// openai: more fields of a request, as a JSON object; null leaves one out
        fields: Option<String> = None, "judge-fields";
        /// openai: requests under way at once
        parallel: usize = 4, "judge-parallel";
        /// openai: the most requests a minute; 0: no limit
        rate: f64 = 0.0, "judge-rate";
        /// openai: seconds for a reply
        timeout: f64 = 120.0, "judge-timeout";
        /// openai: tries after the first, each after twice the wait of the one before (1 s at first), or as the server asks
        retries: usize = 6, "judge-retries";
        /// openai: the environment variable with the key
        key_variable: String = "OPENAI_API_KEY".to_owned(), "judge-key-variable";
        /// openai: certificates in PEM that are trusted in place of the usual ones
        ca: Option<String> = None, "judge-ca";
        /// openai: the address of a proxy
        proxy: Option<String> = None, "judge-proxy";
        /// openai: the file of answers, which are never asked for again; without it beside the pairs or in the run's folder
        cache: Option<String> = None, "judge-cache";
        /// openai: the price of a million tokens of questions, for the cost
        prompt_price: f64 = 0.0, "judge-prompt-price";
        /// openai: the price of a million tokens of answers, for the cost
        answer_price: f64 = 0.0, "judge-answer-price";
        /// Steps between comparisons of the policy with the start on held-out prompts; 0: none
        every: usize = 0, "judge-every";
        /// `judge.every`: prompts of each comparison
        prompts: usize = 64, "judge-prompts";
    }
}
