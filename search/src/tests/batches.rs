use mdp::token::TokenState;

use super::budgets::with_methods;
use super::problems::words;
use super::{LONG, rngs, untidy};
use crate::{LogProbs, Search};

/// The result of a start is the same alone and in any batch, in any order.
#[test]
fn no_start_depends_on_the_others() {
    let mdp = words(4, 6);
    let starts = [[1].as_slice(), &[2, 3], &[3; 6], &[1, 1, 1, 1, 1], &[1]].map(TokenState::new);
    let [policy, reference, verifier] = [1, 2, 3].map(|seed| untidy(&mdp, &starts[0], seed));
    let score = LogProbs::implicit_reward(0.3, &reference);
    let verifier_score = LogProbs::likelihood_of(&verifier);
    with_methods(&verifier_score, |name, method| {
        for budget in [usize::MAX, 25] {
            let search = Search::new(&mdp, &policy, &score).within(budget);
            let (longest, mut generators) = ([LONG, LONG, LONG, LONG, 2], rngs(5, 40));
            let together = search.run(method, &starts, &longest, &mut generators.clone()).unwrap();
            for i in 0..starts.len() {
                let one = i..=i;
                let alone = search.run(
                    method,
                    &starts[one.clone()],
                    &longest[one.clone()],
                    &mut generators.clone()[one.clone()],
                );
                assert_eq!(alone.unwrap(), together[one], "{name}");
            }
            generators.reverse();
            let (mut starts, mut longest) = (starts.clone(), longest);
            starts.reverse();
            longest.reverse();
            let mut backwards = search.run(method, &starts, &longest, &mut generators).unwrap();
            backwards.reverse();
            assert_eq!(backwards, together, "{name}");
        }
    });
}

#[test]
fn whoever_watches_sees_every_step_and_may_end_it() {
    let mdp = words(4, 6);
    let starts = [TokenState::new([1]), TokenState::new([2, 3])];
    let policy = untidy(&mdp, &starts[0], 1);
    let likelihood = LogProbs::likelihood();
    let search = Search::new(&mdp, &policy, &likelihood);
    let mut seen = Vec::new();
    let beam = crate::Beam::new(3);
    let outcomes = search.run_watched(&beam, &starts, &[LONG; 2], &mut rngs(2, 0), &mut |progress| {
        seen.push((progress.step, progress.evaluations.iter().sum::<usize>()));
        Ok(())
    });
    let spent: usize = outcomes.unwrap().iter().map(|outcome| outcome.spent.evaluations).sum();
    assert!(seen.iter().enumerate().all(|(i, (step, _))| *step == i + 1), "{seen:?}");
    assert_eq!(seen.last().unwrap().1, spent);
    let ended = search.run_watched(&beam, &starts, &[LONG; 2], &mut rngs(2, 0), &mut |progress| {
        if progress.step == 2 { Err("enough".into()) } else { Ok(()) }
    });
    assert_eq!(ended.unwrap_err().to_string(), "enough");
}
