//! Named random streams, derived seeds and hashed bits.
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::Rng;

/// A family of independent random streams derived from one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    seed: u64,
}

impl Noise {
    /// Creates the family of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed of the family.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns a generator at the start of stream (`purpose`, `index`).
    pub fn stream(&self, purpose: &str, index: u64) -> Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose.len() as u64).to_le_bytes());
        key[16..].copy_from_slice(&fnv1a_128(purpose.as_bytes()).to_le_bytes());
        let mut rng = Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }
}

/// Returns the stream that a family names by a purpose and a list of numbers; the embedded problems use these.
pub fn named(family: &str, purpose: &str, numbers: &[u64]) -> Rng {
    let mut hasher = blake3::Hasher::new_derive_key(family);
    hasher.update(purpose.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Seeds a new generator from the next 64 bits of another, so that the two share no numbers afterwards.
pub fn fork(rng: &mut Rng) -> Rng {
    Rng::seed_from_u64(rng.next_u64())
}

/// Derives a 63-bit seed for a purpose (config files hold 63 bits): a hash of all three arguments, so neighbouring
/// seeds and indices are unrelated.
pub fn derived_seed(seed: u64, purpose: &str, index: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&index.to_le_bytes()).update(purpose.as_bytes());
    u64::from_le_bytes(first_bytes(&hasher)) >> 1
}

/// Hashes a seed and a number to 64 bits. Equal inputs give equal bits; different inputs collide only by chance.
pub fn bits(seed: u64, number: u64) -> u64 {
    u64::from_be_bytes(first_bytes(blake3::Hasher::new().update(&seed.to_le_bytes()).update(&number.to_le_bytes())))
}

fn first_bytes(hasher: &blake3::Hasher) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    first
}

/// The 128-bit FNV-1a hash (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::rand_core::Rng as _;

    use super::{Noise, bits, derived_seed, fnv1a_128, fork, named};

    #[test]
    fn the_hash_is_fnv() {
        // From the authors' list of test vectors.
        assert_eq!(fnv1a_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn streams_are_frozen() {
        let first = |seed, purpose, index| Noise::new(seed).stream(purpose, index).next_u64();
        let values = [first(0, "", 0), first(0, "a", 0), first(0, "a", 1), first(1, "a", 0)];
        // This crate's own first values: a change of them changes every seeded run.
        let frozen = [
            3_641_998_802_033_467_848,
            1_725_201_166_458_429_072,
            3_300_178_871_568_575_206,
            9_068_113_655_287_535_178,
        ];
        assert_eq!(values, frozen);
        assert_eq!(named("a problem", "purpose", &[1, 2]).next_u64(), 4_969_469_375_007_277_754);
        assert_eq!(named("", "", &[]).next_u64(), 13_175_191_722_081_286_425);
        let seeds = [derived_seed(0, "", 0), derived_seed(1, "run", 2)];
        assert_eq!(seeds, [412_081_642_177_280_370, 2_056_877_665_152_851_158]);
        assert_eq!([bits(0, 0), bits(1, 5)], [16_533_523_438_862_888_971, 8_199_604_405_971_992_790]);
    }

    #[test]
    fn a_fork_leaves_its_parent_behind_one_number() {
        let (mut parent, mut same) = (Noise::new(1).stream("a", 0), Noise::new(1).stream("a", 0));
        let mut child = fork(&mut parent);
        same.next_u64();
        assert_eq!(parent, same);
        assert_ne!(child.next_u64(), parent.next_u64());
    }

    #[test]
    fn seeds_of_neighbours_share_nothing() {
        let mut seeds = BTreeSet::new();
        for seed in 0..20 {
            for index in 0..20 {
                for purpose in ["pairs", "run"] {
                    let derived = derived_seed(seed, purpose, index);
                    assert!(i64::try_from(derived).is_ok());
                    assert!(seeds.insert(derived), "{seed} {purpose} {index}");
                }
                assert!(seeds.insert(bits(seed, index)), "{seed} {index}");
                assert!(seeds.insert(named("family", "purpose", &[seed, index]).next_u64()), "{seed} {index}");
            }
        }
    }
}
