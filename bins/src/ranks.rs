//! The processes of a launcher such as `mpirun`, which train together.
use std::sync::OnceLock;
#[cfg(any(feature = "mpi", test))]
use std::time::Duration;

use recipes::{Failure, Ranks};

/// The processes that train together; `None` where this one is alone.
static RANKS: OnceLock<&'static (dyn Ranks + Sync)> = OnceLock::new();

/// The processes that train together; `None` where this one is alone.
pub(crate) fn of_job() -> Option<&'static (dyn Ranks + Sync)> {
    RANKS.get().copied()
}

/// What launchers call the number of processes that they have started: Open MPI; MPICH, and others by PMI.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// Which of them this process is.
const RANKS_OF_JOB: [&str; 2] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"];
/// Those of them on this host.
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

/// What several processes do together.
const VERBS: [&str; 7] = ["train", "precompute", "score", "eval", "sample", "search", "judge"];

#[expect(clippy::disallowed_methods, reason = "only the command line reads the environment")]
fn number(names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

/// The threads of this process where several share a host and nobody says how many each has.
pub(crate) fn threads() -> Option<usize> {
    let local = number(&LOCAL_SIZES).filter(|local| *local > 1 && of_job().is_some())?;
    Some((std::thread::available_parallelism().ok()?.get() / local).max(1))
}

/// Joins the processes that a launcher has started for a verb, if there are several.
///
/// # Errors
/// The verb is for one process, or this build trains in one.
pub(crate) fn join(verb: Option<&str>) -> Result<Job, Failure> {
    let Some(size) = number(&SIZES).filter(|size| *size > 1) else { return Ok(Job::alone()) };
    if !verb.is_some_and(|verb| VERBS.contains(&verb)) {
        Job::refuse(number(&RANKS_OF_JOB));
        let text = format!("{size} processes were started, and only these verbs work in several: {}", VERBS.join(", "));
        return Err(Failure::usage(text));
    }
    Job::start(size)
}

/// The time that a rank leaves to those that rather say what they all know.
#[cfg(any(feature = "mpi", test))]
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a rank that has failed waits before it speaks and ends all. What fails everywhere the leader says, at once; of other
/// ranks that know a cause the lowest is the first, with a share of the time between it and the next; one that knows none leaves
/// time to all of them.
#[cfg(any(feature = "mpi", test))]
fn wait_of(failure: &Failure, rank: usize, size: usize) -> Duration {
    if failure.is_of_other_rank() {
        3 * PATIENCE
    } else if rank == 0 {
        Duration::ZERO
    } else {
        PATIENCE + PATIENCE.mul_f64((rank - 1) as f64 / size as f64)
    }
}

#[cfg(not(feature = "mpi"))]
mod job {
    use recipes::Failure;

    /// What this process is part of: nothing.
    pub(crate) struct Job;

    impl Job {
        pub(crate) fn alone() -> Self {
            Self
        }

        pub(super) fn start(size: usize) -> Result<Self, Failure> {
            Err(Failure::usage(format!(
                "{size} processes were started, and this build trains in one: build it with `--features mpi`"
            )))
        }

        /// Lets the first process say why none works.
        pub(super) fn refuse(_rank: Option<usize>) {}

        /// Ends the other processes with this one, which has failed.
        #[expect(clippy::unused_self, reason = "a build with several processes needs it")]
        pub(crate) fn fail(self, failure: &Failure, _: u8, say: impl FnOnce(&Failure)) {
            say(failure);
        }
    }
}

#[cfg(feature = "mpi")]
mod job {
    use std::ops::Range;
    use std::sync::atomic::{AtomicU64, Ordering};

    use mpi::collective::{CommunicatorCollectives as _, Root as _};
    use mpi::datatype::{Equivalence, PartitionMut};
    use mpi::environment::Universe;
    use mpi::topology::{Communicator as _, SimpleCommunicator};
    use mpi::{Count, Threading};
    use recipes::{Failure, Ranks};

    use super::{PATIENCE, RANKS, wait_of};

    /// The values that are summed at once: far below the largest count of a message, and enough to fill a network.
    const AT_ONCE: usize = 1 << 20;

    /// All processes of the job.
    #[derive(Debug)]
    struct Mpi {
        rank: usize,
        size: usize,
        /// The bytes that this process has sent.
        sent: AtomicU64,
    }

    impl Mpi {
        /// Counts a message of so many bytes to every other process.
        fn count(&self, bytes: usize) {
            self.sent.fetch_add((bytes * (self.size - 1)) as u64, Ordering::Relaxed);
        }

        /// Gathers parts of one size, the own one among them, from all.
        fn gather_parts<T: Equivalence>(&self, own: &[T], all: &mut [T]) {
            self.count(size_of_val(own));
            world().all_gather_into(own, all);
        }

        /// Each process sums a part of the values, in the order of ranks, and all get all parts: each value travels twice, whatever
        /// the number of processes is, and has the same bits everywhere.
        fn sum_all<T: Value>(&self, values: &mut [T]) {
            for values in values.chunks_mut(AT_ONCE) {
                let (len, part) = (values.len(), values.len().div_ceil(self.size));
                let mut padded = values.to_vec();
                padded.resize(part * self.size, T::default());
                let mut parts = padded.clone();
                self.count(part * size_of::<T>());
                world().all_to_all_into(&padded[..], &mut parts[..]);
                let mut sums = vec![0.0_f64; part];
                for of_rank in parts.chunks_exact(part) {
                    sums.iter_mut().zip(of_rank).for_each(|(sum, value)| *sum += Into::<f64>::into(*value));
                }
                let own: Vec<T> = sums.into_iter().map(T::rounded).collect();
                self.gather_parts(&own, &mut padded);
                values.copy_from_slice(&padded[..len]);
            }
        }
    }

    /// A value that is summed in `f64`.
    trait Value: Copy + Default + Into<f64> + Equivalence {
        fn rounded(sum: f64) -> Self;
    }

    impl Value for f64 {
        fn rounded(sum: f64) -> Self {
            sum
        }
    }

    impl Value for f32 {
        fn rounded(sum: f64) -> Self {
            sum as f32
        }
    }

    fn world() -> SimpleCommunicator {
        SimpleCommunicator::world()
    }

    impl Ranks for Mpi {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            self.size
        }

        fn sum(&self, values: &mut [f64]) {
            self.sum_all(values);
        }

        fn sum_single(&self, values: &mut [f32]) {
            self.sum_all(values);
        }

        fn complete(&self, values: &mut [f32]) {
            let part = values.len().div_ceil(self.size);
            let own = self.own(values.len());
            let mut all = vec![0.0_f32; AT_ONCE.min(part) * self.size];
            // A part at a time would be a message that grows with the model.
            for begin in (0..part).step_by(AT_ONCE) {
                let len = AT_ONCE.min(part - begin);
                let within = |range: &Range<usize>| {
                    let from = (range.start + begin).min(range.end);
                    from..(from + len).min(range.end)
                };
                let mut sent = values[within(&own)].to_vec();
                sent.resize(len, 0.0);
                self.gather_parts(&sent, &mut all[..len * self.size]);
                for (rank, received) in all.chunks_exact(len).take(self.size).enumerate() {
                    let of_rank = (rank * part).min(values.len())..((rank + 1) * part).min(values.len());
                    let place = within(&of_rank);
                    let n = place.len();
                    values[place].copy_from_slice(&received[..n]);
                }
            }
        }

        fn sent(&self) -> u64 {
            self.sent.load(Ordering::Relaxed)
        }

        fn gather(&self, values: &[f64]) -> Vec<Vec<f64>> {
            let mut lens = vec![0_u64; self.size];
            world().all_gather_into(&[values.len() as u64][..], &mut lens[..]);
            self.count(size_of::<u64>() + size_of_val(values));
            let mut all = vec![Vec::new(); self.size];
            // The longest decides how often all send.
            let longest = lens.iter().max().map_or(0, |len| *len as usize);
            for begin in (0..longest).step_by(AT_ONCE) {
                let within = |len: usize| len.clamp(begin, begin + AT_ONCE) - begin;
                let counts: Vec<Count> = lens.iter().map(|len| within(*len as usize) as Count).collect();
                let places: Vec<Count> = counts
                    .iter()
                    .scan(0, |place, count| {
                        *place += count;
                        Some(*place - count)
                    })
                    .collect();
                let mut received = vec![0.0; counts.iter().sum::<Count>() as usize];
                let own = begin.min(values.len());
                let own = &values[own..own + within(values.len())];
                let mut partition = PartitionMut::new(&mut received[..], &counts[..], &places[..]);
                world().all_gather_varcount_into(own, &mut partition);
                for ((all, place), count) in all.iter_mut().zip(&places).zip(&counts) {
                    all.extend_from_slice(&received[*place as usize..(*place + *count) as usize]);
                }
            }
            all
        }

        fn broadcast(&self, bytes: &mut Vec<u8>) {
            let (world, mut len) = (world(), [bytes.len() as u64]);
            let leader = world.process_at_rank(0);
            leader.broadcast_into(&mut len[..]);
            if self.is_leader() {
                self.count(size_of::<u64>() + bytes.len());
            }
            bytes.resize(len[0] as usize, 0);
            for piece in bytes.chunks_mut(AT_ONCE) {
                leader.broadcast_into(piece);
            }
        }

        fn barrier(&self) {
            world().barrier();
        }
    }

    /// What this process is part of, until it ends well or fails.
    pub(crate) struct Job {
        universe: Option<Universe>,
    }

    impl Job {
        pub(crate) fn alone() -> Self {
            Self { universe: None }
        }

        /// Lets the first process say why none works, before the others end.
        pub(super) fn refuse(rank: Option<usize>) {
            if rank.is_some_and(|rank| rank > 0) {
                crate::output::silence();
                std::thread::sleep(PATIENCE);
            }
        }

        pub(super) fn start(size: usize) -> Result<Self, Failure> {
            let started = mpi::initialize_with_threading(Threading::Serialized);
            let (universe, _) = started.ok_or_else(|| Failure::failed("MPI was started twice"))?;
            let known = universe.world().size() as usize;
            if known != size {
                return Err(Failure::failed(format!(
                    "the launcher has started {size} processes, and MPI knows {known}: it belongs to another MPI than \
                     this build"
                )));
            }
            let world = universe.world();
            // Those of one host, in the order of their ranks.
            recipes::share_host(world.split_shared(world.rank()).rank() as usize);
            let ranks = Mpi { rank: universe.world().rank() as usize, size, sent: AtomicU64::new(0) };
            if !ranks.is_leader() {
                crate::output::silence();
            }
            let _ = RANKS.set(Box::leak(Box::new(ranks)));
            Ok(Self { universe: Some(universe) })
        }

        /// Ends the other processes with this one, which has failed, all with this exit code. The cause is said once, by one that
        /// knows it; where it is not the leader, the message begins with its rank.
        pub(crate) fn fail(self, failure: &Failure, code: u8, say: impl FnOnce(&Failure)) {
            let (Some(universe), Some(ranks)) = (self.universe, super::of_job()) else { return say(failure) };
            std::thread::sleep(wait_of(failure, ranks.rank(), ranks.size()));
            if !failure.is_of_other_rank() {
                crate::output::speak();
                let failure = failure.clone();
                let rank = ranks.rank();
                say(&if rank == 0 { failure } else { failure.within(&format!("rank {rank}")) });
            }
            universe.world().abort(code.into());
        }
    }
}

pub(crate) use job::Job;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_knows_the_cause_speaks_before_one_that_does_not_ends_all() {
        let (cause, other) = (Failure::failed("no file"), Failure::OfOtherRank(1));
        assert_eq!(wait_of(&cause, 0, 4), Duration::ZERO);
        for size in [2, 4, 64] {
            // Whoever ends all is a second behind the last that says why.
            let last = wait_of(&cause, size - 1, size);
            assert!((0..size).all(|rank| wait_of(&other, rank, size) > last + PATIENCE / 3), "{size}");
            let waits: Vec<Duration> = (0..size).map(|rank| wait_of(&cause, rank, size)).collect();
            assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
        }
        assert_eq!(wait_of(&Failure::Interrupted, 1, 2), PATIENCE);
    }
}
