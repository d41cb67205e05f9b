//! Writers of small files, byte by byte, independent of the readers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The `config.json` of a Llama with two small heads.
pub(super) fn llama_config() -> Value {
    json!({ "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": true })
}

/// The tensors of that model.
pub(super) fn llama_tensors() -> Vec<(String, Vec<usize>)> {
    let layer = |name: &str, shape: &[usize]| (format!("model.layers.0.{name}.weight"), shape.to_vec());
    vec![
        ("model.embed_tokens.weight".to_owned(), vec![10, 8]),
        layer("input_layernorm", &[8]),
        layer("self_attn.q_proj", &[8, 8]),
        layer("self_attn.k_proj", &[4, 8]),
        layer("self_attn.v_proj", &[4, 8]),
        layer("self_attn.o_proj", &[8, 8]),
        layer("post_attention_layernorm", &[8]),
        layer("mlp.gate_proj", &[12, 8]),
        layer("mlp.up_proj", &[12, 8]),
        layer("mlp.down_proj", &[8, 12]),
        ("model.norm.weight".to_owned(), vec![8]),
    ]
}

fn numbers(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| (i as f32 * 0.01 - 0.3).to_le_bytes()).collect()
}

/// A safetensors file of f32 tensors.
pub(super) fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let begin = data.len();
        data.extend(numbers(shape.iter().product()));
        entries.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] }));
    }
    with_header(&Value::Object(entries).to_string(), &data)
}

/// A safetensors file with any header.
pub(super) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A folder of `config.json` and `model.safetensors`.
pub(super) fn folder(at: &Path, config: &Value, weights: &[u8]) -> PathBuf {
    fs::create_dir_all(at).unwrap();
    fs::write(at.join("config.json"), config.to_string()).unwrap();
    fs::write(at.join("model.safetensors"), weights).unwrap();
    at.to_path_buf()
}

/// A valid folder.
pub(super) fn llama_folder(at: &Path) -> PathBuf {
    folder(at, &llama_config(), &safetensors(&llama_tensors()))
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A value of GGUF metadata.
pub(super) enum Meta<'a> {
    Number(u32),
    Float(f32),
    Flag(bool),
    Text(&'a str),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Numbers(Vec<i32>),
}

impl Meta<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let mut list = |kind: u32, len: usize| {
            out.extend(9_u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::Texts(texts) => list(8, texts.len()),
            Self::Floats(numbers) => list(6, numbers.len()),
            Self::Numbers(numbers) => list(5, numbers.len()),
            Self::Number(_) => out.extend(4_u32.to_le_bytes()),
            Self::Float(_) => out.extend(6_u32.to_le_bytes()),
            Self::Flag(_) => out.extend(7_u32.to_le_bytes()),
            Self::Text(_) => out.extend(8_u32.to_le_bytes()),
        }
        match self {
            Self::Number(n) => out.extend(n.to_le_bytes()),
            Self::Float(n) => out.extend(n.to_le_bytes()),
            Self::Flag(flag) => out.push(u8::from(*flag)),
            Self::Text(t) => text(out, t),
            Self::Texts(texts) => texts.iter().for_each(|t| text(out, t)),
            Self::Floats(numbers) => numbers.iter().for_each(|n| out.extend(n.to_le_bytes())),
            Self::Numbers(numbers) => numbers.iter().for_each(|n| out.extend(n.to_le_bytes())),
        }
    }
}

/// A GGUF file of the same small Llama, with additional metadata.
pub(super) fn gguf(extra: &[(&str, Meta<'_>)]) -> Vec<u8> {
    let own = gguf_settings();
    gguf_file(&entries(own.iter().chain(extra)), &gguf_tensors())
}

/// The same sizes as a Qwen2, whose projections have biases.
pub(super) fn gguf_qwen2(extra: &[(&str, Meta<'_>)]) -> Vec<u8> {
    let named = gguf_settings().map(|(key, value)| match key {
        "general.architecture" => (key.to_owned(), Meta::Text("qwen2")),
        _ => (key.replace("llama", "qwen2"), value),
    });
    let own: Vec<_> = named.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let all: Vec<_> = own.into_iter().chain(extra.iter().map(|(key, value)| (*key, value))).collect();
    let biases = [("blk.0.attn_q.bias", vec![8]), ("blk.0.attn_k.bias", vec![4]), ("blk.0.attn_v.bias", vec![4])];
    gguf_file(&all, &[gguf_tensors(), biases.to_vec()].concat())
}

/// The same sizes as a Gemma 2, which has norms behind attention and MLP, too.
pub(super) fn gguf_gemma2(extra: &[(&str, Meta<'_>)]) -> Vec<u8> {
    let named = gguf_settings().map(|(key, value)| match key {
        "general.architecture" => (key.to_owned(), Meta::Text("gemma2")),
        _ => (key.replace("llama", "gemma2"), value),
    });
    let own: Vec<_> = named.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let all: Vec<_> = own.into_iter().chain(extra.iter().map(|(key, value)| (*key, value))).collect();
    let norms = [("blk.0.post_attention_norm", vec![8]), ("blk.0.post_ffw_norm", vec![8])];
    gguf_file(&all, &[gguf_tensors(), norms.to_vec()].concat())
}

/// The same model in two files: the first with the metadata and every other tensor, the second with the rest.
pub(super) fn gguf_parts() -> [Vec<u8>; 2] {
    let (own, tensors) = (gguf_settings(), gguf_tensors());
    [0_usize, 1].map(|part| {
        let split = [
            ("split.no", Meta::Number(part as u32)),
            ("split.count", Meta::Number(2)),
            ("split.tensors.count", Meta::Number(tensors.len() as u32)),
        ];
        let settings = if part == 0 { own.as_slice() } else { &[] };
        let tensors: Vec<_> = tensors.iter().skip(part).step_by(2).cloned().collect();
        gguf_file(&entries(settings.iter().chain(&split)), &tensors)
    })
}

fn entries<'a>(metadata: impl Iterator<Item = &'a (&'a str, Meta<'a>)>) -> Vec<(&'a str, &'a Meta<'a>)> {
    metadata.map(|(key, value)| (*key, value)).collect()
}

fn gguf_settings() -> [(&'static str, Meta<'static>); 8] {
    [
        ("general.architecture", Meta::Text("llama")),
        ("llama.block_count", Meta::Number(1)),
        ("llama.context_length", Meta::Number(32)),
        ("llama.embedding_length", Meta::Number(8)),
        ("llama.feed_forward_length", Meta::Number(12)),
        ("llama.attention.head_count", Meta::Number(2)),
        ("llama.attention.head_count_kv", Meta::Number(1)),
        ("llama.attention.layer_norm_rms_epsilon", Meta::Float(1e-5)),
    ]
}

fn gguf_tensors() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("token_embd", vec![10, 8]),
        ("blk.0.attn_norm", vec![8]),
        ("blk.0.attn_q", vec![8, 8]),
        ("blk.0.attn_k", vec![4, 8]),
        ("blk.0.attn_v", vec![4, 8]),
        ("blk.0.attn_output", vec![8, 8]),
        ("blk.0.ffn_norm", vec![8]),
        ("blk.0.ffn_gate", vec![12, 8]),
        ("blk.0.ffn_up", vec![12, 8]),
        ("blk.0.ffn_down", vec![8, 12]),
        ("output_norm", vec![8]),
    ]
}

/// A GGUF file of f32 tensors.
fn gguf_file(metadata: &[(&str, &Meta<'_>)], tensors: &[(&str, Vec<usize>)]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        value.write(&mut out);
    }
    let mut data = Vec::new();
    for (name, shape) in tensors {
        text(
            &mut out,
            &if name.rsplit('.').next() == Some("bias") { (*name).to_owned() } else { format!("{name}.weight") },
        );
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|d: &usize| out.extend((*d as u64).to_le_bytes()));
        out.extend(0_u32.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(numbers(shape.iter().product()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// A llama2.c model of the same sizes but with 262 tokens.
pub(super) fn llama2c(tied: bool) -> Vec<u8> {
    let (width, inner, heads, shared, vocabulary, context) = (8, 12, 2, 1, 262, 16);
    let header = [width, inner, 1, heads, shared, if tied { vocabulary } else { -vocabulary }, context];
    let keys = width / heads * shared;
    let weights = vocabulary * width + 2 * width + 2 * width * width + 2 * keys * width + 3 * inner * width + width;
    let legacy = context * width / heads;
    let head = if tied { 0 } else { vocabulary * width };
    let mut out: Vec<u8> = header.iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
    out.extend(numbers((weights + legacy + head) as usize));
    out
}

/// A llama2.c tokenizer: the 259 tokens that are always there, then ` a`, `b`, ` ab`.
pub(super) fn llama2c_tokenizer() -> Vec<u8> {
    let mut pieces = vec!["<unk>".to_owned(), "\n<s>\n".to_owned(), "\n</s>\n".to_owned()];
    pieces.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend([" ".to_owned(), "a".to_owned(), " a".to_owned()]);
    let mut out = 7_i32.to_le_bytes().to_vec();
    for (id, piece) in pieces.iter().enumerate() {
        let score = if id < 259 { 0.0 } else { 258.0 - id as f32 };
        out.extend(f32::to_le_bytes(score));
        out.extend((piece.len() as i32).to_le_bytes());
        out.extend(piece.as_bytes());
    }
    out
}
