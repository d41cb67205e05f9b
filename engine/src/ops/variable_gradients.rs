//! In-place accumulation of the gradients of variables.
//!
//! Candle allocates a zero of a variable's size and adds each gradient out of place, on one thread. For weights that is
//! more memory traffic than their products. [`backward`] lets this crate's ops accumulate theirs in place.

use crate::host;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::cell::RefCell;
use std::collections::HashMap;

/// A variable and the sum of its gradients so far, in its own memory.
struct Leaf {
    variable: Tensor,
    sum: Tensor,
}

thread_local! {
    /// The variables of the [`backward`] pass on this thread.
    static LEAVES: RefCell<Option<HashMap<TensorId, Leaf>>> = const { RefCell::new(None) };
}

/// Computes the gradients of `loss` like `loss.backward()`, with fewer copies for variables.
///
/// # Errors
///
/// Those of `backward`: an op without a backward pass, or one that fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    // While a kernel waits for its threads this thread may start another backward pass, so passes can nest.
    let outer = LEAVES.replace(Some(HashMap::new()));
    let store = loss.backward();
    let leaves = LEAVES.replace(outer).unwrap_or_default();
    let mut store = store?;
    for leaf in leaves.into_values() {
        let sum = match store.remove(&leaf.variable) {
            Some(other) => (other + leaf.sum)?,
            None => leaf.sum,
        };
        store.insert(&leaf.variable, sum);
    }
    Ok(store)
}

/// Accumulates the gradient of a variable if a [`backward`] runs; returns any other gradient.
///
/// The gradient must not be shared: later ones are added to it in place.
pub(super) fn accumulate(argument: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    if !argument.is_variable() {
        return Ok(Some(gradient));
    }
    LEAVES.with_borrow_mut(|leaves| {
        let Some(leaves) = leaves else { return Ok(Some(gradient)) };
        match leaves.get_mut(&argument.id()) {
            None => {
                leaves.insert(argument.id(), Leaf { variable: argument.clone(), sum: gradient });
            }
            Some(leaf) if host::is_host_f32(&gradient) => host::zip_in_place(&leaf.sum, &gradient, |sum, gradient| {
                for (sum, gradient) in sum.iter_mut().zip(gradient) {
                    *sum += gradient;
                }
            })?,
            Some(leaf) => leaf.sum = (&leaf.sum + gradient)?,
        }
        Ok(None)
    })
}
