//! The hand-off of a planner: latent tokens of a language model to a denoiser's condition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mdp::diffusion::{Condition, Conditioning, DenoisingMdp, Framing};
use mdp::hybrid::{Handoff, HandoffError};
use mdp::token::{TokenMdp, TokenState};

use crate::ModelError;

/// The capacity of the cache of conditions; a full cache is cleared.
const KEPT: usize = 4096;

/// Looks up latent tokens in a fixed codebook, by position: a frame, a patch or a note each.
///
/// Some tokens of the outer problem are codes; others (words, EOS) do not affect the condition. The two models exchange
/// the sequence of codes, so the codebook is part of the problem, like the text between a refiner and a generator, and
/// is not trained.
///
/// # Laws
/// The condition is a function of the first [`length`](Self::length) codes, in order; tokens between them do not
/// matter. Equal codes share an `Arc` while it is cached.
///
/// # Shapes
/// Cross-attention reads [`length`](Self::length) rows of [`width`](Self::width) numbers, a block of numbers for each
/// position. Row `i` has the vector of code `i` in block `i`, and 0 elsewhere; missing codes are rows of 0. So a code
/// keeps its position in any mean of rows, which is all that untrained attention computes.
/// [`with_pooled`](Self::with_pooled) adds the sum of the rows as the pooled vector: all code vectors concatenated.
///
/// # Examples
/// ```
/// use models::Codebook;
///
/// // Tokens 5, 6 and 7 are codes of two numbers; a sequence has two codes.
/// let coded = Codebook::new(5, vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3, 2)?;
/// let told = coded.condition(&[7, 1, 5, 0]);
/// assert_eq!(told.hidden.as_ref().unwrap().row(0), [0.5, 0.6, 0.0, 0.0]);
/// assert_eq!(told.hidden.as_ref().unwrap().row(1), [0.0, 0.0, 0.1, 0.2]);
/// # Ok::<(), models::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Codebook {
    first: u32,
    table: Vec<f32>,
    n_codes: usize,
    length: usize,
    pooled: Option<Framing>,
    kept: Mutex<BTreeMap<Vec<u32>, Condition>>,
}

impl Codebook {
    /// A codebook of `n_codes` rows, `[n_codes, numbers]`; the token of code `i` is `first + i`, and a sequence has
    /// `length` codes.
    ///
    /// # Errors
    /// No codes, no positions, or numbers that are no table or not finite.
    pub fn new(first: u32, table: Vec<f32>, n_codes: usize, length: usize) -> Result<Self, ModelError> {
        let is_table = n_codes > 0 && !table.is_empty() && table.len().is_multiple_of(n_codes);
        if !is_table || length == 0 || table.iter().any(|number| !number.is_finite()) {
            return Err(ModelError::Argument {
                what: "a codebook".into(),
                expected: "rows of as many finite numbers each, and one place for them at least".into(),
                got: format!("{} numbers for {n_codes} codes in {length} places", table.len()),
            });
        }
        Ok(Self { first, table, n_codes, length, pooled: None, kept: Mutex::default() })
    }

    /// Adds the concatenated vectors as a pooled vector, as SDXL's pooled text, with the numbers of a constant framing.
    /// It reaches every block of a network, and a small network learns to use it sooner than cross-attention.
    #[must_use]
    pub fn with_pooled(self, framing: Framing) -> Self {
        Self { pooled: Some(framing), kept: Mutex::default(), ..self }
    }

    /// The number of codes in a sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The width of a row, and of the concatenated vectors.
    pub fn width(&self) -> usize {
        self.numbers() * self.length
    }

    /// The width of a code's vector.
    fn numbers(&self) -> usize {
        self.table.len() / self.n_codes
    }

    /// The codes among tokens, at most [`length`](Self::length).
    pub fn codes(&self, tokens: &[u32]) -> Vec<u32> {
        let codes = tokens.iter().filter_map(|token| token.checked_sub(self.first));
        codes.filter(|code| (*code as usize) < self.n_codes).take(self.length).collect()
    }

    /// The condition of a token sequence.
    pub fn condition(&self, tokens: &[u32]) -> Condition {
        let codes = self.codes(tokens);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&codes) {
            return Arc::clone(known);
        }
        let vectors = self.vectors(&codes);
        let told = Conditioning::of_hidden(self.rows(&vectors), self.length);
        let condition = Arc::new(match self.pooled {
            Some(framing) => Conditioning { pooled: Some(vectors), time_ids: Some(framing.time_ids()), ..told },
            None => told,
        });
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(codes, Arc::clone(&condition));
        condition
    }

    /// The concatenated vectors of codes.
    fn vectors(&self, codes: &[u32]) -> Vec<f32> {
        let mut vectors = vec![0.0; self.width()];
        for (vector, &code) in vectors.chunks_exact_mut(self.numbers()).zip(codes) {
            vector.copy_from_slice(&self.table[code as usize * vector.len()..][..vector.len()]);
        }
        vectors
    }

    /// A row for each vector, in its own block.
    fn rows(&self, vectors: &[f32]) -> Vec<f32> {
        let mut rows = vec![0.0; self.length * vectors.len()];
        for (place, row) in rows.chunks_exact_mut(vectors.len()).enumerate() {
            let block = place * self.numbers()..(place + 1) * self.numbers();
            row[block.clone()].copy_from_slice(&vectors[block]);
        }
        rows
    }
}

impl Handoff<TokenMdp, DenoisingMdp<Condition>> for Codebook {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Condition>, HandoffError> {
        Ok(outer.iter().map(|state| self.condition(&state.response)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens 10, 11 and 12 are codes of two numbers.
    fn coded() -> Codebook {
        Codebook::new(10, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2).unwrap()
    }

    fn rows(condition: &Condition) -> Vec<&[f32]> {
        let hidden = condition.hidden.as_ref().unwrap();
        assert_eq!((hidden.length, hidden.width), (2, 4));
        (0..hidden.length).map(|row| hidden.row(row)).collect()
    }

    #[test]
    fn codes_keep_their_order_and_know_their_place() {
        assert_eq!(rows(&coded().condition(&[12, 10])), [[5.0, 6.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]]);
        assert_eq!(rows(&coded().condition(&[10, 12])), [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 5.0, 6.0]]);
    }

    #[test]
    fn other_tokens_say_nothing_and_too_many_codes_are_left_out() {
        let coded = coded();
        assert_eq!(coded.codes(&[9, 11, 0, 13, 12, 10, u32::MAX]), [1, 2]);
        assert!(Arc::ptr_eq(&coded.condition(&[9, 11, 0, 13, 12, 10]), &coded.condition(&[11, 12, 0])));
    }

    #[test]
    fn a_missing_code_is_a_row_of_zeros() {
        assert_eq!(rows(&coded().condition(&[11, 0])), [[3.0, 4.0, 0.0, 0.0], [0.0; 4]]);
        assert_eq!(rows(&coded().condition(&[])), [[0.0; 4]; 2]);
    }

    #[test]
    fn what_is_pooled_is_the_sum_of_the_rows() {
        let coded = coded().with_pooled(Framing::whole(3, 5));
        let told = coded.condition(&[12, 10]);
        assert_eq!(rows(&told), [[5.0, 6.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]]);
        assert_eq!(told.pooled.as_deref(), Some(&[5.0, 6.0, 1.0, 2.0][..]));
        assert_eq!(told.time_ids, Some([3.0, 5.0, 0.0, 0.0, 3.0, 5.0]));
    }

    #[test]
    fn the_hand_off_reads_the_response_alone() {
        let coded = coded();
        let state = TokenState { prompt: [12, 12].into(), response: vec![10, 11, 0] };
        assert!(Arc::ptr_eq(&coded.enter(&[&state]).unwrap()[0], &coded.condition(&[10, 11])));
    }

    #[test]
    fn what_is_no_codebook_is_refused() {
        for (table, n_codes, length) in [
            (vec![], 0, 2),
            (vec![], 2, 2),
            (vec![1.0, 2.0, 3.0], 2, 2),
            (vec![1.0, 2.0], 2, 0),
            (vec![1.0, f32::NAN], 2, 1),
        ] {
            let error = Codebook::new(0, table, n_codes, length).unwrap_err().to_string();
            assert!(error.contains("codebook"), "{error}");
        }
    }
}
