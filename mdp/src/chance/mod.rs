//! Random streams addressed by name, and draws from them.
//!
//! A stream is a pure function of its names, not of the time or order of drawing: example 7 gets the same numbers
//! whether it is visited first or last, in a batch of one or of a hundred, before a crash or after it. Every stream is
//! a `ChaCha8` generator:
//!
//! | made by | names | key (32 bytes) | stream number |
//! |---|---|---|---|
//! | [`Noise::stream`] | seed, purpose, index | seed, length and hash of the purpose | index |
//! | [`named`] | family, purpose, numbers | BLAKE3 of purpose and numbers, in the family's context | 0 |
//! | [`Order::new`] | seed, epoch | `seed_from_u64` of the seed | epoch |
//! | [`fork`] | the next 64 bits of another stream | `seed_from_u64` of them | 0 |
//!
//! The keys differ because old seeds must give the same runs, orders and embedded data; new code takes [`Noise`]. Its
//! key is the seed (8 bytes, little endian), the length of the purpose in bytes (8 bytes) and the 128-bit FNV-1a hash of
//! the purpose (16 bytes).
//!
//! ```
//! use mdp::chance::{Noise, unit};
//!
//! let noise = Noise::new(7);
//! let (first, second) = (unit(&mut noise.stream("dropout", 0)), unit(&mut noise.stream("dropout", 1)));
//! assert_ne!(first, second);
//! assert_eq!(first, unit(&mut noise.stream("dropout", 0)));
//! ```
mod draws;
mod order;
mod streams;

pub use draws::{below, permutation, shuffle, standard_normal, standard_normal_pair, unit};
pub use order::{Order, drawn};
pub use streams::{Noise, bits, derived_seed, fork, named};
