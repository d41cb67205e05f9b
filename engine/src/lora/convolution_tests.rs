//! Adapters of convolutions.

use super::{AdaptableLayer, Adapter, LoraConfig, LoraExtra, LoraTargets, lora_conv2d, merged_weight};
use crate::noise::{self, Noise};
use crate::ops::{Convolution, Grid, Padding, WeightLayout, conv2d};
use crate::{EngineError, Parameters};
use candle_core::{DType, Device, Tensor};

const GRID: Grid = Grid { images: 2, height: 5, width: 4 };
const HALVING: Convolution = Convolution { stride: 2, padding: Padding { top: 0, bottom: 1, left: 1, right: 1 } };

fn config(targets: LoraTargets) -> LoraConfig {
    LoraConfig { rank: 2, alpha: 3., rslora: false, targets, extra: LoraExtra::None }
}

fn attach(parameters: &mut Parameters, targets: LoraTargets) -> Result<Vec<String>, EngineError> {
    let layer = |name: &str, kernel| AdaptableLayer { name: name.to_owned(), n_in: 3, n_out: 4, kernel };
    let layers = [layer("down.conv", Some((3, 2))), layer("proj", Some((1, 1))), layer("to_q", None)];
    config(targets).attach(parameters, &layers, &Noise::new(3), DType::F32, &Device::Cpu)
}

fn random(purpose: &str, shape: &[usize]) -> Tensor {
    let size = (shape[0], shape[1..].iter().product());
    let rng = &mut Noise::new(0).stream(purpose, 0);
    noise::normal(rng, size, 1., &Device::Cpu).unwrap().reshape(shape).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn named_convolutions_get_convolutions() {
    let mut parameters = Parameters::default();
    let named = LoraTargets::Named(["conv", "proj"].map(ToOwned::to_owned).into());
    assert_eq!(attach(&mut parameters, named).unwrap(), ["down.conv", "proj"]);
    let adapter = |name| config(LoraTargets::AllLinear).adapter(&parameters, name).unwrap();
    let Adapter { a, b, scale, .. } = adapter("down.conv");
    assert_eq!((a.dims(), b.dims(), scale), (&[2, 3, 2, 3][..], &[4, 1, 1, 2][..], 1.5));
    // 1 / sqrt(3 2 3) = 0.2357
    let largest = a.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest > 0.15 && largest <= 0.2358, "{largest}");
    assert_eq!(b.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.);
    assert_eq!(adapter("proj").a.dims(), [2, 1, 1, 3]);
}

#[test]
fn all_linear_leaves_convolutions_out() {
    assert_eq!(attach(&mut Parameters::default(), LoraTargets::AllLinear).unwrap(), ["to_q"]);
}

#[test]
fn merging_and_adapting_agree() {
    let (x, weight, bias) = (random("x", &[40, 3]), random("w", &[4, 3, 2, 3]), random("bias", &[1, 4]));
    let (a, b, bias) = (random("a", &[2, 3, 2, 3]), random("b", &[4, 1, 1, 2]), bias.squeeze(0).unwrap());
    let adapter = Adapter::plain(&a, &b, 0.5);
    let adapted = lora_conv2d(&x, &weight, Some(&bias), GRID, HALVING, adapter).unwrap();
    let merged = merged_weight(&weight, WeightLayout::OutIn, adapter).unwrap();
    assert_eq!(merged.dims(), weight.dims());
    let plain = conv2d(&x, &merged, Some(&bias), GRID, HALVING).unwrap();
    assert!(largest_difference(&adapted, &plain) < 1e-5);
    assert!(largest_difference(&plain, &conv2d(&x, &weight, Some(&bias), GRID, HALVING).unwrap()) > 0.1);
}

#[test]
fn only_the_adapter_gets_gradients() {
    let mut parameters = Parameters::default();
    parameters.insert_trainable("down.conv.weight", random("w", &[4, 3, 2, 3])).unwrap();
    attach(&mut parameters, LoraTargets::Named(vec!["conv".to_owned()])).unwrap();
    parameters.set("down.conv.lora_B.weight", &random("b", &[4, 1, 1, 2])).unwrap();
    let adapter = config(LoraTargets::AllLinear).adapter(&parameters, "down.conv").unwrap();
    let weight = parameters.get("down.conv.weight").unwrap();
    let y = lora_conv2d(&random("x", &[40, 3]), weight, None, GRID, HALVING, adapter).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert!(store.get(weight).is_none());
    for half in [adapter.a, adapter.b] {
        let gradient = store.get(half).unwrap();
        assert_eq!(gradient.dims(), half.dims());
        assert!(gradient.abs().unwrap().min_all().unwrap().to_scalar::<f32>().unwrap() > 0.);
    }
}
