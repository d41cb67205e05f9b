//! Denoising networks that another library computes.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use engine::transfer::from_host;
use serde_json::Value;

use crate::ModelError;
use crate::external::{External, ExternalTape, Running, host};
use crate::image_batch::{ImageBatch, InputWidths};
use crate::network::{NetworkConfig, Weights};
use crate::tensors::check_shapes;

/// What an external network reads in a pass: noisy images, their times, and captions of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PixelBatch {
    /// The pixels, `[n, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// Images, channels, height and width.
    pub shape: [usize; 4],
    /// The time of each image, as the noise schedule counts it.
    pub times: Vec<f32>,
    /// The hidden states of the captions, `[n, length, width]`, with length and width; `None` for a network without.
    pub context: Option<(Vec<f32>, [usize; 2])>,
}

/// The config of a denoising network that another library computes.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalDenoiserConfig {
    /// The network. Its output for a batch is the prediction, in the shape of the pixels.
    pub network: External<PixelBatch>,
    /// Height and width of its images.
    pub size: (usize, usize),
    /// Channels of its images.
    pub channels: usize,
    /// Width of a caption's hidden states, if it reads them.
    pub context: Option<usize>,
    /// The file of its settings.
    pub source: Value,
}

impl NetworkConfig for ExternalDenoiserConfig {
    fn class(&self) -> &'static str {
        "an external network"
    }

    fn component(&self) -> &'static str {
        "unet"
    }

    fn in_channels(&self) -> usize {
        self.channels
    }

    fn out_channels(&self) -> usize {
        self.channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        Some(self.size)
    }

    fn patch(&self) -> usize {
        1
    }

    fn context_width(&self) -> Option<usize> {
        self.context
    }

    fn pooled_width(&self) -> Option<usize> {
        None
    }

    fn is_unconditional(&self) -> bool {
        self.context.is_none()
    }

    fn lora_targets(&self) -> &'static [&'static str] {
        &[]
    }

    fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.network.shapes()
    }

    fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        Vec::new()
    }

    fn initial_tensors(&self, _noise: &Noise, _device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        Err(ModelError::Argument {
            what: "the initial tensors".into(),
            expected: "a network that is built here".into(),
            got: "one that another library computes".into(),
        })
    }

    fn settings(&self) -> String {
        format!("{} {:?}", self.network.identity(), (self.channels, self.context))
    }

    fn to_json(&self) -> Value {
        self.source.clone()
    }
}

/// A denoising network that another library computes, with weights.
#[derive(Debug)]
pub struct ExternalDenoiser {
    pub(super) config: ExternalDenoiserConfig,
    pub(super) weights: Weights,
    running: Running<PixelBatch>,
}

/// The recorded passes of a batch of images.
#[derive(Debug)]
pub(super) struct RecordedPrediction {
    passes: Vec<Box<dyn ExternalTape>>,
    images: Vec<Vec<usize>>,
    layout: Layout,
}

/// The size of images.
#[derive(Clone, Copy, Debug)]
struct Layout {
    n: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// Batches, the images of each, and the layout of all.
type Batches = (Vec<PixelBatch>, Vec<Vec<usize>>, Layout);

impl ExternalDenoiser {
    pub(super) fn new(config: ExternalDenoiserConfig, weights: Weights) -> Self {
        let running = Running::new(config.network.clone());
        Self { config, weights, running }
    }

    pub(super) fn frozen(
        config: ExternalDenoiserConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, ModelError> {
        check_shapes("external", &config.network.shapes(), &crate::tensors::shapes(&tensors))?;
        Ok(Self::new(config, Weights::frozen(tensors)?))
    }

    pub(super) fn trainable(
        config: ExternalDenoiserConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, ModelError> {
        check_shapes("external", &config.network.shapes(), &crate::tensors::shapes(&tensors))?;
        let weights = Weights::trainable(tensors, None, &[], &config.network.fixed())?;
        Ok(Self::new(config, weights))
    }

    pub(super) fn weights_changed(&self) {
        self.running.weights_changed();
    }

    /// The prediction, in rows as in the batch.
    pub(super) fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        let (batches, images, layout) = self.batches(batch)?;
        let outputs = self.running.run(&self.weights.parameters, &batches)?;
        layout.rows_of(&images, &outputs)
    }

    /// The same, recorded.
    pub(super) fn record(&self, batch: &ImageBatch) -> Result<(Tensor, RecordedPrediction), ModelError> {
        let (batches, images, layout) = self.batches(batch)?;
        let (outputs, passes) = self.running.record(&self.weights.parameters, &batches)?;
        let prediction = layout.rows_of(&images, &outputs)?;
        Ok((prediction, RecordedPrediction { passes, images, layout }))
    }

    /// The batches of images whose captions have one length, with the images of each.
    fn batches(&self, batch: &ImageBatch) -> Result<Batches, ModelError> {
        let config = &self.config;
        let widths = InputWidths { channels: config.channels, context: config.context, pooled: None, has_sizes: false };
        batch.check(widths)?;
        let layout = Layout {
            n: batch.grid.images,
            height: batch.grid.height,
            width: batch.grid.width,
            channels: config.channels,
        };
        let contexts = match (&batch.contexts, config.context) {
            (Some(contexts), Some(width)) => Some((host(&contexts.rows)?, &contexts.of_image, width)),
            _ => None,
        };
        let length = |image: usize| contexts.as_ref().map_or(0, |(_, rows, _)| rows[image].len());
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        (0..layout.n).for_each(|image| by_length.entry(length(image)).or_default().push(image));
        let pixels = host(&batch.x)?;
        let of_images = |(&length, images): (&usize, &Vec<usize>)| PixelBatch {
            pixels: images.iter().flat_map(|&image| layout.planes(&pixels, image)).collect(),
            shape: [images.len(), layout.channels, layout.height, layout.width],
            times: images.iter().map(|&image| batch.times[image] as f32).collect(),
            context: contexts.as_ref().map(|(values, rows, width)| {
                let own = images.iter().flat_map(|&image| {
                    let Range { start, end } = rows[image].clone();
                    values[start * width..end * width].iter().copied()
                });
                (own.collect(), [length, *width])
            }),
        };
        let batches = by_length.iter().map(of_images).collect();
        Ok((batches, by_length.into_values().collect(), layout))
    }
}

impl RecordedPrediction {
    /// Passes the slopes of the prediction to `add`, pass by pass, as slopes of tensors.
    pub(super) fn backward(
        self,
        of_prediction: &Tensor,
        add: &mut dyn FnMut(crate::external::NamedNumbers) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let (slopes, layout) = (host(of_prediction)?, self.layout);
        for (pass, images) in self.passes.into_iter().zip(self.images) {
            let own: Vec<f32> = images.into_iter().flat_map(|image| layout.planes(&slopes, image)).collect();
            add(pass.backward(&own)?)?;
        }
        Ok(())
    }
}

impl Layout {
    fn size(self) -> usize {
        self.height * self.width * self.channels
    }

    /// The channels of an image one after the other, of rows of pixels.
    fn planes(self, rows: &[f32], image: usize) -> Vec<f32> {
        let own = &rows[image * self.size()..(image + 1) * self.size()];
        let channel = |channel: usize| own.iter().skip(channel).step_by(self.channels).copied();
        (0..self.channels).flat_map(channel).collect()
    }

    /// Rows of pixels, `[n*height*width, channels]`, of the outputs of batches.
    fn rows_of(self, images: &[Vec<usize>], outputs: &[Vec<f32>]) -> Result<Tensor, ModelError> {
        let mut rows = vec![0.0; self.n * self.size()];
        let pixels = self.height * self.width;
        for (images, output) in images.iter().zip(outputs) {
            if output.len() != images.len() * self.size() {
                let expected = format!("{} images of {} numbers", images.len(), self.size());
                let got = format!("{} numbers", output.len());
                return Err(ModelError::Argument { what: "the network's output".into(), expected, got });
            }
            for (&image, planes) in images.iter().zip(output.chunks_exact(self.size())) {
                let own = &mut rows[image * self.size()..(image + 1) * self.size()];
                for (channel, plane) in planes.chunks_exact(pixels).enumerate() {
                    plane.iter().enumerate().for_each(|(at, number)| own[at * self.channels + channel] = *number);
                }
            }
        }
        Ok(from_host(rows, (self.n * pixels, self.channels), &Device::Cpu)?)
    }
}
