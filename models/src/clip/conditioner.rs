//! Text conditioning: texts to a denoiser's conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use mdp::diffusion::{Condition, Conditioning, Framing, Hidden};

use super::{ClassNames, ClipOutput, ClipText, ClipTokenizer, TextEncoder};
use crate::ModelError;
use crate::t5::T5Encoder;

/// The text encoders of a diffusers folder with their tokenizers.
#[derive(Debug)]
pub struct TextConditioner {
    encoders: Vec<(ClipTokenizer, ClipText)>,
    /// T5's encoder, whose states follow CLIP's.
    third: Option<(ClipTokenizer, T5Encoder)>,
    /// An encoder of another kind, in place of all others.
    other: Option<Box<dyn TextEncoder>>,
    /// Whether the sizes of an image are told beside the states of an encoder of another kind.
    has_sizes: bool,
    /// The classes that texts name, in place of all encoders.
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
    /// The states of T5, and the pooled state of the only CLIP encoder without its projection (FLUX.1).
    PooledAndT5 {
        /// The width of a row.
        width: usize,
        /// The number of T5's rows.
        rows: usize,
    },
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
            TextFeatures::Last | TextFeatures::PooledAndT5 { .. } => encoders.len() == 1,
            TextFeatures::Penultimate { .. } => {
                encoders.last().is_some_and(|(_, last)| last.config().projection.is_some())
            }
            TextFeatures::Joint { width, .. } => {
                let all: usize = encoders.iter().map(|(_, encoder)| encoder.config().width).sum();
                all <= width && encoders.iter().all(|(_, encoder)| encoder.config().projection.is_some())
            }
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
        Ok(Self { encoders, reading, ..Self::without_encoders() })
    }

    fn without_encoders() -> Self {
        let (encoders, reading) = (Vec::new(), TextFeatures::Last);
        Self { encoders, third: None, other: None, has_sizes: false, classes: None, reading }
    }

    /// Reads the hidden states of an encoder of another kind.
    pub fn of_encoder(encoder: impl TextEncoder + 'static) -> Self {
        Self { other: Some(Box::new(encoder)), ..Self::without_encoders() }
    }

    /// Tells the size of an image beside the states of an encoder of another kind.
    #[must_use]
    pub fn with_sizes(self) -> Self {
        Self { has_sizes: true, ..self }
    }

    /// Reads texts as names or numbers of classes.
    pub fn of_classes(classes: ClassNames) -> Self {
        Self { classes: Some(classes), ..Self::without_encoders() }
    }

    /// Adds T5's encoder; texts are truncated and padded to the rows that `reading` has for it.
    ///
    /// # Errors
    /// A reading without rows for it, another width, a tokenizer with more tokens than the encoder.
    pub fn with_t5(mut self, mut tokenizer: ClipTokenizer, encoder: T5Encoder) -> Result<Self, ModelError> {
        let (width, known) = (encoder.config().width, tokenizer.n_tokens());
        let rows = match self.reading {
            TextFeatures::Joint { more_rows: rows, .. } | TextFeatures::PooledAndT5 { rows, .. } => rows,
            TextFeatures::Last | TextFeatures::Penultimate { .. } => {
                let expected = format!("none beside those that {:?} reads", self.reading);
                return Err(misfit("a third text encoder", expected, "T5"));
            }
        };
        if width != self.width() {
            return Err(misfit("T5's states", format!("of width {}", self.width()), &format!("width {width}")));
        }
        if known > encoder.config().vocabulary {
            let reason = format!("{known} tokens, and its text encoder has {}", encoder.config().vocabulary);
            return Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason });
        }
        // The pipeline asks for this length, whatever the tokenizer's own limit is.
        tokenizer.set_length(rows)?;
        self.third = Some((tokenizer, encoder));
        Ok(self)
    }

    /// The width of hidden states, which cross-attention must have.
    pub fn width(&self) -> usize {
        if let Some(other) = &self.other {
            return other.width();
        }
        match self.reading {
            TextFeatures::Joint { width, .. } | TextFeatures::PooledAndT5 { width, .. } => width,
            TextFeatures::Last | TextFeatures::Penultimate { .. } => {
                self.encoders.iter().map(|(_, encoder)| encoder.config().width).sum()
            }
        }
    }

    /// The width of the pooled state, if one is read.
    pub fn pooled_width(&self) -> Option<usize> {
        match self.reading {
            TextFeatures::Last => None,
            TextFeatures::Penultimate { .. } => self.encoders.last().and_then(|(_, last)| last.config().projection),
            TextFeatures::Joint { .. } => {
                Some(self.encoders.iter().filter_map(|(_, encoder)| encoder.config().projection).sum())
            }
            TextFeatures::PooledAndT5 { .. } => self.encoders.last().map(|(_, last)| last.config().width),
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
        if let Some(other) = &self.other {
            return Ok(other.lengths(texts)?.into_iter().map(|(_, is_long)| is_long).collect());
        }
        let mut truncated = vec![false; texts.len()];
        let third = self.third.iter().map(|(tokenizer, _)| tokenizer);
        for tokenizer in self.encoders.iter().map(|(tokenizer, _)| tokenizer).chain(third) {
            let of_one = tokenizer.encode(texts)?.truncated;
            truncated.iter_mut().zip(of_one).for_each(|(any, one)| *any |= one);
        }
        Ok(truncated)
    }

    /// The largest number of hidden states among texts; `None` if all texts have the same number.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn longest(&self, texts: &[&str]) -> Result<Option<usize>, ModelError> {
        let Some(other) = &self.other else { return Ok(None) };
        Ok(other.lengths(texts)?.into_iter().map(|(length, _)| length).max())
    }

    /// The maximum number of tokens that every encoder reads, begin and end included, if there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        let other = self.other.iter().map(|other| other.max_length());
        self.encoders.iter().filter_map(|(tokenizer, _)| tokenizer.max_length()).chain(other).min()
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
        if let Some(other) = &self.other {
            let time_ids = self.has_sizes.then(|| framing.time_ids());
            let condition = |states: Vec<f32>| {
                let length = states.len() / other.width();
                Arc::new(Conditioning { time_ids, ..Conditioning::of_hidden(states, length) })
            };
            let encoded = other.encode(texts)?.into_iter();
            return Ok(encoded.map(|text| (condition(text.states), text.truncated)).unzip());
        }
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
        let widths: Vec<usize> = self.encoders.iter().map(|(_, encoder)| encoder.config().width).collect();
        let of_text: Vec<&ClipOutput> = outputs.iter().map(|output| &output[text]).collect();
        if self.reading == TextFeatures::Last {
            let values = of_text[0].last.clone();
            return Ok(Conditioning::of_hidden(values, of_text[0].last.len() / widths[0]));
        }
        if let TextFeatures::PooledAndT5 { width, .. } = self.reading {
            let hidden = Some(Hidden { values: more.to_vec(), length: more.len() / width, width });
            return Ok(Conditioning { hidden, pooled: Some(of_text[0].pooled.clone()), ..Conditioning::default() });
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

fn misfit(what: &str, expected: String, got: &str) -> ModelError {
    ModelError::Argument { what: what.to_owned(), expected, got: got.to_owned() }
}
