//! Counts of truncation and anomalies found during tokenisation.
use std::collections::BTreeMap;
use std::fmt;

use crate::example::ExampleKind;
pub use crate::lengths::Lengths;
use crate::skipped::Skipped;
use crate::tokenise::{CutRole, CutTokens, Observation, TokenSettings};

/// Counts over a data set, shown before training and by `inspect`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Audit {
    /// Records used.
    pub examples: u64,
    /// Broken records that were skipped.
    pub skipped: Skipped,
    /// Records by kind: `pairs`, `ranked lists`, `liked`, `disliked`, `demonstrations`.
    pub kinds: BTreeMap<String, u64>,
    /// Maximum number of tokens of prompt and answer together.
    pub max_length: usize,
    /// Maximum number of tokens of a truncated prompt; 0 if prompts are never truncated.
    pub max_prompt_length: usize,
    /// Truncated prompts.
    pub cut_prompts: u64,
    /// Truncated answers.
    pub cut_responses: u64,
    /// Answers whose EOS was truncated: the model does not learn to end there.
    pub eos_lost: u64,
    /// Answers without a token besides EOS.
    pub blank_answers: u64,
    /// Answers with an EOS before their end.
    pub eos_inside: u64,
    /// Chat answers that the template does not end.
    pub ends_added: u64,
    /// Records with a token id outside the model's vocabulary.
    pub unknown_tokens: u64,
    /// Records without an example, because the prompt leaves no room for an answer.
    pub left_out: u64,
    /// Records without an example, because truncation left an answer no scored turn.
    pub unscored: u64,
    /// Tokens of answers that are given: users', tools', headers.
    pub given_tokens: u64,
    /// Tokens lost by truncation, by whose they are.
    pub cut_tokens: CutTokens,
    /// What truncation cost the messages of chats, by role.
    pub cut_roles: BTreeMap<String, CutRole>,
    /// Answers left out of lists and trees, as truncation left them without a scored turn.
    pub left_answers: u64,
    /// Records with a weight, a margin, or a soft label of their own.
    pub weighted: [u64; 3],
    /// Prompts without a token.
    pub empty_prompts: u64,
    /// Prompts with a duplicate BOS, or whose duplicate was removed.
    pub double_bos: u64,
    /// Answers whose first token would merge with the prompt in one text.
    pub boundary_merges: u64,
    /// Pairs with identical tokens on both sides, which have no gradient.
    pub identical_pairs: u64,
    /// Pairs whose sides have the same score in the file.
    pub tied_pairs: u64,
    /// Records that a chat template writes.
    pub chats: u64,
    /// Records of one answer that are read from a whole conversation, whose other turns could be the answer's too.
    pub conversations: u64,
    /// Records of conversation trees.
    pub trees: u64,
    /// Answers that contain a turn of a user or a tool.
    pub user_turns: u64,
    /// Records of plain texts for a model with a chat template.
    pub plain_for_chat: u64,
    /// Plain answers that repeat the whole prompt.
    pub repeated_prompts: u64,
    /// Non-empty columns and message fields that are not read, and the number of records with each.
    pub not_read: BTreeMap<String, u64>,
    /// The format of the file, and the columns of its first record; `None` for records that were made here.
    pub layout: Option<String>,
    /// The split that is read and the splits available, if one was selected.
    pub part: Option<String>,
    /// Of joined data: a line about each, with its name and number of examples.
    pub sources: Vec<String>,
    /// Prompt lengths before truncation.
    pub prompt: Lengths,
    /// Lengths of the best (or liked, or only) answer before truncation.
    pub chosen: Lengths,
    /// Lengths of the worst (or disliked) answer before truncation.
    pub rejected: Lengths,
    /// Lengths of prompt and longest answer together, before truncation.
    pub together: Lengths,
}

impl Audit {
    /// Creates an empty audit.
    pub fn new(settings: &TokenSettings) -> Self {
        let TokenSettings { max_length, max_prompt_length, .. } = *settings;
        Self { max_length, max_prompt_length: max_prompt_length.unwrap_or(0), ..Self::default() }
    }

    /// Counts one record.
    pub fn add(&mut self, seen: &Observation) {
        if seen.is_left_out {
            self.left_out += 1;
            return;
        }
        if seen.is_unscored {
            self.unscored += 1;
            return;
        }
        self.given_tokens += seen.n_given as u64;
        self.cut_tokens += seen.cut_tokens;
        add_roles(&mut self.cut_roles, &seen.cut_roles);
        self.left_answers += seen.left_answers as u64;
        self.examples += 1;
        self.cut_prompts += u64::from(seen.is_prompt_cut);
        self.cut_responses += seen.cut_responses as u64;
        self.eos_lost += seen.eos_lost as u64;
        self.blank_answers += seen.blank_answers as u64;
        self.eos_inside += seen.eos_inside as u64;
        self.ends_added += seen.ends_added as u64;
        self.unknown_tokens += u64::from(seen.has_unknown_tokens);
        self.empty_prompts += u64::from(seen.empty_prompt);
        self.double_bos += u64::from(seen.double_bos);
        self.boundary_merges += seen.boundary_merges as u64;
        self.identical_pairs += u64::from(seen.is_identical);
        self.tied_pairs += u64::from(seen.is_tied);
        self.prompt.add(seen.prompt_length);
        self.together.add(seen.prompt_length + seen.response_lengths.iter().max().copied().unwrap_or(0));
        self.add_kind(seen);
    }

    fn add_kind(&mut self, seen: &Observation) {
        let (name, best, worst) = match seen.kind {
            Some(ExampleKind::Pair) => ("pairs", true, true),
            Some(ExampleKind::Ranked) => ("ranked lists", true, true),
            Some(ExampleKind::Forest) => ("conversation trees", true, true),
            Some(ExampleKind::Labelled { desirable: true }) => ("liked", true, false),
            Some(ExampleKind::Labelled { desirable: false }) => ("disliked", false, true),
            Some(ExampleKind::Demonstration) | None => ("demonstrations", true, false),
        };
        *self.kinds.entry(name.to_owned()).or_default() += 1;
        if let (true, Some(&length)) = (best, seen.response_lengths.first()) {
            self.chosen.add(length);
        }
        if let (true, Some(&length)) = (worst, seen.response_lengths.last()) {
            self.rejected.add(length);
        }
    }

    /// What is said of given tokens, of cut ones, and of what columns weigh.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let CutTokens { prompt, scored, given } = self.cut_tokens;
        if prompt + scored + given > 0 {
            let text =
                format!("tokens cut: {prompt} of prompts, {scored} of scored turns, {given} given ones in answers");
            notes.push(text);
        }
        let by_role = |(role, cut): (&String, &CutRole)| {
            let CutRole { tokens, turns, parts } = cut;
            format!("{} {tokens} ({turns} whole messages, {parts} in part)", short(role))
        };
        if !self.cut_roles.is_empty() {
            notes.push(format!(
                "tokens cut by role: {}",
                self.cut_roles.iter().map(by_role).collect::<Vec<_>>().join(", ")
            ));
        }
        if self.given_tokens > 0 {
            notes.push(format!("tokens given in answers (context, not scored): {}", self.given_tokens));
        }
        let [weights, margins, labels] = self.weighted;
        if weights + margins + labels > 0 {
            notes.push(format!("read from columns: {weights} weights, {margins} margins, {labels} soft labels"));
        }
        notes
    }

    /// Adds the counts of data that are joined to these, under their name.
    pub fn join(&mut self, name: &str, other: &Self) {
        let kinds: Vec<String> = other.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let about =
            [Some(kinds.join(", ")), other.layout.clone(), other.part.as_ref().map(|part| format!("split {part}"))];
        let about: Vec<String> = about.into_iter().flatten().collect();
        self.sources.push(format!("{name}: {} examples: {}", other.examples, about.join("; ")));
        self.cut_tokens += other.cut_tokens;
        add_roles(&mut self.cut_roles, &other.cut_roles);
        for (count, more) in self.counts().into_iter().zip(other.clone().counts()) {
            *count += *more;
        }
        let room = Skipped::MESSAGES.saturating_sub(self.skipped.messages.len());
        self.skipped.messages.extend(other.skipped.messages.iter().take(room).cloned());
        for (counts, more) in [(&mut self.kinds, &other.kinds), (&mut self.not_read, &other.not_read)] {
            for (name, count) in more {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
        let lengths = [
            (&mut self.prompt, &other.prompt),
            (&mut self.chosen, &other.chosen),
            (&mut self.rejected, &other.rejected),
            (&mut self.together, &other.together),
        ];
        for (lengths, more) in lengths {
            lengths.join(more);
        }
    }

    /// All plain counts.
    fn counts(&mut self) -> [&mut u64; 27] {
        let [weights, margins, labels] = &mut self.weighted;
        [
            &mut self.examples,
            &mut self.skipped.count,
            &mut self.cut_prompts,
            &mut self.cut_responses,
            &mut self.eos_lost,
            &mut self.blank_answers,
            &mut self.eos_inside,
            &mut self.ends_added,
            &mut self.unknown_tokens,
            &mut self.left_out,
            &mut self.unscored,
            &mut self.left_answers,
            &mut self.given_tokens,
            weights,
            margins,
            labels,
            &mut self.empty_prompts,
            &mut self.double_bos,
            &mut self.boundary_merges,
            &mut self.identical_pairs,
            &mut self.tied_pairs,
            &mut self.chats,
            &mut self.conversations,
            &mut self.trees,
            &mut self.user_turns,
            &mut self.plain_for_chat,
            &mut self.repeated_prompts,
        ]
    }

    /// The non-zero counts worth attention, each with an explanation.
    pub fn findings(&self) -> Vec<(u64, &'static str)> {
        let all = [
            (self.skipped.count, "broken records left out"),
            (
                self.unknown_tokens,
                "records with tokens that the model has no row for: resize its embedding, or use its own tokenizer",
            ),
            (self.left_out, "records left out: their prompt leaves no room for an answer"),
            (self.cut_prompts, "prompts cut"),
            (self.cut_responses, "answers cut"),
            (self.eos_lost, "answers that lost their EOS: the model does not learn to end there"),
            (self.blank_answers, "answers with no token but EOS"),
            (self.eos_inside, "answers with EOS before their end"),
            (self.ends_added, "answers of chats that the template does not end (EOS was put there)"),
            (self.empty_prompts, "prompts without a token (one was put there)"),
            (self.double_bos, "prompts whose text brings the BOS that the tokenizer puts before it"),
            (self.boundary_merges, "answers that would share a token with the prompt in one text"),
            (self.identical_pairs, "pairs with two equal answers: they teach nothing"),
            (self.tied_pairs, "pairs whose scores in the file are equal"),
            (self.unscored, "records left out: an answer has no scored turn that fits"),
            (self.left_answers, "answers left out of lists and trees: no scored turn of theirs fits"),
            (self.user_turns, "answers in which a user or a tool speaks: those words are given, not scored"),
            (
                self.plain_for_chat,
                "records of plain text: the model has a chat template, which is for records of messages alone",
            ),
            (self.repeated_prompts, "answers that begin with their whole prompt, which then stands there twice"),
        ];
        all.into_iter().filter(|&(count, _)| count > 0).collect()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(f, "{} examples: {}", self.examples, kinds.join(", "))?;
        self.sources.iter().try_for_each(|source| writeln!(f, "{source}"))?;
        self.layout.iter().try_for_each(|layout| writeln!(f, "{layout}"))?;
        writeln!(
            f,
            "{:<20} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "tokens", "min", "median", "mean", "90%", "99%", "max"
        )?;
        let rows = [
            ("prompt", &self.prompt),
            ("chosen", &self.chosen),
            ("rejected", &self.rejected),
            ("prompt + longest", &self.together),
        ];
        for (name, lengths) in rows.into_iter().filter(|(_, lengths)| lengths.count() > 0) {
            let [min, median, most, nearly] = [0.0, 0.5, 0.9, 0.99].map(|share| lengths.percentile(share));
            let (mean, max) = (lengths.mean(), lengths.max());
            writeln!(f, "{name:<20} {min:>7} {median:>7} {mean:>7.1} {most:>7} {nearly:>7} {max:>7}")?;
        }
        write!(f, "limits: {} tokens together, ", self.max_length)?;
        match self.max_prompt_length {
            0 => write!(f, "prompts are not cut")?,
            most => write!(f, "{most} for a cut prompt")?,
        }
        let findings = self.findings();
        if findings.is_empty() {
            write!(f, "\nnothing cut, nothing odd")?;
        }
        for (count, meaning) in findings {
            write!(f, "\n{count:>8} {meaning}")?;
        }
        for message in &self.skipped.messages {
            write!(f, "\n         left out: {message}")?;
        }
        self.notes().iter().try_for_each(|note| write!(f, "\n{note}"))?;
        if !self.not_read.is_empty() {
            write!(f, "\nnot read: {}", named(&self.not_read))?;
        }
        self.part.iter().try_for_each(|part| write!(f, "\nsplit read: {part}"))
    }
}

/// Lists names with their counts, most frequent first. Names come from files, so they are shortened and escaped.
fn named(counts: &BTreeMap<String, u64>) -> String {
    const MOST: usize = 24;
    let mut all: Vec<(&String, u64)> = counts.iter().map(|(name, &count)| (name, count)).collect();
    all.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mut shown: Vec<String> =
        all.iter().take(MOST).map(|(name, count)| format!("{} ({count})", short(name))).collect();
    if all.len() > MOST {
        shown.push(format!("and {} more", all.len() - MOST));
    }
    shown.join(", ")
}

/// A name from a file, shortened and escaped.
fn short(name: &str) -> String {
    const LETTERS: usize = 48;
    name.chars().take(LETTERS).flat_map(char::escape_debug).collect()
}

/// Adds what truncation cost roles. Names come from files, so there may not be any number of them.
fn add_roles(counts: &mut BTreeMap<String, CutRole>, more: &BTreeMap<String, CutRole>) {
    const MOST: usize = 24;
    for (role, cut) in more {
        let role = if counts.contains_key(role) || counts.len() < MOST { role } else { "others" };
        *counts.entry(role.to_owned()).or_default() += *cut;
    }
}
