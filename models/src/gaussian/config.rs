use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::{Noise, noise};
use mdp::control::Continuous;
use policies::gaussian::Spread;
use serde_json::{Value, json};

use crate::ModelError;
use crate::fields::Fields;

/// The `model_type` of `config.json`.
const MODEL_TYPE: &str = "gaussian_mlp";

/// The sizes of a Gaussian policy's network and the width of its Gaussians.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianConfig {
    /// Numbers of an observation.
    pub observation_size: usize,
    /// Numbers of an action.
    pub action_size: usize,
    /// The width of each hidden layer, each with a hyperbolic tangent.
    pub hidden: Vec<usize>,
    /// The width of the Gaussians.
    pub spread: Spread,
    /// The mean and standard deviation of each number of an observation, by which they are standardised; empty for none.
    pub standardised: Vec<(f64, f64)>,
}

impl GaussianConfig {
    /// A network for a problem, which takes observations as they are.
    pub fn new(mdp: &impl Continuous, hidden: Vec<usize>, spread: Spread) -> Self {
        let (observation_size, action_size) = (mdp.observation_size(), mdp.action_size());
        Self { observation_size, action_size, hidden, spread, standardised: Vec::new() }
    }

    /// Standardises observations by these means and standard deviations; a deviation of 0 (a constant) counts as 1.
    #[must_use]
    pub fn standardised(self, moments: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let moments = moments.into_iter().map(|(mean, std)| (mean, if std > 0.0 { std } else { 1.0 }));
        Self { standardised: moments.collect(), ..self }
    }

    /// The inputs and outputs of each layer.
    fn layers(&self) -> Vec<(usize, usize)> {
        let last = self.spread.n_outputs(self.action_size);
        let sizes: Vec<usize> =
            std::iter::once(self.observation_size).chain(self.hidden.iter().copied()).chain([last]).collect();
        sizes.windows(2).map(|two| (two[0], two[1])).collect()
    }

    /// Number of layers.
    pub(super) fn n_layers(&self) -> usize {
        self.hidden.len() + 1
    }

    /// Every tensor: `layers.N.weight`, `[out, in]`, and `layers.N.bias`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shapes = self.layers().into_iter().enumerate().flat_map(|(layer, (n_in, n_out))| {
            [(format!("layers.{layer}.weight"), vec![n_out, n_in]), (format!("layers.{layer}.bias"), vec![n_out])]
        });
        shapes.collect()
    }

    /// Random initial tensors, as PyTorch initialises linear layers: uniform within one over the square root of the fan-in.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = BTreeMap::new();
        for (layer, (n_in, n_out)) in self.layers().into_iter().enumerate() {
            let bound = 1.0 / (n_in as f64).sqrt();
            for (name, shape) in [("weight", vec![n_out, n_in]), ("bias", vec![n_out])] {
                let name = format!("layers.{layer}.{name}");
                let tensor = noise::uniform(&mut noise.stream(&name, 0), shape, -bound, bound, device)?;
                tensors.insert(name, tensor);
            }
        }
        Ok(tensors)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Sizes of 0, a standard deviation that is not a positive number, moments of another number than the observation's.
    pub(super) fn checked(self) -> Result<Self, ModelError> {
        let wrong = |what: &str, expected: String, got: String| {
            Err(ModelError::Argument { what: what.to_owned(), expected, got })
        };
        let sizes = [self.observation_size, self.action_size].into_iter().chain(self.hidden.iter().copied());
        if sizes.into_iter().any(|size| size == 0) {
            return wrong("the sizes of a Gaussian policy", "numbers above 0".to_owned(), format!("{self:?}"));
        }
        let n = self.standardised.len();
        if n > 0 && n != self.observation_size {
            let expected = format!("{} of them", self.observation_size);
            return wrong("the means and deviations of observations", expected, n.to_string());
        }
        self.spread.checked().map_err(ModelError::Policy)?;
        Ok(self)
    }

    /// The text of `config.json`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "model_type": MODEL_TYPE, "observation_size": self.observation_size, "action_size": self.action_size,
            "hidden_sizes": self.hidden, "activation": "tanh",
        });
        match self.spread {
            Spread::Fixed { std } => value["std"] = json!(std),
            Spread::Learned { low, high } => {
                value["least_std"] = json!(low);
                value["greatest_std"] = json!(high);
            }
        }
        if !self.standardised.is_empty() {
            let [means, stds] = [|moment: &(f64, f64)| moment.0, |moment: &(f64, f64)| moment.1]
                .map(|of| self.standardised.iter().map(of).collect::<Vec<f64>>());
            value["observation_mean"] = json!(means);
            value["observation_std"] = json!(stds);
        }
        value
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// Another model type or activation; sizes or standard deviations that are missing or not positive.
    pub fn from_json(source: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        for (key, expected) in [("model_type", MODEL_TYPE), ("activation", "tanh")] {
            let found = fields.required_text(key)?;
            if found != expected {
                return Err(ModelError::config(key, format!("must be {expected}, not {found}")));
            }
        }
        let hidden = fields.value("hidden_sizes").ok_or_else(|| ModelError::config("hidden_sizes", "is missing"))?;
        let sizes =
            hidden.as_array().and_then(|sizes| sizes.iter().map(|size| Some(size.as_u64()? as usize)).collect());
        let spread = match fields.number("std")? {
            Some(std) => Spread::Fixed { std },
            None => Spread::Learned {
                low: fields.required_number("least_std")?,
                high: fields.required_number("greatest_std")?,
            },
        };
        let (means, stds) = (numbers(fields, "observation_mean")?, numbers(fields, "observation_std")?);
        if means.len() != stds.len() {
            let reason = format!("has {} numbers, and `observation_mean` {}", stds.len(), means.len());
            return Err(ModelError::config("observation_std", reason));
        }
        let config = Self {
            observation_size: fields.required_size("observation_size")?,
            action_size: fields.required_size("action_size")?,
            hidden: sizes.ok_or_else(|| Fields::wrong("hidden_sizes", "a list of whole numbers", hidden))?,
            spread,
            standardised: means.into_iter().zip(stds).collect(),
        };
        let unusable = |error: ModelError| ModelError::config("observation_size", format!("or another size: {error}"));
        config.checked().map_err(unusable)
    }
}

/// A list of finite numbers; empty where there is none.
fn numbers(fields: Fields<'_>, key: &str) -> Result<Vec<f64>, ModelError> {
    let Some(value) = fields.value(key) else { return Ok(Vec::new()) };
    let list = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
    list.ok_or_else(|| Fields::wrong(key, "a list of numbers", value))
}
