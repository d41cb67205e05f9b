//! Questions with patience: retries, rates, and answers that are kept.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::cache::Claim;
use crate::{Answer, AskError, Cache, Clock, Reply, Transport, TransportError, wire};

/// How often and how fast a server is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Tries of a question after the first.
    pub retries: usize,
    /// The wait before the second try; every further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait between two tries; a server that asks for more counts as down.
    pub longest_wait: Duration,
    /// The most requests a minute; `None` for no limit.
    pub requests_per_minute: Option<f64>,
}

impl Default for Limits {
    /// Six retries from one second on, which is a minute in all; no rate.
    fn default() -> Self {
        Self {
            retries: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            requests_per_minute: None,
        }
    }
}

/// Counts of requests and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that were sent, with those that failed.
    pub requests: u64,
    /// Questions that the server answered.
    pub answered: u64,
    /// Questions whose answers were kept from before.
    pub kept: u64,
    /// Tokens of the questions that the server answered.
    pub prompt_tokens: u64,
    /// Tokens of its answers.
    pub completion_tokens: u64,
    /// Answers without a count of tokens.
    pub uncounted: u64,
}

impl Usage {
    /// The price of the tokens, with prices of a million of each kind.
    pub fn cost(&self, prompt_price: f64, completion_price: f64) -> f64 {
        (self.prompt_tokens as f64 * prompt_price + self.completion_tokens as f64 * completion_price) / 1e6
    }
}

/// A server with patience, shared by threads.
pub struct Client<'c> {
    transport: &'c dyn Transport,
    clock: &'c dyn Clock,
    cache: &'c Cache,
    limits: Limits,
    stop: &'c AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    usage: Usage,
    /// No request is sent before.
    open_at: Duration,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("limits", &self.limits)
            .field("cache", &self.cache.path())
            .finish_non_exhaustive()
    }
}

/// The wait between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(200);

impl<'c> Client<'c> {
    /// A client of a server; `stop` ends waits and further requests.
    pub fn new(
        transport: &'c dyn Transport,
        clock: &'c dyn Clock,
        cache: &'c Cache,
        limits: Limits,
        stop: &'c AtomicBool,
    ) -> Self {
        Self { transport, clock, cache, limits, stop, state: Mutex::default() }
    }

    /// The counts so far.
    pub fn usage(&self) -> Usage {
        self.state().usage
    }

    /// The answer to a request that is kept, if it is.
    pub fn kept(&self, body: &Value) -> Option<Answer> {
        self.cache.get(body.to_string().as_bytes())
    }

    /// Returns the kept answer to a request, or asks for it. A reply without a content is not kept: it is asked for again.
    ///
    /// # Errors
    /// The server refuses the request, or has not answered after the last try; the file of answers can't be written.
    pub fn ask(&self, body: &Value) -> Result<Answer, AskError> {
        let body = body.to_string();
        let asking = match self.cache.claim(body.as_bytes()) {
            Claim::Known(answer) => {
                self.state().usage.kept += 1;
                return Ok(answer);
            }
            Claim::Open(asking) => asking,
        };
        let answer = self.try_often(body.as_bytes())?;
        let mut state = self.state();
        let usage = &mut state.usage;
        usage.answered += 1;
        usage.prompt_tokens += answer.prompt_tokens.unwrap_or(0);
        usage.completion_tokens += answer.completion_tokens.unwrap_or(0);
        usage.uncounted += u64::from(answer.prompt_tokens.is_none() || answer.completion_tokens.is_none());
        drop(state);
        if answer.has_content {
            asking.keep(&answer).map_err(|error| AskError::Fatal(error.to_string()))?;
        }
        Ok(answer)
    }

    fn try_often(&self, body: &[u8]) -> Result<Answer, AskError> {
        let mut wait = self.limits.first_wait;
        for left in (0..=self.limits.retries).rev() {
            self.take_turn()?;
            let reply = self.transport.post(body);
            self.state().usage.requests += 1;
            let (why, asked) = match reply {
                Err(TransportError::Permanent(why)) => return Err(AskError::Fatal(why)),
                Err(TransportError::Temporary(why)) => (why, None),
                Ok(reply) => match judge_reply(&reply)? {
                    Ok(answer) => return Ok(answer),
                    Err(why) => (why, reply.retry_after),
                },
            };
            let tries = self.limits.retries + 1;
            if left == 0 {
                let tries = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
                return Err(AskError::Down(format!("no answer after {tries}; the last: {why}")));
            }
            if asked.is_some_and(|asked| asked > self.limits.longest_wait) {
                let seconds = asked.unwrap_or_default().as_secs();
                return Err(AskError::Down(format!("the server asks to wait for {seconds} s ({why})")));
            }
            match asked {
                Some(asked) => self.close_for(asked.max(wait)),
                None => self.wait(wait)?,
            }
            wait = (wait * 2).min(self.limits.longest_wait);
        }
        Err(AskError::Down("no try was made".to_owned()))
    }

    /// Lets no question be sent before the server wants it.
    fn close_for(&self, wait: Duration) {
        let mut state = self.state();
        state.open_at = state.open_at.max(self.clock.now() + wait);
    }

    /// Waits until the next request may be sent, and takes its place.
    fn take_turn(&self) -> Result<(), AskError> {
        loop {
            let wait = {
                let mut state = self.state();
                let now = self.clock.now();
                if state.open_at <= now {
                    let pause = self.limits.requests_per_minute.map_or(0.0, |rate| 60.0 / rate);
                    state.open_at = now + Duration::try_from_secs_f64(pause).unwrap_or(Duration::from_secs(3600));
                    break;
                }
                state.open_at.saturating_sub(now)
            };
            self.wait(wait)?;
        }
        self.check_stop()
    }

    /// Waits, and looks now and then whether to stop.
    fn wait(&self, duration: Duration) -> Result<(), AskError> {
        let end = self.clock.now() + duration;
        loop {
            self.check_stop()?;
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Ok(());
            }
            self.clock.sleep(left.min(LOOK));
        }
    }

    fn check_stop(&self) -> Result<(), AskError> {
        if self.stop.load(Ordering::Relaxed) { Err(AskError::Stopped) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer in a reply, or why it is worth another try.
fn judge_reply(reply: &Reply) -> Result<Result<Answer, String>, AskError> {
    let status = reply.status;
    let said = |what: &str| format!("{status} {what}: {}", wire::complaint(&reply.body));
    match status {
        200..=299 => Ok(wire::answer(&reply.body)),
        300..=399 => {
            let to = reply.location.as_deref().unwrap_or("another address");
            Err(AskError::Fatal(format!("{status}: the server is at {to}; redirections are not followed")))
        }
        401 | 403 => Err(AskError::Fatal(said("the key is refused, or missing"))),
        402 => Err(AskError::Fatal(said("no credit is left"))),
        404 | 405 | 410 => Err(AskError::Fatal(said("there is no such model or address"))),
        408 | 409 | 425 | 429 | 500..=599 => Ok(Err(said("not now"))),
        _ => Err(AskError::Refused(said("the request is refused"))),
    }
}
