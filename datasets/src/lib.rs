//! Reads preference data from files into checked, tokenised examples.
//!
//! A file (or a folder of shards) holds *records*: a prompt, and answers with a comparison, a ranking or labels.
//! [`open`] reads it once, front to back: every record is parsed, checked and tokenised, truncations and anomalies are
//! counted in an [`Audit`], and the tokens go to a disk buffer from which a [`Dataset`] reads any example. Memory grows
//! by sixteen bytes per record, independent of the file's size.
//!
//! All guarantees that a loss relies on are checked here and only here: both sides of a pair share their prompt (Eq. 9
//! of the paper needs it for V*(s_0) to cancel), answers are not empty, lengths fit the model.
//!
//! - [`record`]: records as text. [`formats`]: parsers of file formats.
//! - [`response`]: an answer's tokens, and which of them are scored.
//! - [`chat`]: chat templates. [`tokenise`]: text to an [`Example`]. [`audit`]: counts of truncations and anomalies.
//! - [`source`]: [`open`] and [`Dataset`], several of them [`Joined`]. [`holdout`]: the split into training and held-out examples.
//! - [`Mixture`]: the shares of joined data in an epoch.
//! - [`images`]: image preferences.
//! - [`control`]: segments of continuous control, and numpy's files of them.
//! - [`pairs`]: folders of generated pairs, and their judgements.
//! - [`synthetic`]: problems with known answers, generated from a seed.
//!
//! # Examples
//! ```no_run
//! use datasets::{ReadOptions, TokenSettings, Tokenise};
//! use mdp::chance::Order;
//!
//! let tokenizer = tokenizers::Tokenizer::from_file("model/tokenizer.json").map_err(|error| error.to_string())?;
//! let tokenise = Tokenise::new(&tokenizer, None, TokenSettings::new(0))?;
//! let data = datasets::open("pairs.jsonl".as_ref(), ReadOptions::default(), &tokenise)?;
//! println!("{}", data.audit());
//! let (train, validation) = data.hold_out(0.2, 0)?;
//! for index in Order::new(0, 0, train.len()).from(0) {
//!     let example = train.get(index)?;
//!     println!("{} prompt tokens, {} answers", example.prompt.len(), example.responses.len());
//! }
//! # let _ = validation;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit;
mod big_integers;
pub mod chat;
mod column_map;
pub mod control;
mod disk_buffer;
pub mod error;
pub mod example;
pub mod formats;
pub mod holdout;
pub mod images;
mod lengths;
mod mixture;
pub mod pairs;
pub mod reading;
pub mod record;
pub mod records;
pub mod response;
pub mod skipped;
pub mod source;
pub mod synthetic;
#[cfg(test)]
mod test_data;
pub mod tokenise;
pub mod truncation;

pub use audit::{Audit, Lengths};
pub use chat::{ChatTemplate, Date};
pub use column_map::ColumnMap;
pub use error::DatasetError;
pub use example::{Example, ExampleKind};
pub use formats::{Format, ReadingChoices, TreePairs};
pub use images::{CaptionedImage, ImageAudit, ImageDataset, ImageKind, ImagePair, ImageSettings, Pixels};
pub use mixture::Mixture;
pub use pairs::{JudgementLog, Judgements, PairFolder, PairWriter};
pub use reading::SplitChoice;
pub use record::{Answers, Content, Message, Origin, Place, PreferenceRecord, Prompt, Text};
pub use records::{ReadOptions, Records, records};
pub use response::{Response, Turn};
pub use skipped::{OnBad, Skipped};
pub use source::{Dataset, Joined, Opened, Opening, TokenCache, open, open_with};
pub use tokenise::{TokenSettings, Tokenise, Tokenization};
pub use truncation::Truncation;
