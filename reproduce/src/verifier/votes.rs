//! The choice among several answers to a problem.
use crate::statistics::mean;

/// An answer as it is judged and scored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Whether it is right.
    pub(super) is_right: bool,
    /// What it says; `None` if it says nothing.
    pub(super) answer: Option<u8>,
    /// Its log-probability by the model that wrote it, in nats.
    pub(super) own: f64,
    /// Its log-probability by the verifier, in nats.
    pub(super) verifier: f64,
    /// Its log-probability by the verifier's reference, in nats.
    pub(super) reference: f64,
}

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The answer that most say.
    Vote,
    /// The likeliest by the model that wrote them.
    Own,
    /// The likeliest by the verifier (V-STaR).
    Likelihood,
    /// That of the highest implicit reward of the verifier.
    Reward,
    /// A right one, if there is one: the most that any way can do.
    Best,
}

impl Way {
    pub(super) const ALL: [Self; 5] = [Self::Vote, Self::Own, Self::Likelihood, Self::Reward, Self::Best];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vote => "majority vote",
            Self::Own => "own likelihood",
            Self::Likelihood => "verifier's likelihood",
            Self::Reward => "verifier's implicit reward",
            Self::Best => "any is right",
        }
    }

    /// Whether the chosen one of some candidates is right; of equals the first is chosen.
    fn is_right(self, among: &[Candidate]) -> bool {
        let by = |score: &dyn Fn(&Candidate) -> f64| {
            let better = |a: &'_ Candidate, b: &'_ Candidate| score(b) > score(a);
            among.iter().reduce(|best, next| if better(best, next) { next } else { best })
        };
        let chosen = match self {
            Self::Best => return among.iter().any(|one| one.is_right),
            Self::Vote => {
                let votes = |one: &Candidate| {
                    let n = among.iter().filter(|other| other.answer == one.answer).count();
                    if one.answer.is_some() { n as f64 } else { 0.0 }
                };
                by(&votes)
            }
            Self::Own => by(&|one| one.own),
            Self::Likelihood => by(&|one| one.verifier),
            Self::Reward => by(&|one| one.verifier - one.reference),
        };
        chosen.is_some_and(|one| one.is_right)
    }

    /// The share of problems whose choice among `k` candidates is right: the mean over all groups of `k` in their order.
    pub(super) fn accuracy(self, problems: &[Vec<Candidate>], k: usize) -> f64 {
        let of_problem = |candidates: &Vec<Candidate>| {
            mean(candidates.chunks_exact(k).map(|among| f64::from(u8::from(self.is_right(among)))))
        };
        mean(problems.iter().map(of_problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(answer: Option<u8>, own: f64, verifier: f64, reference: f64) -> Candidate {
        Candidate { is_right: answer == Some(7), answer, own, verifier, reference }
    }

    #[test]
    fn each_way_chooses_by_its_own_number() {
        let among = [
            candidate(Some(3), -1.0, -4.0, -2.0),
            candidate(Some(3), -2.0, -5.0, -2.0),
            candidate(Some(7), -3.0, -4.5, -9.0),
            candidate(None, -4.0, -9.0, -9.0),
        ];
        let right = Way::ALL.map(|way| way.is_right(&among));
        // The vote is for 3, the likeliest by both models is a 3, and the verifier has moved towards 7.
        assert_eq!(right, [false, false, false, true, true]);
        assert!(Way::Likelihood.is_right(&among[1..]) && !Way::Vote.is_right(&[]));
        // Those that say nothing are no vote, however many they are; of equals the first is chosen.
        let silent =
            [candidate(None, 0.0, 0.0, 0.0), candidate(None, 0.0, 0.0, 0.0), candidate(Some(7), 0.0, 0.0, 0.0)];
        assert!(Way::Vote.is_right(&silent) && !Way::Own.is_right(&silent));
    }

    #[test]
    fn groups_are_averaged_before_problems() {
        let (right, wrong) = (candidate(Some(7), 0.0, 0.0, 0.0), candidate(Some(1), 0.0, 0.0, 0.0));
        let problems = [vec![right, wrong, wrong, wrong], vec![right; 4]];
        assert_eq!(Way::Best.accuracy(&problems, 1), 0.625);
        assert_eq!(Way::Best.accuracy(&problems, 2), 0.75);
        assert_eq!(Way::Best.accuracy(&problems, 4), 1.0);
    }
}
