//! Text data sets: checked, tokenised examples by position.
mod cache;
mod joined;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::audit::Audit;
use crate::disk_buffer::{Offset, Spool, SpoolWriter};
use crate::error::DatasetError;
use crate::example::Example;
use crate::formats::{Format, has_conversations};
use crate::holdout::{self, PromptHash};
use crate::record::{Message, PreferenceRecord, Text};
use crate::records::{ReadOptions, Records, note, records};
use crate::skipped::{OnBad, Skipped};
use crate::tokenise::{Observation, Tokenise};
use crate::truncation::Truncation;

pub use self::cache::TokenCache;
pub use self::joined::Joined;

/// Number of records tokenised in parallel.
const CHUNK: usize = 256;

/// Checked, tokenised examples by position. Cloning is cheap.
///
/// The tokens are kept in a temporary file (in memory while small), so the data set takes sixteen bytes of memory per
/// example, and later changes of the input file have no effect.
#[derive(Clone, Debug)]
pub struct Dataset {
    spool: Arc<Spool>,
    entries: Arc<[Entry]>,
    audit: Arc<Audit>,
    fingerprint: blake3::Hash,
}

/// The in-memory index entry of an example.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The position of its tokens.
    offset: Offset,
    prompt: PromptHash,
}

/// Reads a file or a folder of shards: parses, checks and tokenises every record.
///
/// # Errors
/// The file is malformed, a record is (unless `reading` skips those), or nothing is left.
pub fn open(path: &Path, reading: ReadOptions, tokenise: &Tokenise) -> Result<Dataset, DatasetError> {
    read(path, reading, tokenise, None)
}

/// What goes with the opening of a data set.
#[derive(Default)]
pub struct Opening<'o> {
    /// Tokens of earlier openings are read from here, new ones written.
    pub cache: Option<&'o TokenCache>,
    /// Hears the number of records read so far.
    pub progress: Option<&'o mut dyn FnMut(usize)>,
}

impl std::fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// A data set, and what became of the cache.
#[derive(Debug)]
pub struct Opened {
    /// The data set.
    pub data: Dataset,
    /// Whether its tokens were in the cache.
    pub is_from_cache: bool,
    /// Why its tokens are not in the cache now, if that failed: no reason to fail.
    pub unwritten: Option<std::io::Error>,
}

/// As [`open`], with a cache and progress.
///
/// # Errors
/// As [`open`].
pub fn open_with<'a>(
    path: &Path,
    reading: ReadOptions,
    tokenise: &'a Tokenise,
    opening: Opening<'a>,
) -> Result<Opened, DatasetError> {
    let entry = opening.cache.map(|cache| cache.entry(path, &reading, tokenise)).transpose()?.flatten();
    if let Some(data) = entry.as_ref().and_then(cache::CacheEntry::load) {
        return Ok(Opened { data, is_from_cache: true, unwritten: None });
    }
    let data = read(path, reading, tokenise, opening.progress)?;
    let unwritten = entry.and_then(|entry| entry.save(&data).err());
    Ok(Opened { data, is_from_cache: false, unwritten })
}

fn read<'a>(
    path: &Path,
    reading: ReadOptions,
    tokenise: &'a Tokenise,
    progress: Option<&'a mut dyn FnMut(usize)>,
) -> Result<Dataset, DatasetError> {
    let on_bad = reading.on_bad;
    let mut records = records(path, reading)?;
    let truncation = tokenise.truncation_or(records.format().truncation());
    let mut builder = Builder { progress, ..Builder::new(tokenise, truncation, on_bad) };
    builder.audit.layout = Some(format!("format {}; columns: {}", records.format(), columns(&records)));
    builder.extend(&mut records)?;
    let examples = builder.audit.examples;
    match records.format() {
        Format::Tree => builder.audit.trees = examples,
        Format::Kto | Format::Demonstration if has_conversations(records.columns()) => {
            builder.audit.conversations = examples;
        }
        Format::Kto
        | Format::Demonstration
        | Format::Trl
        | Format::Tldr
        | Format::Hh
        | Format::Ultrafeedback
        | Format::Ranked => {}
    }
    let skipped = records.skipped().clone();
    builder.audit.not_read.extend(records.not_read().iter().map(|(name, count)| (name.clone(), *count)));
    builder.audit.part = records.part().map(str::to_owned);
    builder.finish(skipped, &path.display().to_string())
}

/// The columns of the first record, shortened and escaped: they come from a file.
fn columns(records: &Records) -> String {
    const MOST: usize = 16;
    const LETTERS: usize = 48;
    let short = |name: &String| name.chars().take(LETTERS).flat_map(char::escape_debug).collect::<String>();
    let mut shown: Vec<String> = records.columns().iter().take(MOST).map(short).collect();
    if records.columns().len() > MOST {
        shown.push(format!("and {} more", records.columns().len() - MOST));
    }
    shown.join(", ")
}

impl Dataset {
    /// Tokenises generated records; `name` names their source.
    ///
    /// # Errors
    /// A record can't be tokenised (unless `on_bad` skips it), or there is none.
    pub fn from_records(
        name: &str,
        records: impl IntoIterator<Item = PreferenceRecord>,
        tokenise: &Tokenise,
        on_bad: OnBad,
    ) -> Result<Self, DatasetError> {
        let mut builder = Builder::new(tokenise, tokenise.truncation_or(Truncation::KeepBoth), on_bad);
        builder.extend(&mut records.into_iter().map(Ok))?;
        builder.finish(Skipped::default(), name)
    }

    /// Number of examples; at least one unless this is a subset.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The example at a position.
    ///
    /// # Errors
    /// The index is out of range, or the temporary file can't be read.
    pub fn get(&self, index: usize) -> Result<Example, DatasetError> {
        let out_of_range = DatasetError::OutOfRange { index, len: self.len() };
        self.spool.read(self.entries.get(index).ok_or(out_of_range)?.offset)
    }

    /// The examples in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Example, DatasetError>> + '_ {
        self.entries.iter().map(|entry| self.spool.read(entry.offset))
    }

    /// The audit of the whole data set that this is part of.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A hash of the examples as a model sees them: tokens, kinds, positions. It changes if and only if a change of
    /// file, tokeniser, template or settings changes an example.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_hex().to_string()
    }

    /// The examples at these positions, in this order.
    ///
    /// # Errors
    /// An index is out of range.
    pub fn select(&self, positions: &[usize]) -> Result<Self, DatasetError> {
        let entry = |&index: &usize| {
            self.entries.get(index).copied().ok_or(DatasetError::OutOfRange { index, len: self.len() })
        };
        let entries: Arc<[Entry]> = positions.iter().map(entry).collect::<Result<_, _>>()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.fingerprint.as_bytes());
        for entry in entries.iter() {
            hasher.update(&entry.offset.to_le_bytes());
        }
        Ok(Self { entries, fingerprint: hasher.finalize(), ..self.clone() })
    }

    /// Splits by prompt into (the rest, the held-out part), as described in [`holdout`]. All examples of a prompt,
    /// before truncation and tokenisation, are on the same side.
    ///
    /// # Errors
    /// The share is not between 0 and 1.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DatasetError> {
        let (rest, held_out) = holdout::hold_out(self.entries.iter().map(|entry| entry.prompt), share, seed)?;
        Ok((self.select(&rest)?, self.select(&held_out)?))
    }
}

struct Builder<'a> {
    tokenise: &'a Tokenise,
    truncation: Truncation,
    on_bad: OnBad,
    writer: SpoolWriter,
    entries: Vec<Entry>,
    audit: Audit,
    n_read: usize,
    progress: Option<&'a mut dyn FnMut(usize)>,
}

impl<'a> Builder<'a> {
    fn new(tokenise: &'a Tokenise, truncation: Truncation, on_bad: OnBad) -> Self {
        let audit = Audit::new(tokenise.settings());
        let (writer, entries) = (SpoolWriter::new(), Vec::new());
        Self { tokenise, truncation, on_bad, writer, entries, audit, n_read: 0, progress: None }
    }

    fn extend(
        &mut self,
        records: &mut impl Iterator<Item = Result<PreferenceRecord, DatasetError>>,
    ) -> Result<(), DatasetError> {
        loop {
            let chunk: Vec<PreferenceRecord> = records.take(CHUNK).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                return Ok(());
            }
            self.n_read += chunk.len();
            if let Some(progress) = &mut self.progress {
                progress(self.n_read);
            }
            let tokenised: Vec<Result<(Option<Example>, Observation), DatasetError>> =
                chunk.par_iter().map(|record| self.tokenise.example(0, record, self.truncation)).collect();
            for (record, found) in chunk.iter().zip(tokenised) {
                match found {
                    Ok((example, seen)) => {
                        self.look(record);
                        self.push(example, &seen, PromptHash::of_record(record))?;
                    }
                    Err(error) => self.audit.skipped.admit(self.on_bad, error)?,
                }
            }
        }
    }

    /// Counts a record's fields that the template does not read, and its anomalies.
    fn look(&mut self, record: &PreferenceRecord) {
        for name in fields_of(record) {
            if !self.tokenise.template_mentions(&name) {
                let what =
                    if record.variables.contains_key(&*name) { name.into_owned() } else { format!("messages.{name}") };
                note(&mut self.audit.not_read, what);
            }
        }
        let is_soft = record.preference != 1.0 && !record.is_tied;
        let own = [record.weight != 1.0, record.margin != 0.0, is_soft];
        self.audit.weighted.iter_mut().zip(own).for_each(|(count, is_own)| *count += u64::from(is_own));
        let texts = record.answers.texts();
        let is_plain = |text: &Text| matches!(text, Text::Plain(_));
        let is_for_chat =
            self.tokenise.has_template() && is_plain(&record.prompt) && texts.iter().all(|text| is_plain(text));
        self.audit.plain_for_chat += u64::from(is_for_chat);
        let is_chat = !is_plain(&record.prompt) || texts.iter().any(|text| !is_plain(text));
        self.audit.chats += u64::from(is_chat);
        self.audit.user_turns += texts.iter().filter(|answer| has_given_turn(answer)).count() as u64;
        self.audit.repeated_prompts +=
            texts.iter().filter(|answer| repeats_prompt(&record.prompt, answer)).count() as u64;
    }

    fn push(&mut self, example: Option<Example>, seen: &Observation, prompt: PromptHash) -> Result<(), DatasetError> {
        if let Some(mut example) = example {
            example.index = self.entries.len() as u64;
            self.entries.push(Entry { offset: self.writer.push(&example)?, prompt });
        }
        self.audit.add(seen);
        Ok(())
    }

    fn finish(mut self, skipped: Skipped, name: &str) -> Result<Dataset, DatasetError> {
        self.audit.skipped.count += skipped.count;
        self.audit.skipped.messages.splice(0..0, skipped.messages);
        if self.entries.is_empty() {
            return Err(match self.audit.skipped.messages.first() {
                Some(first) => {
                    DatasetError::AllBad { path: name.into(), count: self.audit.skipped.count, first: first.clone() }
                }
                None if self.audit.left_out > 0 => {
                    let first = "every prompt alone is as long as the most that prompt and answer may have".to_owned();
                    DatasetError::AllBad { path: name.into(), count: self.audit.left_out, first }
                }
                None if self.audit.unscored > 0 => {
                    let first = "no scored turn of an answer fits beside its prompt".to_owned();
                    DatasetError::AllBad { path: name.into(), count: self.audit.unscored, first }
                }
                None => DatasetError::of_nothing(name.into(), &self.audit.not_read),
            });
        }
        let (spool, fingerprint) = self.writer.finish()?;
        let (entries, audit) = (self.entries.into(), Arc::new(self.audit));
        Ok(Dataset { spool: Arc::new(spool), entries, audit, fingerprint })
    }
}

/// The distinct names of template variables and message fields in a record. Reasoning has one name here.
fn fields_of(record: &PreferenceRecord) -> BTreeSet<Cow<'_, str>> {
    // What says whether a turn is learned from is not for the template.
    let is_alias = |message: &Message, name: &str| {
        matches!(name, "weight" | "train") || name == "thinking" && message.fields.contains_key("reasoning_content")
    };
    let chats = [&record.prompt].into_iter().chain(record.answers.texts());
    let messages =
        chats.filter_map(|text| if let Text::Chat(messages) = text { Some(messages) } else { None }).flatten();
    let fields = messages.flat_map(|message| message.fields.keys().filter(move |name| !is_alias(message, name)));
    fields.chain(record.variables.keys()).map(|name| Cow::Borrowed(name.as_str())).collect()
}

/// Whether an answer contains a turn of a user or a tool.
fn has_given_turn(answer: &Text) -> bool {
    matches!(answer, Text::Chat(messages) if messages.iter().any(Message::is_given))
}

/// Whether a plain answer begins with the whole prompt, unless that is short.
fn repeats_prompt(prompt: &Text, answer: &Text) -> bool {
    const SHORT: usize = 16;
    match (prompt, answer) {
        (Text::Plain(prompt), Text::Plain(answer)) => {
            prompt.trim().len() >= SHORT && answer.trim_start().starts_with(prompt.trim())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
