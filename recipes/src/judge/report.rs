//! What a judge found.
use std::fmt;

use datasets::pairs::{Agreement, LabelChoice};
use eval::statistics::{Interval, LabellerAgreement, LengthControlled, Positions};
use serde_json::{Value, json};
use train::statistics::wilson;

/// The counts of a judge's choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JudgeCounts {
    /// Side a is better.
    pub a: usize,
    /// Ties.
    pub ties: usize,
    /// Side b is better.
    pub b: usize,
    /// Pairs without a choice: the judge's reply has none that can be read, or it refused. They count as nothing.
    pub unparsed: usize,
}

impl JudgeCounts {
    /// The number of wins of side a, with ties as one half.
    pub fn won(&self) -> f64 {
        self.a as f64 + 0.5 * self.ties as f64
    }

    /// The number of pairs with a choice.
    pub fn judged(&self) -> usize {
        self.a + self.ties + self.b
    }

    /// The share of wins of side a with its 95% interval (Wilson); `None` without a pair.
    pub fn win_rate(&self) -> Option<(f64, (f64, f64))> {
        let (won, n) = (self.won(), self.judged() as f64);
        (n > 0.0).then(|| (won / n, wilson(won, n)))
    }

    /// Counts choices.
    pub(crate) fn of(choices: impl IntoIterator<Item = Option<LabelChoice>>) -> Self {
        choices.into_iter().fold(Self::default(), |counts, choice| match choice {
            Some(LabelChoice::A) => Self { a: counts.a + 1, ..counts },
            Some(LabelChoice::B) => Self { b: counts.b + 1, ..counts },
            Some(LabelChoice::Tie) => Self { ties: counts.ties + 1, ..counts },
            Some(LabelChoice::Skip) | None => Self { unparsed: counts.unparsed + 1, ..counts },
        })
    }
}

impl fmt::Display for JudgeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, ties, b, .. } = self;
        write!(f, "{a} times a, {b} times b, {ties} ties")?;
        match self.win_rate() {
            Some((rate, (low, high))) => write!(f, "; a wins {rate:.3} (95% {low:.3} to {high:.3})"),
            None => Ok(()),
        }
    }
}

/// The judgement of one system against another. It is displayed as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemReport {
    /// The folder of pairs, or the file of samples on side a.
    pub name: String,
    /// The file of samples on side b; `None` for a folder of pairs, which has both.
    pub against: Option<String>,
    /// The choices.
    pub counts: JudgeCounts,
    /// The win rate with its interval by the bootstrap over prompts; `None` without a pair.
    pub bootstrap: Option<Interval>,
    /// The win rate at equal length, for texts; `None` where one answer is always longer by the same.
    pub length_controlled: Option<LengthControlled>,
    /// Mean lengths of the answers of a and of b in characters, for texts.
    pub lengths: Option<(f64, f64)>,
    /// Of a server: how often it prefers what it is shown first.
    pub positions: Option<Positions>,
    /// Of a server: pairs it refused, and replies that were cut off before a choice, at this many tokens.
    pub refused: usize,
    /// See [`refused`](Self::refused).
    pub cut: (usize, usize),
    /// How far the judge agrees with people and with other labellers of the folder.
    pub agreement: Vec<LabellerAgreement>,
}

/// How much better one system is than another, against the same baseline on the same prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemDifference {
    /// The one.
    pub one: String,
    /// The other.
    pub other: String,
    /// Prompts of both.
    pub prompts: usize,
    /// The difference of their win rates, by the paired bootstrap over prompts.
    pub difference: Interval,
}

/// What a server cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct JudgeUsage {
    /// Requests that were sent, with those that failed.
    pub requests: u64,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions whose answers were kept from before.
    pub kept: u64,
    /// Tokens of the questions that were answered now.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub completion_tokens: u64,
    /// Answers without a count of tokens.
    pub uncounted: u64,
    /// The price of the tokens.
    pub cost: f64,
}

impl JudgeUsage {
    /// The sum of two.
    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            answered: self.answered + other.answered,
            kept: self.kept + other.kept,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            uncounted: self.uncounted + other.uncounted,
            cost: self.cost + other.cost,
        }
    }
}

/// What a judge found. It is displayed as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeReport {
    /// The judge, as the label log names it.
    pub judge: String,
    /// The folder, or each system against the baseline.
    pub systems: Vec<SystemReport>,
    /// The first system against each other one.
    pub differences: Vec<SystemDifference>,
    /// Of a server: what it cost.
    pub usage: Option<JudgeUsage>,
}

impl JudgeReport {
    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        let difference = |found: &SystemDifference| json!({ "one": found.one, "other": found.other, "prompts": found.prompts, "difference": found.difference });
        json!({
            "judge": self.judge,
            "systems": self.systems.iter().map(SystemReport::to_json).collect::<Vec<_>>(),
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "usage": self.usage,
        })
    }
}

impl SystemReport {
    fn to_json(&self) -> Value {
        let JudgeCounts { a, ties, b, unparsed } = self.counts;
        let rate = self.counts.win_rate();
        let agreement = |found: &LabellerAgreement| {
            let Agreement { pairs, share, kappa, kind, .. } = found.agreement;
            json!({ "with": found.with, "pairs": pairs, "share": share, "kappa": kappa, "statistic": kind.name() })
        };
        let positions = |found: &Positions| {
            let first = found.first_share();
            json!({
                "first_preferred": found.first, "second_preferred": found.second, "first_share": first.map(|(share, _)| share),
                "interval": first.map(|(_, interval)| interval), "both_orders": found.both, "consistent": found.consistent,
            })
        };
        json!({
            "name": self.name, "against": self.against, "a": a, "ties": ties, "b": b,
            "unparsed": unparsed - self.refused, "cut": self.cut.0, "refused": self.refused,
            "win_rate": rate.map(|(rate, _)| rate), "interval": rate.map(|(_, interval)| interval),
            "bootstrap": self.bootstrap, "length_controlled": self.length_controlled,
            "mean_length": self.lengths.map(|(a, b)| json!({ "a": a, "b": b })),
            "positions": self.positions.as_ref().map(positions),
            "agreement": self.agreement.iter().map(agreement).collect::<Vec<_>>(),
        })
    }

    fn write_positions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(positions) = self.positions else { return Ok(()) };
        if let Some((share, (low, high))) = positions.first_share() {
            let n = positions.first + positions.second;
            write!(
                f,
                "\n{:<32}{share:.3} (95% {low:.3} to {high:.3}, {n} replies; 0.5 is no bias)",
                "the first shown is preferred"
            )?;
        }
        match positions.consistency() {
            Some(share) => write!(f, "\n{:<32}{share:.3} of {} pairs", "the same in both orders", positions.both),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SystemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.against {
            Some(baseline) => write!(f, "{} against {baseline}: {}", self.name, self.counts)?,
            None => write!(f, "{}: {}", self.name, self.counts)?,
        }
        if let Some(Interval { low, high, .. }) = self.bootstrap {
            write!(f, "\n{:<32}{low:.3} to {high:.3} (95%)", "by the bootstrap over prompts")?;
        }
        if let Some(LengthControlled { win_rate, length_weight }) = self.length_controlled {
            write!(f, "\n{:<32}{win_rate:.3} (weight of length {length_weight:+.2})", "at equal length")?;
        }
        if let (None, Some((a, b))) = (self.length_controlled, self.lengths) {
            let longer = (a - b).abs();
            write!(f, "\n{:<32}unknown: always {longer} characters apart", "at equal length")?;
        }
        if let Some((a, b)) = self.lengths {
            write!(f, "\n{:<32}a {a:.1}, b {b:.1} characters", "mean length")?;
        }
        let unparsed = self.counts.unparsed - self.refused;
        if unparsed > 0 {
            let (cut, most) = self.cut;
            let of_cut = if cut > 0 { format!(" ({cut} replies cut off at {most} tokens)") } else { String::new() };
            write!(f, "\n{:<32}{unparsed} pairs{of_cut}", "no readable choice")?;
        }
        if self.refused > 0 {
            write!(f, "\n{:<32}{} pairs", "refused by the server", self.refused)?;
        }
        self.write_positions(f)?;
        for LabellerAgreement { with, agreement } in &self.agreement {
            let kappa = agreement.kappa.map_or_else(|| "-".to_owned(), |kappa| format!("{kappa:.3}"));
            let (share, n, kind) = (agreement.share, agreement.pairs, agreement.kind.name());
            write!(f, "\n{:<32}{share:.3} of {n} pairs, {kind} {kappa}", format!("agrees with {with}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for JudgeUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, kept, prompt_tokens, completion_tokens, uncounted, cost } = self;
        write!(
            f,
            "{requests} requests, {answered} answers and {kept} kept ones; {prompt_tokens} + {completion_tokens} tokens"
        )?;
        if *uncounted > 0 {
            write!(f, " ({uncounted} answers uncounted)")?;
        }
        if *cost > 0.0 { write!(f, ", {cost:.4} in all") } else { Ok(()) }
    }
}

impl fmt::Display for JudgeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, system) in self.systems.iter().enumerate() {
            write!(f, "{}{system}", if number == 0 { "" } else { "\n" })?;
        }
        for SystemDifference { one, other, prompts, difference: Interval { value, low, high } } in &self.differences {
            write!(f, "\n{one} less {other}: {value:+.3} (95% {low:+.3} to {high:+.3}, {prompts} prompts, paired)")?;
        }
        match &self.usage {
            Some(usage) => write!(f, "\n{:<32}{usage}", "server"),
            None => Ok(()),
        }
    }
}
