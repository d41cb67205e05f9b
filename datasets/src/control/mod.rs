//! Segments of continuous control, judged by scores or by labels, and numpy's files of them.
//!
//! Two layouts of `.npz` are read, both as [CPL](https://github.com/jhejna/cpl) lays segments out:
//!
//! | arrays | shapes | meaning |
//! |---|---|---|
//! | `obs`, `action`, a label such as `rl_sum` | `[N, L, observation]`, `[N, L, action]`, `[N]` or `[N, L]` | N segments of L decisions, each with a score: its sum if it has one for each decision |
//! | `obs_1`, `obs_2`, `action_1`, `action_2`, `label` | as above, and `[N]` | N pairs; the label is the probability that the second is better |
//!
//! `reward`, `[N, L]`, is kept if it is there; any other array is left alone. A pair's segments need not begin in one state: the
//! sum of a segment's advantages does not depend on the value of its start.
//!
//! # Examples
//! ```
//! use datasets::control::{JudgedSegments, Labels, Pairing};
//! use datasets::synthetic::bins::BinSegments;
//!
//! let judged = BinSegments::new(0).segments(50, 8);
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("bins.npz");
//! judged.write_npz(std::fs::File::create(&path)?)?;
//! assert_eq!(JudgedSegments::read(&path, None)?, judged);
//!
//! let pairing = Pairing { n_pairs: 100, held_out: 0.2, seed: 0, labels: Labels::Exact };
//! let (train, held_out) = judged.pairs(pairing)?;
//! assert_eq!((train.len(), held_out.len()), (100, 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod file;
mod judged;
mod segments;
#[cfg(test)]
mod tests;

pub use judged::{JudgedSegments, Labels, Pairing, SegmentPair, Verdicts};
pub use segments::Segments;
