//! A base whose matrices stay in blocks, against the same base dequantised.

use engine::lora::{LoraExtra, LoraTargets};
use engine::quantised::{BlockFormat, QuantisedMatrix};

use super::super::BaseWeights;
use super::*;
use policies::Learner;

/// Models wide enough for blocks of 32.
fn wide() -> Vec<(&'static str, CausalConfig)> {
    let llama = json!({ "model_type": "llama", "vocab_size": 40, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 16,
        "tie_word_embeddings": false });
    let gemma = json!({ "model_type": "gemma2", "vocab_size": 40, "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
        "max_position_embeddings": 16, "final_logit_softcapping": 3.0 });
    let gpt2 = json!({ "model_type": "gpt2", "vocab_size": 40, "n_embd": 32, "n_layer": 1, "n_head": 2,
        "n_positions": 16 });
    let sources = [("llama", llama), ("gemma2", gemma), ("gpt2", gpt2)];
    sources.map(|(name, source)| (name, CausalConfig::from_json(source).unwrap())).into()
}

/// A matrix in blocks of 32 bytes with one scale, a power of two.
fn quantised(tensor: &Tensor, is_turned: bool) -> QuantisedMatrix {
    let tensor = if is_turned { tensor.t().unwrap() } else { tensor.clone() };
    let (n_rows, width) = tensor.dims2().unwrap();
    let mut bytes = Vec::new();
    for block in tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().chunks(32) {
        // 2^-9 in half precision; the numbers have a standard deviation of 0.06.
        bytes.extend([0x00, 0x18]);
        bytes.extend(block.iter().map(|x| (x * 512.).round().clamp(-127., 127.) as i8 as u8));
    }
    let matrix = QuantisedMatrix::new(BlockFormat::Q8_0, n_rows, width, bytes).unwrap();
    if is_turned { matrix.turned() } else { matrix }
}

/// A base in blocks, and the same dequantised.
fn bases(config: &CausalConfig) -> (BaseWeights, BTreeMap<String, Tensor>) {
    let mut base = BaseWeights::default();
    let mut dense = BTreeMap::new();
    let linear = config.linear_names();
    for (name, tensor) in config.initial_tensors(&Noise::new(1), &Device::Cpu).unwrap() {
        if tensor.rank() < 2 {
            dense.insert(name.clone(), tensor.clone());
            base.tensors.insert(name, tensor);
            continue;
        }
        let is_linear = linear.iter().any(|layer| name.strip_suffix(".weight") == Some(layer));
        let matrix = quantised(&(tensor * 3.).unwrap(), config.is_transposed() && is_linear);
        dense.insert(name.clone(), matrix.to_tensor(&Device::Cpu).unwrap());
        base.quantised.insert(name, Arc::new(matrix));
    }
    (base, dense)
}

fn options(extra: LoraExtra) -> LearnerOptions {
    let lora = LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra };
    training(Some(lora), Recompute::Nothing)
}

/// The log-probabilities of ten steps towards likelier texts.
fn ten_steps(model: &mut CausalLm) -> Vec<Vec<f64>> {
    let step = |model: &mut CausalLm| {
        let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
        model.backward(tape, &numbers.log_probs.filled(-1.).into()).unwrap();
        model.update(0.02, None).unwrap();
        numbers.log_probs.values().to_vec()
    };
    (0..10).map(|_| step(model)).collect()
}

#[test]
fn adapters_learn_the_same_on_blocks_and_on_their_numbers() {
    for (name, config) in wide() {
        for extra in [LoraExtra::None, LoraExtra::Bias, LoraExtra::Magnitude] {
            let (base, dense) = bases(&config);
            let mut ours = CausalLm::trainable(config.clone(), base, options(extra)).unwrap();
            let mut theirs = CausalLm::trainable(config.clone(), dense, options(extra)).unwrap();
            let [a, b] = [&mut ours, &mut theirs].map(ten_steps);
            if name != "gpt2" && extra == LoraExtra::None {
                assert_eq!(a, b, "{name}");
            }
            // GPT-2's products are those of the transposed matrix, and norms are summed in another order.
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            assert!(pairs.clone().count() > 100 && pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4), "{name}");
            let moved = a[0].iter().zip(&a[9]).map(|(first, last)| (first - last).abs()).fold(0., f64::max);
            assert!(moved > 0.02, "{name}: {moved}");
            let fingerprints = [&ours, &theirs].map(|model| model.base().unwrap().decoder.fingerprint("").unwrap());
            assert_eq!(fingerprints[0], fingerprints[1], "{name}");
            let starts = [TokenState::new([1u32, 2, 3, 4].as_slice())];
            laws::check_policy(&MDP, &ours, &starts, 3, 1e-4).unwrap();
        }
    }
}

#[test]
fn adapters_on_blocks_follow_finite_differences() {
    let (_, config) = wide().swap_remove(0);
    let (mut base, _) = bases(&config);
    for tensor in base.tensors.values_mut() {
        *tensor = tensor.to_dtype(DType::F64).unwrap();
    }
    let mut model = CausalLm::trainable(config, base, options(LoraExtra::Bias)).unwrap();
    super::gradients::check_every_parameter("llama", &mut model);
}

#[test]
fn blocks_do_not_learn_and_are_merged_as_their_numbers() {
    let (_, config) = wide().swap_remove(0);
    let (base, dense) = bases(&config);
    let message = CausalLm::trainable(config.clone(), base.clone(), training(None, Recompute::Nothing));
    assert!(message.unwrap_err().to_string().contains("only learn by adapters"));
    let merged = base.clone().merged(&config, None).unwrap();
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(merged.len() == dense.len() && merged.iter().all(|(name, t)| numbers(t) == numbers(&dense[name])));
    // The divergence from a reference in blocks, of a policy in blocks.
    let reference = Arc::new(CausalLm::frozen(config.clone(), base.clone()).unwrap());
    let [a, b] = [CausalLm::frozen(config.clone(), base), CausalLm::frozen(config, dense)].map(|model| {
        let model = model.unwrap().with_reference(Arc::clone(&reference)).unwrap();
        model.score(&MDP, &episodes()).unwrap()
    });
    assert_eq!(a, b);
    assert!(a.divergence.unwrap().values().iter().all(|kl| kl.abs() < 1e-6));
    assert_eq!(reference.exported().unwrap().tensors.len(), reference.config().expected_tensors().len());
}
