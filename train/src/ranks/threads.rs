//! Ranks as threads of one process.
use std::sync::{Arc, Barrier, Mutex, PoisonError};

use super::Ranks;

/// Threads of one process as [`Ranks`], each with a policy of its own: for tests of what several processes do.
///
/// Each belongs to one thread. A thread that ends early leaves the others waiting.
///
/// # Examples
/// ```
/// use train::{Ranks, Threads};
///
/// let sums = std::thread::scope(|scope| {
///     let of = |ranks: Threads| {
///         move || {
///             let mut values = [ranks.rank() as f64, 1.0];
///             ranks.sum(&mut values);
///             values
///         }
///     };
///     let running: Vec<_> = Threads::new(3).into_iter().map(|ranks| scope.spawn(of(ranks))).collect();
///     running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
/// });
/// assert_eq!(sums, [[3.0, 3.0]; 3]);
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    room: Arc<Room>,
}

/// What the threads share.
#[derive(Debug)]
struct Room {
    door: Barrier,
    /// What each thread has brought last.
    brought: Mutex<Vec<Vec<u64>>>,
}

impl Threads {
    /// The ranks of `size` threads.
    pub fn new(size: usize) -> Vec<Self> {
        let room = Arc::new(Room { door: Barrier::new(size), brought: Mutex::new(vec![Vec::new(); size]) });
        (0..size).map(|rank| Self { rank, room: Arc::clone(&room) }).collect()
    }

    /// What all threads bring, once all have.
    fn meet(&self, own: Vec<u64>) -> Vec<Vec<u64>> {
        let brought = || self.room.brought.lock().unwrap_or_else(PoisonError::into_inner);
        brought()[self.rank] = own;
        self.room.door.wait();
        let all = brought().clone();
        self.room.door.wait();
        all
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.room.brought.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn sum(&self, values: &mut [f64]) {
        let all = self.gather(values);
        for (i, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|values| values[i]).sum();
        }
    }

    fn sum_single(&self, values: &mut [f32]) {
        let mut doubles: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        self.sum(&mut doubles);
        values.iter_mut().zip(doubles).for_each(|(value, sum)| *value = sum as f32);
    }

    fn complete(&self, values: &mut [f32]) {
        let own = self.own(values.len());
        let all = self.meet(values[own].iter().map(|value| u64::from(value.to_bits())).collect());
        for (value, bits) in values.iter_mut().zip(all.into_iter().flatten()) {
            *value = f32::from_bits(bits as u32);
        }
    }

    fn gather(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let all = self.meet(values.iter().map(|value| value.to_bits()).collect());
        all.into_iter().map(|values| values.into_iter().map(f64::from_bits).collect()).collect()
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let all = self.meet(bytes.iter().map(|byte| u64::from(*byte)).collect());
        *bytes = all[0].iter().map(|byte| *byte as u8).collect();
    }

    fn barrier(&self) {
        self.room.door.wait();
    }
}
