//! The laws of the problem, over every scene and a few thousand draws.

use std::collections::HashSet;

use super::*;
use crate::images::Pixels;
use crate::synthetic::draw::RandomDraws;

/// The picture with Gaussian noise added (Box and Muller's way).
fn noisy(pixels: &Pixels, sigma: f32, seed: u64) -> Pixels {
    let mut draw = RandomDraws::new("test", "noise", &[seed]);
    let mut uniform = || (draw.below(1 << 24) as f32 + 0.5) / (1 << 24) as f32;
    let noise = (0..EDGE * EDGE * 3).map(|_| {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f32::consts::TAU * uniform());
        sigma * radius * angle.cos()
    });
    let values: Vec<f32> = pixels.values().iter().zip(noise).map(|(value, noise)| value + noise).collect();
    Pixels::new(EDGE, EDGE, values).expect("as many as before")
}

fn blank(value: f32) -> Pixels {
    Pixels::from_fn(EDGE, EDGE, |_, _, _| value)
}

/// The share of `count` draws of which something is true.
fn share(count: u64, is_true: impl Fn(u64) -> bool) -> f64 {
    (0..count).filter(|index| is_true(*index)).count() as f64 / count as f64
}

#[test]
fn every_scene_is_read_back() {
    assert_eq!(Scene::all().collect::<HashSet<_>>().len(), 576);
    for scene in Scene::all() {
        let reading = Oracle::read(&scene.render());
        assert_eq!(reading.right(&scene), 4, "{scene:?}: {reading:?}");
        assert!(reading.confidence > 0.9999 && reading.residual < 0.01, "{scene:?}: {reading:?}");
        assert_eq!(Oracle::score(&Wanted { scene }, &scene.render()), 1.0);
        assert_eq!(Oracle::read(&Pixels::from_rgb8(&scene.render().to_rgb8())).right(&scene), 4);
    }
}

#[test]
fn noise_of_three_tenths_confuses_fewer_than_one_in_a_hundred() {
    let wrong = Scene::all().enumerate().filter(|(number, scene)| {
        let picture = noisy(&scene.render(), 0.3, *number as u64);
        Oracle::read(&picture).right(scene) < 4
    });
    let wrong = wrong.count();
    assert!(wrong <= 5, "{wrong} of 576");
}

/// A generated creature is seldom exactly where the renderer puts it, and its colours are a little off.
#[test]
fn a_pale_creature_one_pixel_off_is_still_read() {
    let mut wrong = 0;
    for (number, scene) in Scene::all().enumerate() {
        let exact = scene.render();
        let (down, right) = [(1, 0), (0, 1), (1, 1)][number % 3];
        let moved = Pixels::from_fn(EDGE, EDGE, |row, column, channel| {
            let inside = row >= down && column >= right;
            let from = if inside { ((row - down) * EDGE + column - right) * 3 + channel } else { usize::MAX };
            0.8 * exact.values().get(from).copied().unwrap_or(scene.field.values()[channel])
        });
        wrong += usize::from(Oracle::read(&noisy(&moved, 0.1, number as u64)).right(&scene) < 4);
    }
    assert!(wrong <= 5, "{wrong} of 576");
}

#[test]
fn a_score_is_the_share_of_what_is_right_less_the_mess() {
    let wanted = Wanted::from_request("a red minotaur on a white field").expect("a request");
    let other = Wanted::from_request("paint a satyr in red on pink").expect("a request").scene;
    assert_eq!((wanted.share(&other), Oracle::score(&wanted, &other.render())), (0.5, 0.5));
    let (clean, trace) = (wanted.scene.render(), noisy(&wanted.scene.render(), 0.1, 0));
    let mess = noisy(&clean, 0.5, 0);
    assert_eq!(Oracle::compare(&wanted, &clean, &trace), ComparisonOutcome::Tie);
    assert_eq!(Oracle::compare(&wanted, &clean, &mess), ComparisonOutcome::Win);
    assert_eq!(Oracle::compare(&wanted, &mess, &clean), ComparisonOutcome::Loss);
    // Colours are the extremes, so half of the noise is cut off: its root mean square is 0.5 / sqrt(2) = 0.354. What is above
    // 0.2 costs twice, of four: (4 - 2 * 0.154) / 4. Of 1728 numbers the deviation of that is 0.79 * 0.5 / sqrt(1728) / 2, and
    // the bound is five of it.
    let score = Oracle::score(&wanted, &mess);
    assert!((score - 0.923).abs() < 0.024, "{score}");
}

#[test]
fn blank_pictures_and_pure_noise_show_nothing() {
    let ground = [-1.0, -0.85, 0.0, 0.85, 1.0].map(blank);
    let noise = (0..40).map(|seed| noisy(&blank(0.0), [0.05, 0.2, 0.5, 1.0][seed as usize % 4], seed));
    let strange = [Pixels::from_fn(8, 8, |_, _, _| 0.0), blank(f32::NAN), blank(f32::INFINITY), blank(1e30)];
    for picture in ground.into_iter().chain(noise).chain(strange) {
        let reading = Oracle::read(&picture);
        assert_eq!((reading.head, reading.body, reading.colour, reading.field), (None, None, None, None));
        assert!(Scene::all().step_by(50).all(|scene| Oracle::score(&Wanted { scene }, &picture) == 0.0));
    }
}

#[test]
fn texts_use_the_vocabulary_and_read_back() {
    let (mut used, mut texts) = (HashSet::new(), HashSet::new());
    for scene in Scene::all() {
        let creature = Creature::ALL.into_iter().find(|c| (c.head, c.body) == (scene.head, scene.body));
        let creature = creature.unwrap_or(Creature::ALL[0]);
        let (colour, field) = (scene.colour, scene.field);
        for request in Asking::ALL.map(|asking| Request { creature, colour, field, asking }) {
            assert_eq!(Request::read(&request.text()), Some(request));
            texts.insert(request.text());
        }
        for manner in [Manner::Parts, Manner::Terse, Manner::Halves] {
            let said = Said::all(scene);
            let text = said.text(manner, "");
            assert_eq!(Said::read(&text), said, "{text}");
            assert!(texts.insert(text));
            for attribute in Attribute::ALL {
                let less = said.without(attribute);
                assert_eq!(Said::read(&less.text(manner, "")), less);
                assert!(!less.tells(attribute));
            }
        }
    }
    assert_eq!(texts.len(), 16 * 16 * 5 + 576 * 3);
    for text in &texts {
        used.extend(text.split(' ').map(str::to_owned));
        assert!(text.split(' ').count() <= 17, "{text}");
    }
    assert!(WORDS.is_sorted() && WORDS.iter().all(|word| used.remove(*word)) && used.is_empty(), "{used:?}");
    for text in ["", "a minotaur", "a red minotaur on a red field", "a red  minotaur on a white field", "a red white"] {
        assert_eq!(Wanted::from_request(text), None, "{text}");
    }
    assert_eq!(Said::read("the head of a bull on a goat"), Said::default());
}

#[test]
fn the_tokenizer_knows_every_word_and_any_text_survives_it() {
    let tokenizer = tokenizer().expect("our own tokenizer");
    assert_eq!((tokenizer.get_vocab_size(true), tokenizer.token_to_id(END_OF_TEXT)), (310, Some(0)));
    for index in 0..200 {
        let shown = ChimeraProblem::new(0).refinement(Split::Train, index);
        let (request, refined) = (shown.request.text(), &shown.refined);
        let n_words = request.split(' ').count() + refined.split(' ').count();
        let text = refiner_prompt(&request) + &refiner_response(refined);
        let ids = tokenizer.encode(text.as_str(), false).expect("encodable");
        assert_eq!(ids.get_ids().len(), n_words + 2);
        assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decodable"), text);
    }
    let strange = "request: Zürich?\nprompt: \u{1F600}\tx";
    let ids = tokenizer.encode(strange, false).expect("encodable");
    assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decodable"), strange);
}

#[test]
fn splits_share_no_scene_and_training_knows_every_two_attributes() {
    let of = |scenes: &mut dyn Iterator<Item = Scene>| {
        let splits: Vec<Split> = scenes.map(|scene| scene.split()).collect();
        Split::ALL.map(|split| splits.iter().filter(|other| **other == split).count())
    };
    assert_eq!(of(&mut Scene::all()), [460, 58, 58]);
    let named = |scene: &Scene| Creature::ALL.iter().any(|c| (c.head, c.body) == (scene.head, scene.body));
    assert_eq!(of(&mut Scene::all().filter(named)), [205, 25, 26]);
    let train: Vec<Scene> = Scene::all().filter(|scene| scene.split() == Split::Train).collect();
    let values =
        |scene: &Scene| [scene.head as usize, scene.body as usize, scene.colour as usize, scene.field as usize];
    for first in 0..4 {
        for second in 0..first {
            let two: HashSet<_> = train.iter().map(values).map(|values| (values[first], values[second])).collect();
            assert_eq!(two.len(), [6, 6, 4, 4][first] * [6, 6, 4, 4][second]);
        }
    }
}

#[test]
fn training_tells_and_shows_nothing_that_is_held_out() {
    let is_told = |said: &Said, otherwise: Scene| {
        let is_whole = Attribute::ALL.iter().all(|attribute| said.tells(*attribute));
        is_whole.then(|| said.scene(otherwise))
    };
    for index in 0..3_000 {
        let pair = ChimeraProblem::new(0).pair(Split::Train, index);
        let refined = ChimeraProblem::new(0).refinement(Split::Train, index);
        let shown = ChimeraProblem::new(0).demonstration(Split::Train, index);
        let wanted = pair.wanted.scene;
        let shows = [wanted, pair.chosen.scene, pair.rejected.scene, refined.request.scene(), shown.shown];
        let tells = [Said::read(&pair.chosen.refined), Said::read(&pair.rejected.refined), refined.said, shown.said];
        let told = tells.iter().filter_map(|said| is_told(said, wanted));
        assert!(shows.into_iter().chain(told).all(|scene| scene.split() == Split::Train), "{index}");
    }
}

#[test]
fn a_pair_is_a_function_of_seed_split_and_index_and_its_sides_differ() {
    for split in Split::ALL {
        for index in 0..500 {
            let pair = ChimeraProblem::new(3).pair(split, index);
            assert_eq!(pair, ChimeraProblem::new(3).pair(split, index));
            assert_eq!(Wanted::from_request(&pair.request), Some(pair.wanted));
            assert_eq!(pair.wanted.scene.split(), split);
            assert!(pair.wanted.share(&pair.chosen.scene) > pair.wanted.share(&pair.rejected.scene));
            let same = pair.chosen.refined == pair.rejected.refined;
            assert_eq!(same, pair.is_null);
            assert!(!same || pair.chosen.refined == pair.request);
        }
    }
    let nulls = share(2_000, |index| ChimeraProblem::new(0).pair(Split::Train, index).is_null);
    assert!((0.22..0.28).contains(&nulls), "{nulls}");
    let none = ChimeraProblem::new(0).with_null_share(0.0);
    assert_eq!(share(100, |index| none.pair(Split::Train, index).is_null), 0.0);
    let requests = |seed| (0..20).map(move |index| ChimeraProblem::new(seed).pair(Split::Test, index).request);
    assert!(!requests(3).eq(requests(4)));
}

#[test]
fn both_halves_are_taught_as_badly_as_they_should_be() {
    let refined = |index| ChimeraProblem::new(0).refinement(Split::Train, index);
    let is_right = |index| refined(index).said == Said::all(refined(index).request.scene());
    let best = share(4_000, |index| refined(index).manner == Manner::Parts && is_right(index));
    assert!((0.23..0.29).contains(&best), "{best}");
    let said = |request: &str| Said::read(request);
    assert_eq!(
        share(500, |i| refined(i).manner != Manner::Request && said(&refined(i).refined) != refined(i).said),
        0.0
    );
    // How often a manner is drawn, and how often a head drawn for it is wrong.
    let manners = [
        (Manner::Parts, 0.4, 0.2),
        (Manner::Terse, 0.15, 0.4),
        (Manner::Halves, 0.25, 0.6),
        (Manner::Request, 0.2, 0.8),
    ];
    assert_eq!(manners.map(|(manner, ..)| manner), Manner::ALL);
    for (manner, expected, error_rate) in manners {
        let found = share(4_000, |index| refined(index).manner == manner);
        assert!((found - expected).abs() < 0.03, "{manner:?}: {found}");
        let shown = (0..6_000).map(|index| ChimeraProblem::new(0).demonstration(Split::Train, index));
        let shown: Vec<_> = shown.filter(|shown| shown.manner == manner && shown.said.head.is_some()).collect();
        let wrong = shown.iter().filter(|shown| shown.said.head != Some(shown.shown.head)).count();
        let rate = wrong as f64 / shown.len() as f64;
        // Scenes that are held out are drawn again, which changes the rate a little.
        assert!((rate - error_rate).abs() < 0.06, "{manner:?}: {rate}");
    }
}

/// Weights are committed that were trained on these very data; whoever changes them has to train again.
#[test]
fn the_data_are_those_the_weights_were_trained_on() {
    let mut hasher = blake3::Hasher::new();
    for index in 0..100 {
        let refined = ChimeraProblem::new(0).refinement(Split::Train, index);
        let shown = ChimeraProblem::new(0).demonstration(Split::Train, index);
        for text in [&refined.request.text(), &refined.refined, &shown.caption] {
            hasher.update(text.as_bytes());
        }
        hasher.update(shown.shown.render().to_rgb8().as_raw());
    }
    assert_eq!(&hasher.finalize().to_hex()[..16], "c956879064270e82");
}
