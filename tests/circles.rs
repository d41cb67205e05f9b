//! Modules know each other in one direction, at the top of each crate and below.
use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::MAY_KNOW;
use crate::source_files::{module_folders, module_graph, root, siblings_graph};

/// Modules that know each other: values of chat templates contain objects, which contain values; and an op and its composed form
/// take the same arguments.
const MUTUAL: [(&str, &str, &str); 9] = [
    ("datasets/src/chat/jinja", "value", "objects"),
    ("datasets/src/chat/jinja", "value", "extent"),
    ("engine/src/ops", "composed", "axial_rope"),
    ("engine/src/ops", "composed", "convolution"),
    ("engine/src/ops", "composed", "full_attention"),
    ("engine/src/ops", "composed", "group_norm"),
    ("engine/src/ops", "composed", "linear"),
    ("engine/src/ops", "composed", "rope"),
    ("engine/src/ops", "composed", "vocabulary"),
];

#[test]
fn the_modules_of_a_crate_form_no_circle() {
    for (name, _) in MAY_KNOW.into_iter().filter(|(name, _)| *name != "hybrid-dpo") {
        check_for_circles(name, module_graph(&root().join(name)));
        for folder in module_folders(&root().join(name)) {
            let mut knows = siblings_graph(&folder, &root().join(name).join("src"));
            let shown = folder.strip_prefix(root()).unwrap().to_str().unwrap();
            for (_, from, to) in MUTUAL.iter().filter(|(place, _, _)| *place == shown) {
                assert!(knows.get_mut(*from).is_some_and(|known| known.remove(*to)), "{shown}: {from} knows no {to}");
            }
            check_for_circles(shown, knows);
        }
    }
}

/// Asserts that modules do not know each other in a circle.
fn check_for_circles(place: &str, mut knows: BTreeMap<String, BTreeSet<String>>) {
    // A module is free once all that it knows is free; in a circle none is.
    loop {
        let left: BTreeSet<String> = knows.keys().cloned().collect();
        knows.retain(|_, known| known.iter().any(|known| left.contains(known)));
        if knows.len() == left.len() {
            break;
        }
    }
    assert!(knows.is_empty(), "these modules of {place} know each other in a circle: {knows:?}");
}

#[test]
fn the_search_for_circles_finds_what_modules_know() {
    let knows = module_graph(&root().join("recipes"));
    assert!(knows["sample"].is_superset(&["failure", "sampling", "search", "settings"].map(str::to_owned).into()));
    let knows = siblings_graph(&root().join("datasets/src/formats"), &root().join("datasets/src"));
    assert!(knows["messages"].contains("fields"), "{knows:?}");
    let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<String>>();
    let circle = BTreeMap::from([("a".to_owned(), names(&["b"])), ("b".to_owned(), names(&["a"]))]);
    assert!(std::panic::catch_unwind(|| check_for_circles("here", circle)).is_err());
}
