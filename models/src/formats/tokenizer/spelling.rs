//! Decoding of vocabulary pieces to bytes.

use serde_json::Value;

/// The byte encoding of a vocabulary's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's: every byte has a printable character.
    ByteLevel,
    /// SentencePiece's: `▁` is a space, `<0xNN>` a byte; whether the first space of a text is dropped.
    Pieces { drop_first_space: bool },
    /// Neither: only the decoder's text is known.
    Text,
}

impl Spelling {
    /// Detects the encoding from the `decoder` of a `tokenizer.json`.
    pub(super) fn of_decoder(decoder: &Value) -> Self {
        let steps: Vec<&Value> = match decoder["decoders"].as_array() {
            Some(steps) => steps.iter().collect(),
            None => vec![decoder],
        };
        let has = |kind: &str| steps.iter().any(|s| s["type"] == kind);
        let metaspace = steps.iter().find(|s| s["type"] == "Metaspace");
        if has("ByteLevel") {
            Self::ByteLevel
        } else if has("ByteFallback") {
            let prepended = metaspace.is_some_and(|m| m["prepend_scheme"] != "never");
            Self::Pieces { drop_first_space: prepended || has("Strip") }
        } else {
            Self::Text
        }
    }

    /// Appends the bytes of a piece.
    pub(super) fn spell(self, piece: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => spell_byte_level(piece, bytes),
            Self::Pieces { .. } => spell_piece(piece, bytes),
            Self::Text => bytes.extend_from_slice(piece.as_bytes()),
        }
    }
}

/// Appends the bytes of a byte-level piece.
fn spell_byte_level(piece: &str, bytes: &mut Vec<u8>) {
    for c in piece.chars() {
        match byte_of_char(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The byte of a character in GPT-2's byte-level alphabet.
///
/// Printable bytes map to themselves; the 68 others, in order, to the characters from U+0100 on.
fn byte_of_char(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        code @ 0..=0xFF => Some(code as u8).filter(|b| printable(*b)),
        code => (0..=u8::MAX).filter(|b| !printable(*b)).nth(code as usize - 0x100),
    }
}

/// Appends the bytes of a SentencePiece piece.
fn spell_piece(piece: &str, bytes: &mut Vec<u8>) {
    let byte = piece.strip_prefix("<0x").and_then(|p| p.strip_suffix('>')).filter(|hex| hex.len() == 2);
    match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => bytes.push(byte),
        None => bytes.extend_from_slice(piece.replace('▁', " ").as_bytes()),
    }
}
