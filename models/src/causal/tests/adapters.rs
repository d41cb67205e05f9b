//! Adapters on a frozen base.

use engine::lora::{LoraExtra, LoraTargets};

use super::*;
use policies::Learner;

fn adapted(config: CausalConfig) -> CausalLm {
    adapted_with(config, LoraExtra::None)
}

fn adapted_with(config: CausalConfig, extra: LoraExtra) -> CausalLm {
    let lora = LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra };
    trainable(config, DType::F32, training(Some(lora), Recompute::Nothing))
}

/// Takes a step, so that the adapters change the output.
fn step(model: &mut CausalLm) {
    let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
    model.backward(tape, &numbers.log_probs.filled(-1.).into()).unwrap();
    model.update(0.05, None).unwrap();
}

#[test]
fn only_adapters_learn() {
    for (name, config) in configs() {
        let base = frozen(config.clone(), 1, DType::F32);
        let mut model = adapted(config);
        let before = base.score(&MDP, &episodes()).unwrap();
        assert_eq!(model.score(&MDP, &episodes()).unwrap(), before, "{name}: fresh adapters change nothing");
        let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
        assert_eq!(numbers.log_probs.len(), before.log_probs.len());
        model.backward(tape, &numbers.log_probs.filled(-1.).into()).unwrap();
        let gradients = model.gradients().unwrap();
        assert!(gradients.iter().all(|(parameter, _)| parameter.contains(".lora_")), "{name}");
        assert_eq!(gradients.missing(model.parameters()), Vec::<&str>::new(), "{name}");
        model.update(0.05, None).unwrap();
        assert_ne!(model.score(&MDP, &episodes()).unwrap(), before, "{name}");
        for (parameter, tensor) in base.parameters().iter() {
            assert_eq!(largest_difference(tensor, model.parameters().get(parameter).unwrap()), 0., "{name}");
        }
    }
}

#[test]
fn the_base_is_a_reference_without_a_second_model() {
    for name in ["neox parallel", "llama with biases"] {
        let model = adapted(config(name));
        let base = Arc::new(model.base().unwrap());
        let mut model = model.with_reference(base).unwrap();
        let divergence = model.score(&MDP, &episodes()).unwrap().divergence.unwrap();
        assert!(divergence.values().iter().all(|kl| kl.abs() < 1e-6), "{name}");
        step(&mut model);
        let other = Arc::new(frozen(config(name), 1, DType::F32));
        let numbers = model.score(&MDP, &episodes()).unwrap();
        let model = model.with_reference(other).unwrap();
        assert_eq!(numbers, model.score(&MDP, &episodes()).unwrap(), "{name}");
        assert!(numbers.divergence.unwrap().values().iter().all(|kl| *kl > 0.));
    }
    assert!(learner(config("gpt2")).base().is_err());
}

#[test]
fn generation_goes_through_the_adapters() {
    let mut model = adapted(config("qwen2"));
    (0..5).for_each(|_| step(&mut model));
    let starts = [TokenState::new([1u32, 2, 3, 4].as_slice())];
    laws::check_policy(&MDP, &model, &starts, 3, 1e-4).unwrap();
    let copy = model.frozen_copy().unwrap();
    assert_eq!(copy.score(&MDP, &episodes()).unwrap(), model.score(&MDP, &episodes()).unwrap());
    step(&mut model);
    assert_ne!(copy.score(&MDP, &episodes()).unwrap(), model.score(&MDP, &episodes()).unwrap());
}

#[test]
fn targets_must_exist() {
    let lora = LoraConfig {
        rank: 2,
        alpha: 4.,
        rslora: true,
        targets: LoraTargets::Named(vec!["lm_head".into()]),
        extra: LoraExtra::None,
    };
    let config = config("gpt2");
    let tensors = tensors(&config, 1, DType::F32);
    let error = CausalLm::trainable(config, tensors, training(Some(lora), Recompute::Nothing)).unwrap_err().to_string();
    assert!(error.contains("lm_head"), "{error}");
}

#[test]
fn biases_and_magnitudes_learn_and_merge() {
    for (name, extra, ends) in [
        ("llama with biases", LoraExtra::Bias, "lora_B.bias"),
        ("gpt2", LoraExtra::Bias, "lora_B.bias"),
        ("llama untied", LoraExtra::Magnitude, "lora_magnitude_vector"),
        ("gpt2", LoraExtra::Magnitude, "lora_magnitude_vector"),
        ("neox parallel", LoraExtra::Magnitude, "lora_magnitude_vector"),
    ] {
        let base = frozen(config(name), 1, DType::F32);
        let mut model = adapted_with(config(name), extra);
        let close = |a: &CausalLm, b: &CausalLm| {
            let [a, b] = [a, b].map(|model| model.score(&MDP, &episodes()).unwrap().log_probs);
            a.values().iter().zip(b.values()).all(|(a, b)| (a - b).abs() < 2e-5)
        };
        assert!(close(&model, &base), "{name}: fresh adapters change nothing");
        let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
        model.backward(tape, &numbers.log_probs.filled(-1.).into()).unwrap();
        let gradients = model.gradients().unwrap();
        assert_eq!(gradients.missing(model.parameters()), Vec::<&str>::new(), "{name}");
        let learns = gradients.iter().any(|(parameter, gradient)| {
            parameter.ends_with(ends) && gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.
        });
        assert!(learns, "{name} {ends}");
        model.update(0.05, None).unwrap();
        (0..3).for_each(|_| step(&mut model));
        assert!(!close(&model, &base), "{name} {ends}");
        let merged = model.decoder.weights.merged_tensors(model.config().layout()).unwrap();
        assert!(close(&model, &CausalLm::frozen(config(name), merged).unwrap()), "{name} {ends}");
        let exported = model.exported().unwrap().tensors;
        assert!(exported.keys().any(|parameter| parameter.ends_with(ends)), "{name}");
        let tensors = base.parameters().iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        let lora = model.lora().unwrap().clone();
        let beside = CausalLm::adapted(config(name), BTreeMap::clone(&tensors), lora, &exported).unwrap();
        assert_eq!(beside.score(&MDP, &episodes()).unwrap(), model.score(&MDP, &episodes()).unwrap(), "{name}");
    }
    let model = adapted_with(config("llama untied"), LoraExtra::Bias);
    let message = model.decoder.weights.merged_tensors(model.config().layout()).unwrap_err().to_string();
    assert!(message.contains("lora_bias"), "{message}");
}
