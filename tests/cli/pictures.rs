//! Pictures and captions as people bring them.
use serde_json::json;

use super::Scene;
use super::images::{copy_golden, latents, learning, studio, write_tensors};

/// A folder with a whole small Stable Diffusion, whose text encoder reads 16 tokens, and `long.jsonl` and `long.txt`.
fn with_long_captions() -> Scene {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    let captions = ["a red circle ".repeat(20), "a red circle".to_owned(), "a ".repeat(14), "a ".repeat(15)];
    let line = |(i, caption): (usize, &String)| {
        let line = json!({"prompt": caption, "chosen": format!("pictures/{i}-chosen.png"),
                          "rejected": format!("pictures/{i}-rejected.png")});
        format!("{line}\n")
    };
    scene.write("long.jsonl", captions.iter().enumerate().map(line).collect::<String>());
    scene.write("long.txt", captions.map(|caption| caption + "\n").concat());
    scene
}

#[test]
fn captions_that_the_encoder_cuts_are_counted_wherever_they_are_read() {
    let scene = with_long_captions();
    let audit = "2 captions longer than the text encoder reads: it does not see their end";
    let sampled = "2 of 4 captions are longer than the text encoder reads (16 tokens): it does not see their end";
    let sample = "sample --mdp diffusion --model sd --image-size 16 --prompts long.txt --sample-steps 2";
    for (arguments, says) in [
        (learning("run", "--model sd --data long.jsonl --image-size 16 --max-steps 1").replace("--quiet", ""), audit),
        ("score --mdp diffusion --model sd --data long.jsonl --image-size 16 --out s.jsonl".to_owned(), audit),
        ("inspect sd --data long.jsonl --image-size 16".to_owned(), audit),
        (format!("{sample} --out p.jsonl"), sampled),
        (format!("{sample} --pairs drawn"), sampled),
    ] {
        let ran = scene.done(&arguments);
        assert!(format!("{}{}", ran.out, ran.err).contains(says), "{arguments}\n{}{}", ran.out, ran.err);
    }
    // Without a model nobody knows what is too long, and short captions are no finding.
    let plain = scene.done("inspect long.jsonl --image-size 16").out;
    let short = scene.done("inspect sd --data pictures.jsonl --image-size 16").out;
    assert!(!plain.contains("longer than") && !short.contains("longer than"), "{plain}\n{short}");
}

#[test]
fn hidden_captions_of_latents_need_what_the_empty_one_tells() {
    let scene = studio();
    let train = |more: &str| learning("new", &format!("--preset salesforce-sd15 --max-steps 1 {more}"));
    let says = ["latents.safetensors", "--empty-share 0.2 (of --preset salesforce-sd15)", "`empty_context`"];
    scene.refused(&train(""), 2, &says);
    assert!(!scene.path("new").exists());
    scene.refused(&learning("new", "--empty-share 0.5"), 2, &["--empty-share 0.5 hides captions"]);
    scene.done(&train("--empty-share 0"));
    let notes = [("empty_context".to_owned(), "0".to_owned())];
    write_tensors(&scene, "noted.safetensors", &latents(4, 12), &notes);
    scene.done(&learning("noted", "--preset salesforce-sd15 --max-steps 1 --latents noted.safetensors"));
}

#[test]
fn presets_of_scripts_see_the_pixels_of_scripts() {
    let scene = studio();
    for (out, preset, alpha, flips) in [
        ("salesforce", "--preset salesforce-sd15", "drop", true),
        ("diffusers", "--preset diffusers-2500", "drop", true),
        ("own", "--preset diffusers-2500 --transparency white --flip=false", "white", false),
        ("paper", "--preset paper", "white", false),
    ] {
        scene.done(&learning(out, &format!("--model pixels --data pictures.jsonl --max-steps 1 {preset}")));
        let config = scene.read(&format!("{out}/config.toml"));
        assert!(config.contains(&format!("transparency = \"{alpha}\"")), "{out}\n{config}");
        assert!(config.contains(&format!("\nflip = {flips}\n")), "{out}\n{config}");
        let filter = if out == "paper" { "lanczos" } else { "bilinear" };
        assert!(config.contains(&format!("resize_filter = \"{filter}\"")), "{out}\n{config}");
    }
    scene.refused(&learning("new", "--model pixels --data pictures.jsonl --flip-sides apart"), 2, &["--flip"]);
}

#[test]
fn thin_pictures_are_used_and_claims_are_refused() {
    let scene = studio();
    let thin = image::RgbImage::from_fn(60_000, 1, |x, _| image::Rgb([(x / 300) as u8, 90, 10]));
    thin.save_with_format(scene.path("pictures/0-chosen.png"), image::ImageFormat::Png).unwrap();
    let text = scene.done("inspect pictures.jsonl --image-size 512").out;
    assert!(text.contains("60000x1 (1)") && text.contains("8 pairs"), "{text}");
    let mut claiming = scene.bytes("pictures/1-chosen.png");
    claiming[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    scene.write("pictures/1-chosen.png", claiming);
    let says = ["pictures.jsonl, line 2", "pictures/1-chosen.png"];
    scene.refused("inspect pictures.jsonl --image-size 512", 1, &says);
    let text = scene.done("inspect pictures.jsonl --image-size 512 --on-bad-image skip").out;
    assert!(text.contains("7 pairs") && text.contains("1 broken records left out"), "{text}");
}
