//! A language model and a decoder of clips as one policy: the wiring of `examples/06_video`, with models that know nothing.

#[path = "../examples/06_video/wiring.rs"]
#[allow(dead_code, reason = "the example uses more of it")]
mod wiring;

use std::collections::BTreeSet;
use std::sync::Arc;

use hybrid_dpo::datasets::synthetic::motion::{Clip, Code, FRAMES, Motion, MotionProblem, Oracle, Split};
use hybrid_dpo::mdp::Mdp as _;
use hybrid_dpo::mdp::hybrid::{Half, Handoff as _};
use hybrid_dpo::mdp::token::TokenState;
use hybrid_dpo::objectives::{
    BoxObjective, ChosenLikelihood, Comparison, Logistic, Objective as _, Pairwise, Scores, WeightedSum,
};
use hybrid_dpo::policies::{Learner, Pair, Persist as _, Policy as _};
use hybrid_dpo::train::step::Slice;
use hybrid_dpo::train::{Settings, Source as _, Training};
use wiring::{Models, NAMES, Pairs, Size, Video, VideoMdp, draws};

const TINY: Size = Size { planner: 16, n_layers: 1, decoder: [8, 8, 16, 16] };

fn learner(video: &Video) -> Models {
    let planner = video.planner(video.untrained_planner(TINY, 1).unwrap()).unwrap();
    let decoder = video.decoder(video.untrained_decoder(TINY, 1).unwrap(), None).unwrap();
    Pair::new(planner, decoder).named(NAMES)
}

fn reference(video: &Video) -> Models {
    video.frozen(video.untrained_planner(TINY, 1).unwrap(), video.untrained_decoder(TINY, 1).unwrap()).unwrap()
}

fn pairs(video: &Video) -> Pairs<'_> {
    Pairs { video, problem: MotionProblem::new(0), split: Split::Train, n: 4 }
}

/// DPO and a little of the better side's likelihood.
fn objective() -> WeightedSum<Comparison> {
    let preference: BoxObjective<Comparison> = Box::new(Pairwise::new(Logistic::new(1.0).unwrap()));
    let likelihood: BoxObjective<Comparison> = Box::new(Pairwise::new(ChosenLikelihood));
    WeightedSum::new(vec![(1.0, preference), (0.1, likelihood)]).unwrap()
}

#[test]
fn a_plan_becomes_a_condition_for_every_frame_in_order() {
    let video = Video::new().unwrap();
    let pair = MotionProblem::new(0).pair(Split::Train, 0);
    let codes = pair.chosen.planned.codes();
    let mut state = video.mdp.start(&video.prompt(pair.request).unwrap().into());
    for token in video.response(&codes) {
        assert!(video.mdp.allows(&state, &Half::Outer(token)));
        state = video.mdp.step(&state, &Half::Outer(token));
    }
    let Half::Inner(state) = state else { panic!("the end of the plan is the start of the clip") };
    assert_eq!(state.context, video.finished(&codes, &codes).condition);
    let hidden = state.context.hidden.as_ref().unwrap();
    assert_eq!((hidden.length, hidden.width), (FRAMES, FRAMES * Code::WIDTH));
    for (frame, code) in codes.iter().enumerate() {
        let (before, rest) = hidden.row(frame).split_at(frame * Code::WIDTH);
        let (own, after) = rest.split_at(Code::WIDTH);
        assert_eq!(own, code.vector());
        assert!(before.iter().chain(after).all(|number| *number == 0.0));
    }
    // Words between the codes say nothing, and the same codes are told by the same context.
    let with_words = |words: &[u32]| {
        let response = [words, &video.response(&codes)].concat();
        video.mdp.handoff.enter(&[&TokenState { prompt: [1].into(), response }]).unwrap().remove(0)
    };
    assert!(Arc::ptr_eq(&with_words(&[]), &with_words(&[259, 260])));
}

#[test]
fn a_plan_that_is_drawn_as_it_says_is_all_that_was_wanted() {
    for motion in Motion::all() {
        let reading = Oracle::read(&Clip::render(&motion.codes()));
        assert_eq!(reading.score(&motion.wanted), 1.0, "{motion:?}: {reading:?}");
    }
}

#[test]
fn two_joint_steps_change_both_halves_and_no_more_is_needed_than_a_source() {
    let video = Video::new().unwrap();
    let (pairs, objective, reference) = (pairs(&video), objective(), reference(&video));
    let source = video.pairs::<Comparison>(&pairs, draws(0, 2), (0.3, 100.0)).unwrap();
    let mut learner = learner(&video);
    let before = [learner.outer.fingerprint().unwrap(), learner.inner.fingerprint().unwrap()];
    let settings = Settings {
        batch_size: 2,
        micro_batch_size: 2,
        max_steps: Some(2),
        rate: 1e-3,
        warmup_steps: 0,
        max_gradient_norm: Some(1.0),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(&video.mdp, &source, &objective).reference(&reference).settings(settings);
    let outcome = training.run(&mut learner, folder.path()).unwrap();
    assert_eq!(outcome.steps, 2);
    assert_ne!(learner.outer.fingerprint().unwrap(), before[0]);
    assert_ne!(learner.inner.fingerprint().unwrap(), before[1]);
    for name in NAMES {
        assert!(folder.path().join("model").join(name).is_dir());
    }
}

#[test]
fn every_parameter_of_planner_and_decoder_gets_a_gradient() {
    let video = Video::new().unwrap();
    let (pairs, reference) = (pairs(&video), reference(&video));
    let source = video.pairs::<Comparison>(&pairs, draws(0, 1), (0.3, 100.0)).unwrap();
    let mut learner = learner(&video);
    let item = source.item(0).unwrap();
    let weights = hybrid_dpo::mdp::weights(&item.episodes);
    let (numbers, tape) = learner.forward(&video.mdp, &item.episodes).unwrap();
    let reference = reference.score(&video.mdp, &item.episodes).unwrap().log_probs;
    let scores = Scores { policy: &numbers, reference: Some(&reference), weights: &weights };
    let evaluation = objective().evaluate(&item.feedback, scores).unwrap();
    Learner::<VideoMdp>::backward(&mut learner, tape, &evaluation.slopes).unwrap();
    for (half, gradients, parameters) in [
        (NAMES[0], learner.outer.gradients().unwrap(), learner.outer.parameters()),
        (NAMES[1], learner.inner.gradients().unwrap(), learner.inner.parameters()),
    ] {
        let with: BTreeSet<&str> = gradients.iter().map(|(name, _)| name).collect();
        for (name, _) in parameters.iter() {
            assert!(with.contains(name), "{half}: {name} has no gradient");
        }
    }
    let norms = Learner::<VideoMdp>::gradient_norms(&learner).unwrap();
    assert!(norms.iter().all(|(_, norm)| *norm > 0.0), "{norms:?}");
    // What the source gives is measured half by half.
    let slice = Slice::new(vec![(0, item)]);
    let measures = source.measure(&slice, scores);
    assert!(measures.means().any(|(name, _)| name == "margins/planner"));
}
