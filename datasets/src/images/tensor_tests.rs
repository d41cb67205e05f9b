//! Files of latents, draws and trajectories, good and bad.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use super::tensors::{channels_first, channels_last};
use super::*;
use crate::error::DatasetError;

type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn i64s(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// `0, 1, 2 ..` of a shape, each a multiple of `factor`.
fn ramp(name: &'static str, shape: &[usize], factor: f32) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|at: usize| at as f32 * factor).collect();
    (name, Dtype::F32, shape.to_vec(), f32s(&values))
}

/// Writes a file as the safetensors crate does.
fn save(folder: &Path, tensors: &[Tensor], notes: &[(&str, &str)]) -> PathBuf {
    let path = folder.join("file.safetensors");
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("bytes that fill the shape"))
    });
    let notes: HashMap<String, String> = notes.iter().map(|&(name, text)| (name.into(), text.into())).collect();
    std::fs::write(&path, safetensors::serialize(views, Some(notes)).expect("tensors")).expect("a folder");
    path
}

fn pairs() -> Vec<Tensor> {
    vec![ramp("chosen", &[3, 2, 2, 2], 1.0), ramp("rejected", &[3, 2, 2, 2], -1.0)]
}

fn refusal<T: std::fmt::Debug>(found: Result<T, DatasetError>) -> String {
    found.expect_err("a refusal").to_string()
}

#[test]
fn masked_tokens_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = pairs();
    tensors.push(ramp("context", &[3, 3, 2], 1.0));
    let with = |mask: Tensor| save(folder.path(), &[tensors.clone(), vec![mask]].concat(), &[]);
    let read = |path: &Path| Latents::open(path, ImageKind::Pairs).unwrap().get(1).unwrap();
    let hidden = |context: &LatentContext| context.hidden.clone().unwrap();
    for (dtype, bytes) in [
        (Dtype::I64, i64s(&[1, 1, 1, 1, 0, 1, 0, 0, 1])),
        (Dtype::BOOL, vec![1, 1, 1, 1, 0, 1, 0, 0, 1]),
        (Dtype::F32, f32s(&[1., 1., 1., 1., 0., 1., 0., 0., 1.])),
    ] {
        let pair = read(&with(("context_mask", dtype, vec![3, 3], bytes)));
        let expected = HiddenValues { values: vec![6., 7., 10., 11.], length: 2, width: 2 };
        assert_eq!((hidden(&pair.chosen_context), hidden(&pair.rejected_context)), (expected.clone(), expected));
    }
    let sided = |name, bytes: &[i64]| (name, Dtype::I64, vec![3, 3], i64s(bytes));
    let [all, first] = [[1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 0, 1, 0, 0]];
    let both = [tensors.clone(), vec![sided("context_mask_chosen", &all), sided("context_mask_rejected", &first)]];
    let pair = read(&save(folder.path(), &both.concat(), &[]));
    assert_eq!((hidden(&pair.chosen_context).length, hidden(&pair.rejected_context).values), (3, vec![6., 7.]));
    let refused = |mask: Tensor| refusal(Latents::open(&with(mask), ImageKind::Pairs));
    let message = refused(("context_mask", Dtype::I64, vec![3, 3], i64s(&[1, 1, 1, 1, 2, 1, 1, 1, 1])));
    assert!(message.contains("row 1: 2 is not 0 or 1"), "{message}");
    let message = refused(("context_mask", Dtype::I64, vec![3, 3], i64s(&[1, 1, 1, 1, 1, 1, 0, 0, 0])));
    assert!(message.contains("row 2: no token is left"), "{message}");
    let message = refused(("context_mask", Dtype::I64, vec![3, 2], i64s(&[1; 6])));
    assert!(message.contains("for 2 tokens, `context` has 3"), "{message}");
    let alone = [pairs(), vec![sided("context_mask", &all)]].concat();
    let message = refusal(Latents::open(&save(folder.path(), &alone, &[]), ImageKind::Pairs));
    assert!(message.contains("no `context` that it masks"), "{message}");
}

#[test]
fn classes_are_told_by_whole_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let with = |labels: Vec<Tensor>| save(folder.path(), &[pairs(), labels].concat(), &[]);
    let label = |name, dtype, bytes| (name, dtype, vec![3], bytes);
    for (dtype, bytes) in
        [(Dtype::I64, i64s(&[4, 0, 7])), (Dtype::F32, f32s(&[4., 0., 7.])), (Dtype::U8, vec![4, 0, 7])]
    {
        let latents = Latents::open(&with(vec![label("class_labels", dtype, bytes)]), ImageKind::Pairs).unwrap();
        let pair = latents.get(2).unwrap();
        assert_eq!((pair.chosen_context.class, latents.highest_class()), (Some(7), Some(7)));
        assert_ne!(latents.told(0).unwrap(), latents.told(1).unwrap());
    }
    let sides = ["class_labels_chosen", "class_labels_rejected"];
    let both = [label(sides[0], Dtype::I64, i64s(&[1, 2, 3])), label(sides[1], Dtype::I64, i64s(&[3, 2, 9]))];
    let latents = Latents::open(&with(both.to_vec()), ImageKind::Pairs).unwrap();
    let pair = latents.get(0).unwrap();
    assert_eq!(
        (pair.chosen_context.class, pair.rejected_context.class, latents.highest_class()),
        (Some(1), Some(3), Some(9))
    );
    for (dtype, bytes, expected) in [
        (Dtype::I64, i64s(&[0, -1, 2]), "row 1: -1 is the number of no class"),
        (Dtype::F32, f32s(&[0., 1., 2.5]), "row 2: 2.5 is the number of no class"),
    ] {
        let path = with(vec![label("class_labels", dtype, bytes)]);
        assert!(refusal(Latents::open(&path, ImageKind::Pairs)).contains(expected));
    }
}

#[test]
fn shorter_contexts_are_padded_behind_a_mask() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masked.safetensors");
    let contexts =
        ContextLayout { rows: 2, hidden: Some((3, 2)), is_ragged: true, has_classes: true, ..ContextLayout::default() };
    let layout = LatentLayout { kind: ImageKind::Pairs, examples: 2, shape: SHAPE, contexts };
    let context = |length: usize| {
        let values = (0..2 * length).map(|at| at as f32).collect();
        let hidden = Some(HiddenValues { values, length, width: 2 });
        LatentContext { hidden, class: Some(length as u32), ..LatentContext::default() }
    };
    let mut writer = LatentWriter::create(&path, layout).unwrap();
    for index in 0..2 {
        writer.write(index, &latent(index), Some(&latent(index + 100))).unwrap();
    }
    assert!(refusal(writer.write_context(1, &context(4))).contains("8 values instead of 6"));
    writer.write_context(0, &context(1)).unwrap();
    writer.write_context(1, &context(3)).unwrap();
    let notes = LatentNotes { fingerprint: "0123456789abcdef", context_of: &[1, 0], empty: None, captions: &[] };
    writer.finish(notes).unwrap();
    let cache = Latents::open_cache(&path, ImageKind::Pairs, "0123456789abcdef").unwrap();
    for (index, length) in [(0, 3), (1, 1)] {
        assert_eq!(*cache.get(index).unwrap().chosen_context, context(length));
    }
}

#[test]
fn channels_go_last_and_come_back() {
    let values: Vec<f32> = (0..12).map(|at| at as f32).collect();
    assert_eq!(channels_last(&values, 3), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
    assert_eq!(channels_first(&channels_last(&values, 3), 3), values);
}

#[test]
fn latents_are_read_row_by_row_channels_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = pairs();
    tensors.extend([ramp("context", &[3, 2, 4], 0.5), ramp("time_ids", &[3, 6], 1.0)]);
    tensors.extend([ramp("pooled_chosen", &[3, 5], 1.0), ramp("pooled_rejected", &[3, 5], 2.0)]);
    let path = save(folder.path(), &tensors, &[]);
    let latents = Latents::open(&path, ImageKind::Pairs).unwrap();
    assert_eq!((latents.len(), latents.shape()), (3, LatentShape { channels: 2, height: 2, width: 2 }));
    let pair = latents.get(1).unwrap();
    assert_eq!(pair.chosen[..], [8., 12., 9., 13., 10., 14., 11., 15.]);
    assert_eq!(pair.rejected.unwrap()[..], [-8., -12., -9., -13., -10., -14., -11., -15.]);
    let (chosen, rejected) = (&pair.chosen_context, &pair.rejected_context);
    let hidden = chosen.hidden.as_ref().unwrap();
    assert_eq!((hidden.length, hidden.width, hidden.values[0]), (2, 4, 4.0));
    assert_eq!(chosen.hidden, rejected.hidden);
    assert_eq!(chosen.time_ids, Some([6., 7., 8., 9., 10., 11.]));
    let first = |context: &LatentContext| context.pooled.as_ref().unwrap()[0];
    assert_eq!((first(chosen), first(rejected)), (5.0, 10.0));
    assert!(latents.empty_context().unwrap().is_none() && latents.caption(0).is_none());
    assert!(matches!(latents.get(3), Err(DatasetError::OutOfRange { index: 3, len: 3 })));
    let single = Latents::open(&save(folder.path(), &tensors[..1], &[]), ImageKind::Captioned).unwrap().get(0).unwrap();
    assert_eq!((single.rejected, single.chosen_context), (None, Arc::new(LatentContext::default())));
}

#[test]
fn half_precision_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let values = [0.5_f32, -2.0, 65504.0, 6.103_515_6e-5];
    let halves = |bits: &dyn Fn(f32) -> u16| values.iter().flat_map(|&value| bits(value).to_le_bytes()).collect();
    let shape = vec![2, 1, 1, 2];
    let half: Tensor = ("chosen", Dtype::F16, shape.clone(), halves(&|value| f16::from_f32(value).to_bits()));
    let brain: Tensor = ("rejected", Dtype::BF16, shape, halves(&|value| bf16::from_f32(value).to_bits()));
    let latents = Latents::open(&save(folder.path(), &[half, brain], &[]), ImageKind::Pairs).unwrap();
    assert_eq!(latents.get(1).unwrap().chosen[..], values[2..]);
    assert_eq!(latents.get(0).unwrap().rejected.unwrap()[..], values[..2]);
}

#[test]
fn bad_latents_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |tensors: &[Tensor]| refusal(Latents::open(&save(folder.path(), tensors, &[]), ImageKind::Pairs));
    assert!(
        refused(&pairs()[..1]).contains("has no tensor `rejected` [examples, channels, height, width]; it has chosen")
    );
    let flat = [ramp("chosen", &[3, 8], 1.0), ramp("rejected", &[3, 8], 1.0)];
    assert!(refused(&flat).contains("tensor `chosen` should be [examples, channels, height, width], but is [3, 8]"));
    let unlike = [ramp("chosen", &[3, 2, 2, 2], 1.0), ramp("rejected", &[3, 2, 2, 3], 1.0)];
    assert!(refused(&unlike).contains("`rejected` is [3, 2, 2, 3], `chosen` is [3, 2, 2, 2]"));
    let with = |more: &[Tensor]| refused(&[pairs(), more.to_vec()].concat());
    assert!(with(&[ramp("context", &[2, 2, 4], 1.0)]).contains("tells 2 examples something, but has 3"));
    assert!(with(&[ramp("time_ids", &[3, 5], 1.0)]).contains("`time_ids` should be [rows, 6]"));
    assert!(with(&[ramp("context_chosen", &[3, 2, 4], 1.0)]).contains("has no tensor `context_rejected`"));
    let unequal = [ramp("context_chosen", &[3, 2, 4], 1.0), ramp("context_rejected", &[3, 1, 4], 1.0)];
    assert!(with(&unequal).contains("unlike shapes"));
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut values = vec![0.0; 24];
        values[13] = value;
        let bad = [pairs().swap_remove(0), ("rejected", Dtype::F32, vec![3, 2, 2, 2], f32s(&values))];
        assert!(refused(&bad).ends_with(&format!("tensor `rejected`, row 1: value 5 is {name}")));
        let context = ("context", Dtype::F32, vec![3, 2, 4], f32s(&values));
        assert!(with(&[context]).ends_with(&format!("tensor `context`, row 1: value 5 is {name}")));
    }
    let integers: Tensor = ("chosen", Dtype::I64, vec![1, 1, 1, 1], i64s(&[1]));
    assert!(
        refused(&[integers.clone(), ("rejected", integers.1, integers.2, integers.3)])
            .contains("tensor `chosen`: stored as I64; it must be F32, F16, BF16 or F64")
    );
}

#[test]
fn files_that_are_cut_off_or_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &pairs(), &[]);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 5, 8, 40, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(refusal(Latents::open(&path, ImageKind::Pairs)).contains("is not a whole safetensors file"));
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(
        refusal(Latents::open(&path, ImageKind::Pairs)).contains("1 bytes after the last tensor belong to nothing")
    );
    std::fs::write(&path, "{\"prompt\": \"not tensors at all\"}").unwrap();
    assert!(refusal(Latents::open(&path, ImageKind::Pairs)).contains("is not a whole safetensors file"));
    assert!(matches!(Latents::open(&folder.path().join("none"), ImageKind::Pairs), Err(DatasetError::Io { .. })));
}

#[test]
fn draws_must_fit_latents_and_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let latents = Latents::open(&save(folder.path(), &pairs(), &[]), ImageKind::Pairs).unwrap();
    let noise = ramp("noise", &[3, 2, 2, 2], 0.1);
    let steps = |values: &[i64]| -> Tensor { ("timesteps", Dtype::I64, vec![values.len()], i64s(values)) };
    let open = |noise: &Tensor, steps: Tensor| {
        DrawFile::open(&save(folder.path(), &[noise.clone(), steps], &[]), &latents, 1000)
    };
    let draws = open(&noise, steps(&[0, 999, 7])).unwrap().get(1).unwrap();
    assert_eq!((draws.len(), draws[0].timestep), (1, 999));
    assert!((draws[0].noise[0] - 0.8).abs() < 1e-6 && (draws[0].noise[1] - 1.2).abs() < 1e-6);
    assert!(open(&noise, steps(&[0, 999, 7])).unwrap().get(3).is_err());
    for (bad, row) in [([0, 1000, 7], 1), ([0, 1, -1], 2)] {
        let message = refusal(open(&noise, steps(&bad)));
        let expected = format!("tensor `timesteps`, row {row}: {} is not between 0 and 999", bad[row]);
        assert!(message.ends_with(&expected), "{message}");
    }
    assert!(refusal(open(&noise, steps(&[1, 2]))).contains("`timesteps` is [2], there are 3 examples"));
    assert!(refusal(open(&ramp("noise", &[2, 2, 2, 2], 1.0), steps(&[1, 2, 3]))).contains("it should be [3, 2, 2, 2]"));

    // Two draws an example.
    let noise = ramp("noise", &[3, 2, 2, 2, 2], 0.1);
    let steps = |values: &[i64; 6]| -> Tensor { ("timesteps", Dtype::I64, vec![3, 2], i64s(values)) };
    let draws = open(&noise, steps(&[0, 1, 2, 3, 4, 5])).unwrap();
    let of_second = draws.get(1).unwrap();
    assert_eq!(of_second.iter().map(|draw| draw.timestep).collect::<Vec<_>>(), [2, 3]);
    assert!((of_second[1].noise[0] - 2.4).abs() < 1e-6 && (of_second[1].noise[1] - 2.8).abs() < 1e-6);
    assert!(draws.get(3).is_err());
    assert!(refusal(open(&noise, steps(&[0, 1, 2, 1000, 4, 5]))).contains("row 1: 1000 is not between"));
    assert!(refusal(open(&ramp("noise", &[3, 2, 2, 2], 1.0), steps(&[0; 6]))).contains("[examples, draws, channels"));
    assert!(refusal(open(&ramp("noise", &[3, 1, 2, 2, 2], 1.0), steps(&[0; 6]))).contains("should be [3, 2, 2, 2, 2]"));
    let (one, none) =
        (("timesteps", Dtype::I64, vec![3], i64s(&[0; 3])), ("timesteps", Dtype::I64, vec![3, 0], i64s(&[])));
    for steps in [one, none] {
        assert!(refusal(open(&noise, steps)).contains("`timesteps` should be [examples, draws]"));
    }
}

fn contexts() -> Vec<LatentContext> {
    let context = |row: usize| LatentContext {
        hidden: Some(HiddenValues { values: vec![row as f32; 6], length: 2, width: 3 }),
        pooled: Some(vec![row as f32 + 0.5; 4]),
        time_ids: None,
        class: None,
    };
    (0..2).map(context).collect()
}

const TOLD: ContextLayout = ContextLayout {
    rows: 2,
    hidden: Some((2, 3)),
    is_ragged: false,
    pooled: Some(4),
    has_time_ids: false,
    has_classes: false,
};
const SHAPE: LatentShape = LatentShape { channels: 3, height: 2, width: 2 };

fn latent(seed: usize) -> Arc<[f32]> {
    (0..SHAPE.size()).map(|at| (at * 7 + seed) as f32).collect()
}

#[test]
fn a_cache_gives_back_what_was_written_to_the_right_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    let layout = LatentLayout { kind: ImageKind::Pairs, examples: 3, shape: SHAPE, contexts: TOLD };
    let write = |rows: &[usize]| {
        let mut writer = LatentWriter::create(&path, layout).unwrap();
        for &index in rows {
            writer.write(index, &latent(index), Some(&latent(index + 100))).unwrap();
        }
        contexts().iter().enumerate().for_each(|(row, context)| writer.write_context(row, context).unwrap());
        let captions = ["a", "b", "a"].map(String::from);
        let notes = LatentNotes {
            fingerprint: "0123456789abcdef",
            context_of: &[1, 0, 1],
            empty: Some(0),
            captions: &captions,
        };
        writer.finish(notes)
    };
    assert!(refusal(write(&[0, 2])).contains("row 1 of tensor `chosen` was not written"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    write(&[2, 0, 1]).unwrap();
    let cache = Latents::open_cache(&path, ImageKind::Pairs, "0123456789abcdef").unwrap();
    for index in 0..3 {
        let pair = cache.get(index).unwrap();
        assert_eq!((pair.chosen, pair.rejected), (latent(index), Some(latent(index + 100))));
        assert_eq!(*pair.chosen_context, contexts()[cache.context_row(index)]);
        assert!(Arc::ptr_eq(&pair.chosen_context, &pair.rejected_context));
    }
    assert_eq!([0, 1, 2].map(|index| cache.context_row(index)), [1, 0, 1]);
    assert_eq!(cache.empty_context().unwrap().as_deref(), Some(&contexts()[0]));
    assert_eq!((cache.caption(1), cache.caption(3)), (Some("b"), None));
    let message = refusal(Latents::open_cache(&path, ImageKind::Pairs, "fedcba9876543210"));
    assert!(message.contains("(fingerprint 0123456789ab, here it is fedcba987654); delete it"), "{message}");
    let first = std::fs::read(&path).unwrap();
    write(&[0, 1, 2]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let plain = save(folder.path(), &pairs(), &[]);
    assert!(refusal(Latents::open_cache(&plain, ImageKind::Pairs, "")).contains("does not say its format"));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let layout = LatentLayout { kind: ImageKind::Captioned, examples: 1, shape: SHAPE, contexts: TOLD };
    let mut writer = LatentWriter::create(&folder.path().join("cache"), layout).unwrap();
    assert!(refusal(writer.write(1, &latent(0), None)).contains("there is no such row"));
    assert!(refusal(writer.write(0, &latent(0)[1..], None)).contains("11 values instead of 12"));
    assert!(refusal(writer.write(0, &[f32::NAN; 12], None)).contains("a value is NaN"));
    assert!(refusal(writer.write(0, &latent(0), Some(&latent(0)))).contains("`rejected`"));
    let outside = folder.path().join("none").join("cache");
    assert!(matches!(LatentWriter::create(&outside, layout), Err(DatasetError::Io { .. })));
}

fn write_trajectories(path: &Path, pairs: &[(usize, usize)], timesteps: &[usize]) {
    let layout = TrajectoryLayout { trajectories: 2, steps: 3, shape: SHAPE, contexts: TOLD };
    let mut writer = TrajectoryWriter::create(path, layout).unwrap();
    for index in [1, 0] {
        let latents: Vec<Arc<[f32]>> = (0..4).map(|step| latent(index * 10 + step)).collect();
        writer.write(index, &latents, &[-1.5, index as f32, 2.0]).unwrap();
    }
    contexts().iter().enumerate().for_each(|(row, context)| writer.write_context(row, context).unwrap());
    let captions = ["a".to_owned(), "a".to_owned()];
    let notes =
        TrajectoryNotes { policy: "p", timesteps, pairs, context_of: &[1, 1], empty: Some(0), captions: &captions };
    writer.finish(notes).unwrap();
}

#[test]
fn trajectories_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trajectories.safetensors");
    write_trajectories(&path, &[(1, 0)], &[90, 50, 10]);
    let found = TrajectoryFile::open(&path, 91).unwrap();
    assert_eq!((found.len(), found.shape(), found.policy()), (2, SHAPE, "p"));
    assert_eq!((found.timesteps(), found.pairs()), (&[90, 50, 10][..], &[(1, 0)][..]));
    for index in 0..2 {
        let trajectory = found.get(index).unwrap();
        assert_eq!(trajectory.latents, (0..4).map(|step| latent(index * 10 + step)).collect::<Vec<_>>());
        assert_eq!(trajectory.log_probs, [-1.5, index as f32, 2.0]);
        assert_eq!((trajectory.index, trajectory.caption.as_deref()), (index, Some("a")));
        assert_eq!(*trajectory.context, contexts()[1]);
    }
    assert!(found.get(2).is_err());
    let message = refusal(TrajectoryFile::open(&path, 90));
    assert!(message.ends_with("tensor `timesteps`, row 0: 90 is not between 0 and 89"), "{message}");
    for (pairs, timesteps, expected) in [
        (&[(1, 1)][..], &[90, 50, 10][..], "two different trajectories"),
        (&[(2, 0)][..], &[90, 50, 10][..], "tensor `better`, row 0: 2 is not between 0 and 1"),
        (&[(1, 0)][..], &[90, 10, 50][..], "falling"),
        (&[(1, 0)][..], &[90, 10][..], "4 latents need one falling timestep fewer"),
    ] {
        write_trajectories(&path, pairs, timesteps);
        let message = refusal(TrajectoryFile::open(&path, 1000));
        assert!(message.contains(expected), "{message}");
    }
    // Nobody may have compared them yet.
    write_trajectories(&path, &[], &[90, 50, 10]);
    assert!(TrajectoryFile::open(&path, 1000).unwrap().pairs().is_empty());
    let other = save(folder.path(), &pairs(), &[("format", "hybrid-dpo trajectories 0")]);
    assert!(refusal(TrajectoryFile::open(&other, 1000)).contains("`hybrid-dpo trajectories 1` is wanted"));
}
