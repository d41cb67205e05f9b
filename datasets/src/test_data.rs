//! Test files and tokenisers.
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use tokenizers::Tokenizer;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// `prompt`, `chosen`, `rejected` as strings, three rows per row group.
pub(crate) fn parquet_pairs(n_rows: usize) -> Vec<u8> {
    let schema =
        "message pairs { required binary prompt (UTF8); required binary chosen (UTF8); optional binary rejected; }";
    let rows: Vec<usize> = (0..n_rows).collect();
    write(schema, |writer| {
        for rows in rows.chunks(3) {
            let mut group = writer.next_row_group().unwrap();
            for (name, is_optional) in [("prompt", false), (" good", false), (" bad", true)] {
                let values: Vec<ByteArray> = rows.iter().map(|row| format!("{name} {row}").as_str().into()).collect();
                let levels = vec![1; rows.len()];
                let mut column = group.next_column().unwrap().unwrap();
                let levels = is_optional.then_some(&levels[..]);
                column.typed::<ByteArrayType>().write_batch(&values, levels, None).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
    })
}

/// One row of two chats of two messages each, and their scores.
pub(crate) fn parquet_chats() -> Vec<u8> {
    let side = |name: &str| {
        format!(
            "optional group {name} (LIST) {{ repeated group list {{ optional group element {{ \
             optional binary content (UTF8); optional binary role (UTF8); }} }} }}"
        )
    };
    let scores = "optional double score_chosen; optional double score_rejected;";
    let schema = format!("message chats {{ {} {} {scores} }}", side("chosen"), side("rejected"));
    write(&schema, |writer| {
        let mut group = writer.next_row_group().unwrap();
        for values in [["q", "yes"], ["user", "assistant"], ["q", "no"], ["user", "assistant"]] {
            let values = values.map(ByteArray::from);
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&[4, 4]), Some(&[0, 1])).unwrap();
            column.close().unwrap();
        }
        for score in [4.5, 1.0] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(&[score], Some(&[1]), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    })
}

pub(crate) fn write(schema: &str, fill: impl FnOnce(&mut SerializedFileWriter<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).unwrap();
    fill(&mut writer);
    writer.close().unwrap();
    bytes
}

/// The test tokeniser's EOS.
pub(crate) const EOS: u32 = 0;
/// The test tokeniser's BOS.
pub(crate) const BOS: u32 = 1;

/// A tokeniser with one token per letter, except for the merges "ab" and "b "; there is no pre-tokenisation, so merges
/// cross any border. Letters `a` to `z` have the ids from 3 on.
pub(crate) fn tokenizer() -> Tokenizer {
    let letters = ('a'..='z').chain([' ', ':', '\n', '<', '>', '|', '.']).map(String::from);
    let tokens =
        ["</s>", "<s>", "?"].map(String::from).into_iter().chain(letters).chain(["ab", "b "].map(String::from));
    let vocabulary: serde_json::Map<_, _> = tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let special = |id, content| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    };
    let file = json!({
        "version": "1.0",
        // What a tokeniser's file says about these must not be used.
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "</s>"},
        "added_tokens": [special(EOS, "</s>"), special(BOS, "<s>")],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
            "merges": [["a", "b"], ["b", " "]]},
    });
    file.to_string().parse().unwrap()
}
