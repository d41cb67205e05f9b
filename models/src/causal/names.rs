//! The tensors of a model under their Hugging Face names.

use std::collections::BTreeMap;

use super::config::{Architecture, CausalConfig};

/// The reward head's weight.
pub(crate) const SCORE: &str = "score.weight";
/// The name of the output matrix in memory, for every architecture.
const HEAD_IN_MEMORY: &str = "lm_head.weight";

/// The names of a block's layers, each without its `.weight`.
#[derive(Clone, Debug)]
pub(super) struct BlockNames {
    pub(super) attention_norm: String,
    /// One packed projection, or separate queries, keys and values.
    pub(super) qkv: Vec<String>,
    pub(super) attention_output: String,
    pub(super) mlp_norm: String,
    /// The MLP's gate, if it has one.
    pub(super) gate: Option<String>,
    pub(super) up: String,
    pub(super) down: String,
}

impl CausalConfig {
    /// Every tensor of the model with its shape; a tied output matrix is not listed.
    ///
    /// Linear weights are `[out, in]`, except GPT-2's, which are `[in, out]`.
    pub fn expected_tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = Expected { tensors: BTreeMap::new(), transposed: self.is_transposed() };
        tensors.add(self.embedding_name(), vec![self.vocabulary, self.width]);
        if let Some(positions) = self.positions_name() {
            tensors.add(positions, vec![self.max_positions, self.width]);
        }
        for layer in 0..self.n_layers {
            self.add_block(&mut tensors, &self.block_names(layer));
        }
        self.add_norm(&mut tensors, &self.final_norm_name());
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

    /// As [`CausalConfig::canonical_name`] for a reward model, which has no output matrix.
    pub(crate) fn canonical_reward_name(&self, found: &str) -> Option<String> {
        if found == SCORE {
            return Some(found.to_owned());
        }
        self.canonical_name(found).filter(|name| name != self.head_name())
    }

    /// The name of the embedding.
    pub fn embedding_name(&self) -> String {
        let name = match self.architecture {
            Architecture::GptNeoX => "embed_in.weight",
            Architecture::Gpt2 => "wte.weight",
            Architecture::Llama | Architecture::Qwen2 => "embed_tokens.weight",
        };
        format!("{}{name}", self.prefix())
    }

    /// The name of the output matrix of an untied model.
    pub fn head_name(&self) -> &'static str {
        match self.architecture {
            Architecture::GptNeoX => "embed_out.weight",
            Architecture::Gpt2 | Architecture::Llama | Architecture::Qwen2 => HEAD_IN_MEMORY,
        }
    }

    /// The name of a tensor in transformers 5's memory, to which PEFT's names and patterns refer.
    pub(crate) fn name_in_memory<'a>(&self, name: &'a str) -> &'a str {
        if name == self.head_name() { HEAD_IN_MEMORY } else { name }
    }

    /// The name of the learned position embedding.
    pub(super) fn positions_name(&self) -> Option<String> {
        (self.architecture == Architecture::Gpt2).then(|| format!("{}wpe.weight", self.prefix()))
    }

    pub(super) fn final_norm_name(&self) -> String {
        let name = match self.architecture {
            Architecture::GptNeoX => "final_layer_norm",
            Architecture::Gpt2 => "ln_f",
            Architecture::Llama | Architecture::Qwen2 => "norm",
        };
        format!("{}{name}", self.prefix())
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
        let prefix = self.prefix();
        let at = |part: &str| match self.architecture {
            Architecture::Gpt2 => format!("{prefix}h.{layer}.{part}"),
            Architecture::GptNeoX | Architecture::Llama | Architecture::Qwen2 => {
                format!("{prefix}layers.{layer}.{part}")
            }
        };
        let (attention_norm, mlp_norm, qkv, output, gate, up, down): (_, _, &[&str], _, _, _, _) =
            match self.architecture {
                Architecture::GptNeoX => (
                    "input_layernorm",
                    "post_attention_layernorm",
                    &["attention.query_key_value"],
                    "attention.dense",
                    None,
                    "mlp.dense_h_to_4h",
                    "mlp.dense_4h_to_h",
                ),
                Architecture::Gpt2 => ("ln_1", "ln_2", &["attn.c_attn"], "attn.c_proj", None, "mlp.c_fc", "mlp.c_proj"),
                Architecture::Llama | Architecture::Qwen2 => (
                    "input_layernorm",
                    "post_attention_layernorm",
                    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                    "self_attn.o_proj",
                    Some("mlp.gate_proj"),
                    "mlp.up_proj",
                    "mlp.down_proj",
                ),
            };
        BlockNames {
            attention_norm: at(attention_norm),
            qkv: qkv.iter().map(|part| at(part)).collect(),
            attention_output: at(output),
            mlp_norm: at(mlp_norm),
            gate: gate.map(at),
            up: at(up),
            down: at(down),
        }
    }

    fn add_block(&self, tensors: &mut Expected, names: &BlockNames) {
        let queries = self.n_query_heads * self.head_size;
        let keys = self.n_key_value_heads * self.head_size;
        self.add_norm(tensors, &names.attention_norm);
        let outs = if names.qkv.len() == 1 { vec![queries + 2 * keys] } else { vec![queries, keys, keys] };
        for (name, out) in names.qkv.iter().zip(outs) {
            tensors.add_linear(name, out, self.width, self.qkv_bias);
        }
        tensors.add_linear(&names.attention_output, self.width, queries, self.attention_output_bias);
        self.add_norm(tensors, &names.mlp_norm);
        for name in names.gate.iter().chain([&names.up]) {
            tensors.add_linear(name, self.inner, self.width, self.mlp_bias);
        }
        tensors.add_linear(&names.down, self.width, self.inner, self.mlp_bias);
    }

    /// Whether linear weights are `[in, out]` (GPT-2) rather than `[out, in]`.
    pub fn is_transposed(&self) -> bool {
        self.architecture == Architecture::Gpt2
    }

    /// Whether norms are LayerNorm (with a bias) rather than RMSNorm.
    pub(super) fn has_layer_norm(&self) -> bool {
        matches!(self.architecture, Architecture::GptNeoX | Architecture::Gpt2)
    }

    fn add_norm(&self, tensors: &mut Expected, name: &str) {
        tensors.add(format!("{name}.weight"), vec![self.width]);
        if self.has_layer_norm() {
            tensors.add(format!("{name}.bias"), vec![self.width]);
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
