//! Preference data on disk to checked, tokenised examples.
//!
//! A file (or a folder of shards) holds *records*: a prompt, and answers that somebody compared, ranked or labelled.
//! [`open`] reads it once, front to back: every record is parsed, checked and tokenised, what was cut or looked
//! odd is counted in an [`Audit`], and the tokens go to a spool from which a [`Dataset`] gives any example at any time.
//! Memory grows by sixteen bytes a record, never by the size of the file.
//!
//! Everything a loss may rely on is checked here, at the border, and nowhere else: both sides of a pair share their
//! prompt (Eq. 9 of the paper needs it for V*(s_0) to cancel), answers are not empty, lengths fit the model.
//!
//! - [`record`]: what a file says, as text. [`formats`]: how files say it.
//! - [`chat`]: chat templates. [`tokenise`]: text to an [`Example`]. [`audit`]: what happened on the way.
//! - [`source`]: [`open`] and [`Dataset`]. [`holdout`]: which examples are held out.
//! - [`images`]: pictures that somebody preferred.
//! - [`pairs`]: folders of pairs that models made, and what was said about them.
//! - [`synthetic`]: problems with known answers, generated from a seed.
//!
//! # Examples
//! ```no_run
//! use datasets::{Reading, TokenSettings, Tokenise};
//! use mdp::chance::Order;
//!
//! let tokenizer = tokenizers::Tokenizer::from_file("model/tokenizer.json").map_err(|error| error.to_string())?;
//! let tokenise = Tokenise::new(&tokenizer, None, TokenSettings::new(0))?;
//! let data = datasets::open("pairs.jsonl".as_ref(), Reading::default(), &tokenise)?;
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
mod disk_buffer;
pub mod error;
pub mod example;
pub mod formats;
pub mod holdout;
pub mod images;
pub mod pairs;
pub mod reading;
pub mod record;
pub mod records;
pub mod source;
pub mod synthetic;
#[cfg(test)]
mod test_data;
pub mod tokenise;

pub use audit::{Audit, Lengths};
pub use chat::{ChatTemplate, Date};
pub use error::DatasetError;
pub use example::{Example, ExampleKind};
pub use formats::Format;
pub use images::{CaptionedImage, ImageAudit, ImageDataset, ImageKind, ImagePair, ImageSettings, Pixels};
pub use pairs::{LabelLog, Labels, PairFolder, PairWriter};
pub use reading::Split;
pub use record::{Answers, Content, Message, Origin, Place, PreferenceRecord, Prompt, Text};
pub use records::{OnBad, Reading, Records, Skipped, records};
pub use source::{Dataset, open};
pub use tokenise::{TokenSettings, Tokenise, Tokenization, Truncation};
