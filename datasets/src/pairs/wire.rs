//! Serialisation of `pairs.jsonl` and `pairs.json`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::types::{GeneratedPair, GeneratedResult, Modality, Refined, StoredResult};
use super::{FORMAT, VERSION};
use crate::error::DatasetError;
use crate::formats::fields::Fields;
use crate::record::Origin;

/// Parses one line as JSON.
pub(super) fn parse_line(origin: &Origin, line: &[u8]) -> Result<Value, DatasetError> {
    let text = std::str::from_utf8(line)
        .map_err(|error| DatasetError::Utf8 { origin: origin.clone(), byte: error.valid_up_to() })?;
    serde_json::from_str(text).map_err(|error| DatasetError::Json {
        origin: origin.clone(),
        column: error.column(),
        message: error.to_string(),
    })
}

/// The lines of a file with their locations; the last line may lack its line break.
pub(super) fn lines<'a>(file: &Arc<Path>, bytes: &'a [u8]) -> impl Iterator<Item = (Origin, &'a [u8])> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = (!bytes.is_empty()).then(|| whole.split(|byte| *byte == b'\n'));
    let file = Arc::clone(file);
    (1..).zip(lines.into_iter().flatten()).map(move |(number, line)| (Origin::line(&file, number), line))
}

/// The contents of `pairs.json`.
pub(super) struct Header {
    pub(super) id: String,
    pub(super) modality: Modality,
    pub(super) pairs: usize,
    pub(super) settings: Map<String, Value>,
}

impl Header {
    pub(super) fn to_text(&self) -> String {
        let value = json!({
            "format": FORMAT,
            "version": VERSION,
            "id": self.id,
            "modality": self.modality.name(),
            "pairs": self.pairs,
            "settings": self.settings,
        });
        format!("{value:#}\n")
    }

    pub(super) fn parse(file: &Arc<Path>, text: &str) -> Result<Self, DatasetError> {
        let value: Value = serde_json::from_str(text).map_err(|error| DatasetError::Json {
            origin: Origin::line(file, error.line() as u64),
            column: error.column(),
            message: error.to_string(),
        })?;
        let origin = Origin::line(file, 1);
        let fields = Fields::new(&origin, &value)?;
        let wrong = |field, expected| Err(fields.wrong(field, expected, fields.required(field)?));
        if fields.string("format")? != FORMAT {
            return wrong("format", "\"hybrid-dpo pairs\"");
        }
        if fields.count("version")? != VERSION {
            return wrong("version", "1, the only one there is");
        }
        let id = fields.string("id")?;
        if id.trim().is_empty() {
            return wrong("id", "a name of these pairs");
        }
        let name = fields.string("modality")?;
        let Some(modality) = Modality::ALL.into_iter().find(|modality| modality.name() == name) else {
            return wrong("modality", "token, diffusion or hybrid");
        };
        let pairs = fields.count("pairs")? as usize;
        let Value::Object(settings) = fields.required("settings")? else {
            return wrong("settings", "an object");
        };
        Ok(Self { id: id.to_owned(), modality, pairs, settings: settings.clone() })
    }
}

/// Formats a line of `pairs.jsonl`, without its line break.
pub(super) fn pair_line(index: usize, pair: &GeneratedPair<StoredResult>) -> String {
    json!({"index": index, "request": pair.request, "a": candidate(&pair.a), "b": candidate(&pair.b)}).to_string()
}

fn candidate(candidate: &GeneratedResult<StoredResult>) -> Value {
    let mut map = Map::new();
    if let Some(refined) = &candidate.refined {
        map.insert("refined".into(), json!(refined.text));
        map.insert("refined_tokens".into(), json!(refined.tokens));
        map.insert("null_refiner".into(), json!(refined.is_null));
    }
    match &candidate.made {
        StoredResult::Response(text) => map.insert("response".into(), json!(text)),
        StoredResult::Image(name) => map.insert("image".into(), json!(name)),
    };
    map.insert("seed".into(), json!(candidate.seed));
    if let Some(log_probs) = &candidate.log_probs {
        map.insert("log_probs".into(), json!(log_probs));
    }
    Value::Object(map)
}

/// Parses the pair of a line, which must have index `index`.
pub(super) fn parse_pair(
    origin: &Origin,
    value: &Value,
    index: usize,
    modality: Modality,
) -> Result<GeneratedPair<StoredResult>, DatasetError> {
    let fields = Fields::new(origin, value)?;
    if fields.count("index")? != index as u64 {
        return Err(fields.wrong("index", "the number of its line, from 0", fields.required("index")?));
    }
    let request = fields.string("request")?.to_owned();
    let a = parse_candidate(&fields.object("a", "a.")?, &request, modality)?;
    let b = parse_candidate(&fields.object("b", "b.")?, &request, modality)?;
    Ok(GeneratedPair { request, a, b })
}

fn parse_candidate(
    fields: &Fields<'_>,
    request: &str,
    modality: Modality,
) -> Result<GeneratedResult<StoredResult>, DatasetError> {
    if let Some(own) = fields.optional("request").filter(|own| own.as_str() != Some(request)) {
        return Err(fields.wrong("request", "the pair's, if it is there: both sides answer one request", own));
    }
    let absent = |names: &[&str], expected| match names.iter().find_map(|name| Some((*name, fields.optional(name)?))) {
        Some((name, value)) => Err(fields.wrong(name, expected, value)),
        None => Ok(()),
    };
    let refined = if modality == Modality::Hybrid {
        Some(parse_refined(fields, request)?)
    } else {
        absent(&["refined", "refined_tokens"], "absent: only hybrid pairs have refined prompts")?;
        None
    };
    let made = if modality.has_pictures() {
        absent(&["response"], "absent: the sides of these pairs are pictures")?;
        StoredResult::Image(parse_image(fields)?)
    } else {
        absent(&["image"], "absent: the sides of these pairs are texts")?;
        StoredResult::Response(fields.string("response")?.to_owned())
    };
    let log_probs = fields.optional("log_probs").map(|_| numbers(fields, "log_probs")).transpose()?;
    Ok(GeneratedResult { refined, made, seed: fields.count("seed")?, log_probs })
}

fn parse_refined(fields: &Fields<'_>, request: &str) -> Result<Refined, DatasetError> {
    let text = fields.string("refined")?.to_owned();
    let token = |value: &Value| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.ok_or_else(|| fields.wrong("refined_tokens", "a list of token numbers", value))
    };
    let tokens = fields.array("refined_tokens")?.iter().map(token).collect::<Result<Vec<u32>, _>>()?;
    let is_null = fields.switch("null_refiner")?;
    if is_null && text != request {
        return Err(fields.wrong("refined", "the request, because no refiner was asked", fields.required("refined")?));
    }
    if !is_null && tokens.is_empty() {
        let expected = "at least one token, unless null_refiner is true";
        return Err(fields.wrong("refined_tokens", expected, fields.required("refined_tokens")?));
    }
    Ok(Refined { text, tokens, is_null })
}

/// Parses an image's file name, which must lie directly in `images`, so that no line can refer outside the folder.
fn parse_image(fields: &Fields<'_>) -> Result<String, DatasetError> {
    let name = fields.string("image")?;
    let inside = name.strip_prefix("images/").unwrap_or_default();
    let is_plain = !inside.is_empty() && !inside.starts_with('.') && !inside.contains(['/', '\\', ':', '\0']);
    if is_plain && std::path::Path::new(inside).extension().is_some_and(|extension| extension == "png") {
        return Ok(name.to_owned());
    }
    Err(fields.wrong("image", "images/NAME.png", fields.required("image")?))
}

fn numbers(fields: &Fields<'_>, name: &str) -> Result<Vec<f64>, DatasetError> {
    let number = |value: &Value| value.as_f64().ok_or_else(|| fields.wrong(name, "a list of numbers", value));
    fields.array(name)?.iter().map(number).collect()
}
