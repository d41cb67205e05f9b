//! PixArt and DiT: from files of latents alone, and as whole pipelines.
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::Scene;
use super::images::{N, Tensors, copy_golden, latents, numbers, read_tensors, studio, write_tensors};

const TRAIN: &str = "train --mdp diffusion --eval-share 0 --n-samples 0 --batch-size 4 --max-steps 2 --lr 1e-3 \
                     --warmup-steps 0 --quiet";
const SAMPLE: &str =
    "sample --mdp diffusion --prompts prompts.txt --image-size 16 --sample-steps 3 --seed 5 --guidance 4 --quiet";

/// A folder of a pipeline, of parts that diffusers wrote.
fn pipeline(scene: &Scene, name: &str, case: &str, more: &Value) {
    copy_golden(scene, &format!("dit/{case}"), &format!("{name}/transformer"));
    copy_golden(scene, "companions/sd/vae", &format!("{name}/vae"));
    let scheduler = r#"{"_class_name": "DDIMScheduler", "beta_schedule": "linear", "clip_sample": false}"#;
    scene.write(&format!("{name}/scheduler/scheduler_config.json"), scheduler);
    let mut index = json!({
        "_class_name": "DiTPipeline", "vae": ["diffusers", "AutoencoderKL"],
        "transformer": ["diffusers", "Transformer2DModel"], "scheduler": ["diffusers", "DDIMScheduler"],
    });
    for (key, value) in more.as_object().unwrap() {
        index[key] = value.clone();
    }
    scene.write(&format!("{name}/model_index.json"), index.to_string());
}

fn pixart(class: &str) -> Scene {
    let scene = studio();
    let more = json!({
        "_class_name": class, "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
    });
    pipeline(&scene, "pixart", "pixart", &more);
    copy_golden(&scene, "companions/t5/text_encoder_3", "pixart/text_encoder");
    copy_golden(&scene, "companions/t5/tokenizer_3", "pixart/tokenizer");
    scene
}

fn dit() -> Scene {
    let scene = studio();
    let labels = json!({"0": "goldfish, Carassius auratus", "1": "a cat, a tabby cat", "2": "a dog"});
    pipeline(&scene, "dit", "dit", &json!({ "id2label": labels }));
    scene
}

fn floats((_, _, data): &(Dtype, Vec<usize>, Vec<u8>)) -> Vec<f32> {
    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn pixart_makes_pictures_of_captions_of_any_length_and_learns_from_pictures() {
    let scene = pixart("PixArtSigmaPipeline");
    scene.write("prompts.txt", "a dog\nthe quick brown fox jumps over the lazy dog\n");
    for sampler in ["ddim", "dpm++2m", "euler"] {
        scene.done(&format!("{SAMPLE} --model pixart --sampler {sampler} --out {}.jsonl", &sampler[..3]));
    }
    assert_eq!(image::open(scene.path("ddi/00000-0.png")).unwrap().height(), 16);
    assert_ne!(scene.bytes("ddi/00000-0.png"), scene.bytes("ddi/00001-0.png"));
    scene.done(&format!("{SAMPLE} --model pixart --eta 1 --out way.jsonl --save-trajectories way.safetensors"));
    let (tensors, _) = read_tensors(&scene, "way.safetensors");
    let (context, mask) = (&tensors["context"].1, floats(&tensors["context_mask"]));
    assert_eq!((context[0], context[2]), (2, 44));
    let lengths: Vec<f32> = mask.chunks(context[1]).map(|row| row.iter().sum()).collect();
    assert!(lengths[0] < lengths[1] && lengths[1] == context[1] as f32, "{lengths:?}");
    // Captions are encoded once, into a file in which the shorter ones are padded.
    let more = "--latent-cache cache --empty-share 0.2 --out run";
    scene.done(&format!("{TRAIN} --model pixart --data pictures.jsonl --image-size 16 {more}"));
    let again = format!("{TRAIN} --model pixart --data pictures.jsonl --image-size 16 {more}")
        .replace("--out run", "--out two");
    scene.done(&again);
    let written = |run: &str| scene.bytes(&format!("{run}/model/transformer/diffusion_pytorch_model.safetensors"));
    assert_eq!(written("run"), written("two"));
    assert!(scene.path("run/model/text_encoder/model.safetensors").is_file());
    scene.done(&format!("{SAMPLE} --model run --sampler ddim --out after.jsonl"));
    assert_ne!(scene.bytes("after/00000-0.png"), scene.bytes("ddi/00000-0.png"));
}

#[test]
fn pixart_needs_no_encoder_for_latents_but_for_prompts() {
    let scene = pixart("PixArtAlphaPipeline");
    let mut index: Value = serde_json::from_str(&scene.read("pixart/model_index.json")).unwrap();
    for part in ["text_encoder", "tokenizer"] {
        index[part] = json!([null, null]);
    }
    scene.write("pixart/model_index.json", index.to_string());
    let mut told = latents(4, 44);
    let mask = (0..N).flat_map(|i| [1, i64::from(i % 2 == 0), i64::from(i % 3 == 0)]);
    told.insert("context_mask".into(), (Dtype::I64, vec![N, 3], mask.flat_map(i64::to_le_bytes).collect()));
    write_tensors(&scene, "told.safetensors", &told, &[]);
    scene.done(&format!("{TRAIN} --model pixart --latents told.safetensors --out run"));
    scene.done(&format!("{TRAIN} --model pixart/transformer --latents told.safetensors --lora-rank 2 --out adapted"));
    let adapters = read_tensors(&scene, "adapted/model/pytorch_lora_weights.safetensors").0;
    assert!(adapters.contains_key("transformer.transformer_blocks.0.attn2.to_k.lora_A.weight"));
    scene.refused(&format!("{SAMPLE} --model pixart --out none.jsonl"), 1, &["text_encoder"]);
    let mut config: Value = serde_json::from_str(&scene.read("pixart/transformer/config.json")).unwrap();
    config["sample_size"] = json!(128);
    scene.write("pixart/transformer/config.json", config.to_string());
    let tensors = read_tensors(&scene, "pixart/transformer/diffusion_pytorch_model.safetensors").0;
    write_tensors(&scene, "pixart/transformer/diffusion_pytorch_model.safetensors", &with_sizes(tensors), &[]);
    let sizeless = format!("{TRAIN} --model pixart --latents told.safetensors --out none");
    scene.refused(&sizeless, 1, &["reads sizes (`time_ids`), and there are none in it"]);
    write_tensors(&scene, "narrow.safetensors", &latents(4, 12), &[]);
    let narrow = format!("{TRAIN} --model pixart --latents narrow.safetensors --out none");
    scene.refused(&narrow, 1, &["contexts of width 44", "12"]);
}

/// The weights of a model that is told sizes, which that of 128 latents is unless its config says otherwise.
fn with_sizes(mut tensors: Tensors) -> Tensors {
    for part in ["resolution_embedder", "aspect_ratio_embedder"] {
        for (layer, n_in) in [("linear_1", 256), ("linear_2", 4)] {
            let name = format!("adaln_single.emb.{part}.{layer}");
            tensors.insert(format!("{name}.weight"), numbers(&name, &[4, n_in]));
            tensors.insert(format!("{name}.bias"), numbers(&name, &[4]));
        }
    }
    tensors
}

#[test]
fn dit_is_told_classes_by_name_number_or_file() {
    let scene = dit();
    scene.done(&format!("{SAMPLE} --model dit --sampler ddim --out named.jsonl"));
    scene.write("prompts.txt", "2\na tabby cat\n");
    scene.done(&format!("{SAMPLE} --model dit --sampler ddim --out numbered.jsonl"));
    for picture in ["00000-0.png", "00001-0.png"] {
        assert_eq!(scene.bytes(&format!("named/{picture}")), scene.bytes(&format!("numbered/{picture}")));
    }
    scene.done(&format!("{SAMPLE} --model dit --eta 1 --out way.jsonl --save-trajectories way.safetensors"));
    assert_eq!(floats(&read_tensors(&scene, "way.safetensors").0["class_labels"]), [2., 1.]);
    scene.write("prompts.txt", "a goldfis\n");
    let unknown = format!("{SAMPLE} --model dit --out none.jsonl");
    scene.refused(&unknown, 1, &["a number from 0 to 4", "such as goldfish", "`a goldfis`"]);
    let picture_captions = format!("{TRAIN} --model dit --data pictures.jsonl --image-size 16 --out none");
    scene.refused(&picture_captions, 1, &["a class: expected a number from 0 to 4"]);
    let mut told = labelled(&[0, 1, 2, 3, 4, 5, 0, 1]);
    write_tensors(&scene, "told.safetensors", &told, &[]);
    scene.done(&format!("{TRAIN} --model dit/transformer --latents told.safetensors --empty-share 0.2 --out run"));
    told.insert("class_labels".into(), labels(&[0, 1, 2, 3, 4, 6, 0, 1]));
    write_tensors(&scene, "beyond.safetensors", &told, &[]);
    let run = |file: &str| format!("{TRAIN} --model dit --latents {file} --out none");
    scene.refused(&run("beyond.safetensors"), 1, &["(`class_labels`) from 0 to 5", "one of its own is 6"]);
    scene.refused(&run("latents.safetensors"), 1, &["(`class_labels`) from 0 to 5", "there are none in it"]);
    assert!(!scene.path("none").exists());
}

fn labels(classes: &[i64]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::I64, vec![classes.len()], classes.iter().flat_map(|class| class.to_le_bytes()).collect())
}

fn labelled(classes: &[i64]) -> Tensors {
    let mut tensors = Tensors::new();
    for side in ["chosen", "rejected"] {
        tensors.insert(side.into(), numbers(side, &[N, 4, 4, 4]));
    }
    tensors.insert("class_labels".into(), labels(classes));
    tensors
}

#[test]
fn what_a_pipeline_does_not_fit_is_named() {
    let scene = pixart("PixArtSigmaPipeline");
    let sample = format!("{SAMPLE} --model pixart --out none.jsonl");
    let path = "pixart/transformer/config.json";
    let mut config: Value = serde_json::from_str(&scene.read(path)).unwrap();
    config["caption_channels"] = json!(40);
    scene.write(path, config.to_string());
    scene.refused(&sample, 1, &["transformer `caption_channels` is 40, text_encoder `d_model` is 44"]);
    config["norm_type"] = json!("layer_norm");
    scene.write(path, config.to_string());
    scene.refused(&sample, 1, &["transformer/config.json", "`norm_type`", "ada_norm_single"]);
    let scene = dit();
    let learned = r#"{"_class_name": "DDPMScheduler", "variance_type": "learned_range"}"#;
    scene.write("dit/scheduler/scheduler_config.json", learned);
    let sample = format!("{SAMPLE} --model dit --out none.jsonl");
    scene.refused(&format!("{sample} --sampler ddpm"), 1, &["`variance_type`", "\"learned_range\" is not supported"]);
    let kolors = scene.read("dit/model_index.json").replace("DiTPipeline", "HunyuanDiTPipeline");
    scene.write("dit/model_index.json", kolors);
    scene.refused(&sample, 1, &["pipeline `HunyuanDiTPipeline` is not built; supported: DiTPipeline"]);
}
