//! The laws of the problem, over every motion and a few thousand draws.

use std::collections::HashSet;

use super::*;
use crate::synthetic::draw::RandomDraws;

/// The clip with Gaussian noise added (Box and Muller's way).
fn noisy(clip: &Clip, sigma: f32, seed: u64) -> Clip {
    let mut draw = RandomDraws::new("test", "noise", &[seed]);
    let mut uniform = || (draw.below(1 << 24) as f32 + 0.5) / (1 << 24) as f32;
    let value = |value: &f32| {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f32::consts::TAU * uniform());
        value + sigma * radius * angle.cos()
    };
    Clip::new(clip.values().iter().map(value).collect::<Vec<f32>>()).expect("as many as before")
}

fn blank(value: f32) -> Clip {
    Clip::new(vec![value; Clip::SIZE]).expect("as many as there should be")
}

/// The share of `count` draws of which something is true.
fn share(count: u64, is_true: impl Fn(u64) -> bool) -> f64 {
    (0..count).filter(|index| is_true(*index)).count() as f64 / count as f64
}

#[test]
fn every_motion_is_read_back() {
    let motions: HashSet<Motion> = Motion::all().collect();
    assert_eq!((motions.len(), Wanted::all().count()), (3 * 4 * (9 + 2), 24));
    for motion in motions {
        let clip = Clip::render(&motion.codes());
        let reading = Oracle::read(&clip);
        let Wanted { shape, direction, speed } = motion.wanted;
        assert_eq!((reading.direction, reading.speed), (Some(direction), Some(speed)), "{motion:?}: {reading:?}");
        assert_eq!(reading.frames.len(), motion.codes().len(), "{motion:?}");
        for (seen, code) in reading.frames.iter().zip(motion.codes()) {
            let (row, column) = code.corner();
            assert_eq!(*seen, Some(Seen { shape, row, column }), "{motion:?}");
        }
        assert!(reading.residual < 1e-6);
        for wanted in Wanted::all() {
            assert!((Oracle::score(&wanted, &clip) - wanted.share(&motion)).abs() < 1e-12);
        }
    }
}

#[test]
fn every_code_is_read_back_and_has_an_index_and_a_vector_of_its_own() {
    assert_eq!(Code::all().count(), 72);
    let mut vectors = HashSet::new();
    for (index, code) in Code::all().enumerate() {
        assert_eq!((code.index(), Code::of_index(index)), (index, Some(code)));
        let (row, column) = code.corner();
        let seen = Some(Seen { shape: code.shape, row, column });
        assert_eq!(Oracle::read(&Clip::render(&[code; FRAMES])).frames, [seen; FRAMES]);
        vectors.insert(code.vector().map(f32::to_bits));
    }
    assert_eq!(Code::of_index(Code::COUNT), None);
    // In the middle of both axes the two codes of a shape are the same picture.
    assert_eq!(vectors.len(), 72 - 3);
}

#[test]
fn noise_confuses_few() {
    let wrong = Motion::all().enumerate().filter(|(number, motion)| {
        let clip = noisy(&Clip::render(&motion.codes()), 0.4, *number as u64);
        Oracle::score(&motion.wanted, &clip) < 0.999
    });
    let wrong = wrong.count();
    assert!(wrong <= 3, "{wrong} of 132");
}

#[test]
fn what_shows_nothing_or_stands_or_jumps_has_no_motion() {
    let strange = [0.0, f32::NAN, f32::INFINITY, -0.8].map(blank);
    let code = Motion::all().next().expect("a motion").codes()[0];
    let still = Clip::render(&[code; FRAMES]);
    let jumping = Clip::render(&std::array::from_fn(|frame| Code { position: [2, 9][frame % 2], ..code }));
    for clip in strange.iter().chain([&still, &jumping]) {
        let reading = Oracle::read(clip);
        assert_eq!((reading.direction, reading.speed), (None, None));
    }
    let wanted = Wanted { shape: code.shape, direction: Direction::Left, speed: Speed::Slow };
    assert!((Oracle::score(&wanted, &still) - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(Oracle::score(&wanted, &strange[3]), 0.0);
    assert_eq!(Clip::new(vec![0.0; 7]), None);
}

#[test]
fn clips_are_compared_by_their_scores() {
    let wanted = Wanted::from_request("a slow cross heads up").expect("a request");
    assert_eq!(wanted, Wanted { shape: Shape::Cross, direction: Direction::Up, speed: Speed::Slow });
    let right = Motion { wanted, start: 2 };
    let turned = Motion { wanted: Wanted { direction: Direction::Down, ..wanted }, start: 2 };
    let [right_clip, turned_clip] = [right, turned].map(|motion| Clip::render(&motion.codes()));
    assert_eq!(Oracle::compare(&wanted, &right_clip, &turned_clip), ComparisonOutcome::Win);
    assert_eq!(Oracle::compare(&wanted, &turned_clip, &right_clip), ComparisonOutcome::Loss);
    assert_eq!(Oracle::compare(&wanted, &right_clip, &noisy(&right_clip, 0.1, 0)), ComparisonOutcome::Tie);
    // One frame with another shape is a tie, two are not.
    let with_circles = |n: usize| {
        let mut codes = right.codes();
        codes[..n].iter_mut().for_each(|code| code.shape = Shape::Circle);
        Clip::render(&codes)
    };
    assert_eq!(Oracle::compare(&wanted, &right_clip, &with_circles(1)), ComparisonOutcome::Tie);
    assert_eq!(Oracle::compare(&wanted, &right_clip, &with_circles(2)), ComparisonOutcome::Win);
}

#[test]
fn motions_stay_inside_and_go_at_their_speed() {
    for motion in Motion::all() {
        let codes = motion.codes();
        assert!(codes.iter().all(|code| code.position < Code::POSITIONS));
        let first_and_last = codes[0].position.abs_diff(codes[FRAMES - 1].position) as f64;
        let exact = motion.wanted.speed.pixels() * (FRAMES - 1) as f64;
        assert!((first_and_last - exact).abs() <= 0.5, "{motion:?}");
    }
}

#[test]
fn texts_use_the_vocabulary_and_read_back() {
    let (mut used, mut texts) = (HashSet::new(), HashSet::new());
    for request in Request::all() {
        let text = request.text();
        assert_eq!(Request::read(&text), Some(request));
        used.extend(text.split(' ').map(str::to_owned));
        texts.insert(text);
    }
    assert_eq!(texts.len(), 24 * 4);
    assert!(WORDS.is_sorted() && WORDS.iter().all(|word| used.remove(*word)) && used.is_empty(), "{used:?}");
    for text in ["", "a circle", "a circle moves right", "a slow fast circle heads up", "a circle  moves up slowly"] {
        assert_eq!(Wanted::from_request(text), None, "{text}");
    }
}

#[test]
fn every_word_and_every_code_is_a_token() {
    let tokenizer = tokenizer().expect("our own tokenizer");
    let last = Code::of_index(Code::COUNT - 1).expect("the last code");
    assert_eq!(tokenizer.get_vocab_size(true), code_token(&last) as usize + 1);
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    for code in Code::all() {
        let ids = tokenizer.encode(planner_response(&[code]), false).expect("encodable");
        assert_eq!(ids.get_ids(), [code_token(&code)]);
    }
    for index in 0..100 {
        let Plan { request, planned } = MotionProblem::new(0).plan(Split::Train, index);
        let text = planner_prompt(&request) + &planner_response(&planned.codes());
        let ids = tokenizer.encode(text.as_str(), false).expect("encodable");
        assert_eq!(ids.get_ids().len(), request.text().split(' ').count() + 2 + FRAMES);
        assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decodable"), text);
    }
}

#[test]
fn splits_share_no_request_and_training_knows_every_motion_and_every_word_of_it() {
    let splits: Vec<Split> = Request::all().map(|request| request.split()).collect();
    assert_eq!(Split::ALL.map(|split| splits.iter().filter(|other| **other == split).count()), [60, 12, 24]);
    let train: Vec<Request> = Request::all().filter(|request| request.split() == Split::Train).collect();
    assert_eq!(train.iter().map(|request| request.wanted).collect::<HashSet<_>>().len(), 24);
    // Every way to ask occurs with every shape, and with every direction.
    let two = |of: &dyn Fn(&Request) -> usize| {
        train.iter().map(|request| (request.asking, of(request))).collect::<HashSet<_>>().len()
    };
    assert_eq!(two(&|request| request.wanted.shape as usize), 4 * 3);
    assert_eq!(two(&|request| request.wanted.direction as usize), 4 * 4);
}

#[test]
fn a_pair_is_a_function_of_seed_split_and_index_and_its_sides_differ() {
    for split in Split::ALL {
        for index in 0..500 {
            let pair = MotionProblem::new(3).pair(split, index);
            assert_eq!(pair, MotionProblem::new(3).pair(split, index));
            assert_eq!(pair.request.split(), split);
            let worth = |side: &MotionSide| Oracle::score(&pair.request.wanted, &Clip::render(&side.shown.codes()));
            assert!(worth(&pair.chosen) > worth(&pair.rejected));
        }
    }
    let requests = |seed| (0..20).map(move |index| MotionProblem::new(seed).pair(Split::Test, index).request);
    assert!(!requests(3).eq(requests(4)));
}

#[test]
fn both_halves_are_taught_as_badly_as_they_should_be() {
    let plan = |index| MotionProblem::new(0).plan(Split::Train, index);
    let wrong = share(4_000, |index| plan(index).request.wanted != plan(index).planned.wanted);
    assert!((wrong - 0.4).abs() < 0.03, "{wrong}");
    let drawn: Vec<Drawn> = (0..8_000).map(|index| MotionProblem::new(0).drawn(Split::Train, index)).collect();
    let moving: Vec<&Drawn> = drawn.iter().filter(|drawn| Motion::all().any(|m| m.codes() == drawn.codes)).collect();
    let scrambled = 1.0 - moving.len() as f64 / drawn.len() as f64;
    assert!((scrambled - 0.15).abs() < 0.03, "{scrambled}");
    // By how many codes are near the rim: none, some, and six of eight, which are the most of any motion.
    let at_rim = |drawn: &Drawn| drawn.codes.iter().filter(|code| code.is_at_rim()).count();
    assert_eq!(
        Motion::all().map(|motion| motion.codes().iter().filter(|code| code.is_at_rim()).count()).max(),
        Some(6)
    );
    // From 0.05 with none to 0.5 with all eight.
    for (n_at_rim, rate) in [(0, 0.05), (2, 0.1625), (6, 0.3875)] {
        let such: Vec<_> = moving.iter().filter(|drawn| at_rim(drawn) == n_at_rim).collect();
        assert!(such.len() > 200, "{} with {n_at_rim}", such.len());
        let found = such.iter().filter(|drawn| drawn.shown != drawn.codes).count() as f64 / such.len() as f64;
        assert!((found - rate).abs() < 0.06, "{n_at_rim} at the rim: {found} wrong, not {rate}");
    }
}
