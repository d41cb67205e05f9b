//! The tensors of a model under their Hugging Face names.

use std::collections::BTreeMap;

use super::config::CausalConfig;
use super::family::{Gate, HeadNorm, NormKind};

/// The reward head's weight.
pub(crate) const SCORE: &str = "score.weight";
/// The name of the output matrix in memory, for every architecture.
const HEAD_IN_MEMORY: &str = "lm_head.weight";

/// The names of a block's layers, each without its `.weight`; `None` for norms and a gate that the family does not have.
#[derive(Clone, Debug)]
pub(super) struct BlockNames {
    pub(super) attention_norm: Option<String>,
    /// One packed projection, or separate queries, keys and values.
    pub(super) qkv: Vec<String>,
    pub(super) query_norm: Option<String>,
    pub(super) key_norm: Option<String>,
    pub(super) attention_output: String,
    pub(super) after_attention: Option<String>,
    pub(super) mlp_norm: Option<String>,
    pub(super) gate: Option<String>,
    /// The projection into the hidden layer, with the gate where the two are fused.
    pub(super) up: String,
    pub(super) down: String,
    pub(super) after_mlp: Option<String>,
}

impl CausalConfig {
    /// Every tensor of the model with its shape; a tied output matrix is not listed.
    ///
    /// Linear weights are `[out, in]`, except GPT-2's, which are `[in, out]`.
    pub fn expected_tensors(&self) -> BTreeMap<String, Vec<usize>> {
        if let Some(network) = &self.external {
            return network.shapes();
        }
        let mut tensors = Expected { tensors: BTreeMap::new(), transposed: self.is_transposed() };
        tensors.add(self.embedding_name(), vec![self.vocabulary, self.width]);
        if let Some(positions) = self.positions_name() {
            tensors.add(positions, vec![self.max_positions, self.width]);
        }
        for layer in 0..self.n_layers {
            self.add_block(&mut tensors, &self.block_names(layer));
        }
        self.add_norm(&mut tensors, Some(&self.final_norm_name()), self.width);
        if !self.tied {
            tensors.add(self.head_name().to_owned(), vec![self.vocabulary, self.width]);
        }
        tensors.tensors
    }

    /// The canonical name of a tensor in a checkpoint: adds the architecture's prefix if the checkpoint omits it (as
    /// GPT-2's original files do).
    ///
    /// GPT-NeoX's output matrix has two names: `embed_out` on disk, `lm_head` in transformers 5's memory.
    ///
    /// `None` for tensors that are not weights: rotary and mask buffers.
    pub fn canonical_name(&self, found: &str) -> Option<String> {
        const BUFFERS: [&str; 6] = [
            ".attn.bias",
            ".attn.masked_bias",
            ".attention.bias",
            ".attention.masked_bias",
            "rotary_emb.inv_freq",
            "rotary_emb.cos_cached",
        ];
        let is_buffer = BUFFERS.iter().any(|end| found.ends_with(end)) || found.ends_with("rotary_emb.sin_cached");
        if is_buffer {
            return None;
        }
        if found == HEAD_IN_MEMORY {
            return Some(self.head_name().to_owned());
        }
        let is_whole = found == self.head_name() || found.starts_with(self.prefix());
        Some(if is_whole { found.to_owned() } else { format!("{}{found}", self.prefix()) })
    }

    /// Every tensor of a reward model: those of the decoder, and a linear head with one output.
    pub fn reward_tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = self.expected_tensors();
        tensors.remove(self.head_name());
        tensors.insert(SCORE.to_owned(), vec![1, self.width]);
        tensors
    }

    /// Every tensor of a model that is read for its hidden states: the decoder without its output matrix.
    pub fn encoder_tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = self.expected_tensors();
        tensors.remove(self.head_name());
        tensors
    }

    /// As [`CausalConfig::canonical_name`] for a reward model, which has no output matrix.
    pub(crate) fn canonical_reward_name(&self, found: &str) -> Option<String> {
        if found == SCORE {
            return Some(found.to_owned());
        }
        self.canonical_encoder_name(found)
    }

    /// As [`CausalConfig::canonical_name`] without the output matrix.
    pub(crate) fn canonical_encoder_name(&self, found: &str) -> Option<String> {
        self.canonical_name(found).filter(|name| name != self.head_name())
    }

    /// The name of the embedding.
    pub fn embedding_name(&self) -> String {
        format!("{}{}.weight", self.prefix(), self.family.names.embedding)
    }

    /// The name of the output matrix of an untied model.
    pub fn head_name(&self) -> &'static str {
        self.family.names.head
    }

    /// The name of a tensor in transformers 5's memory, to which PEFT's names and patterns refer.
    pub(crate) fn name_in_memory<'a>(&self, name: &'a str) -> &'a str {
        if name == self.head_name() { HEAD_IN_MEMORY } else { name }
    }

    /// The name of the learned position embedding.
    pub(super) fn positions_name(&self) -> Option<String> {
        self.family.names.positions.map(|positions| format!("{}{positions}.weight", self.prefix()))
    }

    pub(super) fn final_norm_name(&self) -> String {
        format!("{}{}", self.prefix(), self.family.names.final_norm)
    }

    /// The linear layers of every block, each name without its `.weight`: the possible LoRA targets.
    pub fn linear_names(&self) -> Vec<String> {
        let linears = (0..self.n_layers).map(|layer| self.block_names(layer)).flat_map(|names| {
            let mut linears = names.qkv;
            linears.push(names.attention_output);
            linears.extend(names.gate);
            linears.extend([names.up, names.down]);
            linears
        });
        linears.collect()
    }

    pub(super) fn block_names(&self, layer: usize) -> BlockNames {
        let (prefix, names) = (self.prefix(), &self.family.names);
        let at = |part: &str| format!("{prefix}{}.{layer}.{part}", names.blocks);
        BlockNames {
            attention_norm: names.attention_norm.map(at),
            qkv: names.qkv.iter().map(|part| at(part)).collect(),
            query_norm: names.query_norm.map(at),
            key_norm: names.key_norm.map(at),
            attention_output: at(names.attention_output),
            after_attention: names.after_attention.map(at),
            mlp_norm: names.mlp_norm.map(at),
            gate: names.gate.map(at),
            up: at(names.up),
            down: at(names.down),
            after_mlp: names.after_mlp.map(at),
        }
    }

    fn add_block(&self, tensors: &mut Expected, names: &BlockNames) {
        let queries = self.n_query_heads * self.head_size;
        let keys = self.n_key_value_heads * self.head_size;
        self.add_norm(tensors, names.attention_norm.as_ref(), self.width);
        let outs = if names.qkv.len() == 1 { vec![queries + 2 * keys] } else { vec![queries, keys, keys] };
        for (name, out) in names.qkv.iter().zip(outs) {
            tensors.add_linear(name, out, self.width, self.qkv_bias);
        }
        let [query_norm, key_norm] = match self.family.head_norm {
            HeadNorm::PerHead => [self.head_size; 2],
            HeadNorm::Whole => [queries, keys],
        };
        self.add_norm(tensors, names.query_norm.as_ref(), query_norm);
        self.add_norm(tensors, names.key_norm.as_ref(), key_norm);
        tensors.add_linear(&names.attention_output, self.width, queries, self.attention_output_bias);
        self.add_norm(tensors, names.after_attention.as_ref(), self.width);
        self.add_norm(tensors, names.mlp_norm.as_ref(), self.width);
        if let Some(gate) = &names.gate {
            tensors.add_linear(gate, self.inner, self.width, self.mlp_bias);
        }
        let up = if self.family.gate == Gate::Fused { 2 * self.inner } else { self.inner };
        tensors.add_linear(&names.up, up, self.width, self.mlp_bias);
        tensors.add_linear(&names.down, self.width, self.inner, self.mlp_bias);
        self.add_norm(tensors, names.after_mlp.as_ref(), self.width);
    }

    /// Whether linear weights are `[in, out]` (GPT-2) rather than `[out, in]`.
    pub fn is_transposed(&self) -> bool {
        self.family.transposed
    }

    fn add_norm(&self, tensors: &mut Expected, name: Option<&String>, width: usize) {
        let Some(name) = name else { return };
        tensors.add(format!("{name}.weight"), vec![width]);
        if self.family.norm == NormKind::Layer {
            tensors.add(format!("{name}.bias"), vec![width]);
        }
    }
}

struct Expected {
    tensors: BTreeMap<String, Vec<usize>>,
    transposed: bool,
}

impl Expected {
    fn add(&mut self, name: String, shape: Vec<usize>) {
        self.tensors.insert(name, shape);
    }

    fn add_linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        let shape = if self.transposed { vec![input, out] } else { vec![out, input] };
        self.add(format!("{name}.weight"), shape);
        if bias {
            self.add(format!("{name}.bias"), vec![out]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tensors_follow_the_config() {
        let source = json!({ "model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": true });
        let config = CausalConfig::from_json(source).unwrap();
        let tensors = config.expected_tensors();
        assert_eq!(tensors.len(), 1 + (2 + 3 * 2 + 1 + 3) + 1);
        assert_eq!(tensors["model.layers.0.self_attn.k_proj.weight"], [16, 32]);
        assert_eq!(tensors["model.layers.0.self_attn.k_proj.bias"], [16]);
        assert!(!tensors.contains_key("lm_head.weight"));
        assert_eq!(config.canonical_name("norm.weight").as_deref(), Some("model.norm.weight"));
    }

    #[test]
    fn the_head_of_gpt_neox_has_a_name_on_disk_and_one_in_memory() {
        let source = json!({ "model_type": "gpt_neox", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 64 });
        let config = CausalConfig::from_json(source).unwrap();
        assert_eq!(config.canonical_name("lm_head.weight").as_deref(), Some("embed_out.weight"));
        assert_eq!(config.canonical_name("embed_out.weight").as_deref(), Some("embed_out.weight"));
        assert_eq!(config.name_in_memory("embed_out.weight"), "lm_head.weight");
        assert_eq!(config.name_in_memory("gpt_neox.embed_in.weight"), "gpt_neox.embed_in.weight");
    }

    #[test]
    fn gpt2_weights_are_transposed_and_its_buffers_left_out() {
        let source = json!({ "model_type": "gpt2", "vocab_size": 96, "n_embd": 16, "n_layer": 1, "n_head": 2 });
        let config = CausalConfig::from_json(source).unwrap();
        let tensors = config.expected_tensors();
        assert_eq!(tensors["transformer.h.0.attn.c_attn.weight"], [16, 48]);
        assert_eq!(tensors["transformer.h.0.mlp.c_proj.weight"], [64, 16]);
        assert_eq!(config.canonical_name("h.0.attn.bias"), None);
        assert_eq!(config.canonical_name("h.0.attn.c_attn.bias").as_deref(), Some("transformer.h.0.attn.c_attn.bias"));
    }
}
