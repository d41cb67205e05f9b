use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use tensorfile::{NpzValues, write_npz};

use super::*;
use crate::synthetic::bins::BinSegments;

fn written(folder: &Path, arrays: &[(&str, &[usize], NpzValues<'_>)]) -> PathBuf {
    let (path, mut bytes) = (folder.join("some.npz"), Cursor::new(Vec::new()));
    write_npz(&mut bytes, arrays).unwrap();
    std::fs::write(&path, bytes.get_ref()).unwrap();
    path
}

fn small() -> Segments {
    let numbers = |n: u8| (0..n).map(f32::from).collect::<Vec<f32>>();
    Segments::new(numbers(18), numbers(12), 2, (3, 2)).unwrap()
}

#[test]
fn both_layouts_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let scored = BinSegments::new(2).segments(6, 4);
    let labels = Verdicts::Pairs(vec![1.0, 0.25, 0.5]);
    let paired = JudgedSegments::new(scored.segments.clone(), labels, scored.rewards.clone()).unwrap();
    let bare = JudgedSegments { rewards: None, ..paired.clone() };
    for judged in [scored, paired, bare] {
        let path = folder.path().join("file.npz");
        judged.write_npz(std::fs::File::create(&path).unwrap()).unwrap();
        assert_eq!(JudgedSegments::read(&path, None).unwrap(), judged);
    }
}

#[test]
fn a_label_for_each_decision_is_summed() {
    let folder = tempfile::tempdir().unwrap();
    let (obs, action, reward) = ([0.0; 12], [0.0; 6], [1.0, 2.0, -3.0, 0.5, 0.0, 0.0]);
    let path = written(
        folder.path(),
        &[
            ("obs", &[3, 2, 2], NpzValues::F32(&obs)),
            ("action", &[3, 2, 1], NpzValues::F32(&action)),
            ("reward", &[3, 2], NpzValues::F32(&reward)),
        ],
    );
    let read = JudgedSegments::read(&path, Some("reward")).unwrap();
    assert_eq!(read.verdicts, Verdicts::Scores(vec![3.0, -2.5, 0.0]));
    assert_eq!(read.rewards.as_deref(), Some(&reward[..]));
    let message = JudgedSegments::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("`rl_sum` is not in this file, which has action, obs, reward"), "{message}");
}

#[test]
fn decisions_and_moments_are_those_of_the_arrays() {
    let segments = small();
    assert_eq!((segments.len(), segments.is_empty()), (3, false));
    let second: Vec<(&[f32], &[f32])> = segments.decisions(1).collect();
    assert_eq!(second, [(&[6.0, 7.0, 8.0][..], &[4.0, 5.0][..]), (&[9.0, 10.0, 11.0], &[6.0, 7.0])]);
    // 0, 3, .., 15: the mean is 7.5, the variance 26.25.
    let (mean, std) = segments.moments()[0];
    assert!((mean - 7.5).abs() < 1e-12 && (std - 26.25f64.sqrt()).abs() < 1e-12);
}

#[test]
fn pairs_share_no_segment_with_those_held_out_and_labels_follow_scores() {
    let judged = BinSegments::new(5).segments(100, 4);
    let Verdicts::Scores(scores) = &judged.verdicts else { panic!("scores") };
    let pairing = Pairing { n_pairs: 500, held_out: 0.3, seed: 1, labels: Labels::Exact };
    let (train, held_out) = judged.pairs(pairing).unwrap();
    assert_eq!((train.len(), held_out.len()), (500, 15));
    let sides = |pairs: &[SegmentPair]| -> BTreeSet<usize> { pairs.iter().flat_map(|p| [p.first, p.second]).collect() };
    assert!(sides(&train).is_disjoint(&sides(&held_out)));
    for SegmentPair { first, second, preference } in train.iter().chain(&held_out) {
        assert!(first != second && *preference == f64::from(u8::from(scores[*first] > scores[*second])));
    }
    assert_eq!(judged.pairs(pairing).unwrap().0, train);
    assert_ne!(judged.pairs(Pairing { seed: 2, ..pairing }).unwrap().0, train);
}

#[test]
fn noisy_labels_follow_bradley_and_terry() {
    let segments = small();
    let judged = JudgedSegments::new(segments, Verdicts::Scores(vec![0.0, 1.0, 1.0]), None).unwrap();
    let labels = Labels::BradleyTerry { temperature: 0.5 };
    let (pairs, none) = judged.pairs(Pairing { n_pairs: 30_000, held_out: 0.0, seed: 0, labels }).unwrap();
    assert!(none.is_empty());
    let apart: Vec<&SegmentPair> = pairs.iter().filter(|pair| pair.first == 0).collect();
    let share = apart.iter().filter(|pair| pair.preference == 0.0).count() as f64 / apart.len() as f64;
    // sigma(2) = 0.8808; a third of the pairs begin with the worst segment, so one standard error is 0.0032.
    assert!((share - 0.8808).abs() < 5.0 * 0.0033, "{share}");
    assert!(pairs.iter().all(|pair| pair.preference == 0.0 || pair.preference == 1.0));
    let (exact, _) = judged.pairs(Pairing { n_pairs: 50, held_out: 0.0, seed: 0, labels: Labels::Exact }).unwrap();
    assert!(exact.iter().any(|pair| pair.preference == 0.5), "equal scores tie");
}

#[test]
fn given_labels_stay() {
    let four = Segments::new(vec![0.0; 8], vec![0.0; 8], 2, (1, 1)).unwrap();
    let judged = JudgedSegments::new(four, Verdicts::Pairs(vec![1.0, 0.25]), None).unwrap();
    let pairing = Pairing { n_pairs: 7, held_out: 0.5, seed: 0, labels: Labels::Exact };
    let (train, held_out) = judged.pairs(pairing).unwrap();
    let mut all = [train, held_out].concat();
    all.sort_by_key(|pair| pair.first);
    assert_eq!(all[0], SegmentPair { first: 0, second: 2, preference: 0.0 });
    assert_eq!(all[1], SegmentPair { first: 1, second: 3, preference: 0.75 });
    for held_out in [1.0, -0.1, 0.1] {
        assert!(judged.pairs(Pairing { held_out, ..pairing }).is_err() == (held_out != 0.1), "{held_out}");
    }
    let labels = Labels::BradleyTerry { temperature: 0.0 };
    assert!(judged.pairs(Pairing { labels, ..pairing }).unwrap_err().to_string().contains("temperature"));
}

/// What a file of these arrays is refused for.
fn refusal(arrays: &[(&str, &[usize], NpzValues<'_>)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let message = JudgedSegments::read(&written(folder.path(), arrays), None).unwrap_err().to_string();
    assert!(message.contains("some.npz"), "{message}");
    message
}

#[test]
fn files_are_refused_by_file_and_array_with_what_is_expected_and_found() {
    let (obs, action, scores) = ([0.5f32; 12], [0.5f32; 6], [1.0, 2.0, 3.0]);
    let mut broken = obs;
    broken[7] = f32::NAN;
    let f32s = |values| NpzValues::F32(values);
    let of_scores: (&str, &[usize], NpzValues<'_>) = ("rl_sum", &[3], NpzValues::F64(&scores));
    for (obs, action, expected) in [
        ((&[3, 2, 2][..], f32s(&broken)), (&[3, 2, 1][..], f32s(&action)), "`obs` is NaN at [1, 1, 1]; every number"),
        (
            (&[6, 2], f32s(&obs)),
            (&[3, 2, 1], f32s(&action)),
            "`obs` should have the shape [N, L, observation], but has [6, 2]",
        ),
        ((&[3, 2, 2], f32s(&obs)), (&[2, 3, 1], f32s(&action)), "`action` should begin with [3, 2] as `obs` does"),
        (
            (&[3, 2, 2], f32s(&obs)),
            (&[3, 0, 1], f32s(&[])),
            "`action` should have the shape [N, L, action], but has [3, 0, 1]",
        ),
    ] {
        let message = refusal(&[("obs", obs.0, obs.1), ("action", action.0, action.1), of_scores]);
        assert!(message.contains(expected), "{message}");
    }
    let rest: [(&str, &[usize], NpzValues<'_>); 2] =
        [("obs", &[3, 2, 2], f32s(&obs)), ("action", &[3, 2, 1], f32s(&action))];
    let with = |last: (&'static str, &'static [usize], NpzValues<'static>)| refusal(&[rest[0], rest[1], last]);
    let message = with(("rl_sum", &[2], NpzValues::F64(&[1.0, 2.0])));
    assert!(message.contains("`rl_sum` should have the shape [3] or [3, 2], but has [2]"), "{message}");
    let message = with(("rl_sum", &[3], NpzValues::F64(&[1.0, f64::INFINITY, 2.0])));
    assert!(message.contains("`rl_sum` is inf at [1]"), "{message}");
    assert!(refusal(&rest[1..]).contains("the array `obs` is not in this file, which has action"));
    let both = [rest[0], rest[1], of_scores, ("label", &[3], NpzValues::F64(&scores))];
    assert!(
        refusal(&both).ends_with("has the arrays `rl_sum` and `label`: name the one that has the scores of segments")
    );
    let one =
        [("obs", &[1, 2, 6][..], f32s(&obs)), ("action", &[1, 2, 3], f32s(&action)), ("rl_sum", &[1], f32s(&[1.0]))];
    assert!(refusal(&one).contains("the number of segments is 1: a comparison needs two"));
}

#[test]
fn labels_of_pairs_are_probabilities() {
    let (obs, action) = ([0.5f32; 4], [0.5f32; 4]);
    let arrays = |label: &'static [f64]| {
        let f32s = |name, values| (name, &[2, 2, 1][..], NpzValues::F32(values));
        [
            f32s("obs_1", &obs[..]),
            f32s("obs_2", &obs),
            f32s("action_1", &action),
            f32s("action_2", &action),
            ("label", &[2], NpzValues::F64(label)),
        ]
        .map(|(name, shape, values)| (name, shape.to_vec(), values))
    };
    let refused = |label| {
        let arrays = arrays(label);
        let arrays: Vec<(&str, &[usize], NpzValues<'_>)> =
            arrays.iter().map(|(n, s, v)| (*n, s.as_slice(), *v)).collect();
        refusal(&arrays)
    };
    assert!(refused(&[1.0, 2.0]).contains("`label` is 2 at [1]; a label is the probability"));
}

#[test]
fn what_does_not_fit_is_refused() {
    for (observations, actions, length, sizes) in [
        (vec![0.0; 5], vec![0.0; 2], 2, (2, 1)),
        (vec![0.0; 4], vec![0.0; 3], 2, (2, 1)),
        (vec![0.0; 4], vec![0.0; 2], 0, (2, 1)),
        (vec![f32::NAN; 4], vec![0.0; 2], 2, (2, 1)),
    ] {
        assert!(Segments::new(observations, actions, length, sizes).is_err());
    }
    for verdicts in [Verdicts::Scores(vec![0.0; 2]), Verdicts::Pairs(vec![0.5]), Verdicts::Scores(vec![f64::NAN; 3])] {
        assert!(JudgedSegments::new(small(), verdicts, None).is_err());
    }
    assert!(JudgedSegments::new(small(), Verdicts::Scores(vec![0.0; 3]), Some(vec![0.0; 5])).is_err());
}
