//! Runs on pictures that are killed end as if nothing had happened.
use super::Scene;
use super::images::{learning, studio, trajectories};
use super::resume::{check_same, wait_for_lines};

fn kill_and_resume(scene: &Scene, more: &str, weights: &str) {
    scene.done(&learning("whole", more));
    for n in [1, 4, 8] {
        let run = format!("killed-{n}");
        let mut child = scene.command(&learning(&run, more)).spawn().unwrap();
        wait_for_lines(scene, &run, n, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        scene.done(&format!("train --resume {run} --quiet"));
        check_same(scene, "whole", &run, weights);
    }
}

#[test]
fn killed_and_resumed_is_the_same_to_the_bit() {
    // Three sets of draws over four epochs: the reference's numbers are made, read back, and made again.
    let more = "--batch-size 4 --epochs 4 --draw-sets 3 --save-every 2 --ema 0.9 --eval-share 0.25 --eval-every 3 \
                --optimizer adamw --reference-cache ref.cache --draws-per-pair 2 --beta 500";
    kill_and_resume(&studio(), more, "diffusion_pytorch_model.safetensors");
}

#[test]
fn killed_and_resumed_on_trajectories_is_the_same_to_the_bit() {
    let scene = studio();
    trajectories(&scene, "pixels");
    let more = "--model pixels --scheme trajectory --trajectories ways.safetensors --beta 1 --batch-size 2 --epochs 4 \
                --save-every 2 --importance-clip 2";
    kill_and_resume(&scene, more, "unet/diffusion_pytorch_model.safetensors");
}

#[test]
fn killed_and_resumed_adapters_on_pictures_are_the_same_to_the_bit() {
    let more = "--model pixels --data pictures.jsonl --flip --lora-rank 2 --batch-size 2 --epochs 2 --save-every 3 \
                --scheme half --beta 1 --micro-batch-size 1 --objective ipo";
    kill_and_resume(&studio(), more, "pytorch_lora_weights.safetensors");
}
