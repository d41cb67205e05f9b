//! The features of every trained network, tested on the smallest one.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor};
use engine::checkpoint::{Recompute, Tape};
use engine::lora::{AdaptableLayer, LoraConfig, LoraExtra, LoraTargets};
use engine::ops::WeightLayout;
use engine::optim::Sgd;
use engine::sums::DeviceSums;
use policies::Peers;

use super::{Layers, LearnerOptions, Network, Pass, TrainedNetwork, Weights};
use crate::ModelError;

/// y = W x.
#[derive(Debug)]
struct Line(Weights);

impl Network for Line {
    const NAME: &'static str = "line";

    fn weights(&self) -> &Weights {
        &self.0
    }
}

impl Line {
    fn run(&self, x: &Tensor, pass: Pass) -> Result<Tensor, engine::EngineError> {
        Layers { weights: &self.0, pass, layout: WeightLayout::OutIn }.linear(x, "line")
    }
}

fn tensor(values: &[f32; 4]) -> Tensor {
    Tensor::from_slice(values, (2, 2), &Device::Cpu).unwrap()
}

fn tensors() -> BTreeMap<String, Tensor> {
    BTreeMap::from([("line.weight".to_owned(), tensor(&[1., 2., 3., 4.]))])
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn learner(lora: bool, ema: Option<f64>) -> TrainedNetwork<Line> {
    adapted(lora.then_some(2.), ema)
}

/// A network with adapters of this alpha, or without.
fn adapted(alpha: Option<f64>, ema: Option<f64>) -> TrainedNetwork<Line> {
    let lora = alpha.map(|alpha| LoraConfig {
        rank: 1,
        alpha,
        rslora: false,
        targets: LoraTargets::AllLinear,
        extra: LoraExtra::None,
    });
    let training = LearnerOptions { lora, ema, ..LearnerOptions::new(Box::new(Sgd::new(0.9).unwrap())) };
    let layer = AdaptableLayer { name: "line".into(), n_in: 2, n_out: 2, kernel: None };
    let weights = Weights::trainable(tensors(), training.adapters(), &[layer], &[]).unwrap();
    TrainedNetwork::learner(Line(weights), training).unwrap()
}

/// Backpropagates the sum of all outputs, and takes a step.
fn step(line: &mut TrainedNetwork<Line>) {
    let x = tensor(&[1., -1., 0.5, 2.]);
    let mut tape = Tape::from_input(&x, line.recompute().unwrap()).unwrap();
    tape.run_kept(|x| line.run(x, Pass::Training)).unwrap();
    line.backward(tape, &tensor(&[1.; 4])).unwrap();
    line.update(0.1, Some(1.)).unwrap();
}

#[test]
fn averages_are_exported_and_follow_a_resumed_run_to_the_bit() {
    for lora in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut straight = learner(lora, Some(0.5));
        step(&mut straight);
        straight.save_checkpoint(folder.path()).unwrap();
        let mut resumed = learner(lora, Some(0.5));
        resumed.restore_checkpoint(folder.path()).unwrap();
        for line in [&mut straight, &mut resumed] {
            step(line);
            step(line);
        }
        let [ours, theirs] = [&straight, &resumed].map(|line| line.exported().unwrap());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        assert_eq!(ours.len(), if lora { 2 } else { 1 });
        for (name, average) in &ours {
            assert_eq!(numbers(average), numbers(&theirs[name]), "{name}");
            let weight = straight.weights().parameters.get(name).unwrap();
            assert_ne!(numbers(average), numbers(weight), "{name} is the average, not the weight");
        }
        assert_eq!(straight.fingerprint("").unwrap(), resumed.fingerprint("").unwrap());
        // A learner without an EMA restores the same checkpoint, and exports its weights.
        let mut plain = learner(lora, None);
        plain.restore_checkpoint(folder.path()).unwrap();
        assert!(
            plain
                .exported()
                .unwrap()
                .iter()
                .all(|(name, tensor)| { numbers(tensor) == numbers(plain.weights().parameters.get(name).unwrap()) })
        );
    }
}

#[test]
fn a_reference_that_follows_is_an_average_and_resumes_to_the_bit() {
    for lora in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut straight = learner(lora, None);
        assert!(straight.following().unwrap().is_none());
        straight.follow(0.5).unwrap();
        let start = straight.following().unwrap().unwrap();
        for (name, tensor) in straight.weights().parameters.iter() {
            assert_eq!(numbers(tensor), numbers(start.parameters.get(name).unwrap()), "{name}");
        }
        step(&mut straight);
        straight.save_checkpoint(folder.path()).unwrap();
        let mut resumed = learner(lora, None);
        resumed.follow(0.5).unwrap();
        resumed.restore_checkpoint(folder.path()).unwrap();
        for line in [&mut straight, &mut resumed] {
            step(line);
        }
        let [ours, theirs] = [&straight, &resumed].map(|line| line.following().unwrap().unwrap());
        for (name, average) in ours.parameters.iter() {
            assert_eq!(numbers(average), numbers(theirs.parameters.get(name).unwrap()), "{name}");
            let weight = straight.weights().parameters.get(name).unwrap();
            assert_eq!(numbers(average) != numbers(weight), straight.weights().parameters.is_trainable(name), "{name}");
        }
        // What is exported is the policy, not its reference.
        for (name, tensor) in straight.exported().unwrap() {
            assert_eq!(numbers(&tensor), numbers(straight.weights().parameters.get(&name).unwrap()), "{name}");
        }
        let mut other = learner(lora, None);
        other.save_checkpoint(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join("reference.safetensors")).unwrap();
        other.follow(0.5).unwrap();
        let message = other.restore_checkpoint(folder.path()).unwrap_err().to_string();
        assert!(message.contains("`model.reference_ema`"), "{message}");
    }
}

#[test]
fn averages_of_an_adapter_that_goes_on_start_from_it() {
    let mut line = learner(true, Some(0.5));
    let (a, b) = (Tensor::full(3f32, (1, 2), &Device::Cpu).unwrap(), Tensor::full(5f32, (2, 1), &Device::Cpu).unwrap());
    let earlier = BTreeMap::from([("line.lora_A.weight".to_owned(), a), ("line.lora_B.weight".to_owned(), b)]);
    line.start_from(&earlier).unwrap();
    for (name, tensor) in line.exported().unwrap() {
        assert_eq!(numbers(&tensor), numbers(&earlier[&name]), "{name}");
    }
}

#[test]
fn the_base_is_the_network_before_adapters_in_the_same_memory() {
    let x = tensor(&[1., -1., 0.5, 2.]);
    let mut line = learner(true, None);
    let before = numbers(&line.run(&x, Pass::Scoring).unwrap());
    step(&mut line);
    step(&mut line);
    assert_ne!(numbers(&line.run(&x, Pass::Scoring).unwrap()), before);
    let base = line.weights().base().unwrap();
    assert_eq!(
        base.parameters.get("line.weight").unwrap().id(),
        line.weights().parameters.get("line.weight").unwrap().id()
    );
    let plain = TrainedNetwork::frozen(Line(Weights::frozen(tensors()).unwrap()));
    assert_eq!(base.hash("settings").unwrap(), plain.fingerprint("settings").unwrap());
    assert_eq!(numbers(&Line(base).run(&x, Pass::Scoring).unwrap()), before);
    assert!(learner(false, None).weights().base().unwrap_err().to_string().contains("a model with adapters"));
}

#[test]
fn a_view_follows_and_a_copy_stays() {
    let mut line = learner(false, None);
    let (view, copy) = (line.view(), line.weights().frozen_copy().unwrap());
    step(&mut line);
    let now = numbers(line.weights().parameters.get("line.weight").unwrap());
    assert_eq!(numbers(view.weights().parameters.get("line.weight").unwrap()), now);
    assert_eq!(numbers(copy.parameters.get("line.weight").unwrap()), [1., 2., 3., 4.]);
}

/// The sums of two processes with the same numbers, in the tensors' own memory.
#[derive(Debug)]
struct Doubled;

impl DeviceSums for Doubled {
    fn sum(&self, tensors: &[&Tensor]) -> candle_core::Result<()> {
        let copies: Vec<Tensor> = tensors.iter().map(|tensor| tensor.copy()).collect::<candle_core::Result<_>>()?;
        tensors.iter().zip(&copies).try_for_each(|(tensor, copy)| tensor.inplace_op2(copy, &Add))
    }
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, _: &Layout, from: &CpuStorage, _: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(to), CpuStorage::F32(from)) = (to, from) else { unreachable!("gradients are in f32") };
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        Ok(())
    }
}

/// Two processes, of which both are this one.
#[derive(Debug)]
struct Twice;

impl Peers for Twice {
    fn rank(&self) -> usize {
        0
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec(); 2]
    }
}

#[test]
fn gradients_are_summed_where_they_lie_once_devices_have_joined() {
    for lora in [false, true] {
        let mut line = learner(lora, None);
        // No library sums on the CPU.
        line.join(&Twice).unwrap();
        assert!(!line.sums_gradient());
        let message = line.sum_gradient().unwrap_err().to_string();
        assert!(message.contains("the line") && message.contains("joined no others"), "{message}");
        let x = tensor(&[1., -1., 0.5, 2.]);
        let mut tape = Tape::from_input(&x, line.recompute().unwrap()).unwrap();
        tape.run_kept(|x| line.run(x, Pass::Training)).unwrap();
        line.backward(tape, &tensor(&[1.; 4])).unwrap();
        let norm = line.gradient_norm().unwrap();
        line.joined(Arc::new(Doubled));
        assert!(line.sums_gradient());
        let before = engine::transfer::copies();
        line.sum_gradient().unwrap();
        assert_eq!(engine::transfer::copies(), before, "no gradient comes to the host");
        assert!((line.gradient_norm().unwrap() - 2. * norm).abs() < 1e-6 * norm);
        // The optimiser takes the sum.
        assert!((line.update(0.1, None).unwrap() - 2. * norm).abs() < 1e-6 * norm);
    }
}

#[test]
fn a_fingerprint_is_of_settings_and_numbers() {
    let mut line = learner(false, None);
    let before = line.fingerprint("a").unwrap();
    assert_eq!(line.fingerprint("a").unwrap(), before);
    assert_ne!(line.weights().hash("b").unwrap(), before);
    step(&mut line);
    assert_ne!(line.fingerprint("a").unwrap(), before);
    let [weak, strong] = [2., 4.].map(|alpha| adapted(Some(alpha), None).fingerprint("a").unwrap());
    assert_ne!(weak, strong, "the same adapters of another strength");
}

#[test]
fn what_does_not_learn_says_its_name() {
    let mut frozen = TrainedNetwork::frozen(Line(Weights::frozen(tensors()).unwrap()));
    let text = |error: ModelError| error.to_string();
    assert!(text(frozen.recompute().unwrap_err()).starts_with("the line: expected one that was made to learn"));
    assert!(text(frozen.update(0.1, None).unwrap_err()).starts_with("the line"));
    assert!(text(frozen.gradient_norm().unwrap_err()).starts_with("the line"));
    assert!(frozen.gradients().is_none());
    assert_eq!(learner(false, None).recompute().unwrap(), Recompute::Nothing);
}
