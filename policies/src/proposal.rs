/// A candidate action.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal<A> {
    /// The action.
    pub action: A,
    /// log pi(a|s), in nats.
    pub log_prob: f64,
    /// Probability of making this proposal: pi(a|s) for the exact top k of a finite policy, 1/k for k draws.
    pub prior: f64,
}

impl<A> Proposal<A> {
    /// Converts the action.
    pub fn map<B>(self, action: impl FnOnce(A) -> B) -> Proposal<B> {
        Proposal { action: action(self.action), log_prob: self.log_prob, prior: self.prior }
    }
}
