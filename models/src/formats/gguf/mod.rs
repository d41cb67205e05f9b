//! GGUF files, whole or split: weights dequantised to f32 or kept in their blocks, with a config and a tokenizer converted from the metadata.

mod architecture;
mod header;
mod keys;
mod names;
mod parts;
mod vocabulary;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use engine::transfer::to_host;
use serde_json::{Value, json};

use self::architecture::Settings;
use self::header::{Header, Stored};
use self::parts::SplitFiles;
use self::weights::Layout;
use super::huggingface::{check_tensors, parse_config};
use super::vocabulary::Vocabulary;
use super::{Holding, ModelFiles, ModelTokenizer, stored_types};
use crate::ModelError;
use crate::causal::{BaseWeights, CausalConfig, GgufSizes};

/// Loads a GGUF file of a supported architecture; any file of a split model may be named.
///
/// # Errors
/// A damaged header, an unsupported architecture, storage type or tokenizer, tensors that are missing, unknown, of the
/// wrong shape or not finite.
pub(super) fn load(path: &Path, device: &Device, holding: Holding) -> Result<ModelFiles, ModelError> {
    let mut parts = SplitFiles::open(path)?;
    let header = std::mem::take(&mut parts.header);
    let named = |e: ModelError| match e {
        ModelError::Config { .. } | ModelError::Architecture { .. } => ModelError::format(path, e.to_string()),
        other => other,
    };
    let settings = Settings::new(&header).map_err(named)?;
    let mut tied = !header.tensors.contains_key("output.weight");
    if settings.gguf.sizes == GgufSizes::Gpt2 && !tied {
        tied = same_matrices(&parts, &header)?;
    }
    let mut value = settings.config(tied, long_factors(&parts, &header)?.as_ref()).map_err(named)?;
    if let Some(scaling) = rotary_factors(&parts, &header, &value)? {
        value["rope_scaling"] = scaling;
    }
    let vocabulary = vocabulary::read(path, &header)?;
    if let Some(vocabulary) = &vocabulary {
        vocabulary.describe(&mut value);
    }
    let config = parse_config(path, value)?;
    let places = places(&settings, &header, &config);
    let shapes = places.iter().map(|(name, (stored, layout))| {
        let shape = header.tensors.get(*stored).map(|info| layout.shape(&info.shape)).unwrap_or_default();
        (name.clone(), shape)
    });
    check_tensors(path, &config, &shapes.collect())?;
    let BaseWeights { tensors, quantised } = read_weights(&parts, &header, places, device, holding)?;
    let extras = vocabulary.map(Vocabulary::into_extras).unwrap_or_default();
    // The file itself defines pre-tokenisation, whatever the architecture.
    let mut tokenizer = ModelTokenizer::of_its_own(path, &extras, Some(&config))?;
    if let Some(tokenizer) = &mut tokenizer {
        tokenizer.notes.extend(vocabulary::note(path, &header));
    }
    let stored = stored_type(&header);
    Ok(ModelFiles { path: path.to_path_buf(), config, tensors, quantised, adapters: None, tokenizer, extras, stored })
}

/// Reads all weights, in the form that is asked for.
fn read_weights(
    parts: &SplitFiles,
    header: &Header,
    places: BTreeMap<String, (&str, Layout)>,
    device: &Device,
    holding: Holding,
) -> Result<BaseWeights, ModelError> {
    let mut base = BaseWeights::default();
    for (name, (stored, layout)) in places {
        let Some(info) = header.tensors.get(stored) else { continue };
        let file = parts.file(info.part);
        let matrix = match holding {
            Holding::Quantised => weights::read_blocks(file, stored, info, layout)?,
            Holding::F32 => None,
        };
        match matrix {
            Some(matrix) => drop(base.quantised.insert(name, Arc::new(matrix))),
            None => drop(base.tensors.insert(name, weights::read(file, stored, info, layout, device)?)),
        }
    }
    Ok(base)
}

/// The type that most weights are stored in; F32 where they are quantised.
fn stored_type(header: &Header) -> DType {
    stored_types::most_common(header.tensors.values().map(|info| {
        let kind = match info.stored {
            Stored::Plain(kind) => Some(kind),
            Stored::Blocks(_) => None,
        };
        (kind, info.shape.iter().product())
    }))
}

/// The Hugging Face name of every weight, with its stored name and layout.
fn places<'a>(
    settings: &Settings<'_>,
    header: &'a Header,
    config: &CausalConfig,
) -> BTreeMap<String, (&'a str, Layout)> {
    let names = header.tensors.keys().filter(|name| !(config.tied && *name == "output.weight"));
    names
        .filter_map(|stored| {
            let (name, layout) = names::place(stored, config, settings.gguf)?;
            Some((name, (stored.as_str(), layout)))
        })
        .collect()
}

/// Whether the output matrix is a copy of the embedding, which converters write for GPT-2.
fn same_matrices(parts: &SplitFiles, header: &Header) -> Result<bool, ModelError> {
    let (Some(a), Some(b)) = (header.tensors.get("token_embd.weight"), header.tensors.get("output.weight")) else {
        return Ok(false);
    };
    if a.stored != b.stored || a.shape != b.shape {
        return Ok(false);
    }
    Ok(parts.file(a.part).bytes(a.begin, a.bytes)? == parts.file(b.part).bytes(b.begin, b.bytes)?)
}

/// The factors of LongRoPE, short and long, which converters store as tensors.
fn long_factors(parts: &SplitFiles, header: &Header) -> Result<Option<[Vec<f32>; 2]>, ModelError> {
    let read = |name: &str| {
        let Some(info) = header.tensors.get(name) else { return Ok(None) };
        let tensor = weights::read(parts.file(info.part), name, info, Layout::Same, &Device::Cpu)?;
        Ok::<_, ModelError>(Some(to_host(&tensor)?))
    };
    let [short, long] = [read("rope_factors_short.weight")?, read("rope_factors_long.weight")?];
    Ok(short.zip(long).map(|(short, long)| [short, long]))
}

/// Detects Llama 3's rotary scaling by the frequency factors that converters store instead.
///
/// # Errors
/// Other factors, which would change the output.
fn rotary_factors(parts: &SplitFiles, header: &Header, config: &Value) -> Result<Option<Value>, ModelError> {
    const NAME: &str = "rope_freqs.weight";
    let Some(info) = header.tensors.get(NAME) else { return Ok(None) };
    let file = parts.file(info.part);
    let factors: Vec<f32> = to_host(&weights::read(file, NAME, info, Layout::Same, &Device::Cpu)?)?;
    let factor = factors.iter().copied().fold(1.0, f32::max);
    if factors.iter().all(|f| (f - 1.0).abs() < 1e-6) {
        return Ok(None);
    }
    let base = config["rope_theta"].as_f64().unwrap_or(10_000.0);
    let expected = llama3_factors(base, factors.len(), f64::from(factor));
    if factors.iter().zip(expected).any(|(found, e)| (f64::from(*found) - e).abs() > 1e-3 * e) {
        let reason = "its rotary factors are not those of Llama 3 with a context of 8192, the only ones supported";
        return Err(ModelError::tensor(file.path(), NAME, reason));
    }
    Ok(Some(json!({
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    })))
}

/// Llama 3's divisor of each frequency, for an original context of 8192.
fn llama3_factors(base: f64, n: usize, factor: f64) -> impl Iterator<Item = f64> {
    const CONTEXT: f64 = 8192.0;
    const HIGH: f64 = 4.0;
    (0..n).map(move |i| {
        let turns = CONTEXT / (std::f64::consts::TAU * base.powf(i as f64 / n as f64));
        let kept = ((turns - 1.0) / (HIGH - 1.0)).clamp(0.0, 1.0);
        1.0 / ((1.0 - kept) / factor + kept)
    })
}
