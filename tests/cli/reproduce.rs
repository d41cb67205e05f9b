//! `reproduce`: figures by name, the folder of results, and what is refused.
use serde_json::Value;

use super::Scene;

#[test]
fn a_figure_is_measured_once_and_read_the_next_time() {
    let scene = Scene::new();
    let first = scene.done("reproduce theory --quick --out results --quiet");
    assert!(
        first.out.contains("[holds here] Lemma 1") && first.out.contains("page: results/index.html"),
        "{}",
        first.out
    );
    let result: Value = serde_json::from_str(&scene.read("results/theory.json")).unwrap();
    assert_eq!(result["figure"], "theory");
    for claim in result["claims"].as_array().unwrap() {
        for name in ["place", "claim", "what", "measured", "rule", "holds"] {
            assert!(!claim[name].is_null(), "{claim} has no {name}");
        }
    }
    assert!(scene.read("results/theory-residual.svg").starts_with("<svg"));
    let page = scene.read("results/index.html");
    assert!(page.contains("numbers below mean nothing") && page.contains("Theorem 1"));
    let written = scene.path("results/theory.json").metadata().unwrap().modified().unwrap();
    assert_eq!(scene.done("reproduce theory --quick --out results --quiet").out, first.out);
    assert_eq!(scene.path("results/theory.json").metadata().unwrap().modified().unwrap(), written);
    assert!(scene.unfinished().is_empty(), "{:?}", scene.unfinished());
}

#[test]
fn results_are_not_mixed() {
    let scene = Scene::new();
    scene.done("reproduce theory --quick --out results --quiet");
    scene.refused("reproduce theory --quick --out results --seed 1", 1, &["its seed is 0, not 1", "--out"]);
    scene.refused("reproduce theory --out results", 1, &["its scale is quick, not full", "--out"]);
    scene.write("mine/letter.txt", "dear");
    scene.refused("reproduce theory --quick --out mine", 1, &["mine exists and is no reproduction's", "--out"]);
    scene.refused("reproduce theory --quick --out pairs.jsonl", 1, &["--out pairs.jsonl is a file; name a folder"]);
    assert!(!scene.path("mine/runs").exists());
    scene.write("results/theory.json", "{");
    scene.refused("reproduce theory --quick --out results", 1, &["theory.json", "damaged", "remove it"]);
}

#[test]
fn wrong_usage_is_refused() {
    let scene = Scene::new();
    let unknown = scene.run("reproduce tables");
    assert!(unknown.code == Some(2) && unknown.err.contains("dynamics") && unknown.err.contains("all"), "{unknown:?}");
    assert_eq!(scene.run("reproduce").code, Some(2));
    let idle = scene.run("reproduce theory --quick --set train.batch_size=2 --out new");
    assert!(idle.code == Some(2) && idle.err.contains("is not read by reproduce"), "{idle:?}");
    assert!(!scene.path("new").exists() && !scene.path("reproduced").exists());
}
