//! Every gradient, against finite differences in f64.

use engine::Gradients;
use engine::Parameters;
use mdp::Channels;

use super::*;
use policies::Learner;

/// The sum of slope times number, the function whose gradient `backward` adds.
fn sum(numbers: &Channels, slopes: &Channels) -> f64 {
    let pairs = [
        (Some(&numbers.log_probs), Some(&slopes.log_probs)),
        (numbers.divergence.as_ref(), slopes.divergence.as_ref()),
    ];
    let products = pairs.into_iter().filter_map(|(numbers, slopes)| {
        let (numbers, slopes) = (numbers?, slopes?);
        assert!(numbers.same_shape(slopes));
        Some(numbers.values().iter().zip(slopes.values()).map(|(a, b)| a * b).sum::<f64>())
    });
    products.sum()
}

fn backward(model: &mut CausalLm, slopes: impl Fn(&Channels) -> Channels) -> Channels {
    let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
    let slopes = slopes(&numbers);
    model.backward(tape, &slopes).unwrap();
    slopes
}

/// Moves each trainable tensor along a random direction and compares with the directional derivative.
pub(super) fn check_every_parameter(name: &str, model: &mut CausalLm) {
    let slopes = backward(model, |numbers| laws::random_slopes(numbers, &mut rng(8)));
    let gradients = model.gradients().unwrap();
    assert_eq!(gradients.missing(model.parameters()), Vec::<&str>::new(), "{name}");
    for (parameter, var) in model.parameters().trainable() {
        let direction = noise::normal(&mut Noise::new(9).stream(parameter, 0), var.shape(), 1., &Device::Cpu).unwrap();
        let direction = direction.to_dtype(DType::F64).unwrap();
        let start = var.as_tensor().copy().unwrap().detach();
        let moved = |step: f64| {
            var.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
            sum(&model.score(&MDP, &episodes()).unwrap(), &slopes)
        };
        let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        var.set(&start).unwrap();
        let gradient = gradients.get(parameter).unwrap();
        let slope = (gradient * direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let error = (slope - difference).abs() / difference.abs().max(1.);
        assert!(error < 1e-6, "{name}: {parameter} has slope {slope}, finite differences say {difference}");
    }
}

#[test]
fn every_parameter_follows_finite_differences() {
    for (name, config) in configs() {
        let mut model = trainable(config, DType::F64, training(None, Recompute::Nothing));
        check_every_parameter(name, &mut model);
    }
}

#[test]
fn the_divergence_follows_finite_differences() {
    for name in ["neox parallel", "llama tied", "gemma2", "granite"] {
        let reference = Arc::new(frozen(config(name), 2, DType::F64));
        let model = trainable(config(name), DType::F64, training(None, Recompute::Blocks));
        check_every_parameter(name, &mut model.with_reference(reference).unwrap());
    }
}

fn is_zero(tensor: &Tensor) -> bool {
    tensor.abs().unwrap().sum_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap() == 0.
}

#[test]
fn every_parameter_gets_a_gradient() {
    for (name, config) in configs() {
        let mut model = learner(config);
        backward(&mut model, |numbers| laws::random_slopes(numbers, &mut rng(8)));
        let gradients = model.gradients().unwrap();
        assert_eq!(gradients.missing(model.parameters()), Vec::<&str>::new(), "{name}");
        assert_eq!(gradients.iter().filter(|(_, gradient)| is_zero(gradient)).count(), 0, "{name}");
    }
}

fn gathered(model: &CausalLm) -> Vec<(String, Tensor)> {
    model.gradients().unwrap().iter().map(|(name, gradient)| (name.to_owned(), gradient.copy().unwrap())).collect()
}

fn check_same(name: &str, one: &CausalLm, other: &CausalLm) {
    let (one, other) = (gathered(one), gathered(other));
    assert_eq!(one.len(), other.len(), "{name}");
    for ((parameter, one), (same, other)) in one.iter().zip(&other) {
        assert_eq!(parameter, same, "{name}");
        // The two add up in other orders: they differ by the rounding of the largest numbers.
        let (error, largest) = (largest_difference(one, other), largest_difference(one, &one.zeros_like().unwrap()));
        assert!(error < 1e-5 * largest.max(1.), "{name}: {parameter} differs by {error}, of {largest}");
    }
}

#[test]
fn activations_computed_again_give_the_same_gradient() {
    for (name, config) in configs() {
        let make = |recompute| trainable(config.clone(), DType::F32, training(None, recompute));
        let (mut kept, mut again) = (make(Recompute::Nothing), make(Recompute::Blocks));
        for model in [&mut kept, &mut again] {
            backward(model, |numbers| laws::random_slopes(numbers, &mut rng(8)));
        }
        check_same(name, &kept, &again);
    }
}

#[test]
fn a_forest_has_the_gradient_of_its_sequences() {
    for (name, config) in configs() {
        let (mut together, mut apart) = (learner(config.clone()), learner(config));
        let slopes = backward(&mut together, |numbers| laws::random_slopes(numbers, &mut rng(8)));
        for (index, episode) in episodes().into_iter().enumerate() {
            let (_, tape) = apart.forward(&MDP, &[episode]).unwrap();
            apart.backward(tape, &slopes.log_probs.slice(index..index + 1).into()).unwrap();
        }
        check_same(name, &together, &apart);
    }
}

#[test]
fn an_update_goes_downhill_and_forgets() {
    let mut model = learner(config("qwen2"));
    let slopes = backward(&mut model, |numbers| numbers.log_probs.filled(-1.).into());
    let before = sum(&model.score(&MDP, &episodes()).unwrap(), &slopes);
    let norm = model.update(1e-3, Some(1.)).unwrap();
    assert!(norm > 1.);
    assert!(sum(&model.score(&MDP, &episodes()).unwrap(), &slopes) < before);
    assert!(model.gradients().is_some_and(Gradients::is_empty));
    assert_eq!(model.gradients().map(|gradients| gradients.norm().unwrap()), Some(0.));
}

#[test]
fn slopes_that_do_not_fit_are_refused() {
    let mut model = learner(config("gpt2"));
    let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
    let error = model.backward(tape, &numbers.log_probs.slice(0..2).into()).unwrap_err().to_string();
    assert!(error.contains("the slopes"), "{error}");
    let (_, tape) = model.forward(&MDP, &episodes()).unwrap();
    let slopes = Channels { divergence: Some(numbers.log_probs.clone()), ..numbers.log_probs.clone().into() };
    assert!(model.backward(tape, &slopes).unwrap_err().to_string().contains("no reference"));
    let frozen = frozen(config("gpt2"), 1, DType::F32);
    assert!(frozen.forward(&MDP, &episodes()).unwrap_err().to_string().contains("made to learn"));
    assert_eq!(Parameters::trainable(frozen.parameters()).count(), 0);
}

/// A talk of three turns, of which the middle one is a user's: as one piece, and as pieces of the scored turns.
fn talk(is_masked: bool) -> EpisodeOf<TokenMdp> {
    let (prompt, tokens) = ([1u32, 2], [5u32, 6, 7, 8, 9, 10]);
    if !is_masked {
        return episode(&prompt, &tokens);
    }
    let piece = |range: std::ops::Range<usize>| mdp::Piece {
        start: TokenState { prompt: prompt.as_slice().into(), response: tokens[..range.start].to_vec() },
        actions: tokens[range].to_vec(),
        weight: 1.0,
    };
    Episode { pieces: vec![piece(0..2), piece(4..6)] }
}

#[test]
fn given_tokens_are_read_and_have_no_gradient() {
    for (name, config) in configs() {
        let run = |is_masked: bool, slopes: [f64; 6]| {
            let mut model = trainable(config.clone(), DType::F64, training(None, Recompute::Nothing));
            let (numbers, tape) = model.forward(&MDP, &[talk(is_masked)]).unwrap();
            let slopes = if is_masked { [&slopes[..2], &slopes[4..]].concat() } else { slopes.to_vec() };
            model.backward(tape, &mdp::Steps::from_iter([slopes]).into()).unwrap();
            let gradients = model.gradients().unwrap();
            let of = |(parameter, _)| gradients.get(parameter).unwrap().clone();
            let gradients: Vec<Tensor> = model.parameters().trainable().map(of).collect();
            (numbers.log_probs.row(0).to_vec(), gradients)
        };
        let slopes = [0.5, -1.0, 0.0, 0.0, 2.0, 0.25];
        let ((whole, expected), (scored, found)) = (run(false, slopes), run(true, slopes));
        // The turns are scored behind all that was said before, and the user's tokens have no number.
        let turns = [whole[0], whole[1], whole[4], whole[5]];
        assert_eq!(scored.len(), 4, "{name}");
        assert!(scored.iter().zip(turns).all(|(found, expected)| (found - expected).abs() < 1e-12), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(largest_difference(found, expected) < 1e-12, "{name}");
        }
    }
}

#[test]
fn biases_of_adapters_follow_finite_differences() {
    let targets = engine::lora::LoraTargets::AllLinear;
    let lora = LoraConfig { rank: 2, alpha: 4., rslora: false, targets, extra: engine::lora::LoraExtra::Bias };
    let mut model = trainable(config("llama untied"), DType::F64, training(Some(lora), Recompute::Nothing));
    check_every_parameter("llama untied", &mut model);
}
