//! Forward and backward of an 18M UNet2DConditionModel (widths 64, 128 and 256) on eight latents of 4x32x32, which look
//! at four captions of 77 tokens, f32. `benches/peers/unet_step.py` measures diffusers on the same shape.
use std::sync::Arc;

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hybrid_dpo::engine::checkpoint::Recompute;
use hybrid_dpo::engine::ops::{Grid, squared_errors};
use hybrid_dpo::engine::{Gradients, Noise, noise};
use hybrid_dpo::models::unet::{Contexts, ImageBatch, UNet, UNetConfig};

/// As in the program: much of a step in candle is memory given back and asked for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IMAGES: usize = 8;
const SIZE: usize = 32;
const WORDS: usize = 77;
const CONTEXT: usize = 256;

fn model() -> Arc<UNet> {
    let config = serde_json::json!({
        "_class_name": "UNet2DConditionModel", "sample_size": SIZE, "in_channels": 4, "out_channels": 4,
        "block_out_channels": [64, 128, 256], "layers_per_block": 2, "cross_attention_dim": CONTEXT,
        "attention_head_dim": 8,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    });
    let config = UNetConfig::from_json(config).expect("a complete configuration");
    let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu).expect("memory for 18M numbers");
    Arc::new(UNet::trainable(config, tensors, None).expect("the configuration's own tensors"))
}

fn random(name: &str, shape: (usize, usize)) -> Tensor {
    noise::normal(&mut Noise::new(1).stream(name, 0), shape, 1., &Device::Cpu).expect("memory for a batch")
}

fn batch() -> Arc<ImageBatch> {
    let grid = Grid { images: IMAGES, height: SIZE, width: SIZE };
    // Both images of a pair have one caption.
    let of_image = (0..IMAGES).map(|image| image / 2 * WORDS..(image / 2 + 1) * WORDS).collect();
    Arc::new(ImageBatch {
        x: random("x", (grid.rows(), 4)),
        grid,
        times: (0..IMAGES).map(|image| 100. * image as f64).collect(),
        contexts: Some(Contexts { rows: random("contexts", (IMAGES / 2 * WORDS, CONTEXT)), of_image }),
        pooled: None,
        time_ids: None,
        classes: None,
    })
}

fn step(model: &Arc<UNet>, batch: &Arc<ImageBatch>, target: &Tensor, recompute: Recompute) -> f64 {
    let mut tape = model.run_tape(Arc::clone(batch), recompute).expect("a batch that fits");
    let errors = tape.run_kept(|prediction| Ok(squared_errors(prediction, target, IMAGES)?));
    let ones = errors.and_then(|errors| Ok(errors.ones_like()?)).expect("one error for each image");
    let mut gradients = Gradients::default();
    tape.backward(&ones, model.parameters(), &mut gradients).expect("a gradient");
    gradients.norm().expect("finite gradients")
}

fn unet(criterion: &mut Criterion) {
    let (model, batch, target) = (model(), batch(), random("target", (IMAGES * SIZE * SIZE, 4)));
    let mut group = criterion.benchmark_group("unet_step/18m/8-latents");
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("score", |bencher| bencher.iter(|| model.score(&batch).expect("a batch that fits")));
    for (name, recompute) in [("step", Recompute::Nothing), ("step-checkpointed", Recompute::Blocks)] {
        group.bench_function(name, |bencher| bencher.iter(|| step(&model, &batch, &target, recompute)));
    }
    group.finish();
}

criterion_group!(benches, unet);
criterion_main!(benches);
