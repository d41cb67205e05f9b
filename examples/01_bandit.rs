//! A two-armed bandit learns from one comparison. These fifty lines use everything in the project; later examples have
//! larger problems or policies.
//!
//! Run it with `cargo run --example 01_bandit`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use hybrid_dpo::mdp::{Episode, Finite, Mdp, weights};
use hybrid_dpo::objectives::{Comparison, Logistic, Objective, Pairwise, Scores};
use hybrid_dpo::policies::{Learner, Policy, Tabular};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The problem: one decision between two arms, then it is over. There is no reward in it.
    let mdp = Finite::bandit(2);
    let start = mdp.start(&0);

    // The policy: a softmax over a table of logits. The reference is the policy as it was at the start.
    let mut policy = Tabular::new(&mdp);
    let reference = policy.clone();

    // The feedback: somebody liked pulling arm 1 better than pulling arm 0.
    let episodes = [Episode::whole(start, vec![1]), Episode::whole(start, vec![0])];
    let feedback = [Comparison::new(0, 1)];

    // The objective: DPO. It sees numbers, and answers with a loss and the slope of each number.
    let objective = Pairwise::new(Logistic::new(0.5)?);
    let reference_scores = reference.score(&mdp, &episodes)?.log_probs;
    let weights = weights(&episodes);

    for step in 0..=200 {
        let (numbers, tape) = policy.forward(&mdp, &episodes)?;
        let scores = Scores { policy: &numbers, reference: Some(&reference_scores), weights: &weights };
        let evaluation = objective.evaluate(&feedback, scores)?;
        policy.backward(tape, &evaluation.slopes)?;
        policy.update(1.0, None)?;
        if step % 50 == 0 {
            let margin = evaluation.metrics["rewards/margins"];
            println!("step {step:>3}: loss {:.4}, reward margin {margin:.3}", evaluation.loss);
        }
    }

    // The first loss was ln 2 = 0.6931: a policy that equals its reference has no opinion. Now it has one.
    let log_probs = policy.log_probs(&mdp, &start)?;
    println!("arm 0: {:.5}, arm 1: {:.5}", log_probs[0].exp(), log_probs[1].exp());
    Ok(())
}
