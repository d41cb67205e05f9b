//! Work that several processes divide: what each has made travels as numbers.
mod travels;

use std::collections::BTreeSet;

use ::train::Ranks;

use crate::Failure;
pub(crate) use travels::{Sent, Travels};

/// Does the chunks of a list, of which rank `r` of `n` works on `r`, `r + n`, ..; the leader's `done` gets the number of each and
/// what was made, in their order. One process does one chunk after the other.
///
/// # Errors
/// Those of the work; another process has failed; one was asked to stop, which ends the work of all.
pub(crate) fn in_turns<T: Travels>(
    ranks: &dyn Ranks,
    n_chunks: usize,
    mut work: impl FnMut(usize) -> Result<T, Failure>,
    mut done: impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if ranks.size() == 1 {
        return (0..n_chunks).try_for_each(|chunk| done(chunk, work(chunk)?));
    }
    for first in (0..n_chunks).step_by(ranks.size()) {
        let own = first + ranks.rank();
        let made = if own < n_chunks { work(own).map(Some) } else { Ok(None) };
        for (chunk, made) in (first..n_chunks).zip(exchange(ranks, made)?) {
            done(chunk, made)?;
        }
    }
    Ok(())
}

/// How the work of a process has ended.
const DONE: f64 = 0.0;
const INTERRUPTED: f64 = 1.0;
const FAILED: f64 = 2.0;

/// What all have made, by their ranks, for the leader; nothing for the others.
fn exchange<T: Travels>(ranks: &dyn Ranks, own: Result<Option<T>, Failure>) -> Result<Vec<T>, Failure> {
    let mut sent = vec![match &own {
        Ok(_) => DONE,
        Err(failure) if failure.is_interrupt() => INTERRUPTED,
        Err(_) => FAILED,
    }];
    if let Ok(Some(made)) = &own {
        made.write(&mut sent);
    }
    let all = ranks.gather(&sent);
    match own {
        // Another's failure is more than an interrupt, and is what is said.
        Err(failure) if !failure.is_interrupt() => return Err(failure),
        _ => (),
    }
    if let Some(rank) = all.iter().position(|sent| sent[0] == FAILED) {
        return Err(Failure::OfOtherRank(rank));
    }
    if all.iter().any(|sent| sent[0] == INTERRUPTED) {
        return Err(Failure::Interrupted);
    }
    if !ranks.is_leader() {
        return Ok(Vec::new());
    }
    let read =
        |(rank, sent): (usize, &Vec<f64>)| T::read(&mut sent[1..].iter().copied()).ok_or(Failure::OfOtherRank(rank));
    // The last ranks may have had no chunk.
    all.iter().enumerate().filter(|(_, sent)| sent.len() > 1).map(read).collect()
}

/// The leader's values, for all.
///
/// # Errors
/// What the leader has sent can't be read.
pub(crate) fn told<T: Travels>(ranks: &dyn Ranks, own: T) -> Result<T, Failure> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    let mut sent = Vec::new();
    if ranks.is_leader() {
        own.write(&mut sent);
    }
    T::read(&mut ranks.gather(&sent)[0].iter().copied()).ok_or(Failure::OfOtherRank(0))
}

/// The texts that any process has, for the leader.
///
/// # Errors
/// What another has sent can't be read.
pub(crate) fn united(ranks: &dyn Ranks, own: BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    let mut all = BTreeSet::new();
    for of_rank in exchange(ranks, Ok(Some(own.into_iter().collect::<Vec<String>>())))? {
        all.extend(of_rank);
    }
    Ok(all)
}

/// The number of chunks of so many.
pub(crate) fn chunks(len: usize, at_once: usize) -> usize {
    len.div_ceil(at_once.max(1))
}

/// The places of a chunk in its list.
pub(crate) fn places(chunk: usize, at_once: usize, len: usize) -> std::ops::Range<usize> {
    (chunk * at_once).min(len)..((chunk + 1) * at_once).min(len)
}

#[cfg(test)]
mod tests {
    use ::train::{Alone, Threads};

    use super::*;

    #[test]
    fn the_leader_gets_every_chunk_in_order() {
        let work = |ranks: &dyn Ranks| {
            let (mut worked, mut made) = (Vec::new(), Vec::new());
            let work = |chunk| {
                worked.push(chunk);
                Ok((chunk, format!("made {chunk}")))
            };
            in_turns(ranks, 7, work, |chunk, of| {
                made.push((chunk, of));
                Ok(())
            })
            .unwrap();
            (worked, made)
        };
        let (worked, expected) = work(&Alone);
        assert_eq!(worked, [0, 1, 2, 3, 4, 5, 6]);
        std::thread::scope(|scope| {
            let running: Vec<_> = Threads::new(3).into_iter().map(|ranks| scope.spawn(move || work(&ranks))).collect();
            let of: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(of[0], (vec![0, 3, 6], expected));
            assert_eq!(of[1], (vec![1, 4], vec![]));
            assert_eq!(of[2], (vec![2, 5], vec![]));
        });
        std::thread::scope(|scope| {
            let told = |ranks: Threads| scope.spawn(move || told(&ranks, vec![ranks.rank() + 5]).unwrap());
            let running: Vec<_> = Threads::new(3).into_iter().map(told).collect();
            assert!(running.into_iter().all(|thread| thread.join().unwrap() == [5]));
        });
        std::thread::scope(|scope| {
            let texts = |ranks: &Threads| BTreeSet::from(["in all".to_owned(), format!("of {}", ranks.rank())]);
            let united = |ranks: Threads| scope.spawn(move || united(&ranks, texts(&ranks)).unwrap());
            let running: Vec<_> = Threads::new(3).into_iter().map(united).collect();
            let of: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(of[0], BTreeSet::from(["in all", "of 0", "of 1", "of 2"].map(str::to_owned)));
        });
        assert_eq!((chunks(7, 3), places(2, 3, 7), chunks(0, 3)), (3, 6..7, 0));
    }

    #[test]
    fn an_error_of_the_work_is_the_error_of_all() {
        let failed = in_turns::<usize>(&Alone, 2, |_| Err(Failure::usage("no")), |_, _| Ok(()));
        assert!(failed.is_err());
        // The one that has failed knows why, and the others who has; an interrupt hides no failure.
        let ends_with = |of: [Result<usize, Failure>; 3]| -> Vec<Failure> {
            std::thread::scope(|scope| {
                let end = |(ranks, made): (Threads, Result<usize, Failure>)| {
                    scope.spawn(move || in_turns(&ranks, 3, |_| made.clone(), |_, _| Ok(())).unwrap_err())
                };
                let running: Vec<_> = Threads::new(3).into_iter().zip(of).map(end).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        };
        let cause = Failure::failed("no file");
        let others = Failure::OfOtherRank(1);
        let ends = ends_with([Ok(1), Err(cause.clone()), Err(Failure::Interrupted)]);
        assert_eq!(ends, [others.clone(), cause, others]);
        assert!(ends_with([Ok(1), Ok(2), Err(Failure::Interrupted)]).iter().all(Failure::is_interrupt));
    }
}
