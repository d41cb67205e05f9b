//! Acting step by step over a batch of states, with caches for the policy's next step.

use mdp::{EpisodeOf, Mdp, Rng};

use crate::{PolicyError, Proposal};

/// A batch of states from which a policy acts, one row per state.
///
/// A row caches computation of earlier steps (a language model's keys and values, a multistep solver's previous
/// estimate), so that an episode of n decisions costs n model steps. Rows branch and end: [`select`](Cursor::select)
/// keeps, drops and repeats them, [`advance`](Cursor::advance) takes one action in each. Greedy decoding, sampling,
/// beam search and tree search differ only in the rows they select.
///
/// # Laws
/// A cursor's results equal those of a new cursor opened at its [`states`](Cursor::states), to rounding (except for
/// solvers that need the previous estimate, which is not part of a state). The results of a row do not depend on other
/// rows, to rounding. The same generators give the same actions.
///
/// Only rows in non-terminal states may be queried. A cursor that returned an error must not be used again.
pub trait Cursor<M: Mdp> {
    /// The state of each row.
    fn states(&self) -> &[M::State];

    /// Returns up to `k` candidate actions for each row, as [`Policy::propose`](crate::Policy::propose) does; a continuous policy draws from
    /// the row's generator.
    ///
    /// # Errors
    /// The number of generators differs from the number of rows; an error of the policy.
    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError>;

    /// Draws one action for each row, from the row's generator.
    ///
    /// # Errors
    /// The number of generators differs from the number of rows; an error of the policy.
    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<M::Action>, PolicyError>;

    /// log pi(a|s) of one action per row, in nats.
    ///
    /// # Errors
    /// The number of actions differs from the number of rows; an error of the policy.
    fn log_probs(&mut self, actions: &[M::Action]) -> Result<Vec<f64>, PolicyError>;

    /// log pi(a|s) of several actions of each row, in nats, in their order.
    ///
    /// Unless it is overridden it asks [`log_probs`](Cursor::log_probs) once for each place in the lists, which is cheap where a
    /// row remembers what was computed for it.
    ///
    /// # Shapes
    /// `candidates` has a list for each row, of any length but 0; the answer has the same lengths.
    ///
    /// # Errors
    /// Not as many lists as rows, or an empty one; what the policy refuses.
    fn log_probs_of(&mut self, candidates: &[Vec<M::Action>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        one_each("lists of actions", self.states().len(), candidates.len())?;
        let longest = candidates.iter().map(Vec::len).max().unwrap_or(0);
        let mut lists: Vec<Vec<f64>> = candidates.iter().map(|list| Vec::with_capacity(list.len())).collect();
        for place in 0..longest {
            // Rows whose list is over are asked about its last action once more: no row may be left out.
            let at = |list: &Vec<M::Action>| list.get(place).or(list.last()).cloned();
            let actions = candidates.iter().map(at).collect::<Option<Vec<_>>>();
            let numbers = self.log_probs(&actions.ok_or_else(|| wrong_count("actions of a row", 1, 0))?)?;
            for ((list, candidates), number) in lists.iter_mut().zip(candidates).zip(numbers) {
                if list.len() < candidates.len() {
                    list.push(number);
                }
            }
        }
        Ok(lists)
    }

    /// Takes one action in each row.
    ///
    /// # Errors
    /// The number of actions differs from the number of rows; an error of the policy.
    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError>;

    /// Takes given actions in each row, none or several: the reply of a world, which the policy did not choose.
    ///
    /// Unless it is overridden, every row is opened again at its state afterwards. Override it where rows can keep what they
    /// cached.
    ///
    /// # Errors
    /// The number of lists differs from the number of rows; an error of the policy.
    fn follow(&mut self, given: &[Vec<M::Action>]) -> Result<(), PolicyError> {
        one_each("lists of given actions", self.states().len(), given.len())?;
        let mut live: Vec<usize> = (0..given.len()).collect();
        let (mut rows, mut states) = (Vec::with_capacity(given.len()), Vec::with_capacity(given.len()));
        // All rows of a cursor advance together, so those that have come to their end leave.
        for place in 0.. {
            let (stay, leave): (Vec<usize>, Vec<usize>) =
                (0..live.len()).partition(|&row| given[live[row]].len() > place);
            rows.extend(leave.iter().map(|&row| live[row]));
            states.extend(leave.iter().map(|&row| self.states()[row].clone()));
            self.select(&stay);
            live = stay.iter().map(|&row| live[row]).collect();
            if live.is_empty() {
                break;
            }
            let actions: Vec<M::Action> = live.iter().map(|&row| given[row][place].clone()).collect();
            self.advance(&actions)?;
        }
        self.extend(&states)?;
        let mut order = vec![0; rows.len()];
        rows.iter().enumerate().for_each(|(at, &row)| order[row] = at);
        self.select(&order);
        Ok(())
    }

    /// Replaces row i by the old row `rows[i]`: a row that is not named is dropped, one named twice branches.
    ///
    /// # Panics
    /// If there is no such row.
    fn select(&mut self, rows: &[usize]);

    /// Appends a row for each state.
    ///
    /// # Errors
    /// An error of the policy.
    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError>;
}

/// Checks that there is one item per row.
///
/// # Errors
/// [`PolicyError::Argument`] if there are more or fewer.
pub fn one_each(what: &str, rows: usize, got: usize) -> Result<(), PolicyError> {
    if rows == got { Ok(()) } else { Err(wrong_count(what, rows, got)) }
}

pub(crate) fn wrong_count(what: &str, expected: usize, got: usize) -> PolicyError {
    PolicyError::Argument { what: what.to_owned(), expected: expected.to_string(), got: got.to_string() }
}

/// A step of [`act`] before it is taken.
pub struct Taking<'a, 'c, M: Mdp> {
    /// Number of earlier steps.
    pub step: usize,
    /// The cursor at the states acted in; it may be queried but not moved.
    pub cursor: &'a mut (dyn Cursor<M> + 'c),
    /// Index of the episode of each cursor row.
    pub episodes: &'a [usize],
    /// The action of each row.
    pub actions: &'a [M::Action],
}

impl<M: Mdp> std::fmt::Debug for Taking<'_, '_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taking").field("step", &self.step).field("episodes", &self.episodes).finish_non_exhaustive()
    }
}

/// Acts from every state of a cursor to the end of its episode, or for `longest[i]` actions. Each episode has a
/// generator of its own, so none depends on the others.
///
/// `watch` is called before each step; its error stops all episodes.
///
/// # Errors
/// The number of generators or lengths differs from the number of states; an action that the problem does not allow; an
/// error of the policy or of `watch`.
pub fn act<'c, M: Mdp>(
    mdp: &M,
    cursor: Box<dyn Cursor<M> + 'c>,
    longest: &[usize],
    rngs: &mut [Rng],
    watch: &mut dyn FnMut(Taking<'_, 'c, M>) -> Result<(), PolicyError>,
) -> Result<Vec<EpisodeOf<M>>, PolicyError> {
    act_until(mdp, cursor, longest, rngs, watch, &mut |_| false)
}

fn not_allowed() -> PolicyError {
    PolicyError::Argument {
        what: "an action that a policy drew".to_owned(),
        expected: "one that the problem allows".to_owned(),
        got: "one that it does not".to_owned(),
    }
}

/// As [`act`]; an episode also ends where `ends` says so of its actions.
///
/// # Errors
/// As [`act`].
pub fn act_until<'c, M: Mdp>(
    mdp: &M,
    mut cursor: Box<dyn Cursor<M> + 'c>,
    longest: &[usize],
    rngs: &mut [Rng],
    watch: &mut dyn FnMut(Taking<'_, 'c, M>) -> Result<(), PolicyError>,
    ends: &mut dyn FnMut(&[M::Action]) -> bool,
) -> Result<Vec<EpisodeOf<M>>, PolicyError> {
    let starts = cursor.states().to_vec();
    one_each("generators", starts.len(), rngs.len())?;
    one_each("lengths", starts.len(), longest.len())?;
    let mut actions: Vec<Vec<M::Action>> = vec![Vec::new(); starts.len()];
    let goes_on = |state: &M::State, episode: usize, n: usize| n < longest[episode] && !mdp.is_terminal(state);
    let mut live: Vec<usize> = (0..starts.len()).filter(|&i| goes_on(&starts[i], i, 0)).collect();
    cursor.select(&live);
    for step in 0.. {
        if live.is_empty() {
            break;
        }
        // Episodes are in rising order, so one pass over the generators finds those of the live.
        let mut of_live = live.iter().copied().peekable();
        let own = rngs.iter_mut().enumerate().filter_map(|(i, rng)| of_live.next_if_eq(&i).map(|_| rng));
        let drawn = cursor.draw(&mut own.collect::<Vec<_>>())?;
        let states = cursor.states();
        if drawn.iter().zip(states).any(|(action, state)| !mdp.allows(state, action)) {
            return Err(not_allowed());
        }
        watch(Taking { step, cursor: cursor.as_mut(), episodes: &live, actions: &drawn })?;
        cursor.advance(&drawn)?;
        for (&episode, action) in live.iter().zip(drawn) {
            actions[episode].push(action);
        }
        let states = cursor.states();
        let stays: Vec<usize> = (0..live.len())
            .filter(|&row| {
                let taken = &actions[live[row]];
                goes_on(&states[row], live[row], taken.len()) && !ends(taken)
            })
            .collect();
        if stays.len() < live.len() {
            cursor.select(&stays);
            live = stays.iter().map(|&row| live[row]).collect();
        }
    }
    Ok(starts.into_iter().zip(actions).map(|(start, actions)| mdp.episode(start, actions)).collect())
}
