//! FLUX.1: from files of latents alone, as a whole pipeline, and adapters of other trainers.
use serde_json::{Value, json};

use super::Scene;
use super::images::{N, Tensors, copy_golden, latents, numbers, read_tensors, studio, write_tensors};

const SCORE: &str = "score --mdp diffusion --latents told.safetensors --seed 3";
const TRAIN: &str = "train --mdp diffusion --eval-share 0 --n-samples 0 --batch-size 4 --max-steps 2 --lr 1e-3 \
                     --warmup-steps 0 --quiet";
const SAMPLE: &str = "sample --mdp diffusion --prompts prompts.txt --image-size 16 --sample-steps 3 --seed 5 --quiet";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Latents of sixteen channels with captions and pooled ones.
fn told() -> Tensors {
    let mut tensors = latents(16, 44);
    tensors.insert("pooled".into(), numbers("pooled", &[N, 16]));
    tensors
}

/// A guided transformer alone, and a whole pipeline of it.
fn scene() -> Scene {
    let scene = studio();
    for target in ["transformer", "flux/transformer"] {
        copy_golden(&scene, "flux/dev", target);
        std::fs::remove_file(scene.path(&format!("{target}/pytorch_lora_weights.safetensors"))).unwrap();
    }
    let mut index = json!({"_class_name": "FluxPipeline"});
    for (part, golden, library, class) in [
        ("text_encoder", "sd/text_encoder", "transformers", "CLIPTextModel"),
        ("tokenizer", "sd/tokenizer", "transformers", "CLIPTokenizer"),
        ("text_encoder_2", "t5/text_encoder_3", "transformers", "T5EncoderModel"),
        ("tokenizer_2", "t5/tokenizer_3", "transformers", "T5TokenizerFast"),
        ("vae", "sd3/vae", "diffusers", "AutoencoderKL"),
        ("scheduler", "sd3/scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"),
    ] {
        copy_golden(&scene, &format!("companions/{golden}"), &format!("flux/{part}"));
        index[part] = json!([library, class]);
    }
    index["transformer"] = json!(["diffusers", "FluxTransformer2DModel"]);
    scene.write("flux/model_index.json", index.to_string());
    write_tensors(&scene, "told.safetensors", &told(), &[]);
    scene
}

fn errors(scene: &Scene, arguments: &str) -> Vec<f64> {
    let scored = lines(&scene.done(&format!("{SCORE} {arguments}")).out);
    scored.iter().map(|line| number(&line["chosen"]["error"])).collect()
}

#[test]
fn a_transformer_learns_from_latents_at_the_guidance_it_is_told() {
    let scene = scene();
    let before = errors(&scene, "--model transformer");
    assert_eq!(before, errors(&scene, "--model transformer --guidance 3.5"));
    assert_ne!(before, errors(&scene, "--model transformer --guidance 1"));
    for (run, more) in [("whole", "--guidance 1"), ("adapted", "--preset flow-factory-flux --lora-rank 2")] {
        let ran = scene.done(&format!("{TRAIN} --model transformer --latents told.safetensors --out {run} {more}"));
        assert!(ran.err.is_empty(), "{}", ran.err);
        let after = errors(&scene, &format!("--model {run}"));
        assert!(before.iter().zip(&after).all(|(a, b)| a != b && b.is_finite()), "{run}: {before:?} {after:?}");
    }
    let scheduler: Value = serde_json::from_str(&scene.read("whole/model/scheduler/scheduler_config.json")).unwrap();
    assert_eq!(scheduler["use_dynamic_shifting"], true);
    let adapters = read_tensors(&scene, "adapted/model/pytorch_lora_weights.safetensors").0;
    assert!(adapters.contains_key("transformer.transformer_blocks.0.ff_context.net.2.lora_A.weight"));
    assert!(adapters.contains_key("transformer.single_transformer_blocks.2.attn.to_v.lora_B.weight"));
    // A network that is told of no guidance reads none of it.
    copy_golden(&scene, "flux/schnell", "schnell");
    let score = "score --mdp diffusion --model schnell --latents told.safetensors --guidance 2";
    scene.refused(score, 2, &["--guidance would do nothing", "told of no guidance (as FLUX.1 dev is)"]);
    scene.refused(&format!("{SCORE} --model transformer --guidance -1"), 2, &["a number from 0 up, not -1"]);
}

#[test]
fn a_pipeline_makes_pictures_and_trajectories_that_are_scored() {
    let scene = scene();
    scene.done(&format!("{SAMPLE} --model flux --sampler euler --out plain.jsonl"));
    assert_eq!(image::open(scene.path("plain/00000-0.png")).unwrap().height(), 16);
    scene.done(&format!("{SAMPLE} --model flux --sampler euler --guidance 1 --out other.jsonl"));
    assert_ne!(scene.bytes("plain/00000-0.png"), scene.bytes("other/00000-0.png"));
    let sde = format!("{SAMPLE} --model flux --sampler flow-sde --eta 0.7 --out way.jsonl");
    scene.done(&format!("{sde} --save-trajectories way.safetensors"));
    let made = lines(&scene.read("way.jsonl"));
    assert!(made.iter().all(|line| number(&line["log_prob"]) != 0.0), "{made:?}");
    let (tensors, _) = read_tensors(&scene, "way.safetensors");
    assert_eq!((&tensors["latents"].1[..], &tensors["context"].1[..]), (&[2, 4, 16, 8, 8][..], &[2, 512, 44][..]));
    scene.done(&format!("{TRAIN} --model flux --data pictures.jsonl --image-size 16 --out run"));
    assert!(scene.path("run/model/transformer/config.json").is_file());
    assert!(scene.path("run/model/text_encoder_2/model.safetensors").is_file());
    scene.done(&format!("{SAMPLE} --model run --sampler euler --out after.jsonl"));
    assert_ne!(scene.bytes("after/00000-0.png"), scene.bytes("plain/00000-0.png"));
    let mut index: Value = serde_json::from_str(&scene.read("flux/transformer/config.json")).unwrap();
    index["joint_attention_dim"] = json!(45);
    scene.write("flux/transformer/config.json", index.to_string());
    let says = ["transformer `joint_attention_dim` is 45, text_encoder_2 `d_model` is 44"];
    scene.refused(&format!("{SAMPLE} --model flux --out no.jsonl"), 1, &says);
}

/// The two factors of a layer.
fn pair(tensors: &mut Tensors, name: &str, rank: usize, [rows, columns]: [usize; 2]) {
    let (down, up) = (format!("{name}.lora_down.weight"), format!("{name}.lora_up.weight"));
    tensors.insert(down.clone(), numbers(&down, &[rank, columns]));
    tensors.insert(up.clone(), numbers(&up, &[rows, rank]));
}

#[test]
fn adapters_of_kohya_change_the_network_and_its_text_encoder() {
    let scene = scene();
    let mut adapters = Tensors::new();
    pair(&mut adapters, "lora_unet_single_blocks_0_linear1", 2, [3 * 16 + 64, 16]);
    adapters.insert("lora_unet_single_blocks_0_linear1.alpha".into(), numbers("alpha", &[]));
    write_tensors(&scene, "style.safetensors", &adapters, &[]);
    let model = "--model flux+style.safetensors";
    assert_ne!(errors(&scene, "--model flux"), errors(&scene, model));
    pair(&mut adapters, "lora_te1_text_model_encoder_layers_0_mlp_fc1", 2, [32, 16]);
    write_tensors(&scene, "both.safetensors", &adapters, &[]);
    for (adapter, out) in [("style", "style"), ("both", "both")] {
        let model = format!("--model flux+{adapter}.safetensors");
        scene.done(&format!("{SAMPLE} {model} --sampler euler --out {out}.jsonl"));
    }
    assert_ne!(scene.bytes("style/00000-0.png"), scene.bytes("both/00000-0.png"));
    // Merged, the folder does the same without the file.
    scene.done("merge --model flux+both.safetensors --out merged");
    scene.done(&format!("{SAMPLE} --model merged --sampler euler --out merged.jsonl"));
    assert_eq!(scene.bytes("merged/00000-0.png"), scene.bytes("both/00000-0.png"));
    assert_eq!(
        scene.bytes("merged/text_encoder_2/model.safetensors"),
        scene.bytes("flux/text_encoder_2/model.safetensors")
    );
    let learn = format!("{TRAIN} --model flux+both.safetensors --latents told.safetensors --lora-rank 2 --out run");
    scene.refused(&learn, 1, &["has adapters of `text_encoder` too, which do not learn; merge it"]);
    let alone = format!("{SCORE} --model transformer+both.safetensors");
    scene.refused(&alone, 1, &["adapters of CLIP as `text_encoder`", "there is none"]);
    pair(&mut adapters, "lora_te2_text_model_encoder_layers_0_mlp_fc1", 2, [32, 16]);
    write_tensors(&scene, "both.safetensors", &adapters, &[]);
    scene.refused(
        &format!("{SCORE} --model flux+both.safetensors"),
        1,
        &["`text_encoder_2`", "it is a T5EncoderModel"],
    );
}
