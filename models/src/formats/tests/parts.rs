//! Split GGUF files, and settings of GGUF files.

use std::fs;

use super::write::{Meta, gguf, gguf_parts};
use super::{check_refused, read};

#[test]
fn any_part_of_a_gguf_model_stands_for_the_whole() {
    let at = tempfile::tempdir().unwrap();
    let whole = at.path().join("whole.gguf");
    fs::write(&whole, gguf(&[])).unwrap();
    let parts = [1, 2].map(|part| at.path().join(format!("model-0000{part}-of-00002.gguf")));
    for (path, bytes) in parts.iter().zip(gguf_parts()) {
        fs::write(path, bytes).unwrap();
    }
    let expected = read(&whole);
    for path in &parts {
        let found = read(path);
        assert_eq!(found.config.source, expected.config.source);
        assert_eq!(found.tensors.len(), expected.tensors.len());
        for (name, tensor) in &expected.tensors {
            let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(&found.tensors[name]), values(tensor), "{name}");
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let [first, second] = gguf_parts();
    let parts = [1, 2].map(|part| at.path().join(format!("model-0000{part}-of-00002.gguf")));
    fs::write(&parts[0], &first).unwrap();
    check_refused(&parts[0], &["part 1 of 2", "model-00002-of-00002.gguf is not beside it"]);
    // The first file again, under the name of the second.
    fs::write(&parts[1], &first).unwrap();
    check_refused(&parts[0], &["model-00002-of-00002.gguf", "not part 2 of 2"]);
    fs::write(&parts[1], gguf(&[])).unwrap();
    check_refused(&parts[0], &["not part 2 of 2"]);
    let renamed = at.path().join("second.gguf");
    fs::write(&renamed, &second).unwrap();
    check_refused(&renamed, &["part 2 of 2", "-00001-of-00002.gguf"]);
    for (count, number) in [(3, 3), (70_000_000, 0)] {
        fs::write(&renamed, gguf(&[("split.count", Meta::Number(count)), ("split.no", Meta::Number(number))])).unwrap();
        check_refused(&renamed, &["split."]);
    }
    // A model with a split count of one is whole.
    fs::write(&renamed, gguf(&[("split.count", Meta::Number(1))])).unwrap();
    assert!(!read(&renamed).tensors.is_empty());
}

#[test]
fn gguf_settings_that_would_change_the_numbers_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    let refused = [
        ("llama.attention.scale", Meta::Float(0.5), "a scale of attention"),
        ("llama.attention.sliding_window", Meta::Number(4), "sliding-window"),
        ("llama.attention.causal", Meta::Flag(false), "both directions"),
        ("llama.attention.value_length", Meta::Number(2), "the size of a head"),
        ("llama.logit_scale", Meta::Float(0.5), "scaled logits"),
        ("llama.rope.scaling.attn_factor", Meta::Float(0.5), "scaled attention"),
        ("llama.rope.dimension_count", Meta::Number(2), "the size of a head"),
        ("llama.expert_used_count", Meta::Number(2), "experts"),
        ("llama.something_new", Meta::Float(2.0), "not known here"),
        ("clip.has_vision_encoder", Meta::Flag(true), "pictures"),
    ];
    for (key, value, what) in refused {
        fs::write(&path, gguf(&[(key, value)])).unwrap();
        check_refused(&path, &[key, what]);
    }
    let fine = [
        ("llama.logit_scale", Meta::Float(1.0)),
        ("llama.attention.causal", Meta::Flag(true)),
        ("llama.rope.scaling.attn_factor", Meta::Float(1.0)),
        ("llama.expert_count", Meta::Number(0)),
        ("llama.attention.sliding_window", Meta::Number(0)),
        ("llama.vocab_size", Meta::Number(10)),
        ("llama.something_new", Meta::Flag(false)),
        ("general.sampling.temp", Meta::Float(0.5)),
    ];
    for (key, value) in fine {
        fs::write(&path, gguf(&[(key, value)])).unwrap();
        assert!(!read(&path).tensors.is_empty(), "{key}");
    }
}
