//! Tokenizer classes of transformers 5, applied to a `tokenizer.json`.

use serde_json::{Value, json};

use crate::causal::{FAMILIES, FamilyTokenizer};

/// A tokenizer class of transformers 5, as far as it affects the supported families.
///
/// Most classes use `tokenizer.json` unchanged. Those with their own constructor use only its vocabulary, merges and
/// post-processor, and define pre-tokenisation themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    /// `TokenizersBackend`: the file unchanged.
    AsIs,
    Llama,
    Gpt2,
    GptNeoX,
    Qwen2,
    Gemma,
    /// The class of text encoders, whatever their files declare.
    Clip,
    /// An unsupported class with its own constructor; the file is used unchanged, with a note.
    Foreign(String),
}

/// Classes of other architectures with their own pre-tokenisation in transformers 5.23, aliases included: those with a
/// constructor that starts from a `tokenizer.json`, and those that read bytes or letters.
const FOREIGN: [&str; 62] = [
    "AlbertTokenizer",
    "BartTokenizer",
    "BarthezTokenizer",
    "BertTokenizer",
    "BigBirdTokenizer",
    "BlenderbotTokenizer",
    "ByT5Tokenizer",
    "CLIPTokenizer",
    "CamembertTokenizer",
    "CanineTokenizer",
    "CodeGenTokenizer",
    "CodeLlamaTokenizer",
    "CohereTokenizer",
    "ConvBertTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRReaderTokenizer",
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "EsmcTokenizer",
    "FNetTokenizer",
    "FunnelTokenizer",
    "HerbertTokenizer",
    "LEDTokenizer",
    "LasrTokenizer",
    "LayoutLMv2Tokenizer",
    "LayoutLMv3Tokenizer",
    "LayoutXLMTokenizer",
    "LongformerTokenizer",
    "LukeTokenizer",
    "LxmertTokenizer",
    "MBart50Tokenizer",
    "MBartTokenizer",
    "MLukeTokenizer",
    "MPNetTokenizer",
    "MarkupLMTokenizer",
    "MobileBertTokenizer",
    "MvpTokenizer",
    "NllbTokenizer",
    "NougatTokenizer",
    "OpenAIGPTTokenizer",
    "PegasusTokenizer",
    "PerceiverTokenizer",
    "Qwen3_5Tokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "RoFormerTokenizer",
    "RobertaTokenizer",
    "SeamlessM4TTokenizer",
    "Siglip2Tokenizer",
    "SplinterTokenizer",
    "SqueezeBertTokenizer",
    "T5Tokenizer",
    "Tipsv2Tokenizer",
    "UdopTokenizer",
    "VideoPrismTokenizer",
    "WhisperTokenizer",
    "XGLMTokenizer",
    "XLMRobertaTokenizer",
    "XLNetTokenizer",
];

impl TokenizerClass {
    /// Whether the class uses a tokenizer's file unchanged.
    pub(super) fn keeps_file(&self) -> bool {
        matches!(self, Self::AsIs | Self::Foreign(_))
    }

    /// The class that `AutoTokenizer` chooses for a model of this `model_type` whose files declare `declared`.
    pub(super) fn choose(model_type: &str, declared: Option<&str>, is_byte_level: bool) -> Self {
        let family = FAMILIES.iter().find(|(family, _)| family.model_type() == model_type);
        let declared = match family.map_or(FamilyTokenizer::Declared, |(family, _)| family.tokenizer) {
            FamilyTokenizer::Declared => declared,
            FamilyTokenizer::Or(name) => declared.or(Some(name)),
            FamilyTokenizer::Always(name) => Some(name),
            FamilyTokenizer::Unchanged => None,
        };
        match declared.map(|name| name.strip_suffix("Fast").unwrap_or(name)) {
            // Llama 3's files name Llama's class beside a byte-level tokenizer.
            Some("LlamaTokenizer") if !is_byte_level => Self::Llama,
            // An alias of the class, to which that correction does not apply.
            Some("Phi3Tokenizer") => Self::Llama,
            Some("GPT2Tokenizer") => Self::Gpt2,
            Some("GPTNeoXTokenizer") => Self::GptNeoX,
            Some("Qwen2Tokenizer") => Self::Qwen2,
            Some("GemmaTokenizer") => Self::Gemma,
            Some(name) if FOREIGN.contains(&name) => Self::Foreign(name.to_owned()),
            _ => Self::AsIs,
        }
    }

    /// The class's default special tokens, used where the files name none.
    pub(super) fn default_tokens(&self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::AsIs | Self::Foreign(_) => &[],
            Self::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Self::Gpt2 => &[("unk_token", END), ("bos_token", END), ("eos_token", END)],
            Self::GptNeoX => {
                &[("unk_token", END), ("bos_token", END), ("eos_token", END), ("pad_token", "<|padding|>")]
            }
            Self::Qwen2 => &[("unk_token", END), ("eos_token", END), ("pad_token", END)],
            Self::Gemma => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Clip => {
                &[("unk_token", END), ("bos_token", "<|startoftext|>"), ("eos_token", END), ("pad_token", END)]
            }
        }
    }

    /// Rewrites a `tokenizer.json` as the class would build it; `settings` is `tokenizer_config.json`. Added tokens are
    /// removed: the class adds them again.
    pub(super) fn rebuild(&self, file: &mut Value, settings: &Value) {
        let prefix = settings["add_prefix_space"].as_bool();
        let byte_level = |add_prefix: bool, use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": add_prefix, "trim_offsets": true, "use_regex": use_regex });
        let bytes = byte_level(true, true);
        let (model, normalizer, pre_tokenizer, decoder) = match self {
            Self::AsIs | Self::Foreign(_) => return,
            Self::Llama => {
                let model = json!({ "type": "BPE", "fuse_unk": true, "byte_fallback": true });
                let decoder = llama_decoder(prefix.unwrap_or(true));
                (model, Value::Null, metaspace(prefix.unwrap_or(true), settings), decoder)
            }
            Self::Gpt2 | Self::GptNeoX => {
                let empty = json!({ "type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "" });
                let composed = if *self == Self::GptNeoX { json!({ "type": "NFC" }) } else { Value::Null };
                (empty, composed, byte_level(prefix.unwrap_or(false), true), bytes)
            }
            Self::Qwen2 => {
                let empty = json!({ "type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "" });
                let split = json!({ "type": "Split", "pattern": { "Regex": qwen2_pattern() },
                    "behavior": "Isolated", "invert": false });
                let steps = json!([split, byte_level(prefix.unwrap_or(false), false)]);
                (empty, json!({ "type": "NFC" }), json!({ "type": "Sequence", "pretokenizers": steps }), bytes)
            }
            Self::Gemma => gemma(settings),
            Self::Clip => {
                let words = json!({ "type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>" });
                let split = json!({ "type": "Split", "pattern": { "Regex": CLIP_PATTERN },
                    "behavior": "Removed", "invert": true });
                let steps = json!([split, byte_level(false, true)]);
                (words, clip_normalizer(), json!({ "type": "Sequence", "pretokenizers": steps }), bytes)
            }
        };
        self.replace(file, [model, normalizer, pre_tokenizer, decoder]);
    }

    /// Puts the class's components around a file's vocabulary and merges.
    fn replace(&self, file: &mut Value, [model, normalizer, pre_tokenizer, decoder]: [Value; 4]) {
        let vocabulary = ids(file["model"]["vocab"].take());
        let merges = match file["model"]["merges"].take() {
            Value::Array(merges) => Value::Array(merges),
            _ => json!([]),
        };
        file["model"] = model;
        file["model"]["vocab"] = vocabulary;
        file["model"]["merges"] = merges;
        file["normalizer"] = normalizer;
        file["pre_tokenizer"] = pre_tokenizer;
        file["decoder"] = decoder;
        file["added_tokens"] = json!([]);
        if matches!(self, Self::GptNeoX | Self::Clip) {
            // The class rebuilds its post-processor, and the settings that could add BOS or EOS to it are dropped if
            // there is a tokenizer.json.
            file["post_processor"] = Value::Null;
        }
    }
}

/// A vocabulary as ids by piece; a list has pieces in id order, with or without scores.
fn ids(vocabulary: Value) -> Value {
    let Value::Array(list) = vocabulary else { return vocabulary };
    let piece = |entry: Value| match entry {
        Value::Array(mut pair) if !pair.is_empty() => pair.swap_remove(0),
        other => other,
    };
    let pieces = list.into_iter().map(piece).enumerate();
    pieces.filter_map(|(id, piece)| Some((piece.as_str()?.to_owned(), json!(id)))).collect()
}

/// Gemma's model, normalizer, pre-tokenisation and decoder.
fn gemma(settings: &Value) -> (Value, Value, Value, Value) {
    let unknown = &settings["unk_token"];
    let unknown = unknown.as_str().or_else(|| unknown["content"].as_str()).unwrap_or("<unk>");
    let model = json!({ "type": "BPE", "fuse_unk": true, "byte_fallback": true, "unk_token": unknown });
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let split =
        json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false });
    (model, spaces, split, llama_decoder(false))
}

/// Llama's handling of spaces: one is prepended to the text, or to every part between special tokens.
fn metaspace(add_prefix: bool, settings: &Value) -> Value {
    let scheme = match (add_prefix, settings["legacy"].as_bool()) {
        (false, _) => "never",
        (true, Some(true)) => "always",
        (true, _) => "first",
    };
    json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false })
}

fn llama_decoder(add_prefix: bool) -> Value {
    let mut steps = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if add_prefix {
        steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": steps })
}

/// CLIP's pre-tokenisation.
const CLIP_PATTERN: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

fn clip_normalizer() -> Value {
    json!({ "type": "Sequence", "normalizers": [
        { "type": "NFC" },
        { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
        { "type": "Lowercase" },
    ] })
}

/// Qwen2's pre-tokenisation: contractions, letters with an optional preceding mark, single digits, punctuation, line
/// ends, spaces.
fn qwen2_pattern() -> String {
    let parts = [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ];
    parts.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The choices of `AutoTokenizer` of transformers 5.23, model by model and class by class.
    #[test]
    fn the_class_is_the_one_that_transformers_takes() {
        let choose = |model: &str, class: &str, is_byte_level| {
            TokenizerClass::choose(model, Some(class).filter(|class| !class.is_empty()), is_byte_level)
        };
        for (model, class, is_byte_level, expected) in [
            ("llama", "", false, TokenizerClass::AsIs),
            ("llama", "PreTrainedTokenizerFast", false, TokenizerClass::AsIs),
            ("llama", "LlamaTokenizerFast", true, TokenizerClass::AsIs),
            ("llama", "LlamaTokenizerFast", false, TokenizerClass::Llama),
            ("llama", "GPT2TokenizerFast", true, TokenizerClass::Gpt2),
            ("llama", "NoSuchTokenizer", false, TokenizerClass::AsIs),
            ("llama", "Phi3Tokenizer", true, TokenizerClass::Llama),
            ("llama", "BartTokenizerFast", true, TokenizerClass::Foreign("BartTokenizer".to_owned())),
            ("llama", "CodeLlamaTokenizer", false, TokenizerClass::Foreign("CodeLlamaTokenizer".to_owned())),
            ("gpt2", "", true, TokenizerClass::Gpt2),
            ("gpt2", "PreTrainedTokenizerFast", true, TokenizerClass::AsIs),
            ("gpt_neox", "", true, TokenizerClass::GptNeoX),
            ("gpt_neox", "TokenizersBackend", true, TokenizerClass::AsIs),
            ("gpt_neox", "LlamaTokenizer", false, TokenizerClass::Llama),
            ("qwen2", "PreTrainedTokenizerFast", true, TokenizerClass::Qwen2),
            ("qwen2", "LlamaTokenizer", false, TokenizerClass::Qwen2),
            ("qwen3", "", true, TokenizerClass::Qwen2),
            ("qwen3", "PreTrainedTokenizerFast", true, TokenizerClass::AsIs),
            ("gemma2", "", false, TokenizerClass::Gemma),
            ("gemma3_text", "GemmaTokenizerFast", false, TokenizerClass::Gemma),
            ("mistral", "LlamaTokenizer", false, TokenizerClass::AsIs),
            ("phi3", "LlamaTokenizerFast", false, TokenizerClass::AsIs),
            ("olmo2", "GPT2Tokenizer", true, TokenizerClass::AsIs),
            ("smollm3", "GPT2Tokenizer", true, TokenizerClass::Gpt2),
        ] {
            assert_eq!(choose(model, class, is_byte_level), expected, "{model} {class} {is_byte_level}");
        }
    }
}
