//! The fused layers against their composed forms, at the sizes of a 70M GPT-NeoX (6 layers, width 512, 8 heads, 50,304
//! words) with four prompts of 350 tokens and two answers of 40 tokens each, and at those of the convolutions of a small
//! denoiser.
//!
//! The group `ceiling` is what the machine gives at most: a large product, a copy, exponentials.
//!
//! Throughput of products and log-probabilities is in floating-point operations: `Gelem/s` reads as GFLOP/s.

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hybrid_dpo::engine::ops::{
    self, AttentionForm, Block, Convolution, Forest, Grid, Heads, LogitForm, Matrix, NormActivation, Padding, Pairing,
    QkvLayout, Rope, RopeScaling, VocabularyQuery, WeightLayout, composed,
};
use hybrid_dpo::engine::{Precision, WithPrecision};
use std::hint::black_box;
use std::sync::Arc;

/// The allocator of the program: much of a candle step is allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 512;
const VOCABULARY: usize = 50_304;
const HEADS: Heads = Heads { query: 8, key_value: 8, size: 64 };

/// Pseudo-random numbers, the same in every run.
fn tensor(shape: &[usize], scale: f32) -> Tensor {
    let mut state = 1u64;
    let number = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.) * scale
    };
    let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(number).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).expect("as many numbers as the shape has")
}

fn var(shape: &[usize], scale: f32) -> Tensor {
    Var::from_tensor(&tensor(shape, scale)).expect("a copy").as_tensor().clone()
}

fn forest() -> Arc<Forest> {
    let mut forest = Forest::default();
    for _ in 0..4 {
        let prompt = forest.push(None, 350);
        forest.push(Some(prompt), 40);
        forest.push(Some(prompt), 40);
    }
    Arc::new(forest)
}

type Op<'a> = &'a dyn Fn() -> Result<Tensor>;

/// Forward, and forward with backward, of a fused op, of the same in bf16, and of its composed form.
fn compare(criterion: &mut Criterion, name: &str, flops: Option<usize>, fused: Op<'_>, composed: Op<'_>) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    let (single, half) = (Precision::F32, Precision::Bf16);
    for (form, op, precision) in [("fused", fused, single), ("bf16", fused, half), ("composed", composed, single)] {
        let _guard = WithPrecision::begin(precision);
        if let Some(flops) = flops {
            group.throughput(Throughput::Elements(flops as u64));
        }
        group.bench_function(format!("forward/{form}"), |b| b.iter(|| black_box(op()).expect("shapes that fit")));
        if let Some(flops) = flops {
            group.throughput(Throughput::Elements(3 * flops as u64));
        }
        group.bench_function(format!("step/{form}"), |b| {
            b.iter(|| black_box(op().and_then(|y| ops::backward(&y))).expect("shapes that fit"));
        });
    }
    group.finish();
}

fn products(criterion: &mut Criterion) {
    let n = forest().n_rows();
    for (name, n_in, n_out) in [("qkv", WIDTH, 3 * WIDTH), ("up", WIDTH, 4 * WIDTH), ("down", 4 * WIDTH, WIDTH)] {
        let (x, weight, bias) = (var(&[n, n_in], 1.), var(&[n_out, n_in], 0.05), var(&[n_out], 1.));
        compare(
            criterion,
            &format!("linear/{name}/{n}x{n_in}x{n_out}"),
            Some(2 * n * n_in * n_out),
            &|| ops::linear(&x, &weight, Some(&bias), WeightLayout::OutIn),
            &|| composed::linear(&x, &weight, Some(&bias), WeightLayout::OutIn),
        );
    }
}

fn log_probabilities(criterion: &mut Criterion) {
    for n in [320, 1280] {
        let (hidden, matrix) = (var(&[n, WIDTH], 1.), var(&[VOCABULARY, WIDTH], 0.05));
        let rows: Vec<u32> = (0..n as u32).collect();
        let targets: Vec<u32> = (0..n as u32).map(|i| i * 31 % VOCABULARY as u32).collect();
        let query = VocabularyQuery {
            rows: &rows,
            targets: &targets,
            reference: None,
            forms: [LogitForm::PLAIN; 2],
            diagnostics: false,
            collision: false,
        };
        compare(
            criterion,
            &format!("log-prob/{n}x{WIDTH}x{VOCABULARY}"),
            Some(2 * n * WIDTH * VOCABULARY),
            &|| ops::vocabulary_log_prob(&hidden, &Matrix::from(&matrix), query),
            &|| composed::vocabulary_log_prob(&hidden, &matrix, query),
        );
    }
}

fn attention(criterion: &mut Criterion) {
    let forest = forest();
    let n = forest.n_rows();
    let (qkv, rope) = (var(&[n, 3 * WIDTH], 1.), Rope::new(10_000., 16, Pairing::Halves, &RopeScaling::None));
    compare(
        criterion,
        &format!("attention/4x(350+2x40)x{WIDTH}"),
        None,
        &|| ops::forest_attention_packed(&qkv, HEADS, AttentionForm::default(), QkvLayout::PerHead, &forest),
        &|| composed::forest_attention_packed(&qkv, HEADS, AttentionForm::default(), QkvLayout::PerHead, &forest),
    );
    let positions = forest.positions();
    compare(
        criterion,
        &format!("rope/{n}x{}", 3 * WIDTH),
        None,
        &|| ops::rope_packed(&qkv, &positions, HEADS, QkvLayout::PerHead, &rope),
        &|| composed::rope_packed(&qkv, &positions, HEADS, QkvLayout::PerHead, &rope),
    );
}

fn rows_and_elements(criterion: &mut Criterion) {
    let n = forest().n_rows();
    let (x, weight, bias) = (var(&[n, WIDTH], 1.), var(&[WIDTH], 1.), var(&[WIDTH], 1.));
    compare(
        criterion,
        &format!("layer-norm/{n}x{WIDTH}"),
        None,
        &|| ops::layer_norm(&x, &weight, Some(&bias), 1e-5),
        &|| composed::layer_norm(&x, &weight, Some(&bias), 1e-5),
    );
    let wide = var(&[n, 4 * WIDTH], 3.);
    let id = format!("gelu/{n}x{}", 4 * WIDTH);
    compare(criterion, &id, None, &|| ops::gelu(&wide), &|| composed::gelu(&wide));
    let other = var(&[n, WIDTH], 2.);
    let id = format!("add/{n}x{WIDTH}");
    compare(criterion, &id, None, &|| ops::add(&x, &other), &|| composed::add(&x, &other));
    let (table, ids) = (var(&[VOCABULARY, WIDTH], 1.), (0..n as u32).map(|i| i * 29 % 50_000).collect::<Vec<_>>());
    let id = format!("embedding/{n}of{VOCABULARY}x{WIDTH}");
    compare(criterion, &id, None, &|| ops::embedding(&ids, &table), &|| composed::embedding(&ids, &table));
}

fn convolutions(criterion: &mut Criterion) {
    let halving = Convolution { stride: 2, padding: Padding::all(1) };
    for (name, size, n_in, n_out, kernel, convolution) in [
        ("wide", 32, 64, 64, 3, Convolution::same(3)),
        ("middle", 16, 128, 128, 3, Convolution::same(3)),
        ("deep", 8, 256, 256, 3, Convolution::same(3)),
        ("half", 32, 64, 64, 3, halving),
        ("first", 32, 4, 64, 3, Convolution::same(3)),
        ("last", 32, 64, 4, 3, Convolution::same(3)),
        ("single", 16, 128, 128, 1, Convolution::same(1)),
    ] {
        let grid = Grid { images: 8, height: size, width: size };
        let output = convolution.output(grid, (kernel, kernel)).expect("a kernel that fits");
        let (x, weight, bias) =
            (var(&[grid.rows(), n_in], 1.), var(&[n_out, kernel, kernel, n_in], 0.05), var(&[n_out], 1.));
        compare(
            criterion,
            &format!("conv2d/{name}/8x{size}x{size}/{n_in}to{n_out}"),
            Some(2 * output.rows() * kernel * kernel * n_in * n_out),
            &|| ops::conv2d(&x, &weight, Some(&bias), grid, convolution),
            &|| composed::conv2d(&x, &weight, Some(&bias), grid, convolution),
        );
    }
    let grid = Grid { images: 8, height: 16, width: 16 };
    let x = var(&[grid.rows(), 128], 1.);
    let id = "upsample/8x16x16x128";
    compare(criterion, id, None, &|| ops::upsample_nearest(&x, grid), &|| composed::upsample_nearest(&x, grid));
}

fn image_rows(criterion: &mut Criterion) {
    let grid = Grid { images: 8, height: 32, width: 32 };
    let (x, weight, bias) = (var(&[grid.rows(), 64], 1.), var(&[64], 1.), var(&[64], 1.));
    let silu = NormActivation::Silu;
    compare(
        criterion,
        "group-norm-silu/8x32x32x64",
        None,
        &|| ops::group_norm(&x, &weight, &bias, 32, 1e-5, grid, silu),
        &|| composed::group_norm(&x, &weight, &bias, 32, 1e-5, grid, silu),
    );
    let y = var(&[8, 64], 1.);
    let id = "add-per-image/8x32x32x64";
    compare(criterion, id, None, &|| ops::add_per_image(&x, &y, grid), &|| composed::add_per_image(&x, &y, grid));
    let (a, b) = (var(&[2048, 128], 1.), var(&[2048, 128], 1.));
    compare(criterion, "concat/8x16x16x(128+128)", None, &|| ops::concat(&a, &b), &|| composed::concat(&a, &b));
    let wide = var(&[2048, 2048], 3.);
    compare(criterion, "geglu/2048x1024", None, &|| ops::geglu(&wide), &|| composed::geglu(&wide));
}

fn block_attention(criterion: &mut Criterion) {
    let heads = Heads { query: 8, key_value: 8, size: 32 };
    for (name, n_keys) in [("self", 256), ("cross", 77)] {
        let (q, k, v) = (var(&[8 * 256, 256], 1.), var(&[8 * n_keys, 256], 1.), var(&[8 * n_keys, 256], 1.));
        let block = |i| Block { queries: 256 * i..256 * (i + 1), keys: n_keys * i..n_keys * (i + 1) };
        let blocks: Arc<[Block]> = (0..8).map(block).collect();
        compare(
            criterion,
            &format!("block-attention/{name}/8x256x{n_keys}x8x32"),
            None,
            &|| ops::block_attention(&q, &k, &v, heads, &blocks),
            &|| composed::block_attention(&q, &k, &v, heads, &blocks),
        );
    }
}

/// What the machine gives at most, to read the others by: a large product in f32, a copy by all threads, exponentials of numbers in
/// the cache (as SiLU takes them).
fn ceilings(criterion: &mut Criterion) {
    const SIDE: usize = 1536;
    let (a, b) = (tensor(&[SIDE, SIDE], 1.), tensor(&[SIDE, SIDE], 1.));
    let mut group = criterion.benchmark_group("ceiling");
    group.sample_size(10).throughput(Throughput::Elements(2 * (SIDE as u64).pow(3)));
    group.bench_function(format!("sgemm/{SIDE}"), |bencher| bencher.iter(|| a.matmul(&b).expect("squares")));
    let from = vec![1f32; 1 << 26];
    let mut to = from.clone();
    let part = from.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from));
    group.throughput(Throughput::Bytes(2 * size_of_val(&from[..]) as u64));
    group.bench_function("copy/256MiB", |bencher| {
        bencher.iter(|| {
            std::thread::scope(|scope| {
                for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                    scope.spawn(|| black_box(to).copy_from_slice(black_box(from)));
                }
            });
        });
    });
    let x = tensor(&[64, 1024], 4.);
    group.throughput(Throughput::Elements(64 * 1024));
    group.bench_function("exp/64x1024", |bencher| bencher.iter(|| ops::silu(&x).expect("a matrix")));
    group.finish();
}

criterion_group!(limits, ceilings);
criterion_group!(images, image_rows, block_attention);
criterion_group!(layers, convolutions, products, log_probabilities, attention, rows_and_elements);
criterion_main!(limits, layers, images);
