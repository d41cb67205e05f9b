//! Text conditioning: texts to a denoiser's conditions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use mdp::diffusion::{Condition, Conditioning, Framing, Hidden};

use super::{ClassNames, ClipOutput, ClipText, ClipTokenizer};
use crate::ModelError;
use crate::t5::T5Encoder;

/// The text encoders of a diffusers folder with their tokenizers.
#[derive(Debug)]
pub struct TextConditioner {
    encoders: Vec<(ClipTokenizer, ClipText)>,
    /// T5's encoder, whose states follow CLIP's or stand alone.
    third: Option<(ClipTokenizer, T5Encoder)>,
    /// The classes that texts name, where no text is encoded.
    classes: Option<ClassNames>,
    reading: TextFeatures,
}

/// The hidden states that a denoiser reads from its text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFeatures {
    /// The last hidden states of the only encoder (SD 1 and 2).
    Last,
    /// The penultimate hidden states of all encoders, concatenated, and the last one's projection (SDXL).
    Penultimate {
        /// Whether the unconditional input is all zeros; otherwise it is the encoding of the empty text.
        zeros_for_none: bool,
    },
    /// The penultimate hidden states of all encoders, concatenated and padded with zeros to `width`, followed by the
    /// states of T5, or zeros without it; and all projections, concatenated (Stable Diffusion 3).
    Joint {
        /// The width of a row.
        width: usize,
        /// The number of T5's rows.
        more_rows: usize,
    },
    /// The states of T5 alone, as many as the text has tokens; texts are in lower case without space around (PixArt).
    T5 {
        /// Whether the size of the image is told too (PixArt-alpha).
        has_sizes: bool,
    },
    /// No text but the number of a class, given by name or number (DiT).
    Classes,
}

/// Encoded texts.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionedTexts {
    /// One condition per text; equal texts share one.
    pub conditions: Vec<Condition>,
    /// The number of texts that an encoder truncated.
    pub truncated: usize,
}

impl TextConditioner {
    /// Pairs each encoder with its tokenizer; texts are truncated to the encoder's positions.
    ///
    /// # Errors
    /// A number of encoders that `reading` does not fit, a tokenizer with more tokens than its encoder, a last encoder
    /// without the required projection.
    pub fn new(mut encoders: Vec<(ClipTokenizer, ClipText)>, reading: TextFeatures) -> Result<Self, ModelError> {
        let fits = match reading {
            TextFeatures::Last => encoders.len() == 1,
            TextFeatures::Penultimate { .. } => {
                encoders.last().is_some_and(|(_, last)| last.config().projection.is_some())
            }
            TextFeatures::Joint { width, .. } => {
                let all: usize = encoders.iter().map(|(_, encoder)| encoder.config().width).sum();
                all <= width && encoders.iter().all(|(_, encoder)| encoder.config().projection.is_some())
            }
            TextFeatures::T5 { .. } | TextFeatures::Classes => false,
        };
        if !fits {
            return Err(ModelError::Argument {
                what: "text encoders".to_owned(),
                expected: format!("those that {reading:?} reads"),
                got: format!("{:?}", encoders.iter().map(|(_, e)| e.config().class()).collect::<Vec<_>>()),
            });
        }
        for (tokenizer, encoder) in &mut encoders {
            let (known, readable) = (tokenizer.n_tokens(), encoder.config().vocabulary);
            if known > readable {
                let reason = format!("{known} tokens, and its text encoder has {readable}");
                return Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason });
            }
            tokenizer.limit(encoder.config().max_positions)?;
        }
        Ok(Self { encoders, third: None, classes: None, reading })
    }

    /// Reads texts by T5's encoder alone, up to `length` tokens of a text.
    ///
    /// # Errors
    /// A tokenizer with more tokens than the encoder, a length without room for a token.
    pub fn of_t5(
        mut tokenizer: ClipTokenizer,
        encoder: T5Encoder,
        length: usize,
        has_sizes: bool,
    ) -> Result<Self, ModelError> {
        check_tokens(&tokenizer, &encoder)?;
        // The pipeline asks for this length, whatever the tokenizer's own limit is, and masks what is padded.
        tokenizer.set_length(length)?;
        let third = Some((tokenizer.without_padding(), encoder));
        Ok(Self { encoders: Vec::new(), third, classes: None, reading: TextFeatures::T5 { has_sizes } })
    }

    /// Reads texts as names or numbers of classes.
    pub fn of_classes(classes: ClassNames) -> Self {
        Self { encoders: Vec::new(), third: None, classes: Some(classes), reading: TextFeatures::Classes }
    }

    /// Adds T5's encoder; texts are truncated and padded to the rows that `reading` has for it.
    ///
    /// # Errors
    /// A reading without rows for it, another width, a tokenizer with more tokens than the encoder.
    pub fn with_t5(mut self, mut tokenizer: ClipTokenizer, encoder: T5Encoder) -> Result<Self, ModelError> {
        let width = encoder.config().width;
        let TextFeatures::Joint { more_rows, .. } = self.reading else {
            return Err(misfit(
                "a third text encoder",
                format!("none beside those that {:?} reads", self.reading),
                "T5",
            ));
        };
        if width != self.width() {
            return Err(misfit("T5's states", format!("of width {}", self.width()), &format!("width {width}")));
        }
        check_tokens(&tokenizer, &encoder)?;
        // The pipeline asks for this length, whatever the tokenizer's own limit is.
        tokenizer.set_length(more_rows)?;
        self.third = Some((tokenizer, encoder));
        Ok(self)
    }

    /// The width of hidden states, which cross-attention must have.
    pub fn width(&self) -> usize {
        match self.reading {
            TextFeatures::Joint { width, .. } => width,
            TextFeatures::Last | TextFeatures::Penultimate { .. } => {
                self.encoders.iter().map(|(_, encoder)| encoder.config().width).sum()
            }
            TextFeatures::T5 { .. } => self.third.as_ref().map_or(0, |(_, encoder)| encoder.config().width),
            TextFeatures::Classes => 0,
        }
    }

    /// The width of the pooled state, if one is read.
    pub fn pooled_width(&self) -> Option<usize> {
        match self.reading {
            TextFeatures::Last | TextFeatures::T5 { .. } | TextFeatures::Classes => None,
            TextFeatures::Penultimate { .. } => self.encoders.last().and_then(|(_, last)| last.config().projection),
            TextFeatures::Joint { .. } => {
                Some(self.encoders.iter().filter_map(|(_, encoder)| encoder.config().projection).sum())
            }
        }
    }

    /// Encodes texts; distinct texts are encoded once.
    ///
    /// # Errors
    /// A tokenizer or encoder error.
    pub fn encode(&self, texts: &[&str], framing: Framing) -> Result<ConditionedTexts, ModelError> {
        let mut places = BTreeMap::new();
        let mut distinct = Vec::new();
        for text in texts {
            places.entry(*text).or_insert_with(|| {
                distinct.push(*text);
                distinct.len() - 1
            });
        }
        let (conditions, truncated) = self.encode_distinct(&distinct, framing)?;
        Ok(ConditionedTexts {
            conditions: texts.iter().map(|text| Arc::clone(&conditions[places[text]])).collect(),
            truncated: texts.iter().filter(|text| truncated[places[*text]]).count(),
        })
    }

    /// Flags texts that an encoder would truncate; runs no encoder.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn truncated(&self, texts: &[&str]) -> Result<Vec<bool>, ModelError> {
        let mut truncated = vec![false; texts.len()];
        let read = self.read(texts);
        let texts: &[&str] = &read.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let third = self.third.iter().map(|(tokenizer, _)| tokenizer);
        for tokenizer in self.encoders.iter().map(|(tokenizer, _)| tokenizer).chain(third) {
            let of_one = tokenizer.encode(texts)?.truncated;
            truncated.iter_mut().zip(of_one).for_each(|(any, one)| *any |= one);
        }
        Ok(truncated)
    }

    /// The maximum number of tokens that every encoder reads, begin and end included, if there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        let third = self.third.iter().filter(|_| self.encoders.is_empty()).map(|(tokenizer, _)| tokenizer);
        let tokenizers = self.encoders.iter().map(|(tokenizer, _)| tokenizer).chain(third);
        tokenizers.filter_map(ClipTokenizer::max_length).min()
    }

    /// The number of hidden states of the longest text, where it depends on the text; runs no encoder.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn longest(&self, texts: &[&str]) -> Result<Option<usize>, ModelError> {
        let (TextFeatures::T5 { .. }, Some((tokenizer, _))) = (self.reading, &self.third) else { return Ok(None) };
        let read = self.read(texts);
        let texts: &[&str] = &read.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        Ok(tokenizer.encode(texts)?.ids.iter().map(Vec::len).max())
    }

    /// Texts as the tokenizer gets them.
    fn read<'a>(&self, texts: &[&'a str]) -> Vec<Cow<'a, str>> {
        let read = |text: &&'a str| match self.reading {
            // As the pipeline prepares them, without its optional cleaning of web pages' captions.
            TextFeatures::T5 { .. } => Cow::Owned(text.to_lowercase().trim().to_owned()),
            TextFeatures::Last
            | TextFeatures::Penultimate { .. }
            | TextFeatures::Joint { .. }
            | TextFeatures::Classes => Cow::Borrowed(*text),
        };
        texts.iter().map(read).collect()
    }

    /// The unconditional condition, for classifier-free guidance.
    ///
    /// # Errors
    /// A tokenizer or encoder error for the empty text.
    pub fn none(&self, framing: Framing) -> Result<Condition, ModelError> {
        let empty = self.encode_distinct(&[""], framing)?.0.swap_remove(0);
        if self.reading != (TextFeatures::Penultimate { zeros_for_none: true }) {
            return Ok(empty);
        }
        let mut zeros = Conditioning::clone(&empty);
        zeros.hidden.iter_mut().for_each(|hidden| hidden.values.fill(0.0));
        zeros.pooled.iter_mut().for_each(|pooled| pooled.fill(0.0));
        Ok(Arc::new(zeros))
    }

    /// The conditions, and flags of truncated texts.
    fn encode_distinct(&self, texts: &[&str], framing: Framing) -> Result<(Vec<Condition>, Vec<bool>), ModelError> {
        if let Some(classes) = &self.classes {
            let condition = |text: &&str| Ok(Arc::new(Conditioning::of_class(classes.class(text)?)));
            return Ok((texts.iter().map(condition).collect::<Result<_, ModelError>>()?, vec![false; texts.len()]));
        }
        let read = self.read(texts);
        let texts: &[&str] = &read.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let mut outputs = Vec::new();
        let mut truncated = vec![false; texts.len()];
        for (tokenizer, encoder) in &self.encoders {
            let tokenized = tokenizer.encode(texts)?;
            truncated.iter_mut().zip(&tokenized.truncated).for_each(|(any, one)| *any |= one);
            outputs.push(encoder.encode(&tokenized.ids)?);
        }
        let mut more = Vec::new();
        if let Some((tokenizer, encoder)) = &self.third {
            let tokenized = tokenizer.encode(texts)?;
            truncated.iter_mut().zip(&tokenized.truncated).for_each(|(any, one)| *any |= one);
            more = encoder.encode(&tokenized.ids)?;
        }
        let more = |text: usize| more.get(text).map_or(&[][..], Vec::as_slice);
        let conditions = (0..texts.len()).map(|text| self.condition(&outputs, more(text), text, framing).map(Arc::new));
        Ok((conditions.collect::<Result<_, _>>()?, truncated))
    }

    fn condition(
        &self,
        outputs: &[Vec<ClipOutput>],
        more: &[f32],
        text: usize,
        framing: Framing,
    ) -> Result<Conditioning, ModelError> {
        if let TextFeatures::T5 { has_sizes } = self.reading {
            let told = Conditioning::of_hidden(more.to_vec(), more.len() / self.width());
            return Ok(Conditioning { time_ids: has_sizes.then(|| framing.time_ids()), ..told });
        }
        let widths: Vec<usize> = self.encoders.iter().map(|(_, encoder)| encoder.config().width).collect();
        let of_text: Vec<&ClipOutput> = outputs.iter().map(|output| &output[text]).collect();
        if self.reading == TextFeatures::Last {
            let values = of_text[0].last.clone();
            return Ok(Conditioning::of_hidden(values, of_text[0].last.len() / widths[0]));
        }
        let lengths: Vec<usize> = of_text.iter().zip(&widths).map(|(output, w)| output.penultimate.len() / w).collect();
        if lengths.iter().any(|length| *length != lengths[0]) {
            return Err(ModelError::Argument {
                what: "tokens of a text".to_owned(),
                expected: "as many for each text encoder".to_owned(),
                got: format!("{lengths:?}"),
            });
        }
        let mut values = Vec::with_capacity(lengths[0] * self.width());
        for row in 0..lengths[0] {
            for (output, width) in of_text.iter().zip(&widths) {
                values.extend_from_slice(&output.penultimate[row * width..][..*width]);
            }
            values.resize((row + 1) * self.width(), 0.0);
        }
        if let TextFeatures::Joint { width, more_rows } = self.reading {
            values.extend_from_slice(more);
            let length = if self.third.is_some() { values.len() / width } else { lengths[0] + more_rows };
            values.resize(length * width, 0.0);
            let pooled = of_text.iter().flat_map(|output| output.projected.iter().flatten().copied()).collect();
            let hidden = Some(Hidden { values, length, width });
            return Ok(Conditioning { hidden, pooled: Some(pooled), ..Conditioning::none() });
        }
        Ok(Conditioning {
            hidden: Some(Hidden { values, length: lengths[0], width: self.width() }),
            pooled: of_text.last().and_then(|output| output.projected.clone()),
            time_ids: Some(framing.time_ids()),
            class: None,
        })
    }
}

fn check_tokens(tokenizer: &ClipTokenizer, encoder: &T5Encoder) -> Result<(), ModelError> {
    let (known, readable) = (tokenizer.n_tokens(), encoder.config().vocabulary);
    if known <= readable {
        return Ok(());
    }
    let reason = format!("{known} tokens, and its text encoder has {readable}");
    Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason })
}

fn misfit(what: &str, expected: String, got: &str) -> ModelError {
    ModelError::Argument { what: what.to_owned(), expected, got: got.to_owned() }
}
