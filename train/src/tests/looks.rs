//! When a run looks at its policy.

use super::*;

#[test]
fn every_step_is_looked_at_once_where_nothing_is_held_out() {
    let ((_folder, path), data, objective) = (fresh(), pairs(10), dpo());
    let data = TokenSource::new(&data, 6);
    let (mut learner, reference) = (Tabular::new(&MDP), Tabular::new(&MDP));
    let settings = Settings { judge_every: 2, ..settings() };
    let seen = std::cell::RefCell::new(Vec::new());
    let judge = |_: &Tabular<TokenMdp>, step: usize| {
        seen.borrow_mut().push(step);
        Ok(vec![("win_rate", 0.5)])
    };
    let hooks = Hooks { judge: Some(Box::new(judge)), ..Hooks::default() };
    let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings);
    let mut monitor = Silent;
    let observers = Observers { hooks: Some(&hooks), ..Observers::monitor(&mut monitor) };
    let outcome = training.watched(&mut learner, &path, observers).unwrap();
    let mut once = seen.borrow().clone();
    once.dedup();
    assert_eq!((&once, once.last()), (&*seen.borrow(), Some(&outcome.steps)));
}
