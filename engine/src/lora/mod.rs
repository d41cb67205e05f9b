//! LoRA: low-rank adapters for linear layers and convolutions, with PEFT's names and scales.
//!
//! The adapter of a linear layer named `P` is two parameters: `P.lora_A.weight` [rank, in] and `P.lora_B.weight`
//! [out, rank], whatever the layout of the base weight. The layer becomes y = base(x) + scale (x A^T) B^T, with the base
//! frozen. B starts at zero, so the first output is the base's.
//!
//! The A of a convolution is a convolution of the same kernel size to `rank` channels: [rank, height, width, in]. Its B
//! is a 1x1 convolution: [out, 1, 1, rank].
//!
//! # References
//! Hu et al., LoRA, <https://arxiv.org/abs/2106.09685>; Kalajdzievski, rsLoRA, <https://arxiv.org/abs/2312.03732>.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use crate::error::check_setting;
use crate::ops::{Convolution, Grid, WeightLayout, conv2d, linear};
use crate::{EngineError, Noise, Parameters, noise};

/// Selects the layers that get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoraTargets {
    /// Every linear layer given, and no convolution (PEFT's `all-linear`; models do not give their output layer).
    AllLinear,
    /// The layers whose name is one of these or ends in a dot and one of these, as in `query_key_value` for
    /// `layers.0.attention.query_key_value`.
    Named(Vec<String>),
}

/// The settings of the adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// The rank of the change to each weight.
    pub rank: usize,
    /// The strength of the change; see [`LoraConfig::scale`].
    pub alpha: f64,
    /// Whether the scale is alpha / sqrt(rank), not alpha / rank (PEFT's `use_rslora`).
    pub rslora: bool,
    /// Selects the layers that get an adapter.
    pub targets: LoraTargets,
}

/// A layer that can get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptableLayer {
    /// Its name: the weight's, without `.weight`.
    pub name: String,
    /// The width of its input, or its channels.
    pub n_in: usize,
    /// The width of its output, or its channels.
    pub n_out: usize,
    /// The height and width of a convolution's kernel; `None` for a linear layer.
    pub kernel: Option<(usize, usize)>,
}

/// The two halves of one layer's adapter.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// A, [rank, in], or [rank, height, width, in] of a convolution.
    pub a: &'a Tensor,
    /// B, [out, rank], or [out, 1, 1, rank] of a convolution.
    pub b: &'a Tensor,
    /// The factor of the product B A.
    pub scale: f64,
}

impl LoraTargets {
    /// Targets that name exactly the `chosen` of `all` layers: by name suffixes if no other layer shares them, else in
    /// full.
    pub fn exactly(chosen: &BTreeSet<&str>, all: &[AdaptableLayer]) -> Self {
        let ends: BTreeSet<&str> = chosen.iter().map(|name| end(name)).collect();
        let is_other = |layer: &AdaptableLayer| !chosen.contains(layer.name.as_str());
        let is_ambiguous = all.iter().any(|layer| is_other(layer) && ends.iter().any(|end| is_named(&layer.name, end)));
        let names = if is_ambiguous { chosen } else { &ends };
        Self::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// The last component of a layer's name, with the one before if the last is a number (`to_out.0`).
fn end(name: &str) -> &str {
    let mut ends = name.rmatch_indices('.').map(|(at, _)| &name[at + 1..]);
    let last = ends.next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) { ends.next().unwrap_or(name) } else { last }
}

impl LoraConfig {
    /// alpha / rank, or alpha / sqrt(rank) with `rslora`.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Whether a layer is among the targets.
    pub fn is_target(&self, layer: &AdaptableLayer) -> bool {
        match &self.targets {
            LoraTargets::AllLinear => layer.kernel.is_none(),
            LoraTargets::Named(targets) => targets.iter().any(|target| is_named(&layer.name, target)),
        }
    }

    /// Freezes all parameters and adds a new adapter for each target: A uniform within 1 / sqrt(in) (of a convolution 1
    /// / sqrt(height width in)), B zero.
    ///
    /// A layer's A depends on the seed and its name only. Returns the adapted layers' names.
    ///
    /// # Errors
    /// A rank of zero or above the width of every adapted layer, an alpha that is not positive and finite, a target
    /// that matches no layer, an existing adapter.
    pub fn attach(
        &self,
        parameters: &mut Parameters,
        layers: &[AdaptableLayer],
        noise: &Noise,
        dtype: DType,
        device: &Device,
    ) -> Result<Vec<String>, EngineError> {
        check_setting(self.rank > 0, "LoRA", "the rank", "at least 1", self.rank as f64)?;
        check_setting(self.alpha > 0. && self.alpha.is_finite(), "LoRA", "alpha", "positive and finite", self.alpha)?;
        self.check_targets(layers)?;
        let widths = layers.iter().filter(|layer| self.is_target(layer)).map(|layer| layer.n_in.max(layer.n_out));
        if let Some(widest) = widths.max().filter(|widest| self.rank > *widest) {
            return Err(EngineError::LoraRank { rank: self.rank, widest });
        }
        parameters.freeze_all();
        let mut adapted = Vec::new();
        for layer in layers.iter().filter(|layer| self.is_target(layer)) {
            let (name_a, name_b) = parameter_names(&layer.name);
            let rng = &mut noise.stream(&name_a, 0);
            let (height, width) = layer.kernel.unwrap_or((1, 1));
            let a = noise::kaiming_uniform(rng, self.rank, height * width * layer.n_in, 5f64.sqrt(), device)?;
            let b = Tensor::zeros((layer.n_out, self.rank), dtype, device)?;
            let (a, b) = match layer.kernel {
                None => (a, b),
                Some(_) => {
                    (a.reshape((self.rank, height, width, layer.n_in))?, b.reshape((layer.n_out, 1, 1, self.rank))?)
                }
            };
            parameters.insert_trainable(name_a, a.to_dtype(dtype)?)?;
            parameters.insert_trainable(name_b, b)?;
            adapted.push(layer.name.clone());
        }
        Ok(adapted)
    }

    /// The adapter of a layer, if it has one.
    pub fn adapter<'a>(&self, parameters: &'a Parameters, layer: &str) -> Option<Adapter<'a>> {
        let (a, b) = parameter_names(layer);
        Some(Adapter { a: parameters.find(&a)?, b: parameters.find(&b)?, scale: self.scale() })
    }

    fn check_targets(&self, layers: &[AdaptableLayer]) -> Result<(), EngineError> {
        let no_targets = [String::new()];
        let targets = match &self.targets {
            LoraTargets::AllLinear => return Ok(()),
            LoraTargets::Named(targets) if targets.is_empty() => &no_targets[..],
            LoraTargets::Named(targets) => targets,
        };
        let matches_none = |target: &&String| !layers.iter().any(|layer| is_named(&layer.name, target));
        let Some(target) = targets.iter().find(matches_none) else { return Ok(()) };
        let known: BTreeSet<&str> = layers.iter().filter_map(|layer| layer.name.rsplit('.').next()).collect();
        Err(EngineError::NoSuchTarget {
            target: target.clone(),
            known: known.into_iter().map(ToOwned::to_owned).collect(),
        })
    }
}

/// The names of a layer's A and B among the parameters.
pub fn parameter_names(layer: &str) -> (String, String) {
    (format!("{layer}.lora_A.weight"), format!("{layer}.lora_B.weight"))
}

/// A linear layer with an adapter: base(x) + scale (x A^T) B^T.
///
/// # Shapes
/// `x` [T, in], `weight` and `bias` as in [`linear`], result [T, out]. A weight that is a plain tensor is frozen and
/// gets no gradient.
///
/// # Errors
/// Shapes that do not fit.
pub fn lora_linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: WeightLayout,
    adapter: Adapter<'_>,
) -> candle_core::Result<Tensor> {
    let base = linear(x, weight, bias, layout)?;
    // Scaling in the middle touches `rank` numbers per token instead of a whole output row.
    let narrow = (linear(x, adapter.a, None, WeightLayout::OutIn)? * adapter.scale)?;
    crate::ops::add(&base, &linear(&narrow, adapter.b, None, WeightLayout::OutIn)?)
}

/// A convolution with an adapter: base(x) + scale B(A(x)), A with the base's stride and padding.
///
/// # Shapes
/// Those of [`conv2d`]. A weight that is a plain tensor is frozen and gets no gradient.
///
/// # Errors
/// Shapes that do not fit.
pub fn lora_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    grid: Grid,
    convolution: Convolution,
    adapter: Adapter<'_>,
) -> candle_core::Result<Tensor> {
    let base = conv2d(x, weight, bias, grid, convolution)?;
    let narrow = (conv2d(x, adapter.a, None, grid, convolution)? * adapter.scale)?;
    let (_, height, width, _) = adapter.a.dims4()?;
    // The convolution by A has checked that it fits.
    let output = convolution.output(grid, (height, width)).unwrap_or(grid);
    crate::ops::add(&base, &conv2d(&narrow, adapter.b, None, output, Convolution::same(1))?)
}

/// Merges an adapter: the weight of the equivalent plain layer, for export.
///
/// # Shapes
/// `weight` and the result in `layout`, which is `OutIn` for convolutions.
///
/// # Errors
/// Shapes that do not fit.
pub fn merged_weight(weight: &Tensor, layout: WeightLayout, adapter: Adapter<'_>) -> candle_core::Result<Tensor> {
    let (a, b) = (adapter.a.detach().flatten_from(1)?, adapter.b.detach().flatten_from(1)?);
    let change = (b.matmul(&a)? * adapter.scale)?;
    let change = match layout {
        WeightLayout::OutIn => change,
        WeightLayout::InOut => change.t()?,
    };
    weight.detach() + change.reshape(weight.shape())?.to_dtype(weight.dtype())?
}

fn is_named(layer: &str, target: &str) -> bool {
    layer.strip_suffix(target).is_some_and(|parent| !target.is_empty() && (parent.is_empty() || parent.ends_with('.')))
}

#[cfg(test)]
mod convolution_tests;
#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{AdaptableLayer, LoraConfig, LoraTargets, lora_linear, merged_weight, parameter_names};
    use crate::noise::{self, Noise};
    use crate::ops::{WeightLayout, linear};
    use crate::{EngineError, Parameters};

    fn config(targets: &[&str]) -> LoraConfig {
        let targets = LoraTargets::Named(targets.iter().map(ToString::to_string).collect());
        LoraConfig { rank: 4, alpha: 8., rslora: false, targets }
    }

    fn layer(name: &str) -> AdaptableLayer {
        AdaptableLayer { name: name.to_owned(), n_in: 6, n_out: 3, kernel: None }
    }

    #[test]
    fn layers_are_named_by_their_ends_where_that_is_enough() {
        let all = ["a.to_q", "a.to_out.0", "b.to_q", "b.to_out.0", "b.net.0"].map(layer);
        let check = |chosen: &[&str], expected: &[&str]| {
            let targets = LoraTargets::exactly(&chosen.iter().copied().collect(), &all);
            assert_eq!(targets, config(expected).targets);
            let config = LoraConfig { targets, ..config(&[]) };
            assert!(all.iter().all(|layer| config.is_target(layer) == chosen.contains(&layer.name.as_str())));
        };
        check(&["a.to_q", "b.to_q"], &["to_q"]);
        check(&["a.to_out.0", "b.to_out.0", "b.net.0"], &["net.0", "to_out.0"]);
        check(&["a.to_q", "b.net.0"], &["a.to_q", "b.net.0"]);
    }

    fn random(purpose: &str, shape: (usize, usize)) -> Tensor {
        noise::normal(&mut Noise::new(0).stream(purpose, 0), shape, 1., &Device::Cpu).unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_scale_is_pefts() {
        let plain = config(&["x"]);
        assert_eq!(plain.scale(), 2.);
        assert_eq!(LoraConfig { rslora: true, ..plain }.scale(), 4.);
    }

    #[test]
    fn targets_match_whole_last_names() {
        let matches = |targets: &[&str], name| config(targets).is_target(&layer(name));
        assert!(matches(&["c_attn"], "h.0.attn.c_attn") && matches(&["c_attn"], "c_attn"));
        assert!(matches(&["attn.c_proj"], "h.0.attn.c_proj") && !matches(&["attn.c_proj"], "h.0.mlp.c_proj"));
        assert!(!matches(&["attn"], "h.0.c_attn") && !matches(&[""], "h.0.c_attn"));
        let all = LoraConfig { targets: LoraTargets::AllLinear, ..config(&[]) };
        assert!(all.is_target(&layer("h.0.mlp.c_proj")));
    }

    #[test]
    fn attaching_freezes_the_rest_and_starts_at_zero() {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("h.0.q.weight", random("w", (3, 6))).unwrap();
        let layers = [layer("h.0.q"), layer("h.0.k"), layer("h.1.q")];
        let (noise, cpu) = (Noise::new(3), Device::Cpu);
        let adapted = config(&["q"]).attach(&mut parameters, &layers, &noise, DType::F32, &cpu).unwrap();
        assert_eq!(adapted, ["h.0.q", "h.1.q"]);
        let trainable: Vec<_> = parameters.trainable().map(|(name, _)| name.to_owned()).collect();
        let expected = ["h.0.q.lora_A.weight", "h.0.q.lora_B.weight", "h.1.q.lora_A.weight", "h.1.q.lora_B.weight"];
        assert_eq!(trainable, expected);
        let adapter = config(&["q"]).adapter(&parameters, "h.0.q").unwrap();
        assert_eq!((adapter.a.dims(), adapter.b.dims()), (&[4, 6][..], &[3, 4][..]));
        assert_eq!(adapter.b.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.);
        // 1 / sqrt 6 = 0.408
        let largest = adapter.a.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(largest > 0.2 && largest <= 0.4083, "{largest}");
        assert!(config(&["q"]).adapter(&parameters, "h.0.k").is_none());
        assert!(largest_difference(adapter.a, parameters.get("h.1.q.lora_A.weight").unwrap()) > 0.01);
    }

    #[test]
    fn a_layers_start_does_not_depend_on_the_others() {
        let start = |layers: &[AdaptableLayer]| {
            let mut parameters = Parameters::default();
            config(&["q"]).attach(&mut parameters, layers, &Noise::new(3), DType::F32, &Device::Cpu).unwrap();
            parameters.get(&parameter_names("h.1.q").0).unwrap().to_vec2::<f32>().unwrap()
        };
        assert_eq!(start(&[layer("h.1.q")]), start(&[layer("h.0.q"), layer("h.1.q")]));
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let refuse = |config: LoraConfig| {
            let layers = [layer("h.0.attn.q"), layer("h.1.attn.q"), layer("h.0.mlp.up")];
            let mut parameters = Parameters::default();
            config.attach(&mut parameters, &layers, &Noise::new(0), DType::F32, &Device::Cpu).unwrap_err().to_string()
        };
        let target = refuse(config(&["q", "gate"]));
        assert_eq!(target, "LoRA target `gate` matches no layer; there are q, up");
        assert!(refuse(config(&[])).contains("matches no layer"));
        assert!(refuse(LoraConfig { rank: 0, ..config(&["q"]) }).contains("rank"));
        let rank = refuse(LoraConfig { rank: 7, ..config(&["q"]) });
        assert_eq!(rank, "LoRA rank 7 is more than the width of every adapted layer, 6 at most: it would not be low");
        assert!(refuse(LoraConfig { alpha: f64::NAN, ..config(&["q"]) }).contains("alpha"));
    }

    #[test]
    fn attaching_twice_is_an_error() {
        let mut parameters = Parameters::default();
        let mut attach =
            || config(&["q"]).attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu);
        attach().unwrap();
        assert!(matches!(attach(), Err(EngineError::DuplicateTensor { .. })));
    }

    #[test]
    fn merging_and_adapting_agree_in_both_layouts() {
        for (layout, weight) in [(WeightLayout::OutIn, random("w", (3, 6))), (WeightLayout::InOut, random("w", (6, 3)))]
        {
            let (x, a, b) = (random("x", (5, 6)), random("a", (4, 6)), random("b", (3, 4)));
            let bias = random("bias", (1, 3)).squeeze(0).unwrap();
            let adapter = super::Adapter { a: &a, b: &b, scale: 0.5 };
            let adapted = lora_linear(&x, &weight, Some(&bias), layout, adapter).unwrap();
            let merged = merged_weight(&weight, layout, adapter).unwrap();
            assert_eq!(merged.dims(), weight.dims());
            let plain = linear(&x, &merged, Some(&bias), layout).unwrap();
            assert!(largest_difference(&adapted, &plain) < 1e-5);
        }
    }

    #[test]
    fn only_the_adapter_gets_gradients() {
        let mut parameters = Parameters::default();
        parameters.insert_trainable("q.weight", random("w", (3, 6))).unwrap();
        let config = config(&["q"]);
        config.attach(&mut parameters, &[layer("q")], &Noise::new(0), DType::F32, &Device::Cpu).unwrap();
        parameters.set("q.lora_B.weight", &random("b", (3, 4))).unwrap();
        let (x, adapter) = (random("x", (5, 6)), config.adapter(&parameters, "q").unwrap());
        let y = lora_linear(&x, parameters.get("q.weight").unwrap(), None, WeightLayout::OutIn, adapter).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        assert!(store.get(parameters.get("q.weight").unwrap()).is_none());
        // d sum(y) / d B = scale * 1 (sum of x A^T), d / d A = scale * (1 B)^T (sum of x).
        let ones = Tensor::ones((5, 3), DType::F32, &Device::Cpu).unwrap();
        let of_b = (ones.t().unwrap().matmul(&x.matmul(&adapter.a.t().unwrap()).unwrap()).unwrap() * 2.).unwrap();
        let of_a = (ones.matmul(adapter.b).unwrap().t().unwrap().matmul(&x).unwrap() * 2.).unwrap();
        assert!(largest_difference(store.get(adapter.b).unwrap(), &of_b) < 1e-4);
        assert!(largest_difference(store.get(adapter.a).unwrap(), &of_a) < 1e-4);
    }
}
