//! Pictures with credit made by hand.
use super::*;
use crate::Estimate;

/// A picture of four places and two draws, whose reward of each place is given for both.
fn picture(index: usize, side: &'static str, first: [f64; 4], second: [f64; 4], wrong: [bool; 4]) -> CreditedPicture {
    let maps = RewardMaps {
        timesteps: vec![1, 7],
        of_draws: [first, second].map(|map| map.iter().sum()).into(),
        reward: first.iter().zip(second).map(|(a, b)| a + b).collect(),
        by_steps: vec![Some(first.map(|part| 2.0 * part).into()), Some(second.map(|part| 2.0 * part).into())],
        error: vec![4.0, 2.0, 0.0, 2.0],
        reference_error: vec![2.0; 4],
    };
    let mut picture = CreditedPicture::of((index, side), (2, 2), maps);
    picture.wrong = Some(wrong.into());
    picture
}

fn credit() -> ImageCredit {
    let right = [false; 4];
    let wrong = [true, false, false, false];
    let pictures = vec![
        picture(0, "chosen", [0.5, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0], right),
        picture(0, "rejected", [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], wrong),
        picture(1, "chosen", [0.0; 4], [0.25, 0.25, 0.25, 0.25], right),
        picture(1, "rejected", [-1.0, 0.0, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0], wrong),
    ];
    assemble(pictures, (2, 10), 0)
}

fn value(estimate: Option<Estimate>) -> f64 {
    estimate.unwrap().value
}

#[test]
fn parts_add_up_to_the_reward_and_margins_to_the_pair() {
    let credit = credit();
    for picture in &credit.pictures {
        assert!((picture.map().iter().sum::<f64>() - picture.reward()).abs() < 1e-12);
        assert_eq!(picture.errors, (8.0, 8.0));
        assert_eq!(picture.columns[1].1, [-2.0, -1.0, 0.0, -1.0]);
    }
    // Margins 1 + 2 and 1 - 2.
    assert_eq!(credit.accuracy, Some((1, 2)));
    assert_eq!(credit.steps.names, ["chosen", "rejected", "margin"]);
    assert!((value(credit.steps.whole.rewards[2]) - 1.0).abs() < 1e-12);
    // By draws: 1.5 and 0 of the first part, 1.5 and -1 of the second.
    assert!((value(credit.steps.rows[0].share) - 0.75).abs() < 1e-12);
    assert_eq!(credit.examples().map(<[_]>::len).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn regions_are_measured_on_pictures_that_have_one_that_is_wrong() {
    let credit = credit();
    let summary = credit.summary.as_ref().unwrap();
    assert_eq!((summary.examples, summary.places, summary.wrong), (2, 8, 2));
    // In the first the wrong place ties with another at the least: -1, -1, 0, 0; in the second all are 0, 1, .5, .5.
    let reward = &summary.rows[0];
    assert!((value(reward.pointing) - 0.75).abs() < 1e-12, "{reward:?}");
    // The policy's error is the most where it is wrong.
    assert_eq!((value(summary.rows[1].auroc), value(summary.rows[1].pointing)), (1.0, 1.0));
    assert_eq!((value(summary.rows[2].auroc), value(summary.rows[2].pointing)), (0.5, 0.25));
    // At little noise the map is right in both, at much of it in none.
    assert_eq!(value(credit.steps.rows[0].auroc), 1.0);
    assert!(value(credit.steps.rows[1].auroc) < 0.5);
    assert_eq!(credit.steps.whole.auroc, reward.auroc);
    let text = summary.to_string();
    assert!(text.contains("pictures with wrong regions: 2; wrong pixels: 2 of 8; by chance 0.500, 0.250"), "{text}");
}

#[test]
fn a_page_has_a_map_for_each_part_and_nothing_from_elsewhere() {
    let mut credit = credit();
    let caption = "a <b>red</b> circle".to_owned();
    credit.pictures.iter_mut().for_each(|picture| picture.caption = Some(caption.clone()));
    credit.pictures[0].pixels = Some(Pixels::from_fn(2, 2, |_, _, _| 0.5));
    // Larger than its map, as of a model with an autoencoder.
    credit.pictures[1].pixels = Some(Pixels::from_fn(8, 8, |_, _, _| 0.5));
    credit.pictures[2].by_steps[1] = None;
    let page = crate::credit::page::of(&crate::credit::Credit::Image(credit)).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<b>"), "{page}");
    assert_eq!(page.matches("<figure>").count(), 4);
    assert_eq!(page.matches("t 0-4").count(), 2 * 4);
    assert_eq!((page.matches("t 5-9: no draw").count(), page.matches("known to be wrong\"").count()), (1, 2));
    assert_eq!((page.matches("class=\"maps smooth\"").count(), page.matches("picture</div>").count()), (1, 2));
    assert!(page.contains("margin above 0: 1 of 2 pairs") && page.contains("AUROC of the map"), "{page}");
}

#[test]
fn single_pictures_have_rewards_and_no_margins() {
    let one = picture(0, "image", [0.5, 0.0, 0.0, 0.0], [0.25; 4], [false; 4]);
    let credit = assemble(vec![one], (2, 10), 0);
    assert_eq!((credit.accuracy, credit.summary), (None, None));
    assert_eq!(credit.steps.names, ["reward"]);
    assert!((value(credit.steps.whole.rewards[0]) - 1.5).abs() < 1e-12);
    assert!(credit.steps.to_string().contains("share of the reward"), "{}", credit.steps);
}

#[test]
fn small_maps_are_in_lines_and_large_ones_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("credit.jsonl");
    let mut lines = Lines::new(&out);
    let small = picture(0, "chosen", [0.5, 0.0, 0.0, -0.5], [0.0; 4], [true, false, false, false]);
    lines.push_picture(&small).unwrap();
    let places = 65 * 64;
    let map: Vec<f64> = (0..places).map(|place| place as f64 / 10.0 - 7.0).collect();
    let maps = RewardMaps { reward: map.clone(), error: vec![0.0; places], ..RewardMaps::default() };
    lines.push_picture(&CreditedPicture::of((3, "image"), (65, 64), maps)).unwrap();
    lines.finish().unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let written: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written[0]["map"], serde_json::json!([[0.5, 0.0], [0.0, -0.5]]));
    assert_eq!(written[0]["wrong"], serde_json::json!([[true, false], [false, false]]));
    assert_eq!(written[1]["map"]["file"], "credit-00003-image.png");
    let image = ::image::open(folder.path().join("credit-00003-image.png")).unwrap().to_luma16();
    let [black, white] = ["black", "white"].map(|name| written[1]["map"][name].as_f64().unwrap());
    for place in [0, 77, places - 1] {
        let level = image.get_pixel((place % 64) as u32, (place / 64) as u32).0[0];
        let read = black + (white - black) * f64::from(level) / 65535.0;
        assert!((read - map[place]).abs() < (white - black) / 65535.0, "{place}: {read}");
    }
}
