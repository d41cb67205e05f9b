//! Training and held-out texts, of one source or several.
use datasets::{Dataset, DatasetError, Joined, Mixture, Tokenise};

use super::{Part, open};
use crate::amounts::{count, counted};
use crate::embedded::is_embedded;
use crate::settings::Values;
use crate::sources::{DataSource, sources};
use crate::{Failure, Reporter, holdout};

/// Training and held-out texts.
#[derive(Debug)]
pub(crate) struct TrainingTexts {
    pub(crate) data: Dataset,
    pub(crate) held_out: Option<Dataset>,
    /// Of several sources: what of each.
    pub(crate) mixed: Option<MixedTexts>,
}

/// One of several sources in training.
#[derive(Debug)]
pub(crate) struct MixedPart {
    pub(crate) name: String,
    /// The position of its first training example.
    pub(crate) first: usize,
    /// Number of its training examples.
    pub(crate) size: usize,
    /// Number of its examples in an epoch.
    pub(crate) drawn: usize,
}

/// Several sources as one.
#[derive(Debug)]
pub(crate) struct MixedTexts {
    pub(crate) parts: Vec<MixedPart>,
    /// The shares of the sources by their weights; without weights an epoch has every example once.
    pub(crate) mixture: Option<Mixture>,
}

impl MixedTexts {
    /// A line about each source, for plans.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let n: usize = self.parts.iter().map(|part| part.drawn).sum();
        self.parts.iter().map(move |MixedPart { name, size, drawn, .. }| {
            let share = 100.0 * *drawn as f64 / n.max(1) as f64;
            format!("{name}: {}, {} an epoch ({share:.1}%)", counted(*size, "example"), count(*drawn))
        })
    }
}

/// Training and held-out examples.
pub(crate) fn open_split(
    tokenise: &Tokenise,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<TrainingTexts, Failure> {
    let sources = sources(values.data.sources())?;
    if sources.len() > 1 {
        return open_mixed(&sources, tokenise, values, reporter);
    }
    let (data, held_out) = open_one(tokenise, values, reporter)?;
    Ok(TrainingTexts { data, held_out, mixed: None })
}

/// Training and held-out examples of one source.
fn open_one(
    tokenise: &Tokenise,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<(Dataset, Option<Dataset>), Failure> {
    let name = values.data.data().ok_or_else(|| Failure::usage("`data.data` is needed with `model.model`"))?;
    let data = open(name, Part::Train, tokenise, values, reporter)?;
    if let Some(held_out) = values.data.eval_data() {
        return Ok((data, Some(open(held_out, Part::HeldOut, tokenise, values, reporter)?)));
    }
    let share = holdout::eval_share(values)?;
    // Embedded data holds out as many examples as an evaluation uses.
    let is_none_made = is_embedded(name) && values.train.eval_examples() == 0;
    if share == 0.0 || is_none_made {
        return Ok((data, None));
    }
    if is_embedded(name) {
        let held_out = open(name, Part::HeldOut, tokenise, values, reporter)?;
        return Ok((data, Some(held_out)));
    }
    let (rest, held_out) = data.hold_out(share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), data.len(), "examples")?;
    Ok((rest, Some(held_out)))
}

/// Opens several sources as one: the examples of all, one source after the other, a share of the prompts of all held out.
fn open_mixed(
    sources: &[DataSource],
    tokenise: &Tokenise,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<TrainingTexts, Failure> {
    let opened: Vec<(&str, Dataset)> = sources
        .iter()
        .map(|source| Ok((source.name.as_str(), open(&source.name, Part::Train, tokenise, values, reporter)?)))
        .collect::<Result<_, Failure>>()?;
    let joined = Joined::new(&opened)?;
    let (joined, held_out) = if let Some(held_out) = values.data.eval_data() {
        (joined, Some(open(held_out, Part::HeldOut, tokenise, values, reporter)?))
    } else {
        let (share, all) = (holdout::eval_share(values)?, joined.data().len());
        if share == 0.0 {
            (joined, None)
        } else {
            let (rest, held_out) = joined.hold_out(share, values.run.seed())?;
            holdout::check_rest(share, rest.data().len(), all, "examples")?;
            (rest, Some(held_out))
        }
    };
    let mixed = mixed(sources, joined.sizes(), values.run.seed())?;
    Ok(TrainingTexts { data: joined.data().clone(), held_out, mixed: Some(mixed) })
}

/// What an epoch has of sources with these numbers of examples.
fn mixed(sources: &[DataSource], sizes: &[usize], seed: u64) -> Result<MixedTexts, Failure> {
    let weights: Option<Vec<f64>> = sources.iter().map(|source| source.weight).collect();
    let mixture = weights.map(|weights| Mixture::new(sizes, &weights, seed)).transpose();
    let mixture = mixture.map_err(|error| match error {
        DatasetError::Weight { position, weight, hint } => {
            Failure::usage(format!("`data.data` {}: the weight {weight}: {hint}", sources[position].name))
        }
        other => other.into(),
    })?;
    let drawn = mixture.as_ref().map_or(sizes, Mixture::counts);
    let mut first = 0;
    let part = |((source, &size), &drawn): ((&DataSource, &usize), &usize)| {
        let part = MixedPart { name: source.name.clone(), first, size, drawn };
        first += size;
        part
    };
    let parts = sources.iter().zip(sizes).zip(drawn).map(part).collect();
    Ok(MixedTexts { parts, mixture })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_say_what_an_epoch_has_of_each_source() {
        let found = sources(&["a:1".to_owned(), "b:3".to_owned()]).unwrap();
        let mixed = mixed(&found, &[10, 10], 0).unwrap();
        let lines: Vec<String> = mixed.lines().collect();
        assert_eq!(lines, ["a: 10 examples, 5 an epoch (25.0%)", "b: 10 examples, 15 an epoch (75.0%)"]);
        assert_eq!((mixed.parts[1].first, mixed.parts[1].size), (10, 10));
    }
}
