//! Loads a refiner and a generator, and the hand-off between them.
pub(crate) mod data;
pub(crate) mod eval;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datasets::{DatasetError, Origin, Text, Tokenise};
use mdp::hybrid::Hybrid;
use mdp::token::TokenMdp;
use models::causal::{CausalLm, GenerationConfig};
use models::denoiser::{Denoiser, LatentShape, SamplerConfig};
use models::formats::{ModelFiles, ModelTokenizer};
use models::{ModelError, Prompted};
use policies::Pair;
use train::diffusion::ImageMdp;

use crate::denoiser::{self, Loaded};
use crate::settings::{Field, Modality, OptimizerName, Settings, Values, at};
use crate::{Failure, embedded, model, text};

/// The problem: a refined prompt, then an image.
pub(crate) type PromptedMdp = Hybrid<TokenMdp, ImageMdp, Prompted>;
/// The trained policy.
pub(crate) type Models = Pair<CausalLm, Denoiser>;
/// A frozen policy.
pub(crate) type Frozen = Pair<Arc<CausalLm>, Arc<Denoiser>>;

/// The names of the halves.
pub(crate) const NAMES: [&str; 2] = ["refiner", "generator"];

/// Both models with their tokenizer, scheduler and encoders.
pub(crate) struct Files {
    pub(crate) refiner: ModelFiles,
    pub(crate) generator: Loaded,
    pub(crate) shape: LatentShape,
    pub(crate) prompt_format: PromptFormat,
}

/// Formats a refiner's prompts and reads its answers.
#[derive(Clone)]
pub(crate) struct PromptFormat {
    tokenizer: ModelTokenizer,
    tokenise: Arc<Tokenise>,
    template: String,
    eos: u32,
    pub(crate) max_length: usize,
}

impl Files {
    /// Loads the models that `hybrid.refiner` and `hybrid.generator` name.
    pub(crate) fn load(values: &mut Values) -> Result<Self, Failure> {
        let (refiner, generator) = names(values)?;
        set_template(&refiner, values)?;
        let refiner = model::load(&refiner, values)?;
        text::fit_lengths(values, &refiner)?;
        let generator = denoiser::load(&generator, values)?;
        if generator.texts.is_none() {
            let text = "`hybrid.generator`: it reads no text (no text_encoder/ and tokenizer/ beside its network), so a refined \
                        prompt cannot reach it";
            return Err(Failure::failed(text));
        }
        let shape = generator.shape(values)?;
        let prompt_format = PromptFormat::new(&refiner, values)?;
        Ok(Self { refiner, generator, shape, prompt_format })
    }

    /// The problem that the two halves solve.
    pub(crate) fn mdp(&self) -> Result<PromptedMdp, Failure> {
        let texts = self.generator.texts.clone().ok_or_else(|| Failure::failed("the generator reads no text"))?;
        let outer = TokenMdp {
            vocabulary: self.refiner.config.vocabulary as u32,
            eos: self.prompt_format.tokenizer.eos.clone(),
            max_length: self.prompt_format.max_length,
        };
        let inner = ImageMdp::full(Arc::clone(&self.generator.scheduler.schedule), self.shape.size());
        let framing = denoiser::framing(&self.generator, self.shape);
        Ok(Hybrid { outer, inner, handoff: Prompted::new(self.prompt_format.tokenizer.clone(), texts, framing) })
    }

    /// Both halves, or the references that the settings name, frozen.
    pub(crate) fn reference(&self, values: &Values) -> Result<Frozen, Failure> {
        self.reference_acting(values, denoiser::acting(values, &self.generator, self.shape)?)
    }

    /// The same, whose generator draws and scores by this sampler.
    pub(crate) fn reference_acting(&self, values: &Values, acting: SamplerConfig) -> Result<Frozen, Failure> {
        let refiner = match values.hybrid.refiner_reference() {
            Some(name) => model::load_beside(&self.refiner, name, values)?.frozen()?,
            None => model::start(&self.refiner, values)?,
        };
        let generator = match values.hybrid.generator_reference() {
            Some(name) => denoiser::load_reference(name, &self.generator, values)?.frozen(self.shape, acting)?,
            None => denoiser::start(&self.generator, self.shape, acting, values)?,
        };
        Ok(Pair::new(Arc::new(refiner), Arc::new(generator)).named(NAMES))
    }
}

/// beta and gamma of Eq. 15.
pub(crate) fn weights(values: &Values) -> Result<(f64, f64), Failure> {
    let positive = |weight: f64, field: &Field| {
        let refusal = || Failure::usage(format!("{field} takes a positive number, not {weight}"));
        if weight.is_finite() && weight > 0.0 { Ok(weight) } else { Err(refusal()) }
    };
    Ok((
        positive(values.objective.beta(), &at::objective::beta)?,
        positive(values.objective.gamma(), &at::objective::gamma)?,
    ))
}

/// Units: beta per nat of a refined prompt, gamma per half mean squared error, as in Diffusion-DPO.
fn general(settings: &mut Settings) {
    settings.objective.beta = 0.1;
    settings.objective.gamma = 2000.0;
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = 1e-6;
}

/// Defaults of hybrid runs.
pub(crate) fn general_presets(values: &mut Values) {
    values.preset(general);
}

/// The names of the two models: from their own flags, or from a run's two halves.
fn names(values: &Values) -> Result<(String, String), Failure> {
    let own = [values.hybrid.refiner(), values.hybrid.generator()].map(|name| name.map(str::to_owned));
    let of_run = match values.model.model() {
        Some(run) => halves_of_run(Path::new(run))?.map(Some),
        None => [None, None],
    };
    let [refiner, generator] = own;
    let [run_refiner, run_generator] = of_run;
    match (refiner.or(run_refiner), generator.or(run_generator)) {
        (Some(refiner), Some(generator)) => Ok((refiner, generator)),
        (None, _) => Err(Failure::usage("`hybrid.refiner` is needed: the language model that refines requests")),
        (_, None) => Err(Failure::usage("`hybrid.generator` is needed: the diffusers folder that draws")),
    }
}

/// Uses the template that the refiner was trained with unless the user sets one: a run's own, or the embedded one.
fn set_template(refiner: &str, values: &mut Values) -> Result<(), Failure> {
    // The half of a run, with or without its adapter's base.
    let half = refiner.rsplit('+').next().unwrap_or(refiner);
    let run = Path::new(half).parent().and_then(Path::parent).map(|run| run.join("config.toml"));
    if let Some(config) = run.filter(|config| config.is_file()) {
        let mut settings = Values::default();
        settings.merge_file(&config)?;
        if settings.run.mdp() == Modality::Hybrid {
            values.preset(|own| settings.hybrid.template().clone_into(&mut own.hybrid.template));
        }
    } else if let Some(hybrid) = embedded::of_refiner(refiner) {
        values.preset(|settings| hybrid.template.clone_into(&mut settings.hybrid.template));
    }
    Ok(())
}

/// The model names of a finished run's halves; adapters together with the base that the run had.
pub(crate) fn halves_of_run(run: &Path) -> Result<[String; 2], Failure> {
    let [refiner, generator] = NAMES.map(|name| run.join("model").join(name));
    if !(refiner.is_dir() && generator.is_dir()) {
        let run = run.display();
        let text = format!(
            "`model.model` {run} is no finished hybrid run; name two models with `hybrid.refiner` and `hybrid.generator`"
        );
        return Err(Failure::usage(text));
    }
    let mut settings = Values::default();
    settings.merge_file(&run.join("config.toml"))?;
    let name = |half: &Path, is_adapter: bool, base: String| {
        let half = half.display();
        if is_adapter { format!("{base}+{half}") } else { half.to_string() }
    };
    let (is_refiner, is_generator) =
        (refiner.join("adapter_config.json").is_file(), generator.join(denoiser::LORA_FILE).is_file());
    // Adapter files name their bases, if those still exist; else the run's config does.
    let refiner_base = match model::named_base(&refiner)? {
        None if is_refiner => model::base_of(settings.hybrid.refiner().unwrap_or_default())?,
        base => base.unwrap_or_default(),
    };
    let generator_base = match is_generator.then(|| denoiser::named_base(&generator)).transpose()?.flatten() {
        None if is_generator => denoiser::base_of(settings.hybrid.generator().unwrap_or_default())?,
        base => base.unwrap_or_default(),
    };
    Ok([name(&refiner, is_refiner, refiner_base), name(&generator, is_generator, generator_base)])
}

impl PromptFormat {
    fn new(files: &ModelFiles, values: &Values) -> Result<Self, Failure> {
        let tokenizer = files.tokenizer()?.clone();
        let Some(&eos) = tokenizer.eos.first() else {
            let text = format!("{}: the model names no end-of-text token (eos_token)", files.path.display());
            return Err(Failure::failed(text));
        };
        let template = values.hybrid.template().replace("\\n", "\n");
        if !template.contains("{request}") {
            return Err(Failure::usage("`hybrid.template` has no {request} in it: where does the request go?"));
        }
        let tokenise = Arc::new(text::plain_tokenise(files)?);
        Ok(Self { tokenizer, tokenise, template, eos, max_length: values.data.max_length() })
    }

    /// The token ids of the refiner's prompt for a request.
    pub(crate) fn prompt(&self, request: &str) -> Result<Vec<u32>, DatasetError> {
        let prompt = Text::Plain(self.template.replace("{request}", request));
        self.tokenise.prompt(&Origin::generated("a request", 1), &prompt, &serde_json::Map::new())
    }

    /// The token ids of a refined prompt as a refiner writes it: a leading space if the template ends in none, and EOS.
    pub(crate) fn answer(&self, refined: &str) -> Result<Vec<u32>, DatasetError> {
        let space = if self.template.ends_with(char::is_whitespace) { "" } else { " " };
        let origin = Origin::generated("a refined prompt", 1);
        let mut tokens = self.tokenise.continuation(&origin, &format!("{space}{refined}"))?;
        tokens.push(self.eos);
        Ok(tokens)
    }

    /// Reads a refined prompt's tokens: its text, and the characters that each token covers.
    ///
    /// # Errors
    /// A tokenizer error.
    pub(crate) fn read(&self, tokens: &[u32]) -> Result<(String, Vec<Range<usize>>), ModelError> {
        let beginnings =
            (1..=tokens.len()).map(|n| self.tokenizer.decode(&tokens[..n])).collect::<Result<Vec<_>, _>>()?;
        let text = beginnings.last().cloned().unwrap_or_default();
        let places = places(&text, &beginnings);
        Ok((text, places))
    }

    /// The sampling settings of refined prompts.
    pub(crate) fn sampling(&self, values: &Values) -> GenerationConfig {
        text::generation(values, &self.tokenizer, self.max_length)
    }
}

/// The characters that each token adds to a text, of what the tokens up to each read as. Tokens that hold a part of a
/// character cover all of it; tokens that are not shown, such as the end, cover nothing.
fn places(text: &str, beginnings: &[String]) -> Vec<Range<usize>> {
    let common = |beginning: &String| text.chars().zip(beginning.chars()).take_while(|(a, b)| a == b).count();
    let (mut places, mut from, mut waiting): (Vec<Range<usize>>, usize, usize) = (Vec::new(), 0, 0);
    for beginning in beginnings {
        let end = common(beginning).max(from);
        places.push(from..end);
        if end == from {
            waiting += 1;
            continue;
        }
        let n = places.len();
        places[n - 1 - waiting..n - 1].iter_mut().for_each(|part| *part = from..end);
        (from, waiting) = (end, 0);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cover_what_they_add_and_halves_of_a_character_all_of_it() {
        let said = |beginnings: &[&str], text| {
            places(text, &beginnings.iter().map(|beginning| (*beginning).to_owned()).collect::<Vec<_>>())
        };
        // `a`, ` b`, two halves of `é`, and the end.
        assert_eq!(said(&["a", "a b", "a b\u{fffd}", "a bé", "a bé"], "a bé"), [0..1, 1..3, 3..4, 3..4, 4..4]);
        assert!(said(&[], "").is_empty());
    }
}
