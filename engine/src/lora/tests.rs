//! Adapters of linear layers.

use candle_core::{DType, Device, Tensor};

use super::{
    AdaptableLayer, Adapter, LoraConfig, LoraExtra, LoraTargets, layer_of, lora_linear, merged_bias, merged_weight,
    parameter_names,
};
use crate::noise::{self, Noise};
use crate::ops::{WeightLayout, linear};
use crate::{EngineError, Parameters};

fn config(targets: &[&str]) -> LoraConfig {
    let targets = LoraTargets::Named(targets.iter().map(ToString::to_string).collect());
    LoraConfig { rank: 4, alpha: 8., rslora: false, targets, extra: LoraExtra::None }
}

fn layer(name: &str) -> AdaptableLayer {
    AdaptableLayer { name: name.to_owned(), n_in: 6, n_out: 3, kernel: None }
}

#[test]
fn layers_are_named_by_their_ends_where_that_is_enough() {
    let all = ["a.to_q", "a.to_out.0", "b.to_q", "b.to_out.0", "b.net.0"].map(layer);
    let check = |chosen: &[&str], expected: &[&str]| {
        let targets = LoraTargets::exactly(&chosen.iter().copied().collect(), &all);
        assert_eq!(targets, config(expected).targets);
        let config = LoraConfig { targets, ..config(&[]) };
        assert!(all.iter().all(|layer| config.is_target(layer) == chosen.contains(&layer.name.as_str())));
    };
    check(&["a.to_q", "b.to_q"], &["to_q"]);
    check(&["a.to_out.0", "b.to_out.0", "b.net.0"], &["net.0", "to_out.0"]);
    check(&["a.to_q", "b.net.0"], &["a.to_q", "b.net.0"]);
}

fn random(purpose: &str, shape: (usize, usize)) -> Tensor {
    noise::normal(&mut Noise::new(0).stream(purpose, 0), shape, 1., &Device::Cpu).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn the_scale_is_pefts() {
    let plain = config(&["x"]);
    assert_eq!(plain.scale(), 2.);
    assert_eq!(LoraConfig { rslora: true, ..plain }.scale(), 4.);
}

#[test]
fn targets_match_whole_last_names() {
    let matches = |targets: &[&str], name| config(targets).is_target(&layer(name));
    assert!(matches(&["c_attn"], "h.0.attn.c_attn") && matches(&["c_attn"], "c_attn"));
    assert!(matches(&["attn.c_proj"], "h.0.attn.c_proj") && !matches(&["attn.c_proj"], "h.0.mlp.c_proj"));
    assert!(!matches(&["attn"], "h.0.c_attn") && !matches(&[""], "h.0.c_attn"));
    let all = LoraConfig { targets: LoraTargets::AllLinear, ..config(&[]) };
    assert!(all.is_target(&layer("h.0.mlp.c_proj")));
}

#[test]
fn attaching_freezes_the_rest_and_starts_at_zero() {
    let mut parameters = Parameters::default();
    parameters.insert_trainable("h.0.q.weight", random("w", (3, 6))).unwrap();
    let layers = [layer("h.0.q"), layer("h.0.k"), layer("h.1.q")];
    let (noise, cpu) = (Noise::new(3), Device::Cpu);
    let adapted = config(&["q"]).attach(&mut parameters, &layers, &noise, DType::F32, &cpu).unwrap();
    assert_eq!(adapted, ["h.0.q", "h.1.q"]);
    let trainable: Vec<_> = parameters.trainable().map(|(name, _)| name.to_owned()).collect();
    let expected = ["h.0.q.lora_A.weight", "h.0.q.lora_B.weight", "h.1.q.lora_A.weight", "h.1.q.lora_B.weight"];
    assert_eq!(trainable, expected);
    let adapter = config(&["q"]).adapter(&parameters, "h.0.q").unwrap();
    assert_eq!((adapter.a.dims(), adapter.b.dims()), (&[4, 6][..], &[3, 4][..]));
    assert_eq!(adapter.b.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.);
    // 1 / sqrt 6 = 0.408
    let largest = adapter.a.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest > 0.2 && largest <= 0.4083, "{largest}");
    assert!(config(&["q"]).adapter(&parameters, "h.0.k").is_none());
    assert!(largest_difference(adapter.a, parameters.get("h.1.q.lora_A.weight").unwrap()) > 0.01);
}

#[test]
fn a_layers_start_does_not_depend_on_the_others() {
    let start = |layers: &[AdaptableLayer]| {
        let mut parameters = Parameters::default();
        config(&["q"]).attach(&mut parameters, layers, &Noise::new(3), DType::F32, &Device::Cpu).unwrap();
        parameters.get(&parameter_names("h.1.q").0).unwrap().to_vec2::<f32>().unwrap()
    };
    assert_eq!(start(&[layer("h.1.q")]), start(&[layer("h.0.q"), layer("h.1.q")]));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let refuse = |config: LoraConfig| {
        let layers = [layer("h.0.attn.q"), layer("h.1.attn.q"), layer("h.0.mlp.up")];
        let mut parameters = Parameters::default();
        config.attach(&mut parameters, &layers, &Noise::new(0), DType::F32, &Device::Cpu).unwrap_err().to_string()
    };
    let target = refuse(config(&["q", "gate"]));
    assert_eq!(target, "LoRA target `gate` matches no layer; there are q, up");
    assert!(refuse(config(&[])).contains("matches no layer"));
    assert!(refuse(LoraConfig { rank: 0, ..config(&["q"]) }).contains("rank"));
    let rank = refuse(LoraConfig { rank: 7, ..config(&["q"]) });
    assert_eq!(rank, "LoRA rank 7 is more than the width of every adapted layer, 6 at most: it would not be low");
    assert!(refuse(LoraConfig { alpha: f64::NAN, ..config(&["q"]) }).contains("alpha"));
}

#[test]
fn attaching_twice_is_an_error() {
    let mut parameters = Parameters::default();
    let mut attach = || config(&["q"]).attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu);
    attach().unwrap();
    assert!(matches!(attach(), Err(EngineError::DuplicateTensor { .. })));
}

#[test]
fn merging_and_adapting_agree_in_both_layouts() {
    for (layout, weight) in [(WeightLayout::OutIn, random("w", (3, 6))), (WeightLayout::InOut, random("w", (6, 3)))] {
        let (x, a, b) = (random("x", (5, 6)), random("a", (4, 6)), random("b", (3, 4)));
        let bias = random("bias", (1, 3)).squeeze(0).unwrap();
        let adapter = Adapter::plain(&a, &b, 0.5);
        let adapted = lora_linear(&x, &weight, Some(&bias), layout, adapter).unwrap();
        let merged = merged_weight(&weight, layout, adapter).unwrap();
        assert_eq!(merged.dims(), weight.dims());
        let plain = linear(&x, &merged, Some(&bias), layout).unwrap();
        assert!(largest_difference(&adapted, &plain) < 1e-5);
    }
}

#[test]
fn only_the_adapter_gets_gradients() {
    let mut parameters = Parameters::default();
    parameters.insert_trainable("q.weight", random("w", (3, 6))).unwrap();
    let config = config(&["q"]);
    config.attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu).unwrap();
    parameters.set("q.lora_B.weight", &random("b", (3, 4))).unwrap();
    let (x, adapter) = (random("x", (5, 6)), config.adapter(&parameters, "q").unwrap());
    let y = lora_linear(&x, parameters.get("q.weight").unwrap(), None, WeightLayout::OutIn, adapter).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert!(store.get(parameters.get("q.weight").unwrap()).is_none());
    // d sum(y) / d B = scale * 1 (sum of x A^T), d / d A = scale * (1 B)^T (sum of x).
    let ones = Tensor::ones((5, 3), DType::F32, &Device::Cpu).unwrap();
    let of_b = (ones.t().unwrap().matmul(&x.matmul(&adapter.a.t().unwrap()).unwrap()).unwrap() * 2.).unwrap();
    let of_a = (ones.matmul(adapter.b).unwrap().t().unwrap().matmul(&x).unwrap() * 2.).unwrap();
    assert!(largest_difference(store.get(adapter.b).unwrap(), &of_b) < 1e-4);
    assert!(largest_difference(store.get(adapter.a).unwrap(), &of_a) < 1e-4);
}

#[test]
fn biases_and_magnitudes_are_merged_as_they_are_applied() {
    for (layout, weight) in [(WeightLayout::OutIn, random("w", (3, 6))), (WeightLayout::InOut, random("w", (6, 3)))] {
        let (x, a, b) = (random("x", (5, 6)), random("a", (4, 6)), random("b", (3, 4)));
        let of_out = |name| random(name, (1, 3)).squeeze(0).unwrap();
        let (bias, own, magnitude) = (of_out("bias"), of_out("own"), of_out("magnitude"));
        let squares = crate::ops::Matrix::from(&weight).row_squares(layout).unwrap();
        let plain = Adapter::plain(&a, &b, 0.5);
        for adapter in [
            Adapter { bias: Some(&own), ..plain },
            Adapter { magnitude: Some(&magnitude), ..plain },
            Adapter { magnitude: Some(&magnitude), squares: Some(&squares), ..plain },
        ] {
            let adapted = lora_linear(&x, &weight, Some(&bias), layout, adapter).unwrap();
            let merged = merged_weight(&weight, layout, adapter).unwrap();
            let bias = merged_bias(&bias, adapter).unwrap();
            let expected = linear(&x, &merged, Some(&bias), layout).unwrap();
            assert!(largest_difference(&adapted, &expected) < 1e-5);
            if adapter.magnitude.is_some() {
                // A row of the merged weight has the norm that the magnitude says.
                let norms = crate::ops::Matrix::from(&merged).row_squares(layout).unwrap().sqrt().unwrap();
                assert!(largest_difference(&norms, &magnitude.abs().unwrap()) < 1e-5);
            }
        }
    }
}

#[test]
fn a_new_magnitude_changes_nothing() {
    let mut parameters = Parameters::default();
    let weight = random("w", (3, 6));
    parameters.insert_frozen("q.weight", weight.clone()).unwrap();
    let config = LoraConfig { extra: LoraExtra::Magnitude, ..config(&["q"]) };
    config.attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu).unwrap();
    let squares = crate::ops::Matrix::from(&weight).row_squares(WeightLayout::OutIn).unwrap();
    LoraConfig::set_magnitude(&mut parameters, "q", &squares).unwrap();
    let (x, adapter) = (random("x", (5, 6)), config.adapter(&parameters, "q").unwrap());
    let y = lora_linear(&x, &weight, None, WeightLayout::OutIn, adapter).unwrap();
    let plain = linear(&x, &weight, None, WeightLayout::OutIn).unwrap();
    assert!(largest_difference(&y, &plain) < 1e-6);
    // The magnitude's gradient is the sum of outputs over its norm.
    let store = y.sum_all().unwrap().backward().unwrap();
    let expected = (plain.sum(0).unwrap() / squares.sqrt().unwrap()).unwrap();
    assert!(largest_difference(store.get(adapter.magnitude.unwrap()).unwrap(), &expected) < 1e-5);
    let names = ["q.lora_A.weight", "q.lora_B.weight", "q.lora_magnitude_vector"];
    assert_eq!(parameters.trainable().map(|(name, _)| name).collect::<Vec<_>>(), names);
    assert!(names.into_iter().all(|name| layer_of(name) == Some("q")) && layer_of("q.weight").is_none());
}

#[test]
fn a_bias_of_b_starts_at_zero_and_is_scaled() {
    let mut parameters = Parameters::default();
    let config = LoraConfig { extra: LoraExtra::Bias, ..config(&["q"]) };
    config.attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu).unwrap();
    let (x, weight, adapter) = (random("x", (5, 6)), random("w", (3, 6)), config.adapter(&parameters, "q").unwrap());
    let y = lora_linear(&x, &weight, None, WeightLayout::OutIn, adapter).unwrap();
    assert!(largest_difference(&y, &linear(&x, &weight, None, WeightLayout::OutIn).unwrap()) < 1e-6);
    let gradient = y.sum_all().unwrap().backward().unwrap().get(adapter.bias.unwrap()).unwrap().to_vec1::<f32>();
    // Five rows times the scale 2.
    assert_eq!(gradient.unwrap(), [10.; 3]);
}

#[test]
fn norms_before_a_magnitude_are_constants_in_gradients() {
    let (x, weight) = (random("x", (5, 6)), random("w", (3, 6)));
    let [a, b] = [random("a", (4, 6)), random("b", (3, 4))].map(|half| candle_core::Var::from_tensor(&half).unwrap());
    let magnitude = candle_core::Var::from_tensor(&random("m", (1, 3)).squeeze(0).unwrap()).unwrap();
    let adapter = Adapter { magnitude: Some(&magnitude), ..Adapter::plain(&a, &b, 0.5) };
    let y = lora_linear(&x, &weight, None, WeightLayout::OutIn, adapter).unwrap();
    // The same in plain ops: x (W + s B A)^T times m over the norm.
    let whole = (&weight + (b.matmul(&a).unwrap() * 0.5).unwrap()).unwrap();
    let norms = whole.detach().sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
    let plain =
        x.matmul(&whole.t().unwrap()).unwrap().broadcast_mul(&(magnitude.as_tensor() / norms).unwrap()).unwrap();
    assert!(largest_difference(&y, &plain) < 1e-5);
    let [ours, theirs] = [y, plain].map(|y| y.sqr().unwrap().sum_all().unwrap().backward().unwrap());
    for parameter in [&a, &b, &magnitude] {
        assert!(largest_difference(ours.get(parameter).unwrap(), theirs.get(parameter).unwrap()) < 1e-3);
    }
}
