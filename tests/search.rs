//! One search over models: a language model, a denoiser, and the two in a row.

use std::path::Path;
use std::sync::Arc;

use hybrid_dpo::mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState};
use hybrid_dpo::mdp::hybrid::{Half, Hybrid};
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::mdp::{Episode, Mdp, Rng};
use hybrid_dpo::models::Prompted;
use hybrid_dpo::models::causal::CausalLm;
use hybrid_dpo::models::denoiser::{Condition, Denoiser, Framing, LatentShape, SamplerConfig};
use hybrid_dpo::models::formats::{self, DiffusersFolder};
use hybrid_dpo::models::sampler::{Sampler, Variance};
use hybrid_dpo::models::scheduler::Scheduler;
use hybrid_dpo::policies::{Pair, Policy};
use hybrid_dpo::search::{
    Beam, BestOfN, EarlyStopping, Greedy, LogProbs, Mcts, Method, OutcomeOf, Refinements, Reward, Sampling, Search, Smc,
};
use rand_chacha::rand_core::SeedableRng as _;

type Problem = Hybrid<TokenMdp, DenoisingMdp<Condition>, Prompted>;

const SHAPE: LatentShape = LatentShape { height: 4, width: 4, channels: 4 };

/// The tiny Stable Diffusion after the tiny Llama, with three steps of chance.
fn world() -> (Problem, Pair<CausalLm, Denoiser>) {
    let (cpu, root) = (candle_core::Device::Cpu, Path::new(env!("CARGO_MANIFEST_DIR")));
    let refiner = formats::load(&root.join("recipes/embedded/chimera/refiner"), &cpu).unwrap();
    let tokenizer = refiner.tokenizer().unwrap().clone();
    let folder = DiffusersFolder::open(&root.join("tests/golden/companions/sd")).unwrap();
    let texts = Arc::new(folder.conditioner(&cpu).unwrap().unwrap());
    let scheduler = folder.component("scheduler").unwrap().path.join("scheduler_config.json");
    let scheduler = Scheduler::parse(&scheduler, &std::fs::read_to_string(&scheduler).unwrap()).unwrap();
    let outer = TokenMdp { vocabulary: refiner.config.vocabulary as u32, eos: tokenizer.eos.clone(), max_length: 9 };
    let inner = DenoisingMdp::new(Arc::clone(&scheduler.schedule), vec![900, 500, 100], SHAPE.size());
    let mdp = Hybrid { outer, inner, handoff: Prompted::new(tokenizer, texts, Framing::whole(8, 8)) };
    let acting = SamplerConfig::plain(Sampler::Ddpm { variance: Variance::Large });
    let files = formats::load_denoiser(folder.denoiser(), &cpu).unwrap();
    let generator = files.frozen(scheduler.prediction, SHAPE, acting).unwrap();
    (mdp, Pair::new(refiner.frozen().unwrap(), generator))
}

fn rngs(n: usize) -> Vec<Rng> {
    (0..n as u64).map(Rng::seed_from_u64).collect()
}

fn run<M: Mdp>(search: &Search<'_, M>, method: &dyn Method<M>, starts: &[M::State]) -> Vec<OutcomeOf<M>> {
    search.run(method, starts, &vec![40; starts.len()], &mut rngs(starts.len())).unwrap()
}

/// Asserts that what was found is what the policy says of it, and that the count of evaluations is at most so many.
fn check<M: Mdp>(mdp: &M, policy: &dyn Policy<M>, outcome: &OutcomeOf<M>, most: usize) {
    assert!(!outcome.found.is_empty() && outcome.spent.evaluations <= most, "{:?}", outcome.spent);
    for found in &outcome.found {
        let expected = policy.score(mdp, std::slice::from_ref(&found.episode)).unwrap().log_probs;
        let close = |(one, other): (&f64, &f64)| (one - other).abs() < 1e-3 * (1.0 + one.abs());
        assert!(expected.values().iter().zip(&found.log_probs).all(close), "{expected:?} {:?}", found.log_probs);
        assert!(found.is_finished);
    }
}

#[test]
fn words_are_searched_with_their_cache() {
    let (mdp, pair) = world();
    let (mdp, model) = (mdp.outer, pair.outer);
    let likelihood = LogProbs::likelihood();
    let search = Search::new(&mdp, &model, &likelihood);
    let starts = [[3, 40, 50].as_slice(), &[3, 60], &[3, 7, 8, 9]].map(TokenState::new);
    let greedy = run(&search, &Greedy::default(), &starts);
    let beam = Beam { n: 4, length_penalty: 0.0, early_stopping: EarlyStopping::Never, ..Beam::new(4) };
    let beams = run(&search, &beam, &starts);
    for ((start, greedy), beam) in starts.iter().zip(&greedy).zip(&beams) {
        let left = mdp.max_length - start.len();
        check(&mdp, &model, greedy, left);
        check(&mdp, &model, beam, 1 + 4 * (left - 1));
        assert!(beam.found[0].score >= greedy.found[0].score - 1e-6);
        assert!(beam.found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        // The same alone.
        let alone = run(&search, &beam_of(beam.found.len()), std::slice::from_ref(start)).remove(0);
        let actions = |outcome: &OutcomeOf<TokenMdp>| -> Vec<Vec<u32>> {
            outcome.found.iter().map(|found| found.episode.pieces[0].actions.clone()).collect()
        };
        assert_eq!(actions(&alone), actions(beam));
    }
    for method in [&Smc::new(5) as &dyn Method<_>, &BestOfN { n: 5, keep: 2 }, &Mcts::new(8, 3)] {
        for outcome in &run(&search, method, &starts) {
            check(&mdp, &model, outcome, 60);
        }
    }
}

fn beam_of(width: usize) -> Beam {
    Beam { n: width, length_penalty: 0.0, early_stopping: EarlyStopping::Never, ..Beam::new(width) }
}

/// How bright a picture is, as each step leaves it.
fn brightness(mdp: &DenoisingMdp<Condition>, state: &DenoisingState<Condition>, action: &DenoisingAction) -> f64 {
    let mean = |latent: &[f32]| latent.iter().map(|&x| f64::from(x)).sum::<f64>() / latent.len() as f64;
    let next = mdp.step(state, action);
    let before = state.latent.as_deref().map_or(0.0, mean);
    3.0 * (next.latent.as_deref().map_or(0.0, mean) - before)
}

#[test]
fn pictures_are_searched_step_by_step() {
    let (mdp, pair) = world();
    let starts = [mdp.handoff.condition("a cat").unwrap(), mdp.handoff.condition("").unwrap()];
    let (mdp, model) = (mdp.inner, pair.inner);
    let starts = starts.map(|condition| mdp.start(&condition));
    let score = Reward(|state: &DenoisingState<Condition>, action: &DenoisingAction| brightness(&mdp, state, action));
    let search = Search::new(&mdp, &model, &score);
    let mean = |method: &dyn Method<_>| -> f64 {
        let outcomes = run(&search, method, &starts);
        for outcome in &outcomes {
            check(&mdp, &model, outcome, 100);
        }
        outcomes.iter().map(|outcome| outcome.found[0].score).sum::<f64>() / 2.0
    };
    // The noise and three steps of 8 samples, the start asked once.
    let sampled = run(&search, &Sampling { n: 8 }, &starts);
    assert!(sampled.iter().all(|outcome| outcome.spent.evaluations == 1 + 3 * 8));
    let average: f64 = sampled.iter().flat_map(|outcome| &outcome.found).map(|found| found.score).sum::<f64>() / 16.0;
    let best_of_n = mean(&BestOfN::new(8));
    let beam = mean(&Beam { length_penalty: 0.0, early_stopping: EarlyStopping::Exhausted, ..Beam::new(4) });
    assert!(best_of_n > average && beam > average, "{average} {best_of_n} {beam}");
    mean(&Smc::new(8));
    mean(&Greedy { among: 4 });
}

#[test]
fn refinements_are_searched_with_pictures_below_them() {
    let (mdp, pair) = world();
    let start = mdp.start(&[3, 40, 50, 60].into());
    let likelihood = Reward(|state: &<Problem as Mdp>::State, _: &<Problem as Mdp>::Action| match state {
        Half::Outer(state) => -(state.response.len() as f64),
        Half::Inner(_) => 0.25,
    });
    let search = Search::new(&mdp, &pair, &likelihood);
    let method = Refinements { outer: &Beam { n: 3, ..Beam::new(3) }, inner: &Sampling { n: 2 } };
    let outcome = run(&search, &method, &[start.clone(), start.clone()]).remove(1);
    assert_eq!(outcome.found.len(), 6);
    check(&mdp, &pair, &outcome, 1 + 3 * 4 + 3 * (1 + 2 * 3));
    for found in &outcome.found {
        let (words, picture) = mdp.split(&found.episode).expect("no piece crosses the hand-off");
        let written = mdp.handoff.text(&words.pieces[0].actions).unwrap();
        assert_eq!(picture.pieces[0].start.context, mdp.handoff.condition(&written).unwrap());
        assert_eq!(picture.pieces[0].actions.len(), 4);
    }
    // A plain method goes over the hand-off too; its episodes are cut there for who wants pieces.
    for method in [&Smc::new(4) as &dyn Method<Problem>, &Beam::new(2), &BestOfN::new(3)] {
        for mut found in run(&search, method, std::slice::from_ref(&start)).remove(0).found {
            let whole: Vec<Half<u32, DenoisingAction>> = found.episode.pieces[0].actions.clone();
            found.episode = mdp.cut(found.episode).unwrap();
            let parts: Vec<_> = found.episode.pieces.iter().flat_map(|piece| piece.actions.clone()).collect();
            assert!(whole == parts && mdp.split(&found.episode).is_some());
            let expected = pair.score(&mdp, &[Episode { pieces: found.episode.pieces.clone() }]).unwrap().log_probs;
            let total: f64 = expected.values().iter().sum();
            assert!((total - found.log_prob()).abs() < 1e-3 * (1.0 + total.abs()), "{total} {}", found.log_prob());
        }
    }
}
