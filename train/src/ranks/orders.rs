//! What the leader tells the others between steps.
use super::Ranks;
use crate::Ending;

/// What the others do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// They take a step with the leader.
    Step,
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

    /// Tells the others that a step comes.
    pub(crate) fn step(&self) {
        self.tell(Order::Step);
    }

    /// Tells the others that the run is over.
    pub(crate) fn end(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.tell(Order::End(ending));
        }
    }

    /// Notes that a step has failed, which all have seen.
    pub(crate) fn has_failed_together(&mut self) {
        self.is_over = true;
    }

    fn tell(&self, order: Order) {
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
    let known = std::iter::once(Order::Step).chain(endings).find(|order| bytes == [order.byte()]);
    known.unwrap_or(Order::Fail)
}
