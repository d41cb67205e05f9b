//! A server as the judge of a folder of pairs.
use std::path::{Path, PathBuf};
use std::time::Duration;

use datasets::Text;
use datasets::pairs::{Judge, JudgementLog, LabelChoice, Modality, PairFolder, Preference, Side, StoredResult};
use eval::statistics::Positions;
use eval::{
    ApiJudge, ApiKey, Cache, Client, Content, Endpoint, Http, HttpOptions, Judged, Limits, Material, Orders,
    SystemClock, Template, Unjudged, Usage,
};
use serde_json::{Map, Value};

use super::report::JudgeUsage;
use super::{AT_ONCE, GoesOn, plain_name, record};
use crate::settings::Values;
use crate::{Failure, Reporter};

/// Checked settings of a server and of the question to it.
pub(super) struct ApiSettings {
    endpoint: Endpoint,
    model: String,
    template: Option<Template>,
    orders: Orders,
    fields: Map<String, Value>,
    limits: Limits,
    timeout: Duration,
    parallel: usize,
    max_tokens: usize,
    authorities: Option<Vec<u8>>,
}

impl ApiSettings {
    /// Checks the settings; nothing is sent.
    ///
    /// # Errors
    /// A setting is missing or wrong, a file can't be read.
    pub(super) fn of(values: &Values) -> Result<Self, Failure> {
        let judge = &values.judge;
        let needs = |what: &str| Failure::usage(format!("`judge.judge` openai needs {what}"));
        let endpoint = judge.endpoint().ok_or_else(|| needs("`judge.endpoint` URL: the base address of the server"))?;
        let endpoint = Endpoint::parse(endpoint).map_err(|error| Failure::usage(error.to_string()))?;
        let model = judge.model().ok_or_else(|| needs("`judge.model` NAME: the model's name at the server"))?;
        let template = judge.template().map(Template::open).transpose().map_err(|error| Failure::of(&error))?;
        check_numbers(judge)?;
        let read = |path: &str| std::fs::read(path).map_err(|error| Failure::failed(format!("{path}: {error}")));
        let requests_per_minute = Some(judge.rate()).filter(|rate| *rate > 0.0);
        let limits = Limits { retries: judge.retries(), requests_per_minute, ..Limits::default() };
        Ok(Self {
            endpoint,
            model: model.to_owned(),
            template,
            orders: if judge.both_orders() { Orders::Both } else { Orders::Drawn },
            fields: fields(judge.fields())?,
            limits,
            timeout: Duration::from_secs_f64(judge.timeout()),
            parallel: judge.parallel(),
            max_tokens: judge.max_tokens(),
            authorities: judge.ca().map(read).transpose()?,
        })
    }

    /// The question about pairs of a kind.
    fn template(&self, modality: Modality) -> Template {
        let usual = || if modality.has_pictures() { Template::pictures() } else { Template::answers() };
        self.template.clone().unwrap_or_else(usual)
    }

    /// The way to the server, with the key of the environment.
    fn connect(&self, values: &Values, reporter: &dyn Reporter) -> Result<Http, Failure> {
        let variable = values.judge.key_variable();
        let key = reporter.key(variable);
        let authorities = self.authorities.as_deref();
        let options = HttpOptions { timeout: self.timeout, authorities, proxy: values.judge.proxy() };
        let http = Http::new(self.endpoint.clone(), key.clone(), &options);
        let http = http.map_err(|error| Failure::usage(error.to_string()))?;
        self.say_about_key(key.as_ref(), variable, reporter);
        Ok(http)
    }

    fn say_about_key(&self, key: Option<&ApiKey>, variable: &str, reporter: &dyn Reporter) {
        let endpoint = &self.endpoint;
        if key.is_none() && !endpoint.is_local() {
            reporter.info(&format!("{variable} is not set: {endpoint} is asked without a key"));
        }
        if key.is_some() && !endpoint.is_encrypted() && !endpoint.is_local() {
            reporter.notice(&format!("{endpoint} is no https: the key in {variable} is sent to it unencrypted"));
        }
    }
}

/// Refuses numbers that are out of range.
fn check_numbers(judge: &crate::settings::Judge) -> Result<(), Failure> {
    let (rate, timeout, parallel) = (judge.rate(), judge.timeout(), judge.parallel());
    for (holds, text) in [
        (rate >= 0.0, format!("`judge.rate` takes a number from 0 up, not {rate}")),
        (timeout > 0.0 && timeout <= 86_400.0, format!("`judge.timeout` takes seconds, up to 86400, not {timeout}")),
        ((1..=64).contains(&parallel), format!("`judge.parallel` takes 1 to 64, not {parallel}")),
        (judge.max_tokens() > 0, "`judge.max_tokens` takes at least 1".to_owned()),
        (judge.prompt_price() >= 0.0, "`judge.prompt_price` takes a number from 0 up".to_owned()),
        (judge.answer_price() >= 0.0, "`judge.answer_price` takes a number from 0 up".to_owned()),
    ] {
        if !holds {
            return Err(Failure::usage(text));
        }
    }
    Ok(())
}

/// More fields of a request.
fn fields(text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    match text.map(serde_json::from_str) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(fields))) if !fields.contains_key("messages") && !fields.contains_key("stream") => {
            Ok(fields)
        }
        Some(Ok(_)) => Err(Failure::usage("`judge.fields` takes a JSON object without `messages` and `stream`")),
        Some(Err(error)) => Err(Failure::usage(format!("`judge.fields` takes a JSON object: {error}"))),
    }
}

/// What a server did beside choosing.
#[derive(Clone, Debug)]
pub(crate) struct ApiFigures {
    pub(crate) positions: Positions,
    /// Pairs whose reply was cut off before a choice.
    pub(crate) cut: usize,
    /// Pairs that the server refused.
    pub(crate) refused: usize,
    pub(crate) max_tokens: usize,
    usage: Usage,
}

impl ApiFigures {
    /// Requests, tokens and cost.
    pub(crate) fn usage(&self, values: &Values) -> JudgeUsage {
        let Usage { requests, answered, kept, prompt_tokens, completion_tokens, uncounted } = self.usage;
        let cost = self.usage.cost(values.judge.prompt_price(), values.judge.answer_price());
        JudgeUsage { requests, answered, kept, prompt_tokens, completion_tokens, uncounted, cost }
    }
}

/// Judges the pairs of a folder that this judge has not judged; returns the labeller's name.
pub(super) fn judge(
    pairs: &PairFolder,
    log: &mut JudgementLog,
    answers: &Path,
    values: &Values,
    (goes_on, reporter): (GoesOn, &dyn Reporter),
) -> Result<(String, ApiFigures), Failure> {
    let settings = ApiSettings::of(values)?;
    let answers = values.judge.cache().map_or_else(|| answers.to_owned(), PathBuf::from);
    let cache = Cache::open(&answers).map_err(|error| Failure::of(&error))?;
    let (http, clock) = (settings.connect(values, reporter)?, SystemClock::default());
    let client = Client::new(&http, &clock, &cache, settings.limits, reporter.stop());
    let judge = ApiJudge::new(&client, &settings.model, settings.template(pairs.modality()))
        .orders(settings.orders)
        .seed(values.run.seed())
        .max_tokens(settings.max_tokens)
        .fields(settings.fields.clone())
        .parallel(settings.parallel);
    let name = format!("openai {} {}", plain_name(judge.model()), &judge.fingerprint()[..8]);
    let asking = Asking { pairs, judge: &judge, name: &name, settings: &settings, answers: &answers, goes_on };
    let judged = asking.all(log, reporter)?;
    let figures = ApiFigures {
        positions: Positions::of(&judged),
        cut: judged.iter().filter(|judged| judged.is_cut()).count(),
        refused: judged.iter().filter(|judged| matches!(judged.unjudged, Some(Unjudged::Refused(_)))).count(),
        max_tokens: settings.max_tokens,
        usage: client.usage(),
    };
    Ok((name, figures))
}

/// The pairs of a folder before their judge.
struct Asking<'a> {
    pairs: &'a PairFolder,
    judge: &'a ApiJudge<'a>,
    name: &'a str,
    settings: &'a ApiSettings,
    answers: &'a Path,
    goes_on: GoesOn,
}

impl Asking<'_> {
    /// Judges all pairs and keeps what came of them; of those in the log only kept answers are read. One without a choice whose
    /// reply is not kept is asked about again.
    fn all(&self, log: &mut JudgementLog, reporter: &dyn Reporter) -> Result<Vec<Judged>, Failure> {
        let (mut done, mut open) = (Vec::new(), Vec::new());
        for index in 0..self.pairs.len() {
            match log.labels().choice(index, self.name) {
                None => open.push(index),
                Some(choice) => match self.judge.kept(&material(self.pairs, index)?) {
                    Some(judged) => done.push(judged),
                    None if choice == LabelChoice::Skip => open.push(index),
                    None => {}
                },
            }
        }
        self.tie_same(&mut open, log)?;
        let bar = reporter.bar("judge", open.len());
        for indices in open.chunks(AT_ONCE.max(4 * self.settings.parallel)) {
            let pairs = indices.iter().map(|index| material(self.pairs, *index)).collect::<Result<Vec<_>, _>>()?;
            let judged = self.judge.compare(&pairs).map_err(|error| self.failed(&error.to_string(), log))?;
            for judged in &judged {
                let choice = judged.choice().or_else(|| judged.is_unparsed().then_some(LabelChoice::Skip));
                if let Some(choice) = choice {
                    record(log, (judged.index, self.name, Judge::Model), choice)?;
                }
            }
            let asked = judged.iter().filter(|judged| judged.unjudged != Some(Unjudged::NotAsked));
            bar.inc(asked.count() as u64);
            done.extend(judged);
            if reporter.is_stopped() {
                return Err(Failure::Interrupted);
            }
            // One that is down is not asked about the pairs that are left.
            if done.last().is_some_and(|judged| judged.unjudged == Some(Unjudged::NotAsked)) {
                break;
            }
        }
        bar.finish_and_clear();
        self.check(&done, log)?;
        Ok(done)
    }

    /// Takes pairs of identical answers out of the open ones: they are ties, and nobody has to be asked.
    fn tie_same(&self, open: &mut Vec<usize>, log: &mut JudgementLog) -> Result<(), Failure> {
        let mut others = Vec::with_capacity(open.len());
        for index in open.drain(..) {
            let pair = material(self.pairs, index)?;
            if is_same(&pair) {
                record(log, (index, self.name, Judge::Model), LabelChoice::Tie)?;
            } else {
                others.push(index);
            }
        }
        *open = others;
        Ok(())
    }

    /// Refuses to go on with pairs whose judge was down, or that it all refused.
    fn check(&self, done: &[Judged], log: &JudgementLog) -> Result<(), Failure> {
        let last =
            |of: fn(&Unjudged) -> Option<&String>| done.iter().rev().find_map(|judged| of(judged.unjudged.as_ref()?));
        let failed = last(|why| if let Unjudged::Failed(why) = why { Some(why) } else { None });
        let is_left = done.iter().any(|judged| judged.unjudged == Some(Unjudged::NotAsked));
        if failed.is_some() || is_left {
            return Err(self.failed(failed.map_or("not every pair was asked about", String::as_str), log));
        }
        let refused = last(|why| if let Unjudged::Refused(why) = why { Some(why) } else { None });
        match refused {
            Some(why) if log.labels().count(self.name) == 0 => Err(self.failed(why, log)),
            _ => Ok(()),
        }
    }

    /// A failure that counts what is judged, and says where it is kept.
    fn failed(&self, why: &str, log: &JudgementLog) -> Failure {
        let (n, done) = (self.pairs.len(), log.labels().count(self.name));
        let (endpoint, answers) = (&self.settings.endpoint, self.answers.display());
        let why = why.strip_prefix(&format!("{endpoint}: ")).unwrap_or(why);
        let then = match self.goes_on {
            GoesOn::ByCommand => "and the same command goes on from there",
            GoesOn::ByResuming => "and `resume` goes on from there",
            GoesOn::Anyway => "and training goes on without",
        };
        Failure::failed(format!(
            "{endpoint}: {why}; {done} of {n} pairs are judged, the answers are kept in {answers}, {then}"
        ))
    }
}

/// Whether the judge would be shown the same twice: texts are shown without the white space around them.
fn is_same(pair: &Material) -> bool {
    match (&pair.a, &pair.b) {
        (Content::Text(a), Content::Text(b)) => a.trim() == b.trim(),
        (a, b) => a == b,
    }
}

/// A pair as the judge is asked about it.
fn material(pairs: &PairFolder, index: usize) -> Result<Material, Failure> {
    let missing = || Failure::failed(format!("{}: there is no pair {index}", pairs.path().display()));
    let pair = pairs.get(index).ok_or_else(missing)?;
    let side = |side: Side| -> Result<Content, Failure> {
        Ok(match &pair.side(side).made {
            StoredResult::Response(text) => Content::Text(text.clone()),
            StoredResult::Image(_) => Content::Picture(pairs.image(index, side)?.ok_or_else(missing)?),
        })
    };
    Ok(Material { index, prompt: prompt(pairs, index)?, a: side(Side::A)?, b: side(Side::B)? })
}

/// The request of a pair; a conversation as its messages with their roles, a single message as its text.
fn prompt(pairs: &PairFolder, index: usize) -> Result<String, Failure> {
    let request = pairs.get(index).map(|pair| pair.request.trim().to_owned()).unwrap_or_default();
    if pairs.modality() != Modality::Token {
        return Ok(request);
    }
    let records = pairs.records(&[Preference { index, a_is_better: 1.0, labellers: 0 }])?;
    let Some(Text::Chat(messages)) = records.into_iter().next().map(|record| record.prompt) else { return Ok(request) };
    Ok(super::systems::spoken(&messages))
}
