//! Rate limiting of wrong tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The counting window; all counts are then reset.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of wrong tokens per address.
const PER_ADDRESS: usize = 10;
/// Maximum number of wrong tokens in total. Addresses that gave the right token before are exempt.
const IN_ALL: usize = 100;
/// Maximum number of remembered addresses with the right token.
const REMEMBERED: usize = 4096;

/// Counts of wrong tokens by address.
#[derive(Debug, Default)]
pub(crate) struct Tries(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: Option<Instant>,
    wrong: BTreeMap<IpAddr, usize>,
    known: BTreeSet<IpAddr>,
}

impl Tries {
    /// Calls `is_right` if the address has attempts left.
    ///
    /// Returns `None` if it has none, without comparing, so that the result reveals nothing about the token.
    pub(crate) fn compare(&self, address: IpAddr, is_right: impl FnOnce() -> bool) -> Option<bool> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        if counts.since.is_some_and(|since| since.elapsed() >= WINDOW) {
            counts.since = None;
            counts.wrong.clear();
        }
        let own = counts.wrong.get(&address).copied().unwrap_or(0);
        let in_all: usize = counts.wrong.values().sum();
        if own >= PER_ADDRESS || (in_all >= IN_ALL && !counts.known.contains(&address)) {
            return None;
        }
        let is_right = is_right();
        if !is_right {
            counts.since.get_or_insert_with(Instant::now);
            *counts.wrong.entry(address).or_default() += 1;
        } else if counts.known.len() < REMEMBERED {
            counts.known.insert(address);
        }
        Some(is_right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn never() -> bool {
        panic!("nothing is compared")
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_ten_tries_a_minute() {
        let tries = Tries::default();
        for _ in 0..10 {
            assert_eq!(tries.compare(address(1), || false), Some(false));
        }
        assert_eq!(tries.compare(address(1), never), None);
        assert_eq!(tries.compare(address(2), || true), Some(true), "others go on");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(tries.compare(address(1), never), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tries.compare(address(1), || true), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_have_a_hundred_but_for_whom_is_known() {
        let tries = Tries::default();
        assert_eq!(tries.compare(address(200), || true), Some(true));
        for try_ in 0..100 {
            assert_eq!(tries.compare(address(try_ / 5), || false), Some(false), "{try_}");
        }
        assert_eq!(tries.compare(address(100), never), None);
        assert_eq!(tries.compare(address(200), || true), Some(true));
        tokio::time::advance(WINDOW).await;
        assert_eq!(tries.compare(address(100), || false), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn right_tokens_are_never_counted() {
        let tries = Tries::default();
        for _ in 0..500 {
            assert_eq!(tries.compare(address(1), || true), Some(true));
        }
    }
}
