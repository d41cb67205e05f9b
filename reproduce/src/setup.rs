use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use recipes::{Bar, Failure, Reporter, Trained};
use train::Monitor;

use crate::Result;

/// How large runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The sizes of the published page: tens of minutes on two cores.
    Full,
    /// A few steps and examples: a smoke test whose numbers mean nothing.
    Quick,
}

impl Scale {
    /// The word for it in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
        }
    }
}

/// The settings of a reproduction.
pub struct Setup<'a> {
    /// The folder of results and runs.
    pub out: PathBuf,
    /// The first of the seeds; those behind it are the next numbers.
    pub seed: u64,
    /// How large runs are.
    pub scale: Scale,
    /// The receiver of progress and messages.
    pub reporter: &'a dyn Reporter,
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("out", &self.out).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A reporter for what is one part of many: its progress is shown, its own account of itself is not.
#[derive(Clone, Copy)]
pub(crate) struct Hushed<'a>(&'a dyn Reporter);

impl Reporter for Hushed<'_> {
    fn info(&self, _: &str) {}

    fn notice(&self, line: &str) {
        self.0.notice(line);
    }

    fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar> {
        self.0.bar(what, total)
    }

    fn monitor(&self) -> Box<dyn Monitor + '_> {
        self.0.monitor()
    }

    fn trained(&self, _: &Trained) {}

    fn stop(&self) -> &AtomicBool {
        self.0.stop()
    }
}

/// The numbers of everything by scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Seeds of everything that learns.
    pub(crate) seeds: u64,
    /// Exact problems of each kind.
    pub(crate) problems: u64,
    /// Preferences that tables learn from.
    pub(crate) preferences: &'static [usize],
    /// Optimiser steps of a table.
    pub(crate) table_steps: usize,
    /// Strengths of the KL penalty of language models; the middle one stands for all where one is enough.
    pub(crate) betas: &'static [f64],
    /// Optimiser steps of a language model's DPO, with 32 pairs each.
    pub(crate) dpo_steps: usize,
    /// Optimiser steps of a language model's SFT, with 32 answers each.
    pub(crate) sft_steps: usize,
    /// Held-out pairs of an evaluation.
    pub(crate) held_out: usize,
    /// Prompts of a search.
    pub(crate) prompts: usize,
    /// Widths of beams.
    pub(crate) widths: &'static [usize],
    /// Answers with so many errors whose credit is measured.
    pub(crate) answers: usize,
    /// Optimiser steps of a denoiser that learns by forward noising, with 8 pairs each.
    pub(crate) denoiser_steps: usize,
    /// Captions and requests that the oracle of pictures judges.
    pub(crate) pictures: u64,
    /// Optimiser steps of a refiner and a generator.
    pub(crate) hybrid_steps: usize,
    /// Requests whose refinements are searched.
    pub(crate) requests: usize,
    /// Recorded segments of continuous control, and pairs of them.
    pub(crate) segments: [usize; 2],
    /// Optimiser steps of a controller's behaviour cloning, and of its preferences, with 64 pairs each.
    pub(crate) control_steps: [usize; 2],
    /// Scenes that a controller acts in.
    pub(crate) scenes: usize,
    /// Optimiser steps of the planner's and the decoder's demonstrations, and of both from preferences.
    pub(crate) video_steps: [usize; 3],
    /// The figure of verifiers.
    pub(crate) reasoning: TrialSizes,
    /// The figure of agents.
    pub(crate) agents: TrialSizes,
    /// The figure of conversation trees.
    pub(crate) trees: TreeSizes,
}

/// The numbers of the figure of conversation trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeSizes {
    /// Optimiser steps of the base, with 32 demonstrations each.
    pub(crate) base_steps: usize,
    /// Trees that are learned from.
    pub(crate) trees: usize,
    /// Held-out trees, and as many users.
    pub(crate) tests: usize,
}

/// The numbers of a figure whose policies learn from their own tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrialSizes {
    /// Optimiser steps of the base, with 32 demonstrations each.
    pub(crate) base_steps: usize,
    /// Problems that are tried, and how often each.
    pub(crate) tried: [u64; 2],
    /// Optimiser steps of imitation and of DPO, with 32 examples each.
    pub(crate) steps: [usize; 2],
    /// Test problems.
    pub(crate) tests: u64,
}

const FULL: Sizes = Sizes {
    seeds: 3,
    problems: 20,
    preferences: &[128, 512, 2048, 8192],
    table_steps: 1000,
    betas: &[0.1, 0.3, 1.0],
    dpo_steps: 96,
    sft_steps: 48,
    held_out: 128,
    prompts: 64,
    widths: &[1, 2, 5, 10, 20],
    answers: 96,
    denoiser_steps: 104,
    pictures: 128,
    hybrid_steps: 96,
    requests: 32,
    segments: [6000, 12_000],
    control_steps: [600, 1200],
    scenes: 256,
    video_steps: [700, 1200, 256],
    reasoning: TrialSizes { base_steps: 1000, tried: [1024, 8], steps: [64, 128], tests: 512 },
    agents: TrialSizes { base_steps: 600, tried: [1024, 4], steps: [64, 64], tests: 512 },
    trees: TreeSizes { base_steps: 400, trees: 192, tests: 96 },
};

const QUICK: Sizes = Sizes {
    seeds: 2,
    problems: 2,
    preferences: &[32, 128],
    table_steps: 20,
    betas: &[0.3],
    dpo_steps: 2,
    sft_steps: 2,
    held_out: 4,
    prompts: 2,
    widths: &[1, 5],
    answers: 4,
    denoiser_steps: 2,
    pictures: 4,
    hybrid_steps: 2,
    requests: 2,
    segments: [40, 40],
    control_steps: [2, 2],
    scenes: 4,
    video_steps: [4, 2, 2],
    reasoning: TrialSizes { base_steps: 2, tried: [4, 2], steps: [2, 2], tests: 2 },
    agents: TrialSizes { base_steps: 2, tried: [4, 2], steps: [2, 2], tests: 2 },
    trees: TreeSizes { base_steps: 2, trees: 8, tests: 2 },
};

impl Setup<'_> {
    /// The seeds of everything that learns.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.sizes().seeds).map(|index| self.seed.wrapping_add(index))
    }

    pub(crate) fn sizes(&self) -> &'static Sizes {
        match self.scale {
            Scale::Full => &FULL,
            Scale::Quick => &QUICK,
        }
    }

    /// A reporter for the parts.
    pub(crate) fn hushed(&self) -> Hushed<'_> {
        Hushed(self.reporter)
    }

    /// Fails if a stop is requested.
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.reporter.stop().load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        Ok(())
    }
}
