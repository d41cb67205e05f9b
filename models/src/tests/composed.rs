//! Models with kernels, and in the forms that devices without them take: on the CPU both are there.

use engine::checkpoint::Recompute;
use engine::device::WithoutKernels;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};

use super::files::{Golden, assert_close, flat};
use super::laws::{move_adapters, tape_gradients};
use crate::denoiser::DenoiserConfig;

/// Runs a check with kernels, then without them.
pub(crate) fn in_both_forms(check: impl Fn()) {
    check();
    let _guard = WithoutKernels::begin();
    check();
}

/// Adapters of every layer that can get one, convolutions too.
fn everywhere(config: &DenoiserConfig, extra: LoraExtra) -> LoraConfig {
    let targets = config.adaptable_layers().into_iter().map(|layer| layer.name).collect();
    LoraConfig { rank: 2, alpha: 3., rslora: false, targets: LoraTargets::Named(targets), extra }
}

/// Predictions and the gradients of all parameters, or of adapters on all layers, are the same in both forms.
pub(crate) fn check_composed(golden: &Golden) {
    for case in golden.cases {
        let config = golden.files(case).0;
        let adapters = [LoraExtra::None, LoraExtra::Magnitude].map(|extra| Some(everywhere(&config, extra)));
        for lora in [None].into_iter().chain(adapters) {
            let (network, batch) = golden.learner(case, lora.clone());
            if lora.is_some() {
                move_adapters(&network);
            }
            let (output, gradients) = tape_gradients(&network, &batch, Recompute::Nothing);
            let _guard = WithoutKernels::begin();
            let what = format!("{case} with {lora:?}");
            assert_close(&what, &flat(&network.score(&batch).unwrap()), &output);
            for recompute in [Recompute::Nothing, Recompute::Blocks] {
                let (composed_output, composed) = tape_gradients(&network, &batch, recompute);
                assert_close(&what, &composed_output, &output);
                assert!(composed.keys().eq(gradients.keys()), "{what}: others learn");
                let largest = |gradient: &[f32]| gradient.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                let largest_of_all = gradients.values().map(|gradient| largest(gradient)).fold(0., f32::max);
                for (name, gradient) in gradients.iter().filter(|(name, _)| !(golden.is_idle)(&config, name)) {
                    let error =
                        gradient.iter().zip(&composed[name]).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
                    // Some are sums of far larger numbers, whose rounding remains.
                    let bound = 1e-4 * largest(gradient) + 1e-7 * largest_of_all;
                    assert!(composed[name].len() == gradient.len() && error <= bound, "{what}: {name}: {error}");
                }
            }
        }
    }
}
