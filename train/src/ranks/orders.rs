//! What the leader tells the others between steps.
use super::Ranks;
use crate::{Ending, TrainError};

/// What the others do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// They compare with the leader what they start from, and connect their policies.
    Compare,
    /// They take a step with the leader.
    Step,
    /// They score the held-out examples with the leader.
    Evaluate,
    /// They complete the optimiser's state, which the leader saves.
    Save,
    /// The run has ended so.
    End(Ending),
    /// The leader has failed, and says why.
    Fail,
}

impl Order {
    fn byte(self) -> u8 {
        match self {
            Self::Step => 0,
            Self::Fail => 1,
            Self::End(Ending::Done) => 2,
            Self::End(Ending::StoppedEarly) => 3,
            Self::End(Ending::Interrupted) => 4,
            Self::Compare => 5,
            Self::Evaluate => 6,
            Self::Save => 7,
        }
    }
}

/// The leader's side: it always ends with an order that lets the others go.
#[derive(Debug)]
pub(crate) struct Leader<'r> {
    ranks: &'r dyn Ranks,
    /// Whether the others know that the run is over.
    is_over: bool,
}

impl<'r> Leader<'r> {
    pub(crate) fn new(ranks: &'r dyn Ranks) -> Self {
        Self { ranks, is_over: false }
    }

    /// Tells the others that the run is over.
    pub(crate) fn end(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.tell(Order::End(ending));
        }
    }

    /// Passes on the result of work in which all have taken part: where it is an error, each knows it and waits for no order.
    ///
    /// # Errors
    /// The result's own.
    pub(crate) fn all_know<T>(&mut self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        self.is_over |= result.is_err();
        result
    }

    /// Tells the others what they do next.
    pub(crate) fn tell(&self, order: Order) {
        self.ranks.broadcast(&mut vec![order.byte()]);
    }
}

impl Drop for Leader<'_> {
    /// Whatever ends the leader's run lets the others go.
    fn drop(&mut self) {
        if !self.is_over {
            self.tell(Order::Fail);
        }
    }
}

/// The leader's next order.
pub(crate) fn receive(ranks: &dyn Ranks) -> Order {
    let mut bytes = Vec::new();
    ranks.broadcast(&mut bytes);
    let endings = [Ending::Done, Ending::StoppedEarly, Ending::Interrupted].map(Order::End);
    let known = [Order::Compare, Order::Step, Order::Evaluate, Order::Save]
        .into_iter()
        .chain(endings)
        .find(|order| bytes == [order.byte()]);
    known.unwrap_or(Order::Fail)
}
