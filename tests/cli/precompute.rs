//! The numbers of a reference, computed before the run that reads them.
use super::images::studio;
use super::{MODEL, Scene, training};

/// What the numbers depend on, of a run of two epochs in slices of three.
const OF_REFERENCE: &str = "--data pairs.jsonl --eval-share 0 --batch-size 5 --micro-batch-size 3 --epochs 2 --seed 4";

#[test]
fn the_cache_of_a_run_is_computed_before_it_to_the_bit() {
    let scene = Scene::new();
    let said = scene.done(&format!("precompute --model {MODEL} {OF_REFERENCE} --reference-cache before.cache"));
    assert!(said.out.contains("before.cache: the reference's numbers of 8 examples"), "{said:?}");
    assert!(!scene.path("runs").exists());
    let file = scene.bytes("before.cache");
    let said = scene
        .done(&training("read", &format!("{OF_REFERENCE} --reference-cache before.cache")).replace("--quiet ", ""));
    assert!(said.err.contains("reference numbers of 8 examples read from the cache"), "{said:?}");
    assert!(scene.bytes("before.cache") == file);
    scene.done(&training("filled", &format!("{OF_REFERENCE} --reference-cache own.cache")));
    assert!(scene.bytes("own.cache") == file, "the run fills the same bytes");
    scene.done(&training("plain", OF_REFERENCE));
    for run in ["read", "filled"] {
        assert_eq!(scene.metrics(run), scene.metrics("plain"), "{run}");
        assert!(scene.bytes(&format!("{run}/model/model.safetensors")) == scene.bytes("plain/model/model.safetensors"));
    }
    // A run that ends within its first epoch reads fewer.
    let short = OF_REFERENCE.replace("--epochs 2", "--max-steps 1");
    let said = scene.done(&format!("precompute --model {MODEL} {short} --reference-cache short.cache"));
    assert!(said.out.contains("short.cache: the reference's numbers of 5 examples"), "{said:?}");
}

#[test]
fn the_cache_of_a_denoiser_is_computed_before_it_to_the_bit() {
    let scene = studio();
    let of_reference = "--mdp diffusion --model pixels --data pictures.jsonl --eval-share 0 --batch-size 3 --micro-batch-size 2 \
                        --epochs 2 --draw-sets 2";
    scene.done(&format!("precompute {of_reference} --reference-cache before.cache"));
    scene.done(&format!("train {of_reference} --n-samples 0 --reference-cache own.cache --out run --quiet"));
    assert!(scene.bytes("before.cache") == scene.bytes("own.cache"));
}

#[test]
fn what_the_numbers_do_not_depend_on_is_refused() {
    let scene = Scene::new();
    let precompute = |more: &str| format!("precompute --model {MODEL} {OF_REFERENCE} {more}");
    scene.refused(&precompute(""), 2, &["--reference-cache"]);
    let to = "--reference-cache new.cache";
    scene.refused(&precompute(&format!("--objective simpo {to}")), 2, &["--objective simpo reads no reference"]);
    for (flag, value) in
        [("--lr", "1e-3"), ("--beta", "0.2"), ("--out", "run"), ("--save-every", "3"), ("--ema", "0.9")]
    {
        let ran = scene.run(&precompute(&format!("{flag} {value} {to}")));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(&format!("unexpected argument '{flag}'")), "{ran:?}");
        assert!(ran.err.contains(&format!("{flag} is a flag of train")), "{ran:?}");
    }
    scene.refused(&precompute(&format!("--set optimizer.lr=1e-3 {to}")), 2, &["--lr is not read by precompute"]);
    // The settings of a whole run are let be.
    scene.write("run.toml", "[optimizer]\nlr = 0.001\n[run]\nout = \"run\"\n");
    scene.done(&precompute(&format!("--config run.toml {to}")));
    assert!(!scene.path("run").exists());
}
