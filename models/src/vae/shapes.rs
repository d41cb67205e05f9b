//! The tensors of an autoencoder under their diffusers names.

use std::collections::BTreeMap;

use super::VaeConfig;

impl VaeConfig {
    /// Every tensor with its shape in memory; kernels are `[out, height, width, in]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = Shapes::default();
        let (blocks, latent) = (&self.block_channels, self.latent_channels);
        let (first, last) = (blocks[0], blocks[blocks.len() - 1]);

        shapes.conv("encoder.conv_in", first, self.in_channels, 3);
        let mut from = first;
        for (index, &to) in blocks.iter().enumerate() {
            let name = format!("encoder.down_blocks.{index}");
            shapes.resnets(&name, from, to, self.layers_per_block);
            if index + 1 < blocks.len() {
                shapes.conv(&format!("{name}.downsamplers.0.conv"), to, to, 3);
            }
            from = to;
        }
        shapes.middle("encoder.mid_block", last, self.attention);
        shapes.ends("encoder", last, 2 * latent);

        shapes.conv("decoder.conv_in", last, latent, 3);
        shapes.middle("decoder.mid_block", last, self.attention);
        let mut from = last;
        for (index, &to) in blocks.iter().rev().enumerate() {
            let name = format!("decoder.up_blocks.{index}");
            shapes.resnets(&name, from, to, self.layers_per_block + 1);
            if index + 1 < blocks.len() {
                shapes.conv(&format!("{name}.upsamplers.0.conv"), to, to, 3);
            }
            from = to;
        }
        shapes.ends("decoder", first, self.out_channels);

        if self.quantised {
            shapes.conv("quant_conv", 2 * latent, 2 * latent, 1);
        }
        if self.post_quantised {
            shapes.conv("post_quant_conv", latent, latent, 1);
        }
        shapes.0
    }

    /// The current name of a tensor that older versions named differently.
    pub(crate) fn canonical_name(stored: &str) -> String {
        let Some((block, part)) = stored.split_once(".attentions.0.") else { return stored.to_owned() };
        let (layer, kind) = part.rsplit_once('.').unwrap_or((part, ""));
        let layer = match layer {
            "query" => "to_q",
            "key" => "to_k",
            "value" => "to_v",
            "proj_attn" => "to_out.0",
            other => other,
        };
        format!("{block}.attentions.0.{layer}.{kind}")
    }
}

#[derive(Default)]
struct Shapes(BTreeMap<String, Vec<usize>>);

impl Shapes {
    fn with_bias(&mut self, name: &str, shape: Vec<usize>) {
        self.0.insert(format!("{name}.bias"), shape[..1].to_vec());
        self.0.insert(format!("{name}.weight"), shape);
    }

    fn conv(&mut self, name: &str, n_out: usize, n_in: usize, kernel: usize) {
        self.with_bias(name, vec![n_out, kernel, kernel, n_in]);
    }

    fn resnets(&mut self, name: &str, from: usize, to: usize, count: usize) {
        for index in 0..count {
            let from = if index == 0 { from } else { to };
            let part = |part: &str| format!("{name}.resnets.{index}.{part}");
            self.with_bias(&part("norm1"), vec![from]);
            self.conv(&part("conv1"), to, from, 3);
            self.with_bias(&part("norm2"), vec![to]);
            self.conv(&part("conv2"), to, to, 3);
            if from != to {
                self.conv(&part("conv_shortcut"), to, from, 1);
            }
        }
    }

    fn middle(&mut self, name: &str, channels: usize, attention: bool) {
        self.resnets(name, channels, channels, 2);
        if attention {
            self.with_bias(&format!("{name}.attentions.0.group_norm"), vec![channels]);
            for part in ["to_q", "to_k", "to_v", "to_out.0"] {
                self.with_bias(&format!("{name}.attentions.0.{part}"), vec![channels, channels]);
            }
        }
    }

    fn ends(&mut self, name: &str, channels: usize, n_out: usize) {
        self.with_bias(&format!("{name}.conv_norm_out"), vec![channels]);
        self.conv(&format!("{name}.conv_out"), n_out, channels, 3);
    }
}
