//! The autoencoder's encoder and decoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engine::ops::{self, Block, Convolution, Grid, Heads, NormActivation, Padding, WeightLayout};
use engine::transfer::from_host;
use engine::{Parameters, Rng, noise};

use super::VaeConfig;
use crate::ModelError;
use crate::tensors;

/// Epsilon of every norm.
const EPSILON: f64 = 1e-6;
/// Pixels per batch, unless one picture has more.
const PIXELS_AT_ONCE: usize = 1 << 18;

/// A frozen `AutoencoderKL` of diffusers.
#[derive(Debug)]
pub struct Vae {
    config: VaeConfig,
    units: LatentUnits,
    parameters: Parameters,
}

/// The conversion of latents for the denoiser, which depends on the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LatentUnits {
    /// Scaled by the config's factor.
    Scaled,
    /// Scaled after the config's shift was subtracted.
    Shifted,
    /// Scaled after normalisation by the config's statistics, if it has any.
    Normalised,
}

/// The distribution of a picture's latent: a diagonal Gaussian.
#[derive(Clone, Debug)]
pub struct LatentGaussian {
    /// Means, `[grid.rows(), latent_channels]`.
    pub mean: Tensor,
    /// Logarithms of the variances, from -30 to 20, of the same shape.
    pub log_variance: Tensor,
    /// The grid of the rows.
    pub grid: Grid,
}

impl LatentGaussian {
    /// Samples `mean + deviation * noise`, with noise from `rng`.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn sample(&self, rng: &mut Rng) -> Result<Tensor, ModelError> {
        let noise = noise::normal(rng, self.mean.dims(), 1.0, self.mean.device())?;
        Ok(((self.log_variance.affine(0.5, 0.)?.exp()? * noise)? + &self.mean)?)
    }
}

impl Vae {
    /// Makes an autoencoder from its config and the tensors of [`VaeConfig::tensor_shapes`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(config: VaeConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(VaeConfig::CLASS, &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, units: LatentUnits::Scaled, parameters: Parameters::frozen(tensors)? })
    }

    /// Normalises latents by the config's statistics too, if it has any, for denoisers such as SDXL's. By default only
    /// the scaling factor is applied, whatever else the config has.
    #[must_use]
    pub fn normalised(self) -> Self {
        Self { units: LatentUnits::Normalised, ..self }
    }

    /// Subtracts the config's shift from latents before scaling them, for denoisers such as Stable Diffusion 3's.
    #[must_use]
    pub fn shifted(self) -> Self {
        Self { units: LatentUnits::Shifted, ..self }
    }

    /// The device of its tensors.
    pub fn device(&self) -> Device {
        self.parameters.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device().clone())
    }

    /// The autoencoder's config.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Encodes pictures, `[grid.rows(), in_channels]`, from any device on its own.
    ///
    /// # Errors
    /// Pictures of another shape, or with a height or width that is not a multiple of [`VaeConfig::factor`].
    pub fn encode(&self, pictures: &Tensor, grid: Grid) -> Result<LatentGaussian, ModelError> {
        let factor = self.config.factor();
        if !(grid.height.is_multiple_of(factor) && grid.width.is_multiple_of(factor)) {
            let got = format!("{} x {}", grid.height, grid.width);
            let expected = format!("multiples of {factor}");
            return Err(ModelError::Argument { what: "height and width of a picture".to_owned(), expected, got });
        }
        check_rows("pictures", pictures, grid, self.config.in_channels)?;
        let moments = in_parts(&pictures.to_device(&self.device())?, grid, |x, grid| self.moments(x, grid))?;
        let latent = self.config.latent_channels;
        Ok(LatentGaussian {
            mean: moments.narrow(1, 0, latent)?.contiguous()?,
            log_variance: moments.narrow(1, latent, latent)?.contiguous()?.clamp(-30f32, 20f32)?,
            grid: Grid { height: grid.height / factor, width: grid.width / factor, ..grid },
        })
    }

    /// Decodes latents, `[grid.rows(), latent_channels]`, from any device on its own, to pictures of `factor` times the height
    /// and width.
    ///
    /// # Errors
    /// Latents of another shape.
    pub fn decode(&self, latents: &Tensor, grid: Grid) -> Result<(Tensor, Grid), ModelError> {
        check_rows("latents", latents, grid, self.config.latent_channels)?;
        let pictures = in_parts(&latents.to_device(&self.device())?, grid, |x, grid| self.pictures(x, grid))?;
        let factor = self.config.factor();
        Ok((pictures, Grid { height: grid.height * factor, width: grid.width * factor, ..grid }))
    }

    /// Converts latents of [`Vae::encode`] to the denoiser's scale.
    ///
    /// # Errors
    /// Latents of another number of channels.
    pub fn to_denoiser(&self, latents: &Tensor) -> Result<Tensor, ModelError> {
        let (shift, scale) = self.units(latents)?;
        Ok(latents.broadcast_sub(&shift)?.broadcast_mul(&scale)?)
    }

    /// Converts latents from the denoiser's scale to those of [`Vae::decode`].
    ///
    /// # Errors
    /// Latents of another number of channels.
    pub fn from_denoiser(&self, latents: &Tensor) -> Result<Tensor, ModelError> {
        let (shift, scale) = self.units(latents)?;
        Ok(latents.broadcast_div(&scale)?.broadcast_add(&shift)?)
    }

    /// Shift and scale of every channel.
    fn units(&self, latents: &Tensor) -> Result<(Tensor, Tensor), ModelError> {
        let VaeConfig { scaling, latent_channels, statistics, shift, .. } = &self.config;
        let row = |values: Vec<f32>| from_host(values, *latent_channels, latents.device());
        let shift = if self.units == LatentUnits::Shifted { *shift as f32 } else { 0. };
        let Some((means, deviations)) = statistics.as_ref().filter(|_| self.units == LatentUnits::Normalised) else {
            return Ok((row(vec![shift; *latent_channels])?, row(vec![*scaling as f32; *latent_channels])?));
        };
        let scale = deviations.iter().map(|deviation| (scaling / deviation) as f32).collect();
        Ok((row(means.iter().map(|mean| *mean as f32).collect())?, row(scale)?))
    }

    fn moments(&self, pictures: &Tensor, mut grid: Grid) -> Result<Tensor, ModelError> {
        let mut x = self.conv(pictures, "encoder.conv_in", grid)?;
        for block in 0..self.config.block_channels.len() {
            let name = format!("encoder.down_blocks.{block}");
            x = self.resnets(x, &name, self.config.layers_per_block, grid)?;
            let name = format!("{name}.downsamplers.0.conv");
            if self.parameters.find(&format!("{name}.weight")).is_some() {
                (x, grid) = self.downsample(&x, &name, grid)?;
            }
        }
        let x = self.middle(&x, "encoder.mid_block", grid)?;
        let x =
            self.conv(&self.norm(&x, "encoder.conv_norm_out", grid, NormActivation::Silu)?, "encoder.conv_out", grid)?;
        if self.config.quantised { self.conv(&x, "quant_conv", grid) } else { Ok(x) }
    }

    fn pictures(&self, latents: &Tensor, mut grid: Grid) -> Result<Tensor, ModelError> {
        let x = if self.config.post_quantised { self.conv(latents, "post_quant_conv", grid)? } else { latents.clone() };
        let x = self.conv(&x, "decoder.conv_in", grid)?;
        let mut x = self.middle(&x, "decoder.mid_block", grid)?;
        for block in 0..self.config.block_channels.len() {
            let name = format!("decoder.up_blocks.{block}");
            x = self.resnets(x, &name, self.config.layers_per_block + 1, grid)?;
            let name = format!("{name}.upsamplers.0.conv");
            if self.parameters.find(&format!("{name}.weight")).is_some() {
                x = ops::upsample_nearest(&x, grid)?;
                grid = grid.doubled();
                x = self.conv(&x, &name, grid)?;
            }
        }
        self.conv(&self.norm(&x, "decoder.conv_norm_out", grid, NormActivation::Silu)?, "decoder.conv_out", grid)
    }

    fn resnets(&self, mut x: Tensor, name: &str, count: usize, grid: Grid) -> Result<Tensor, ModelError> {
        for index in 0..count {
            x = self.resnet(&x, &format!("{name}.resnets.{index}"), grid)?;
        }
        Ok(x)
    }

    fn resnet(&self, x: &Tensor, name: &str, grid: Grid) -> Result<Tensor, ModelError> {
        let part = |part: &str| format!("{name}.{part}");
        let inner = self.norm(x, &part("norm1"), grid, NormActivation::Silu)?;
        let inner = self.conv(&inner, &part("conv1"), grid)?;
        let inner = self.norm(&inner, &part("norm2"), grid, NormActivation::Silu)?;
        let inner = self.conv(&inner, &part("conv2"), grid)?;
        let shortcut = part("conv_shortcut");
        match self.parameters.find(&format!("{shortcut}.weight")) {
            Some(_) => Ok(ops::add(&self.conv(x, &shortcut, grid)?, &inner)?),
            None => Ok(ops::add(x, &inner)?),
        }
    }

    fn middle(&self, x: &Tensor, name: &str, grid: Grid) -> Result<Tensor, ModelError> {
        let x = self.resnet(x, &format!("{name}.resnets.0"), grid)?;
        let x = if self.config.attention { self.attention(&x, &format!("{name}.attentions.0"), grid)? } else { x };
        self.resnet(&x, &format!("{name}.resnets.1"), grid)
    }

    /// Single-head attention over all pixels of each picture.
    fn attention(&self, x: &Tensor, name: &str, grid: Grid) -> Result<Tensor, ModelError> {
        let normal = self.norm(x, &format!("{name}.group_norm"), grid, NormActivation::None)?;
        let linear = |x: &Tensor, part: &str| -> Result<Tensor, ModelError> {
            let (weight, bias) = self.layer(&format!("{name}.{part}"))?;
            Ok(ops::linear(x, weight, Some(bias), WeightLayout::OutIn)?)
        };
        let (q, k, v) = (linear(&normal, "to_q")?, linear(&normal, "to_k")?, linear(&normal, "to_v")?);
        let pixels = grid.pixels();
        let of_image = |image: usize| image * pixels..(image + 1) * pixels;
        let blocks: Arc<[Block]> =
            (0..grid.images).map(|image| Block { queries: of_image(image), keys: of_image(image) }).collect();
        let heads = Heads { query: 1, key_value: 1, size: x.dim(1)? };
        let attended = ops::block_attention(&q, &k, &v, heads, &blocks)?;
        Ok(ops::add(x, &linear(&attended, "to_out.0")?)?)
    }

    fn downsample(&self, x: &Tensor, name: &str, grid: Grid) -> Result<(Tensor, Grid), ModelError> {
        let (weight, bias) = self.layer(name)?;
        // Pads a row below and a column to the right, as in the original code of the weights.
        let convolution = Convolution { stride: 2, padding: Padding { bottom: 1, right: 1, ..Padding::default() } };
        let halved = Grid { height: grid.height / 2, width: grid.width / 2, ..grid };
        Ok((ops::conv2d(x, weight, Some(bias), grid, convolution)?, halved))
    }

    /// A convolution that preserves the size.
    fn conv(&self, x: &Tensor, name: &str, grid: Grid) -> Result<Tensor, ModelError> {
        let (weight, bias) = self.layer(name)?;
        Ok(ops::conv2d(x, weight, Some(bias), grid, Convolution::same(weight.dim(1)?))?)
    }

    fn norm(&self, x: &Tensor, name: &str, grid: Grid, activation: NormActivation) -> Result<Tensor, ModelError> {
        let (weight, bias) = self.layer(name)?;
        Ok(ops::group_norm(x, weight, bias, self.config.groups, EPSILON, grid, activation)?)
    }

    fn layer(&self, name: &str) -> Result<(&Tensor, &Tensor), ModelError> {
        let of = |part: &str| self.parameters.get(&format!("{name}.{part}"));
        Ok((of("weight")?, of("bias")?))
    }
}

fn check_rows(what: &str, x: &Tensor, grid: Grid, channels: usize) -> Result<(), ModelError> {
    if grid.rows() > 0 && x.dims() == [grid.rows(), channels] {
        return Ok(());
    }
    let expected = format!("[{}, {channels}] for {grid:?}", grid.rows());
    Err(ModelError::Argument { what: what.to_owned(), expected, got: format!("{:?}", x.dims()) })
}

/// Runs `f` on a few images at a time.
fn in_parts(
    x: &Tensor,
    grid: Grid,
    f: impl Fn(&Tensor, Grid) -> Result<Tensor, ModelError>,
) -> Result<Tensor, ModelError> {
    let at_once = (PIXELS_AT_ONCE / grid.pixels()).max(1);
    let part = |start: usize| {
        let images = at_once.min(grid.images - start);
        f(&x.narrow(0, start * grid.pixels(), images * grid.pixels())?, Grid { images, ..grid })
    };
    let parts = (0..grid.images).step_by(at_once).map(part).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}
