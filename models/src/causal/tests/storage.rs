//! Checkpoints and fingerprints.

use engine::lora::{LoraExtra, LoraTargets};
use engine::optim::RmsProp;

use super::*;
use crate::formats::{HuggingFaceExport, SaveOptions};
use crate::{Export, Exported, ModelError};
use policies::{Learner, Persist};

fn learner(lora: Option<LoraConfig>) -> CausalLm {
    let training = LearnerOptions { optimizer: Box::new(RmsProp::default()), ..training(lora, Recompute::Nothing) };
    trainable(config("llama tied"), DType::F32, training)
}

fn step(model: &mut CausalLm) {
    let (numbers, tape) = model.forward(&MDP, &episodes()).unwrap();
    model.backward(tape, &numbers.log_probs.filled(-1.).into()).unwrap();
    model.update(1e-3, Some(1.)).unwrap();
}

#[test]
fn a_restored_learner_takes_the_same_steps_to_the_bit() {
    let adapters =
        LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra: LoraExtra::None };
    for lora in [None, Some(adapters)] {
        let folder = tempfile::tempdir().unwrap();
        let mut straight = learner(lora.clone());
        step(&mut straight);
        straight.save_checkpoint(folder.path()).unwrap();
        let saved = straight.fingerprint().unwrap();
        let mut resumed = learner(lora);
        assert_ne!(resumed.fingerprint().unwrap(), saved);
        resumed.restore_checkpoint(folder.path()).unwrap();
        assert_eq!(resumed.fingerprint().unwrap(), saved);
        for model in [&mut straight, &mut resumed] {
            step(model);
            step(model);
        }
        assert_ne!(straight.fingerprint().unwrap(), saved);
        assert_eq!(straight.fingerprint().unwrap(), resumed.fingerprint().unwrap());
    }
}

#[test]
fn a_checkpoint_of_another_model_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    super::learner(config("gpt2")).save_checkpoint(folder.path()).unwrap();
    let mut model = learner(None);
    let before = model.fingerprint().unwrap();
    let error = model.restore_checkpoint(folder.path()).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors") && error.contains("is missing"), "{error}");
    assert!(model.restore_checkpoint(&folder.path().join("nowhere")).is_err());
    std::fs::write(folder.path().join("weights.safetensors"), b"not tensors").unwrap();
    assert!(model.restore_checkpoint(folder.path()).unwrap_err().to_string().contains("not a safetensors file"));
    assert_eq!(model.fingerprint().unwrap(), before);
}

#[test]
fn an_exported_model_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in configs() {
        let model = super::learner(config);
        let target = folder.path().join(name);
        std::fs::create_dir(&target).unwrap();
        model.export(&target).unwrap();
        let files = crate::formats::load(&target, &Device::Cpu).unwrap();
        assert_eq!(files.frozen().unwrap().fingerprint().unwrap(), model.fingerprint().unwrap(), "{name}");
    }
}

#[test]
fn a_model_is_written_with_the_files_it_came_with() {
    let folder = tempfile::tempdir().unwrap();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/embedded/tldr");
    let target = folder.path().join("again");
    let model = crate::formats::load(&source, &Device::Cpu).unwrap().frozen().unwrap();
    model.frozen_copy().unwrap().export(&target).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let [before, after] = [&source, &target].map(|folder| std::fs::read(folder.join(name)).unwrap());
        assert!(before == after, "{name}");
    }
}

/// Records the exported contents.
#[derive(Debug)]
struct Note;

impl Export<CausalConfig> for Note {
    fn export(&self, folder: &std::path::Path, model: &Exported<'_, CausalConfig>) -> Result<(), ModelError> {
        let note = format!("{} {}", model.tensors.len(), model.lora.is_some());
        std::fs::write(folder.join("note"), note).map_err(|e| ModelError::io(folder, e))
    }
}

#[test]
fn a_model_is_written_by_the_exporter_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let lora =
        LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra: LoraExtra::None };
    for (lora, expected) in [(None, "20 false"), (Some(lora), "28 true")] {
        let model = learner(lora).with_exporter(Note);
        model.frozen_copy().unwrap().export(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("note")).unwrap(), expected);
    }
}

#[test]
fn exported_adapters_come_back_on_their_base() {
    let folder = tempfile::tempdir().unwrap();
    let (base, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
    super::learner(config("gpt2")).export(&base).unwrap();
    let lora =
        LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra: LoraExtra::None };
    let files = crate::formats::load(&base, &Device::Cpu).unwrap();
    let mut model = files.trainable(training(Some(lora), Recompute::Nothing)).unwrap();
    (0..3).for_each(|_| step(&mut model));
    model.export(&adapter).unwrap();
    // The adapter names its base, so its folder alone loads as the adapted model.
    let merged = crate::formats::load(&adapter, &Device::Cpu).unwrap().frozen().unwrap();
    let [merged, expected] = [merged, model].map(|model| model.score(&MDP, &episodes()).unwrap().log_probs);
    assert!(merged.same_shape(&expected) && !merged.is_empty());
    assert!(merged.values().iter().zip(expected.values()).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn the_average_is_what_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let adapters =
        LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra: LoraExtra::None };
    for (name, lora, file) in
        [("whole", None, "model.safetensors"), ("adapters", Some(adapters), "adapter_model.safetensors")]
    {
        let training = LearnerOptions { ema: Some(0.5), ..training(lora, Recompute::Nothing) };
        let model = trainable(config("qwen2"), DType::F32, training);
        let mut model = model.with_exporter(HuggingFaceExport {
            save: SaveOptions { dtype: DType::BF16, ..SaveOptions::default() },
            ..HuggingFaceExport::default()
        });
        (0..3).for_each(|_| step(&mut model));
        let target = folder.path().join(name);
        std::fs::create_dir(&target).unwrap();
        model.export(&target).unwrap();
        // A copy of it acts as the export does, and not as the learner.
        let averaged = model.averaged().unwrap().unwrap();
        for (name, average) in model.decoder.exported().unwrap() {
            assert_eq!(largest_difference(averaged.parameters().get(&name).unwrap(), &average), 0., "{name}");
        }
        let exported = candle_core::safetensors::load(target.join(file), &Device::Cpu).unwrap();
        for (name, average) in model.decoder.exported().unwrap() {
            let stored = exported.iter().find(|(stored, _)| stored.ends_with(&name)).unwrap().1;
            assert_eq!(stored.dtype(), DType::BF16, "{name}");
            assert_eq!(largest_difference(stored, &average.to_dtype(DType::BF16).unwrap()), 0., "{name}");
            assert!(largest_difference(&average, model.parameters().get(&name).unwrap()) > 0., "{name}");
        }
    }
}
