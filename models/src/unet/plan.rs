//! The blocks of a UNet in execution order.

use engine::ops::Grid;

use super::blocks::{Change, Down, PixelAttention, Resnet, Transformer, Up};
use super::config::{BlockAttention, Level, LevelSide, Middle, Resampling, UNetClass, UNetConfig};
use crate::ModelError;
use crate::network::{GroupNorm, LayerShapes};

/// A segment of the network from input to prediction.
#[derive(Clone, Debug)]
pub(super) struct UNetSegment {
    pub(super) part: UNetBlock,
    pub(super) skip: Skip,
}

#[derive(Clone, Debug)]
pub(super) enum UNetBlock {
    /// A residual block and its attention.
    Layer(Resnet, Option<Attention>),
    Down(Down),
    Up(Up),
}

#[derive(Clone, Debug)]
pub(super) enum Attention {
    Pixels(PixelAttention),
    Caption(Transformer),
}

/// The skip connection of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    None,
    /// Its output is a skip connection to the up side.
    Leaves,
    /// It reads the last unused skip connection besides its input.
    Takes,
}

/// All segments between the first convolution and the last norm.
pub(super) fn segments(config: &UNetConfig) -> Vec<UNetSegment> {
    let mut plan = Plan { config, segments: Vec::new() };
    for index in 0..config.levels.len() {
        plan.way_down(index);
    }
    plan.middle();
    for index in (0..config.levels.len()).rev() {
        plan.way_up(index);
    }
    plan.segments
}

struct Plan<'a> {
    config: &'a UNetConfig,
    segments: Vec<UNetSegment>,
}

impl Plan<'_> {
    fn way_down(&mut self, index: usize) {
        let level = self.config.levels[index];
        let name = format!("down_blocks.{index}");
        let mut n_in = self.config.levels[index.saturating_sub(1)].width;
        for layer in 0..level.n_layers {
            let resnet = self.resnet(format!("{name}.resnets.{layer}"), n_in, level.width);
            let attention = self.attention(format!("{name}.attentions.{layer}"), level, level.down);
            self.push(UNetBlock::Layer(resnet, attention), Skip::Leaves);
            n_in = level.width;
        }
        match level.down.resampling {
            None => {}
            Some(Resampling::Convolution) => {
                let (name, padding) = (format!("{name}.downsamplers.0.conv"), self.config.downsample_padding);
                self.push(UNetBlock::Down(Down { name, width: level.width, padding }), Skip::Leaves);
            }
            Some(Resampling::Resnet) => {
                let resnet = self.resnet(format!("{name}.downsamplers.0"), level.width, level.width);
                self.push(UNetBlock::Layer(Resnet { change: Change::Down, ..resnet }, None), Skip::Leaves);
            }
        }
    }

    fn middle(&mut self) {
        let config = self.config;
        let Some(&level) = config.levels.last() else { return };
        let scale = config.middle_scale;
        let resnet = |plan: &Self, index: usize| Resnet {
            scale,
            ..plan.resnet(format!("mid_block.resnets.{index}"), level.width, level.width)
        };
        let name = "mid_block.attentions.0".to_owned();
        let attention = match config.middle {
            Middle::None => return,
            Middle::Resnet | Middle::Resnets(None) => None,
            Middle::Resnets(Some(head_size)) => {
                let norm = GroupNorm { n_groups: config.n_middle_groups, epsilon: config.norm_epsilon };
                Some(Attention::Pixels(PixelAttention { name, width: level.width, head_size, norm, scale }))
            }
            Middle::Caption => Some(Attention::Caption(self.transformer(name, Level { only_caption: false, ..level }))),
        };
        self.push(UNetBlock::Layer(resnet(self, 0), attention), Skip::None);
        if config.middle != Middle::Resnet {
            self.push(UNetBlock::Layer(resnet(self, 1), None), Skip::None);
        }
    }

    fn way_up(&mut self, index: usize) {
        let levels = &self.config.levels;
        let level = levels[index];
        let name = format!("up_blocks.{}", levels.len() - 1 - index);
        let mut n_in = levels[(index + 1).min(levels.len() - 1)].width;
        // The last up block of a level reads the skip connection from the level above.
        let above = levels[index.saturating_sub(1)].width;
        for layer in 0..=level.n_layers {
            let n_skip = if layer == level.n_layers { above } else { level.width };
            let resnet = self.resnet(format!("{name}.resnets.{layer}"), n_in + n_skip, level.width);
            let attention = self.attention(format!("{name}.attentions.{layer}"), level, level.up);
            self.push(UNetBlock::Layer(resnet, attention), Skip::Takes);
            n_in = level.width;
        }
        match level.up.resampling {
            None => {}
            Some(Resampling::Convolution) => {
                let up = Up { name: format!("{name}.upsamplers.0.conv"), width: level.width };
                self.push(UNetBlock::Up(up), Skip::None);
            }
            Some(Resampling::Resnet) => {
                let resnet = self.resnet(format!("{name}.upsamplers.0"), level.width, level.width);
                self.push(UNetBlock::Layer(Resnet { change: Change::Up, ..resnet }, None), Skip::None);
            }
        }
    }

    fn push(&mut self, part: UNetBlock, skip: Skip) {
        self.segments.push(UNetSegment { part, skip });
    }

    fn norm(&self) -> GroupNorm {
        GroupNorm { n_groups: self.config.n_groups, epsilon: self.config.norm_epsilon }
    }

    fn resnet(&self, name: String, n_in: usize, n_out: usize) -> Resnet {
        let time = self.config.time_width;
        Resnet { name, n_in, n_out, time, norm: self.norm(), scale: 1., change: Change::None }
    }

    fn attention(&self, name: String, level: Level, side: LevelSide) -> Option<Attention> {
        match side.attention {
            BlockAttention::None => None,
            BlockAttention::Pixels => {
                let (width, head_size) = (level.width, side.head_size);
                Some(Attention::Pixels(PixelAttention { name, width, head_size, norm: self.norm(), scale: 1. }))
            }
            BlockAttention::Caption => Some(Attention::Caption(self.transformer(name, level))),
        }
    }

    fn transformer(&self, name: String, level: Level) -> Transformer {
        Transformer {
            name,
            width: level.width,
            n_heads: level.n_heads,
            n_layers: level.n_transformer_layers,
            context: level.context,
            n_groups: self.config.n_groups,
            linear_projection: self.config.linear_projection,
            only_caption: level.only_caption,
        }
    }
}

impl UNetSegment {
    pub(super) fn add_shapes(&self, shapes: &mut LayerShapes) {
        match &self.part {
            UNetBlock::Down(down) => down.add_shapes(shapes),
            UNetBlock::Up(up) => up.add_shapes(shapes),
            UNetBlock::Layer(resnet, attention) => {
                resnet.add_shapes(shapes);
                match attention {
                    None => {}
                    Some(Attention::Pixels(attention)) => attention.add_shapes(shapes),
                    Some(Attention::Caption(transformer)) => transformer.add_shapes(shapes),
                }
            }
        }
    }
}

/// The grid after each segment.
///
/// # Errors
/// Images that become too small, or that do not match their skip connections.
pub(super) fn grids(config: &UNetConfig, segments: &[UNetSegment], first: Grid) -> Result<Vec<Grid>, ModelError> {
    let wrong = |expected: String| ModelError::Argument {
        what: "the size of the images".to_owned(),
        expected,
        got: format!("{} by {}", first.height, first.width),
    };
    let factor = config.size_factor();
    let (mut grid, mut over, mut all) = (first, vec![first], Vec::with_capacity(segments.len()));
    for segment in segments {
        if segment.skip == Skip::Takes && over.pop() != Some(grid) {
            let class = config.class.name();
            return Err(wrong(format!("multiples of {factor}, as {class} has it with these blocks")));
        }
        grid = match &segment.part {
            UNetBlock::Layer(resnet, _) => resnet.output(grid),
            UNetBlock::Down(down) => down.output(grid).unwrap_or(Grid { height: 0, ..grid }),
            // Sizes that are not a multiple of the factor are restored by uneven nearest-neighbour upsampling.
            UNetBlock::Up(_) if config.class == UNetClass::Conditional => *over.last().unwrap_or(&grid),
            UNetBlock::Up(_) => grid.doubled(),
        };
        if grid.height == 0 || grid.width == 0 {
            return Err(wrong(format!("at least {factor} by {factor}")));
        }
        if segment.skip == Skip::Leaves {
            over.push(grid);
        }
        all.push(grid);
    }
    Ok(all)
}
