//! A checked pair folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use mdp::diffusion::LatentShape;

use super::labels::{Judgements, Preference};
use super::types::{GeneratedPair, Modality, Side, StoredResult};
use super::{DIMENSIONS, HASHED, wire};
use crate::error::DatasetError;
use crate::formats;
use crate::images::decode::{Original, decode, read_file};
use crate::images::tensors::{TensorFile, channels_last};
use crate::images::{Pixels, Preparation};
use crate::record::{Answers, Message, Origin, PreferenceRecord, Prompt, Text};

/// A checked pair folder. Records are in memory; images and latents are read on access.
#[derive(Debug)]
pub struct PairFolder {
    path: PathBuf,
    id: String,
    modality: Modality,
    settings: Map<String, Value>,
    pairs: Vec<GeneratedPair<StoredResult>>,
    latents: Option<Latents>,
}

#[derive(Debug)]
struct Latents {
    file: TensorFile,
    shape: LatentShape,
}

impl PairFolder {
    /// Opens a folder and reads all of it once.
    ///
    /// The id of a folder written by [`PairWriter`](super::PairWriter) is recomputed, so later changes of a line, image
    /// or latent are detected; other ids are accepted as they are.
    ///
    /// # Errors
    /// A file is missing or malformed (the error names file, line and field), images or latents do not match the pairs,
    /// or the folder was changed after it was written.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let (file, bytes) = read(path, "pairs.json")?;
        let text = String::from_utf8(bytes).map_err(|error| DatasetError::Utf8 {
            origin: Origin::line(&file, 1),
            byte: error.utf8_error().valid_up_to(),
        })?;
        let header = wire::Header::parse(&file, &text)?;
        let (file, bytes) = read(path, "pairs.jsonl")?;
        let latents = header.modality.has_pictures().then(|| Latents::open(path, header.pairs)).transpose()?;
        let mut folder = Self {
            path: path.to_owned(),
            id: header.id,
            modality: header.modality,
            settings: header.settings,
            pairs: Vec::new(),
            latents,
        };
        let mut hash = ContentHash::default();
        for (origin, line) in wire::lines(&file, &bytes) {
            let index = folder.pairs.len();
            if index == header.pairs {
                return Err(wrong(&file, format!("has more than the {index} pairs of pairs.json")));
            }
            let value = wire::parse_line(&origin, line)?;
            folder.pairs.push(wire::parse_pair(&origin, &value, index, header.modality)?);
            hash.update(line);
            folder.check_pictures(&origin, index, &mut hash)?;
        }
        if folder.pairs.len() < header.pairs {
            let found = folder.pairs.len();
            return Err(wrong(&file, format!("has {found} pairs, and pairs.json says {}", header.pairs)));
        }
        if folder.pairs.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        if folder.id.starts_with(HASHED) && hash.finish(&text, &folder.id) != folder.id {
            let message = "was changed after it was written: its id does not fit its content any more";
            return Err(wrong(path, message.to_owned()));
        }
        Ok(folder)
    }

    /// Reads and checks the images and latents of a pair, and adds them to the hash.
    fn check_pictures(&self, origin: &Origin, index: usize, hash: &mut ContentHash) -> Result<(), DatasetError> {
        let Some(latents) = &self.latents else { return Ok(()) };
        for side in Side::BOTH {
            let Some(bytes) = self.image(index, side)? else { continue };
            decode(&bytes, Preparation::default()).map_err(|message| DatasetError::Image {
                origin: origin.clone(),
                name: self.image_name(index, side).to_owned(),
                message,
            })?;
            hash.update(&bytes);
            hash.update_numbers(&latents.file.row(side.name(), index)?);
        }
        Ok(())
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id that judgements refer to.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The modality of the pairs.
    pub fn modality(&self) -> Modality {
        self.modality
    }

    /// The origin of the pairs: models, fingerprints, sampler, temperature, seed.
    pub fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// Number of pairs; at least one.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no pairs; always false.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pair at an index.
    pub fn get(&self, index: usize) -> Option<&GeneratedPair<StoredResult>> {
        self.pairs.get(index)
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> &[GeneratedPair<StoredResult>] {
        &self.pairs
    }

    /// The shape of each latent, if the sides are images.
    pub fn latent_shape(&self) -> Option<LatentShape> {
        self.latents.as_ref().map(|latents| latents.shape)
    }

    /// The generator's output in the order height, width, channel; `None` for texts.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn latent(&self, index: usize, side: Side) -> Result<Option<Vec<f32>>, DatasetError> {
        self.check_index(index)?;
        let Some(latents) = &self.latents else { return Ok(None) };
        let row = latents.file.row(side.name(), index)?;
        Ok(Some(channels_last(&row, latents.shape.channels)))
    }

    /// The bytes of a side's PNG; `None` for texts.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn image(&self, index: usize, side: Side) -> Result<Option<Vec<u8>>, DatasetError> {
        self.check_index(index)?;
        if !self.modality.has_pictures() {
            return Ok(None);
        }
        let name = self.image_name(index, side);
        read_file(&self.path.join(name)).map(Some).map_err(|message| self.bad_image(index, side, message))
    }

    /// A side's image; `None` for texts.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn pixels(&self, index: usize, side: Side) -> Result<Option<Pixels>, DatasetError> {
        Ok(self.original(index, side, Preparation::default())?.map(|original| original.pixels()))
    }

    /// A side's image as the input of CLIP's image processor, a square of `size` pixels; `None` for texts.
    ///
    /// # Errors
    /// The index is out of range, or the file can't be read.
    pub fn clip_square(&self, index: usize, side: Side, size: usize) -> Result<Option<Pixels>, DatasetError> {
        Ok(self.original(index, side, Preparation::CLIP)?.map(|original| original.square(size)))
    }

    fn original(&self, index: usize, side: Side, preparation: Preparation) -> Result<Option<Original>, DatasetError> {
        let Some(bytes) = self.image(index, side)? else { return Ok(None) };
        decode(&bytes, preparation).map(Some).map_err(|message| self.bad_image(index, side, message))
    }

    fn bad_image(&self, index: usize, side: Side, message: String) -> DatasetError {
        DatasetError::Image { origin: self.origin(index), name: self.image_name(index, side).to_owned(), message }
    }

    /// The judgements in the folder; empty if there is no file.
    ///
    /// # Errors
    /// The file is malformed, other than by a truncated last line, or belongs to other pairs.
    pub fn labels(&self) -> Result<Judgements, DatasetError> {
        Judgements::read(&self.labels_path(), &self.id, self.len())
    }

    /// Converts judged text pairs to records, the better answer first. A tie is a record with a preference of 0.5.
    ///
    /// A request that is a JSON list of chat messages, or an object with them in `prompt` (as `sample` writes chats),
    /// becomes a chat again.
    ///
    /// # Errors
    /// The sides are images, or a request is a malformed chat.
    pub fn records(&self, preferences: &[Preference]) -> Result<Vec<PreferenceRecord>, DatasetError> {
        let response = |index: usize, side: Side| match self.pairs.get(index).map(|pair| &pair.side(side).made) {
            Some(StoredResult::Response(text)) => Ok(text.as_str()),
            Some(StoredResult::Image(_)) | None => Err(wrong(&self.path, format!("pair {index} has no texts"))),
        };
        let record = |preference: &Preference| {
            let (index, [better, worse]) = (preference.index, preference.order());
            let (chosen, rejected) = (response(index, better)?, response(index, worse)?);
            let Prompt { text, variables } = self.prompt(index)?;
            let said = |answer: &str| match text {
                Text::Chat(_) => Text::Chat(vec![Message::new("assistant", answer)]),
                Text::Plain(_) => Text::from(answer),
            };
            let answers = Answers::Pair { chosen: said(chosen), rejected: said(rejected) };
            Ok(PreferenceRecord {
                is_tied: preference.a_is_better == 0.5,
                preference: preference.strength(),
                variables,
                ..PreferenceRecord::new(self.origin(index), text, answers)
            })
        };
        preferences.iter().map(record).collect()
    }

    /// The prompt of a text pair: the plain request, or the chat it encodes.
    fn prompt(&self, index: usize) -> Result<Prompt, DatasetError> {
        let request = &self.pairs[index].request;
        match formats::messages::embedded(request) {
            Some(record) => formats::prompt(&self.origin(index), &record).map(|asked| asked.prompt),
            None => Ok(Text::from(request.as_str()).into()),
        }
    }

    pub(super) fn labels_path(&self) -> PathBuf {
        self.path.join("labels.jsonl")
    }

    fn image_name(&self, index: usize, side: Side) -> &str {
        match self.pairs.get(index).map(|pair| &pair.side(side).made) {
            Some(StoredResult::Image(name)) => name,
            Some(StoredResult::Response(_)) | None => "",
        }
    }

    fn origin(&self, index: usize) -> Origin {
        Origin::line(&Arc::from(self.path.join("pairs.jsonl")), index as u64 + 1)
    }

    fn check_index(&self, index: usize) -> Result<(), DatasetError> {
        let len = self.len();
        if index < len { Ok(()) } else { Err(DatasetError::OutOfRange { index, len }) }
    }
}

impl Latents {
    fn open(folder: &Path, pairs: usize) -> Result<Self, DatasetError> {
        let file = TensorFile::open(&folder.join("latents.safetensors"))?;
        let shape = file.expect("a", DIMENSIONS)?.to_vec();
        let other = file.expect("b", DIMENSIONS)?;
        if other != shape {
            return Err(file.error(format!("is wrong: tensor `b` is {other:?}, `a` is {shape:?}")));
        }
        if shape[0] != pairs {
            return Err(file.error(format!("has latents of {} pairs, and pairs.json says {pairs}", shape[0])));
        }
        Ok(Self { shape: LatentShape { channels: shape[1], height: shape[2], width: shape[3] }, file })
    }
}

/// The hash of a folder's contents: for each pair its line, PNGs and latents; then `pairs.json` without the id. Each
/// part is preceded by its length, so different contents give different input.
#[derive(Debug, Default)]
pub(super) struct ContentHash(blake3::Hasher);

impl ContentHash {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    pub(super) fn update_numbers(&mut self, numbers: &[f32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.update(&bytes);
    }

    /// The id, from the text of `pairs.json` and the id in it (which may be empty).
    pub(super) fn finish(mut self, header: &str, id: &str) -> String {
        let without = if id.is_empty() { header.to_owned() } else { header.replacen(id, "", 1) };
        self.update(without.as_bytes());
        format!("{HASHED}{}", self.0.finalize().to_hex())
    }
}

fn read(folder: &Path, name: &str) -> Result<(Arc<Path>, Vec<u8>), DatasetError> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok((Arc::from(path), bytes)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
            Err(wrong(folder, format!("is no folder of pairs: it has no {name}")))
        }
        Err(source) => Err(DatasetError::Io { path, source }),
    }
}

fn wrong(path: &Path, message: String) -> DatasetError {
    DatasetError::Pairs { path: path.to_owned(), message }
}
