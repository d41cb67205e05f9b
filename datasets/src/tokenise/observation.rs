//! Findings of the tokenisation of one record, which an [`Audit`](crate::Audit) counts.
use std::collections::BTreeMap;

use crate::example::ExampleKind;

/// Findings of the tokenisation of one record.
#[expect(clippy::struct_excessive_bools, reason = "each is one independent observation")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Kind of the resulting example.
    pub kind: Option<ExampleKind>,
    /// Number of prompt tokens before truncation.
    pub prompt_length: usize,
    /// Number of tokens of each answer before truncation, EOS included.
    pub response_lengths: Vec<usize>,
    /// Whether the prompt was truncated.
    pub is_prompt_cut: bool,
    /// Number of truncated answers.
    pub cut_responses: usize,
    /// Tokens lost by truncation.
    pub cut_tokens: CutTokens,
    /// What truncation cost the messages of chats, by role.
    pub cut_roles: BTreeMap<String, CutRole>,
    /// Number of answers left out of a list or a tree, as truncation left them without a scored token.
    pub left_answers: usize,
    /// Whether truncation left an answer without a scored token, so that there is no example.
    pub is_unscored: bool,
    /// Number of answer tokens that are given, before truncation.
    pub n_given: usize,
    /// Number of answers whose EOS was truncated.
    pub eos_lost: usize,
    /// Number of answers without a token besides EOS.
    pub blank_answers: usize,
    /// Number of answers with an EOS before their end.
    pub eos_inside: usize,
    /// Number of chat answers that the template does not end, so that EOS was appended.
    pub ends_added: usize,
    /// Whether a token id is outside the model's vocabulary.
    pub has_unknown_tokens: bool,
    /// Whether the prompt leaves no room for an answer, so that there is no example.
    pub is_left_out: bool,
    /// Whether the prompt has no token.
    pub empty_prompt: bool,
    /// Whether the prompt's text begins with the BOS that the tokeniser also adds.
    pub double_bos: bool,
    /// Number of answers whose first token would merge with the prompt in one text.
    pub boundary_merges: usize,
    /// Whether both answers of a pair have the same tokens.
    pub is_identical: bool,
    /// Whether the file gives both answers the same score.
    pub is_tied: bool,
}

/// Tokens lost by truncation, by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct CutTokens {
    /// The prompt's.
    pub prompt: usize,
    /// The policy's own, which would have been scored.
    pub scored: usize,
    /// Those of users, tools and headers in answers.
    pub given: usize,
}

impl std::ops::AddAssign for CutTokens {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.scored += other.scored;
        self.given += other.given;
    }
}

/// What truncation cost the messages of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct CutRole {
    /// Tokens lost, those of the messages' headers included.
    pub tokens: usize,
    /// Messages left out whole.
    pub turns: usize,
    /// Messages of which a part is left out.
    pub parts: usize,
}

impl std::ops::AddAssign for CutRole {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.turns += other.turns;
        self.parts += other.parts;
    }
}
