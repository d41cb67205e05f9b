//! Tokenizers with their settings.

use models::formats::{Extras, ModelTokenizer};

use super::{scene, told};

const NAMES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];

const TEXTS: [&str; 6] =
    ["", "a dog, it's 12 345\n\n of  it", "<s>a</s>", "naïve 日本 👍🏽\u{0}\u{feff}", "\r\n\t ", "ﬁ Ⅳ İ"];

/// The files of a tokenizer: it encodes any text, and decodes what it has encoded.
pub(crate) fn folder(input: &[u8]) -> Result<(), String> {
    let base: [(&str, &[u8]); 1] = [("tokenizer.json", include_bytes!("../golden/datasets/tokenizer.json"))];
    let folder = scene::folder(input, &base, &NAMES);
    let extras = Extras::read(folder.path()).map_err(told)?;
    let found = ModelTokenizer::of_its_own(folder.path(), &extras, None).map_err(told)?;
    let tokenizer = found.ok_or("no tokenizer")?;
    for text in TEXTS {
        let ids = tokenizer.encode(text).map_err(told)?;
        assert_eq!(ids, tokenizer.encode(text).map_err(told)?, "{text:?} twice");
        tokenizer.decode(&ids).map_err(told)?;
        tokenizer.decode_bytes(&ids).map_err(told)?;
        for id in ids {
            assert!(tokenizer.piece(id).is_some(), "{text:?} becomes {id}, which is no token");
        }
    }
    let _ = (tokenizer.chat_template(true), tokenizer.n_tokens(), tokenizer.decode(&[0, u32::MAX]));
    Ok(())
}
