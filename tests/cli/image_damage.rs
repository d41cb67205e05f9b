//! Denoisers and data for them that are broken: file and thing are named, nothing is left half done.
use super::Scene;
use super::images::{N, Tensors, copy_golden, draws, latents, learning, read_tensors, studio, write_tensors};

const DRAWN: &str = "--draws draws.safetensors";

/// Asserts that `train` and `score` refuse these latents.
fn check_latents(scene: &Scene, tensors: &Tensors, says: &[&str]) {
    write_tensors(scene, "bad.safetensors", tensors, &[]);
    scene.refused(&learning("new", "--latents bad.safetensors"), 1, says);
    scene.refused("score --mdp diffusion --model unet --latents bad.safetensors --out s.jsonl", 1, says);
    assert!(!scene.path("new").exists() && !scene.path("s.jsonl").exists());
}

/// What is done to tensors, and what the message about it says.
type Change<'a> = (&'a dyn Fn(&mut Tensors), &'a [&'a str]);

#[test]
fn latents_that_do_not_fit_or_are_no_numbers() {
    let scene = studio();
    check_latents(&scene, &latents(3, 12), &["unet", "4 channels", "3 channels"]);
    check_latents(&scene, &latents(4, 16), &["width 12", "16"]);
    let bare = |w: &mut Tensors| drop(w.remove("context"));
    let nan = |w: &mut Tensors| {
        let row = 3 * 64 * 4;
        w.get_mut("rejected").unwrap().2[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    let alone = |w: &mut Tensors| drop(w.remove("rejected"));
    let fewer = |w: &mut Tensors| {
        let context = w.get_mut("context").unwrap();
        context.1[0] -= 1;
        context.2.truncate(context.2.len() - 3 * 12 * 4);
    };
    let changes: [Change<'_>; 4] = [
        (&bare, &["width 12", "none"]),
        (&nan, &["bad.safetensors", "`rejected`, row 3", "NaN"]),
        (&alone, &["bad.safetensors", "`rejected`"]),
        (&fewer, &["bad.safetensors", "7", "8"]),
    ];
    for (change, says) in changes {
        let mut tensors = latents(4, 12);
        change(&mut tensors);
        check_latents(&scene, &tensors, says);
    }
    let whole = scene.bytes("latents.safetensors");
    scene.write("bad.safetensors", &whole[..whole.len() - 5]);
    scene.refused(
        &learning("new", "--latents bad.safetensors"),
        1,
        &["bad.safetensors", "not a whole safetensors file"],
    );
    scene.refused(&learning("new", "--latents nowhere.safetensors"), 1, &["nowhere.safetensors"]);
    scene.refused(&learning("new", "--objective dpo --eval-data nowhere.safetensors"), 1, &["nowhere.safetensors"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn draws_that_do_not_fit() {
    let scene = studio();
    let check = |tensors: &Tensors, says: &[&str]| {
        write_tensors(&scene, "draws.safetensors", tensors, &[]);
        scene.refused(&learning("new", DRAWN), 1, says);
        let score = "score --mdp diffusion --model unet --latents latents.safetensors --draws draws.safetensors";
        scene.refused(&format!("{score} --out s.jsonl"), 1, says);
        assert!(!scene.path("new").exists() && !scene.path("s.jsonl").exists());
    };
    let file = "draws.safetensors";
    check(&draws(&[1, 2, 3, 4, 5, 6, 7, 1000]), &[file, "`timesteps`, row 7", "1000 is not between 0 and 999"]);
    check(&draws(&[-1, 2, 3, 4, 5, 6, 7, 8]), &[file, "`timesteps`, row 0", "-1"]);
    check(&draws(&[1, 2, 3]), &[file, "`timesteps` is [3], there are 8 examples"]);
    let mut other = draws(&[1; N]);
    other.get_mut("noise").unwrap().1 = vec![N, 4, 2, 8];
    check(&other, &[file, "it should be [8, 4, 4, 4]"]);
    drop(other.remove("noise"));
    check(&other, &[file, "`noise`"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn folders_with_parts_missing_or_unknown() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    let check = |model: &str, says: &[&str]| {
        scene.refused(&learning("new", &format!("--model {model} --data pictures.jsonl")), 1, says);
        scene.refused(&format!("sample --mdp diffusion --model {model} --prompts prompts.txt --out s.jsonl"), 1, says);
        scene.refused(&format!("inspect {model}"), 1, says);
        assert!(!scene.path("new").exists() && !scene.path("s.jsonl").exists() && !scene.path("s").exists());
    };
    for (part, class) in [
        ("vae", "AutoencoderKL"),
        ("unet", "UNet2DConditionModel"),
        ("text_encoder", "CLIPTextModel"),
        ("tokenizer", "CLIPTokenizer"),
        ("scheduler", "DDIMScheduler"),
    ] {
        let path = scene.path(&format!("sd/{part}"));
        std::fs::rename(&path, scene.path("elsewhere")).unwrap();
        check("sd", &["sd", &format!("sub-folder {part}/ ({class}) is not there")]);
        std::fs::rename(scene.path("elsewhere"), path).unwrap();
    }
    let edit = |from: &str, to: &str, path: &str| {
        let whole = scene.read(path);
        assert!(whole.contains(from), "{whole}");
        scene.write(path, whole.replace(from, to));
        whole
    };
    let unet = "sd/unet/config.json";
    for (from, to, path, says) in [
        ("\"CrossAttnDownBlock2D\"", "\"KDownBlock2D\"", unet, &["sd/unet/config.json", "KDownBlock2D"] as &[&str]),
        (
            "\"cross_attention_dim\": 16",
            "\"cross_attention_dim\": 20",
            unet,
            &["don't fit", "`cross_attention_dim` is 20"],
        ),
        ("\"in_channels\": 4", "\"in_channels\": 5", unet, &["don't fit", "`in_channels` is 5"]),
        ("\"norm_num_groups\": 4", "\"norm_num_groups\": 3", unet, &["sd/unet", "norm_num_groups"]),
        ("StableDiffusionPipeline", "LuminaPipeline", "sd/model_index.json", &["model_index.json", "`LuminaPipeline`"]),
        ("DDIMScheduler", "UniPCScheduler", "sd/scheduler/scheduler_config.json", &["scheduler_config.json", "UniPC"]),
        ("epsilon", "sample", "sd/scheduler/scheduler_config.json", &["scheduler_config.json", "prediction_type"]),
    ] {
        let whole = edit(from, to, path);
        check("sd", says);
        scene.write(path, whole);
    }
    let (mut tensors, notes) = read_tensors(&scene, "pixels/unet/diffusion_pytorch_model.safetensors");
    tensors.remove("conv_in.weight");
    write_tensors(&scene, "pixels/unet/diffusion_pytorch_model.safetensors", &tensors, &notes);
    check("pixels", &["pixels/unet/diffusion_pytorch_model.safetensors", "missing", "conv_in.weight"]);
    scene.refused(&learning("new", "--model nowhere"), 1, &["nowhere", "not found"]);
    scene.refused(&learning("new", "--scheduler nowhere.json"), 1, &["nowhere.json"]);
    scene.refused(&learning("new", "--reference nowhere"), 1, &["nowhere", "not found"]);
}

#[test]
fn pictures_that_can_not_be_read_are_named_or_skipped_and_counted() {
    let scene = studio();
    let whole = scene.bytes("pictures/2-rejected.png");
    scene.write("pictures/2-rejected.png", &whole[..whole.len() / 2]);
    let train = |out: &str, more: &str| learning(out, &format!("--model pixels --data pictures.jsonl {more}"));
    let says = ["pictures.jsonl, line 3", "pictures/2-rejected.png"];
    scene.refused(&train("new", ""), 1, &says);
    scene.refused("score --mdp diffusion --model pixels --data pictures.jsonl --out s.jsonl", 1, &says);
    scene.refused("inspect pictures.jsonl --image-size 8", 1, &says);
    assert!(!scene.path("new").exists() && !scene.path("s.jsonl").exists());
    let ran = scene.done(&train("run", "--on-bad-image skip --max-steps 1").replace("--quiet", ""));
    assert!(ran.err.contains("7 examples: 7 pairs") && ran.err.contains("1 broken records left out"), "{}", ran.err);
    let text = scene.done("inspect pictures.jsonl --image-size 8 --on-bad-image skip").out;
    assert!(text.contains("7 pairs") && text.contains("pictures/2-rejected.png"), "{text}");
    let lines = scene.read("pictures.jsonl");
    for (content, says) in [
        (format!("[{}", lines.trim().replace('\n', ",\n")), "the file ends before the array does"),
        (lines.replace("pictures/3-chosen", "pictures/none"), "pictures/none.png"),
        (lines.replace("\"prompt\"", "\"ask\""), "`prompt`"),
        ("{\"foo\": 1}\n".to_owned(), "jpg_0"),
        (String::new(), "no record"),
    ] {
        scene.write("bad.jsonl", content);
        scene.refused(&train("new", "").replace("pictures.jsonl", "bad.jsonl"), 1, &["bad.jsonl", says]);
    }
    scene.refused(&learning("new", "--data pictures.jsonl --model unet"), 1, &["3 channels"]);
    assert!(!scene.path("new").exists());
}
