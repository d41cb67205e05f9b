//! Every figure, a few steps of it.
use std::path::Path;

use reproduce::{Figure, FigureResult, Holds, Scale, Setup, reproduce};

fn quick(out: &Path) -> Setup<'static> {
    Setup { out: out.to_owned(), seed: 0, scale: Scale::Quick, reporter: &recipes::QUIET }
}

/// Measures a figure twice: the second time it is read. Returns it.
fn measured(figure: Figure) -> FigureResult {
    let folder = tempfile::tempdir().unwrap();
    let setup = quick(&folder.path().join("out"));
    let mut results = Vec::new();
    for _ in 0..2 {
        let page = reproduce(&[figure], &setup, &mut |result| results.push(result.clone())).unwrap();
        assert!(std::fs::read_to_string(page).unwrap().contains(figure.title()));
    }
    let second = results.pop().unwrap();
    assert_eq!(results.pop().unwrap().to_string(), second.to_string());
    assert!(!second.claims.is_empty() && !second.tables.is_empty());
    for chart in &second.charts {
        assert!(setup.out.join(format!("{}.svg", chart.name)).is_file(), "{}", chart.name);
    }
    for claim in &second.claims {
        assert_eq!(claim.rule.decide(&claim.measured), claim.holds);
        assert!(claim.measured.value.is_finite(), "{claim:?}");
    }
    second
}

#[test]
fn theory_holds_where_it_is_exact() {
    let result = measured(Figure::Theory);
    for claim in result.claims.iter().filter(|claim| !claim.place.starts_with("Section")) {
        assert_eq!(claim.holds, Holds::Yes, "{claim:?}");
    }
}

#[test]
fn credit_runs() {
    measured(Figure::Credit);
}

#[test]
fn beams_run() {
    measured(Figure::Beams);
}

#[test]
fn dynamics_run() {
    measured(Figure::Dynamics);
}

#[test]
fn cpl_runs() {
    measured(Figure::Cpl);
}

#[test]
fn diffusion_runs() {
    measured(Figure::Diffusion);
}

#[test]
fn hybrid_runs() {
    measured(Figure::Hybrid);
}

#[test]
fn video_runs() {
    measured(Figure::Video);
}

#[test]
fn verifier_runs() {
    measured(Figure::Verifier);
}

#[test]
fn agents_run() {
    measured(Figure::Agents);
}

#[test]
fn a_folder_of_other_settings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let open = |setup: &Setup<'_>| reproduce(&[], setup, &mut |_| {}).map(drop).map_err(|failure| failure.to_string());
    open(&quick(&out)).unwrap();
    open(&quick(&out)).unwrap();
    let other = open(&Setup { seed: 1, ..quick(&out) }).unwrap_err();
    assert!(other.contains("its seed is 0, not 1"), "{other}");
    let other = open(&Setup { scale: Scale::Full, ..quick(&out) }).unwrap_err();
    assert!(other.contains("its scale is quick, not full"), "{other}");
    std::fs::write(folder.path().join("letter.txt"), "mine").unwrap();
    let other = open(&quick(folder.path())).unwrap_err();
    assert!(other.contains("is no reproduction's"), "{other}");
}
