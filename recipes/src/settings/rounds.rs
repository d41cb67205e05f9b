use super::choices::RoundReference;
use super::section;

section! {
    /// Rounds of sampling, judging and training.
    rounds: Rounds {
        /// Number of rounds: each samples pairs for `sample.prompts`, has them judged, and trains on them
        rounds: Option<usize> = None, "rounds";
        /// `rounds.rounds`: pairs sampled per round
        pairs: usize = 512, "round-pairs";
        /// `rounds.rounds`: the reference of each; moved: the policy that sampled its pairs, fixed: the starting policy
        reference: RoundReference = RoundReference::Moved, "round-reference";
    }
}
