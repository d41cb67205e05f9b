//! Slicing, joining and weighting of channels.
use mdp::{Channels, Rng, Steps};
use rand::RngExt as _;

/// Random slopes between -1 and 1 for every differentiable number (diagnostics have none).
pub fn random_slopes(numbers: &Channels, rng: &mut Rng) -> Channels {
    let mut draw = |steps: &Steps| {
        let mut slopes = steps.clone();
        slopes.values_mut().fill_with(|| rng.random_range(-1.0..1.0));
        slopes
    };
    let log_probs = draw(&numbers.log_probs);
    Channels { divergence: numbers.divergence.as_ref().map(draw), ..log_probs.into() }
}

/// The sum of slope times number.
pub(super) fn linear(slopes: &Channels, numbers: &Channels) -> f64 {
    let product = |a: &Steps, b: &Steps| a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum::<f64>();
    let divergence = slopes.divergence.as_ref().zip(numbers.divergence.as_ref()).map_or(0.0, |(a, b)| product(a, b));
    product(&slopes.log_probs, &numbers.log_probs) + divergence
}

fn mapped(channels: &Channels, change: impl Fn(&Steps) -> Steps) -> Channels {
    Channels {
        log_probs: change(&channels.log_probs),
        divergence: channels.divergence.as_ref().map(&change),
        entropy: channels.entropy.as_ref().map(&change),
        mean_logit: channels.mean_logit.as_ref().map(&change),
        is_likeliest: channels.is_likeliest.as_ref().map(&change),
        collision: channels.collision.as_ref().map(&change),
    }
}

pub(super) fn sliced(channels: &Channels, rows: std::ops::Range<usize>) -> Channels {
    mapped(channels, |steps| steps.slice(rows.clone()))
}

pub(super) fn scaled(channels: &Channels, factor: f64) -> Channels {
    mapped(channels, |steps| {
        let mut scaled = steps.clone();
        scaled.values_mut().iter_mut().for_each(|value| *value *= factor);
        scaled
    })
}

/// The rows of several batches as one batch.
pub(super) fn joined(parts: &[Channels]) -> Channels {
    let join = |steps: &dyn Fn(&Channels) -> Option<Steps>| -> Option<Steps> {
        let parts: Option<Vec<Steps>> = parts.iter().map(steps).collect();
        Some(parts?.iter().flat_map(Steps::rows).collect())
    };
    Channels {
        log_probs: join(&|part| Some(part.log_probs.clone())).unwrap_or_default(),
        divergence: join(&|part| part.divergence.clone()),
        entropy: join(&|part| part.entropy.clone()),
        mean_logit: join(&|part| part.mean_logit.clone()),
        is_likeliest: join(&|part| part.is_likeliest.clone()),
        collision: join(&|part| part.collision.clone()),
    }
}
