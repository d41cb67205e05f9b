use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the paper that is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    /// Section 4: the lemma, the theorem, the equations.
    Theory,
    /// Figure 1 and Section 5.1: credit assignment.
    Credit,
    /// Figure 2 and Section 5.2: search by likelihood.
    Beams,
    /// Figure 3, left, and Section 5.3: rewards during training.
    Dynamics,
    /// Figure 3, right, and Section 5.3: rewards during training in a general MDP.
    Cpl,
    /// Appendix B: sampling schemes of denoising decisions.
    Diffusion,
    /// Figure 4 and Appendix D: a refiner and a generator as one policy.
    Hybrid,
    /// Appendix D.1: latent codes and a decoder of clips.
    Video,
    /// Sections 5.2 and 6: reasoning from checked answers, and verifiers.
    Verifier,
    /// Section 6: agents that learn from whole trajectories.
    Agents,
    /// Section 6: conversations as trees.
    Trees,
}

impl Figure {
    /// All figures, in the paper's order.
    pub const ALL: [Self; 11] = [
        Self::Theory,
        Self::Credit,
        Self::Beams,
        Self::Dynamics,
        Self::Cpl,
        Self::Diffusion,
        Self::Hybrid,
        Self::Video,
        Self::Verifier,
        Self::Agents,
        Self::Trees,
    ];

    /// The word for it on a command line and in file names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Theory => "theory",
            Self::Credit => "credit",
            Self::Beams => "beams",
            Self::Dynamics => "dynamics",
            Self::Cpl => "cpl",
            Self::Diffusion => "diffusion",
            Self::Hybrid => "hybrid",
            Self::Video => "video",
            Self::Verifier => "verifier",
            Self::Agents => "agents",
            Self::Trees => "trees",
        }
    }

    /// The figure of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.word() == word)
    }

    /// What it is in the paper.
    pub fn title(self) -> &'static str {
        match self {
            Self::Theory => "Section 4, on exact problems",
            Self::Credit => "Figure 1, credit assignment",
            Self::Beams => "Figure 2, beam search",
            Self::Dynamics => "Figure 3 (left), rewards during training",
            Self::Cpl => "Figure 3 (right), rewards during training in a general MDP",
            Self::Diffusion => "Appendix B, sampling schemes of diffusion",
            Self::Hybrid => "Figure 4 and Appendix D, a refiner and a generator",
            Self::Video => "Appendix D.1, latent codes and a decoder of clips",
            Self::Verifier => "Sections 5.2 and 6, reasoning and verifiers",
            Self::Agents => "Section 6, agents",
            Self::Trees => "Section 6, conversations as trees",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn words_are_read_back() {
        assert!(Figure::ALL.into_iter().all(|figure| Figure::of(figure.word()) == Some(figure)));
        assert_eq!(Figure::of("all"), None);
    }
}
