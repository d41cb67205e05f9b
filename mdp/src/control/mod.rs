//! Continuous control: states that are observed as numbers, and actions that are numbers.
//!
//! [`Continuous`] is what a policy of such a problem needs to know of it, as [`Enumerable`](crate::Enumerable) is for
//! tables. [`Recorded`] is the problem of segments whose dynamics are unknown (a file of a robot's recordings),
//! [`BinPicking`] one that can be acted in, with an oracle.
//!
//! # Examples
//! ```
//! use mdp::Mdp;
//! use mdp::control::{BinPicking, Continuous, Scene};
//!
//! let mdp = BinPicking::default();
//! let mut state = mdp.start(&Scene { gripper: [-0.5, 0.0], object: [0.3, 0.2], bin: [0.5, -0.6] });
//! let needed = mdp.time_to_go(&state);
//! while !mdp.is_terminal(&state) {
//!     let action = mdp.oracle(&state);
//!     assert!(mdp.advantage(&state, &action) <= 1e-9);
//!     state = mdp.step(&state, &action);
//! }
//! assert!(mdp.is_done(&state) && state.time as f64 >= needed);
//! assert_eq!(mdp.observe(&state).len(), mdp.observation_size());
//! ```
mod bin_picking;
mod recorded;

pub use bin_picking::{BinPicking, Picking, Scene};
pub use recorded::Recorded;

use crate::Mdp;

/// An action of continuous control: a velocity, forces, the command of a gripper.
pub type Control = Vec<f64>;

/// A problem whose states are observed as a vector and whose actions are vectors.
///
/// # Laws
/// Every observation of a state that is not terminal has `observation_size` finite numbers. A state that is not terminal allows every
/// action of `action_size` finite numbers: a problem with bounds takes what is beyond them for the bounds, so that
/// log-densities of a Gaussian need no correction.
pub trait Continuous: Mdp<Action = Control> {
    /// Numbers of an observation.
    fn observation_size(&self) -> usize;

    /// Numbers of an action.
    fn action_size(&self) -> usize;

    /// What a policy sees of a state; of a terminal one it may be empty.
    fn observe(&self, state: &Self::State) -> Vec<f64>;
}

/// Whether an action has the size and is finite.
fn is_control(action: &[f64], size: usize) -> bool {
    action.len() == size && action.iter().all(|number| number.is_finite())
}
