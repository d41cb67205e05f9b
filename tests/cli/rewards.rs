//! `judge` by models that others have trained.
use hybrid_dpo::datasets::PairWriter;
use hybrid_dpo::datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult};
use serde_json::{Map, Value, json};

use super::Scene;
use super::images::{copy_golden, write_tensors};

/// A reward model of texts in `reward/`, and pairs of them in `pairs/`; what transformers says of each.
fn texts() -> (Scene, Vec<Value>) {
    let scene = Scene::new();
    copy_golden(&scene, "rewards/llama", "reward");
    let expected: Value = serde_json::from_str(&scene.read("reward/expected.json")).unwrap();
    let judged = expected["judged"].as_array().unwrap().clone();
    write_pairs(&scene, "pairs", &judged);
    (scene, judged)
}

fn write_pairs(scene: &Scene, name: &str, judged: &[Value]) {
    let mut writer = PairWriter::create(&scene.path(name), Modality::Token, Map::new(), None).unwrap();
    for pair in judged {
        let side = |side: &str| {
            let made = NewResult::Response(pair[side].as_str().unwrap());
            GeneratedResult { refined: None, made, seed: 0, log_probs: None }
        };
        let request = pair["request"].as_str().unwrap().to_owned();
        writer.push(&GeneratedPair { request, a: side("a"), b: side("b") }).unwrap();
    }
    writer.finish().unwrap();
}

fn labels(scene: &Scene, name: &str) -> Vec<Value> {
    let text = scene.read(&format!("{name}/labels.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_reward_model_judges_texts_and_chats_as_transformers_does() {
    let (scene, judged) = texts();
    let said = scene.done("judge --pairs pairs --judge reward");
    assert!(said.out.contains("pairs: "), "{}", said.out);
    let made = labels(&scene, "pairs");
    assert_eq!(made.len(), judged.len());
    for (label, pair) in made.iter().zip(&judged) {
        let [a, b] = [0, 1].map(|side| pair["rewards"][side].as_f64().unwrap());
        assert_eq!(label["choice"], if a > b { "a" } else { "b" }, "{pair}");
        assert_eq!(label["by"], "model");
        assert!(label["labeller"].as_str().unwrap().starts_with("reward reward "), "{label}");
    }
    // What is judged already is not judged again, whatever lies beside the model; equal sides are a tie.
    scene.write("reward/notes.txt", "good");
    scene.write("reward/checkpoint-1/optimizer.pt", "1");
    scene.done("judge --pairs pairs --judge reward");
    assert_eq!(labels(&scene, "pairs").len(), judged.len());
    write_pairs(&scene, "ties", &[json!({"request": "a dog", "a": " ok", "b": " ok"})]);
    let said = scene.done("judge --pairs ties --judge reward");
    assert!(said.out.contains("ties: 0 times a, 0 times b, 1 ties; a wins 0.500 (95% "), "{}", said.out);
    assert_eq!(labels(&scene, "ties")[0]["choice"], "tie");
}

#[test]
fn what_was_judged_before_a_bad_pair_stays() {
    let (scene, _) = texts();
    let pair = |answer: &str| json!({"request": "a dog", "a": answer, "b": " ok"});
    let mut pairs = vec![pair(" good"); 20];
    pairs.push(pair(&" red".repeat(70)));
    write_pairs(&scene, "long", &pairs);
    scene.refused(
        "judge --pairs long --judge reward",
        1,
        &["pairs.jsonl, line 21", "side a", "74 tokens", "reward reads 64"],
    );
    assert_eq!(labels(&scene, "long").len(), 16);
}

#[test]
fn folders_that_are_no_reward_model_of_what_is_compared() {
    let (scene, judged) = texts();
    copy_golden(&scene, "rewards/clip", "clip");
    copy_golden(&scene, "causal/llama_tied", "causal");
    for (judge, code, says) in [
        ("clip", 1, &["scores pictures", "of token"][..]),
        ("causal", 2, &["--judge takes", "reward model"]),
        ("nowhere", 2, &["--judge takes", "reward model"]),
    ] {
        scene.refused(&format!("judge --pairs pairs --judge {judge}"), code, says);
    }
    assert!(!scene.path("pairs/labels.jsonl").exists() || labels(&scene, "pairs").is_empty());
    let weights = scene.bytes("reward/model.safetensors");
    std::fs::remove_file(scene.path("reward/model.safetensors")).unwrap();
    scene.write("reward/pytorch_model.bin", "");
    scene.refused(
        "judge --pairs pairs --judge reward",
        1,
        &["pytorch_model.bin", "AutoModelForSequenceClassification"],
    );
    scene.write("reward/model.safetensors", weights);
    let config = scene.read("reward/config.json");
    scene.write("reward/config.json", config.replace("\"hidden_size\": 16", "\"hidden_size\": 24"));
    scene.refused("judge --pairs pairs --judge reward", 1, &["reward", "misshapen"]);
    scene.write("reward/config.json", config.replace("\"llama\"", "\"mamba\""));
    scene.refused("judge --pairs pairs --judge reward", 1, &["config.json", "mamba"]);
    scene.write("reward/config.json", config);
    std::fs::remove_file(scene.path("reward/chat_template.jinja")).unwrap();
    scene.refused("judge --pairs pairs --judge reward", 1, &["line 4", "no chat template"]);
    write_pairs(&scene, "plain", &judged[..3]);
    scene.done("judge --pairs plain --judge reward");
    std::fs::remove_file(scene.path("reward/tokenizer.json")).unwrap();
    write_pairs(&scene, "plain-2", &judged[..3]);
    scene.refused("judge --pairs plain-2 --judge reward", 1, &["reward", "tokenizer"]);
}

#[test]
fn rewards_that_are_no_numbers_are_no_ties() {
    let (scene, _) = texts();
    let bytes = scene.bytes("reward/model.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let huge = |name: &str| name == "model.norm.weight" || name == "score.weight";
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let mut data = tensor.data().to_vec();
        if huge(&name) {
            data.chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&3e38f32.to_le_bytes()));
        }
        (name, (tensor.dtype(), tensor.shape().to_vec(), data))
    });
    write_tensors(&scene, "reward/model.safetensors", &tensors.collect(), &[]);
    scene.refused("judge --pairs pairs --judge reward", 1, &["pair 0", "no numbers"]);
    assert!(labels(&scene, "pairs").is_empty());
}

#[test]
fn a_clip_judges_pictures_and_rounds() {
    let scene = Scene::new();
    copy_golden(&scene, "rewards/clip", "clip");
    scene.done(
        "train --mdp diffusion --model builtin:shapes --rounds 1 --round-pairs 6 --batch-size 6 --micro-batch-size 6 \
         --eval-examples 2 --sample-steps 4 --n-samples 0 --judge clip --out run --quiet",
    );
    let made = labels(&scene, "run/round-1/pairs");
    assert_eq!(made.len(), 6);
    assert!(made.iter().all(|label| label["labeller"].as_str().unwrap().starts_with("reward clip ")), "{made:?}");
    assert!(made.iter().any(|label| label["choice"] == "a") || made.iter().any(|label| label["choice"] == "b"));
    // The same pairs by the same model: the same judgements.
    std::fs::remove_file(scene.path("run/round-1/pairs/labels.jsonl")).unwrap();
    scene.done("judge --pairs run/round-1/pairs --judge clip");
    assert_eq!(labels(&scene, "run/round-1/pairs"), made);
    let settings = scene.read("clip/preprocessor_config.json");
    for (from, to, says) in [
        ("\"resample\": 3", "\"resample\": 2", "resample"),
        ("\"shortest_edge\": 32", "\"shortest_edge\": 48", "`shortest_edge` of 32"),
        ("\"do_normalize\": true", "\"do_normalize\": false", "do_normalize"),
        ("0.27577711", "0", "image_std"),
    ] {
        scene.write("clip/preprocessor_config.json", settings.replace(from, to));
        scene.refused("judge --pairs run/round-1/against-start --judge clip", 1, &["preprocessor_config.json", says]);
    }
}
