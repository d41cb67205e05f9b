//! A server as the judge of two answers.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use datasets::pairs::{LabelChoice, Side};
use mdp::chance::derived_seed;
use serde_json::{Map, Value};

use crate::{Answer, AskError, Client, Content, EvalError, Template, Verdict, wire};

/// A request and two answers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// The index of the pair; with the seed it decides which side is shown first.
    pub index: usize,
    /// The request.
    pub prompt: String,
    /// The first answer.
    pub a: Content,
    /// The second answer.
    pub b: Content,
}

/// The orders in which the sides of a pair are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orders {
    /// One order for each pair, drawn by the seed.
    #[default]
    Drawn,
    /// Both orders; a pair is a tie unless they give the same choice.
    Both,
}

/// A server that compares answers.
#[derive(Debug)]
pub struct ApiJudge<'j> {
    client: &'j Client<'j>,
    model: String,
    template: Template,
    orders: Orders,
    seed: u64,
    max_tokens: usize,
    fields: Map<String, Value>,
    parallel: usize,
    /// Questions in a row that failed.
    failures: AtomicUsize,
}

/// Failed questions in a row after which no other is asked.
const GIVE_UP: usize = 3;

/// A question about a pair that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    first: Side,
    verdict: Option<Verdict>,
    is_cut: bool,
}

/// Why a pair has no judgement, though its judge was to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// The server refuses the question.
    Refused(String),
    /// The server did not answer.
    Failed(String),
    /// It was not asked: the server is down, or a stop was requested.
    NotAsked,
}

/// What came of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The index of the pair.
    pub index: usize,
    /// Why there is no judgement; `None` where all questions were answered.
    pub unjudged: Option<Unjudged>,
    said: Vec<Said>,
}

impl<'j> ApiJudge<'j> {
    /// A judge that shows each pair in one order and answers in at most 512 tokens.
    pub fn new(client: &'j Client<'j>, model: &str, template: Template) -> Self {
        let (model, orders, fields) = (model.to_owned(), Orders::default(), Map::new());
        Self {
            client,
            model,
            template,
            orders,
            seed: 0,
            max_tokens: 512,
            fields,
            parallel: 1,
            failures: AtomicUsize::new(0),
        }
    }

    /// Sets the orders.
    #[must_use]
    pub fn orders(self, orders: Orders) -> Self {
        Self { orders, ..self }
    }

    /// Sets the seed that draws the orders.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the most tokens of a reply.
    #[must_use]
    pub fn max_tokens(self, max_tokens: usize) -> Self {
        Self { max_tokens, ..self }
    }

    /// Sets further fields of each request; `null` leaves one out that would be there.
    #[must_use]
    pub fn fields(self, fields: Map<String, Value>) -> Self {
        Self { fields, ..self }
    }

    /// Sets the number of questions that are under way at once.
    #[must_use]
    pub fn parallel(self, parallel: usize) -> Self {
        Self { parallel, ..self }
    }

    /// The model's name at the server.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A hash of all that decides what is asked, but the pairs.
    pub fn fingerprint(&self) -> String {
        let Self { model, template, orders, seed, max_tokens, fields, .. } = self;
        let seed = match orders {
            Orders::Drawn => *seed,
            Orders::Both => 0,
        };
        let all = format!(
            "{model} {} {orders:?} {seed} {max_tokens} {}",
            template.fingerprint(),
            Value::Object(fields.clone())
        );
        blake3::hash(all.as_bytes()).to_hex().to_string()
    }

    /// Compares the sides of each pair; the results are in the order of the pairs.
    ///
    /// A pair whose questions fail does not end it; several in a row do, and the others are then not asked.
    ///
    /// # Errors
    /// The server takes no request at all, or the answers can't be kept.
    pub fn compare(&self, pairs: &[Material]) -> Result<Vec<Judged>, EvalError> {
        let (next, fatal) = (AtomicUsize::new(0), Mutex::new(None));
        let done: Vec<Mutex<Option<Judged>>> = pairs.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(pair) = pairs.get(at) else { break };
                match self.judge(pair) {
                    Ok(judged) => set(&done[at], judged),
                    Err(why) => {
                        set(&fatal, why);
                        next.store(pairs.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.parallel.clamp(1, pairs.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(why) = take(fatal) {
            return Err(EvalError::Server(why));
        }
        let unasked =
            |pair: &Material| Judged { index: pair.index, unjudged: Some(Unjudged::NotAsked), said: Vec::new() };
        Ok(done.into_iter().zip(pairs).map(|(slot, pair)| take(slot).unwrap_or_else(|| unasked(pair))).collect())
    }

    /// What is kept about a pair; `None` where a question was not answered before.
    pub fn kept(&self, pair: &Material) -> Option<Judged> {
        let said = |first: Side| Some(self.said(first, &self.client.kept(&self.body(pair, first))?));
        let said = self.shown_first(pair.index).into_iter().map(said).collect::<Option<Vec<_>>>()?;
        Some(Judged { index: pair.index, unjudged: None, said })
    }

    /// Judges a pair.
    ///
    /// # Errors
    /// No other pair could be judged either.
    fn judge(&self, pair: &Material) -> Result<Judged, String> {
        let mut said = Vec::new();
        let unjudged = |why, said| Ok(Judged { index: pair.index, unjudged: Some(why), said });
        for first in self.shown_first(pair.index) {
            if self.failures.load(Ordering::Relaxed) >= GIVE_UP {
                return unjudged(Unjudged::NotAsked, said);
            }
            match self.client.ask(&self.body(pair, first)) {
                Ok(answer) => {
                    self.failures.store(0, Ordering::Relaxed);
                    said.push(self.said(first, &answer));
                }
                Err(AskError::Fatal(why)) => return Err(why),
                Err(AskError::Stopped) => return unjudged(Unjudged::NotAsked, said),
                Err(AskError::Refused(why)) => return unjudged(Unjudged::Refused(why), said),
                Err(AskError::Down(why)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    return unjudged(Unjudged::Failed(why), said);
                }
            }
        }
        Ok(Judged { index: pair.index, unjudged: None, said })
    }

    /// The sides that are shown first, question by question.
    fn shown_first(&self, index: usize) -> Vec<Side> {
        match self.orders {
            Orders::Both => Side::BOTH.to_vec(),
            Orders::Drawn if derived_seed(self.seed, "order of sides", index as u64).is_multiple_of(2) => vec![Side::A],
            Orders::Drawn => vec![Side::B],
        }
    }

    fn body(&self, pair: &Material, first: Side) -> Value {
        let (shown, other) = match first {
            Side::A => (&pair.a, &pair.b),
            Side::B => (&pair.b, &pair.a),
        };
        wire::body(&self.model, &self.template.messages(&pair.prompt, shown, other), self.max_tokens, &self.fields)
    }

    fn said(&self, first: Side, answer: &Answer) -> Said {
        Said { first, verdict: Verdict::read(&answer.text, self.template.label()), is_cut: answer.is_cut }
    }
}

impl Judged {
    /// The choice; `None` where there is no judgement, or a reply has no readable choice.
    pub fn choice(&self) -> Option<LabelChoice> {
        if self.unjudged.is_some() {
            return None;
        }
        let mut choices = self.said.iter().map(Said::choice);
        let first = choices.next()??;
        choices.try_fold(first, |before, other| Some(if before == other? { before } else { LabelChoice::Tie }))
    }

    /// Whether a reply has no readable choice.
    pub fn is_unparsed(&self) -> bool {
        self.unjudged.is_none() && self.choice().is_none()
    }

    /// Whether a reply without a readable choice was cut off at its greatest length.
    pub fn is_cut(&self) -> bool {
        self.said.iter().any(|said| said.verdict.is_none() && said.is_cut)
    }

    /// The readable choices between the places, not the sides.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.said.iter().filter_map(|said| said.verdict)
    }

    /// Whether both orders gave the same choice; `None` unless both were shown and gave one.
    pub fn is_consistent(&self) -> Option<bool> {
        match &self.said[..] {
            [one, other] => Some(one.choice()? == other.choice()?),
            _ => None,
        }
    }
}

impl Said {
    fn choice(&self) -> Option<LabelChoice> {
        self.verdict.map(|verdict| match verdict {
            Verdict::First => LabelChoice::of(self.first),
            Verdict::Second => LabelChoice::of(self.first.other()),
            Verdict::Tie => LabelChoice::Tie,
        })
    }
}

fn set<T>(slot: &Mutex<Option<T>>, value: T) {
    if let Ok(mut slot) = slot.lock() {
        *slot = Some(value);
    }
}

fn take<T>(slot: Mutex<Option<T>>) -> Option<T> {
    slot.into_inner().ok().flatten()
}
