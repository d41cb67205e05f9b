use super::choices::RoundReference;
use super::section;

section! {
    /// Rounds of sampling, judging and training.
    rounds: Rounds {
        /// So many times: pairs are made of --prompts by the policy as it is, judged, and learned from
        rounds: Option<usize> = None, "rounds";
        /// --rounds: pairs that are made in each
        pairs: usize = 512, "round-pairs";
        /// --rounds: what each stays close to; moved: the policy that made its pairs, fixed: the one at the start
        reference: RoundReference = RoundReference::Moved, "round-reference";
    }
}
