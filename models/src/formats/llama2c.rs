//! llama2.c files: a Llama in a `.bin`, with its tokenizer in another.
//!
//! The format is that of <https://github.com/karpathy/llama2.c>'s first version: seven 32-bit integers (width, MLP
//! width, layers, heads, key and value heads, vocabulary, context; a negative vocabulary means an untied output
//! matrix), then the weights as f32, grouped by kind over all layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::transfer::from_host;
use serde_json::json;

use super::huggingface::parse_config;
use super::vocabulary::{Kind, Vocabulary, sentencepiece};
use super::{ModelFiles, ModelTokenizer, rows};
use crate::ModelError;
use crate::weights_file::check_finite;
use tensorfile::{Floats, SizedFile, read_floats};

/// Bytes of the header.
const HEADER: u64 = 28;
/// Ids of the fixed tokens: unknown, start, end; then 256 bytes.
const UNKNOWN: u32 = 0;
const START: u32 = 1;
const END: u32 = 2;
const FIRST_TEXT: usize = 259;

/// The validated sizes in the header.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    key_value_heads: usize,
    vocabulary: usize,
    context: usize,
    tied: bool,
}

/// Whether a file can be a llama2.c model: a valid header that matches the file's length.
pub(super) fn looks_like(path: &Path) -> bool {
    SizedFile::open(path).is_ok_and(|file| Sizes::read(&file).is_ok())
}

/// Loads a model, with its tokenizer if a `tok*.bin` with the same vocabulary size is in its folder.
///
/// # Errors
/// An invalid header, a file whose length does not match its header, non-finite numbers, a damaged tokenizer.
pub(super) fn load(path: &Path, device: &Device) -> Result<ModelFiles, ModelError> {
    let file = SizedFile::open(path)?;
    let sizes = Sizes::read(&file)?;
    let mut config = json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": sizes.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": sizes.tied,
        "bos_token_id": START,
        "eos_token_id": END,
    });
    let vocabulary = tokenizer_beside(path)?.map(|path| read_tokenizer(&path, sizes.vocabulary)).transpose()?;
    if let Some(vocabulary) = &vocabulary {
        vocabulary.describe(&mut config);
    }
    let config = parse_config(path, config)?;
    let tensors = Weights { file: &file, at: HEADER, sizes, device, tensors: BTreeMap::new() }.read()?;
    let extras = vocabulary.map(Vocabulary::into_extras).unwrap_or_default();
    let tokenizer = ModelTokenizer::from_extras(path, &extras, Some(&config))?;
    Ok(ModelFiles { extras, ..ModelFiles::plain(path, config, tensors, tokenizer) })
}

impl Sizes {
    /// Reads the header and checks it against the file's length.
    fn read(file: &SizedFile) -> Result<Self, ModelError> {
        let bytes = file.bytes(0, HEADER)?;
        let mut numbers = [0_i64; 7];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = i64::from(i32::from_le_bytes(*bytes));
        }
        let error = |reason: String| Err(ModelError::format(file.path(), reason));
        let [width, inner, layers, heads, key_value_heads, vocabulary, context] = numbers;
        let sizes = [width, inner, layers, heads, key_value_heads, vocabulary.abs(), context];
        if sizes.iter().any(|n| *n <= 0) {
            return error(format!("not a llama2.c model: its header {numbers:?} has sizes that aren't positive"));
        }
        if width % heads != 0 || heads % key_value_heads != 0 || (width / heads) % 2 != 0 {
            return error(format!(
                "not a llama2.c model: width {width}, {heads} heads and {key_value_heads} key and value heads don't fit"
            ));
        }
        let [width, inner, layers, heads, key_value_heads, vocabulary, context] = sizes.map(|n| n as usize);
        let tied = numbers[5] > 0;
        let sizes = Self { width, inner, layers, heads, key_value_heads, vocabulary, context, tied };
        match sizes.bytes() {
            Some(expected) if expected == file.len() => Ok(sizes),
            expected => {
                let expected = expected.map_or_else(|| "more than 2^64".to_owned(), |n| n.to_string());
                error(format!(
                    "a llama2.c model with header {numbers:?} is {expected} bytes long, this file {}; truncated?",
                    file.len()
                ))
            }
        }
    }

    fn head_size(self) -> usize {
        self.width / self.heads
    }

    /// The size of the rotary tables that old versions stored, which are skipped.
    fn legacy(self) -> usize {
        self.context * self.head_size()
    }

    /// The file's length; `None` beyond 64 bits.
    fn bytes(self) -> Option<u64> {
        let product = |factors: &[usize]| factors.iter().try_fold(1_u64, |n, f| n.checked_mul(*f as u64));
        let keys = self.key_value_heads * self.head_size();
        let terms = [
            product(&[self.vocabulary, self.width])?,
            product(&[2 * self.layers, self.width])?,
            product(&[2 * self.layers, self.width, self.width])?,
            product(&[2 * self.layers, keys, self.width])?,
            product(&[3 * self.layers, self.inner, self.width])?,
            self.width as u64,
            product(&[self.context, self.head_size()])?,
            if self.tied { 0 } else { product(&[self.vocabulary, self.width])? },
        ];
        terms.iter().try_fold(0_u64, |n, t| n.checked_add(*t))?.checked_mul(4)?.checked_add(HEADER)
    }
}

/// Reads the weights in file order.
struct Weights<'a> {
    file: &'a SizedFile,
    at: u64,
    sizes: Sizes,
    device: &'a Device,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights<'_> {
    fn read(mut self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let Sizes { width, inner, heads, key_value_heads, vocabulary, tied, .. } = self.sizes;
        let keys = key_value_heads * self.sizes.head_size();
        self.one("model.embed_tokens.weight", &[vocabulary, width], None)?;
        self.layers("input_layernorm.weight", &[width], None)?;
        self.layers("self_attn.q_proj.weight", &[width, width], Some(heads))?;
        self.layers("self_attn.k_proj.weight", &[keys, width], Some(key_value_heads))?;
        self.layers("self_attn.v_proj.weight", &[keys, width], None)?;
        self.layers("self_attn.o_proj.weight", &[width, width], None)?;
        self.layers("post_attention_layernorm.weight", &[width], None)?;
        self.layers("mlp.gate_proj.weight", &[inner, width], None)?;
        self.layers("mlp.down_proj.weight", &[width, inner], None)?;
        self.layers("mlp.up_proj.weight", &[inner, width], None)?;
        self.one("model.norm.weight", &[width], None)?;
        if !tied {
            self.at += 4 * self.sizes.legacy() as u64;
            self.one("lm_head.weight", &[vocabulary, width], None)?;
        }
        Ok(self.tensors)
    }

    fn layers(&mut self, name: &str, shape: &[usize], turned: Option<usize>) -> Result<(), ModelError> {
        (0..self.sizes.layers).try_for_each(|layer| self.one(&format!("model.layers.{layer}.{name}"), shape, turned))
    }

    /// Reads a tensor; `turned` is the number of heads if its rows have interleaved rotary pairs.
    fn one(&mut self, name: &str, shape: &[usize], turned: Option<usize>) -> Result<(), ModelError> {
        let count = shape.iter().product();
        let mut values = read_floats(self.file, self.at, count, Floats::F32)?;
        check_finite(self.file.path(), name, &values)?;
        if let Some(heads) = turned {
            values = rows::reorder(&values, shape[0], rows::halves(shape[0], heads));
        }
        self.at += 4 * count as u64;
        self.tensors.insert(name.to_owned(), from_host(values, shape, self.device)?);
        Ok(())
    }
}

/// Finds the tokenizer: the only `tok*.bin` in the model's folder.
fn tokenizer_beside(model: &Path) -> Result<Option<PathBuf>, ModelError> {
    let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|e| ModelError::io(folder, e))?;
    let is_tokenizer = |name: &str| {
        let is_bin = Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("bin"));
        name.starts_with("tok") && is_bin
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| is_tokenizer(&e.file_name().to_string_lossy()) && e.path() != model)
        .map(|e| e.path())
        .collect();
    found.sort();
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|p| p.display().to_string()).collect();
        let reason = format!("which tokenizer is this model's? Keep one beside it of: {}", names.join(", "));
        return Err(ModelError::format(model, reason));
    }
    Ok(found.pop())
}

/// Reads a `tok*.bin`: the length of the longest piece, then score, length and bytes of each.
fn read_tokenizer(path: &Path, n: usize) -> Result<Vocabulary, ModelError> {
    let file = SizedFile::open(path)?;
    let bytes = file.bytes(0, file.len())?;
    let error = |reason: String| ModelError::Tokenizer { path: path.to_path_buf(), reason };
    // Four bytes of the maximum length, eight per token.
    if n.checked_mul(8).is_none_or(|least| least + 4 > bytes.len()) || n < FIRST_TEXT {
        return Err(error(format!("{} bytes can't hold {n} tokens; a model needs at least {FIRST_TEXT}", bytes.len())));
    }
    let (pieces, scores) = pieces(&bytes[4..], n).map_err(error)?;
    let kind = |id| match id {
        0..3 => Kind::Control,
        3..FIRST_TEXT => Kind::Byte,
        _ => Kind::Normal,
    };
    let kinds: Vec<Kind> = (0..n).map(kind).collect();
    let parts = sentencepiece(&pieces, &kinds, &scores, Some(UNKNOWN), true);
    Ok(Vocabulary {
        parts: parts.map_err(|piece| error(format!("token `{piece}` comes twice")))?,
        pieces,
        kinds,
        bos: Some(START),
        eos: vec![END],
        unknown: Some(UNKNOWN),
        padding: None,
        add_bos: true,
        chat_template: None,
    })
}

/// The pieces of `n` tokens by id, and their scores.
fn pieces(mut rest: &[u8], n: usize) -> Result<(Vec<String>, Vec<f32>), String> {
    let (mut pieces, mut scores) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for id in 0..n {
        let (score, piece, after) = split_token(rest).ok_or_else(|| format!("truncated at token {id} of {n}"))?;
        let piece = std::str::from_utf8(piece).map_err(|_| format!("token {id} is not UTF-8"))?;
        if score.is_nan() {
            return Err(format!("the score of token {id} is not a number"));
        }
        pieces.push(match id as u32 {
            UNKNOWN => "<unk>".to_owned(),
            START => "<s>".to_owned(),
            END => "</s>".to_owned(),
            byte if id < FIRST_TEXT => format!("<0x{:02X}>", byte - 3),
            _ => piece.replace(' ', "▁"),
        });
        scores.push(score);
        rest = after;
    }
    if rest.is_empty() {
        return Ok((pieces, scores));
    }
    Err(format!("{} bytes after the last of {n} tokens; is it another model's?", rest.len()))
}

/// Splits off one token: its score, its bytes, the rest.
fn split_token(bytes: &[u8]) -> Option<(f32, &[u8], &[u8])> {
    let (score, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(i32::from_le_bytes(*len)).ok()?;
    let (piece, rest) = rest.split_at_checked(len)?;
    Some((f32::from_le_bytes(*score), piece, rest))
}
