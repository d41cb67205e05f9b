//! The problem's data by seed, split and index.

use super::Split;
use super::code::Code;
use super::request::Request;
use super::scene::{Motion, Wanted};
use super::shape::{Axis, FRAMES, Shape};
use crate::synthetic::draw::RandomDraws;

/// A planner demonstration: a request with one plan, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The request.
    pub request: Request,
    /// The planned motion.
    pub planned: Motion,
}

/// A decoder demonstration: codes with one clip, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The codes to draw.
    pub codes: [Code; FRAMES],
    /// The codes that the clip shows.
    pub shown: [Code; FRAMES],
}

/// One of two answers to a request: a plan and its clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionSide {
    /// The planned motion.
    pub planned: Motion,
    /// The motion that the clip shows.
    pub shown: Motion,
}

/// A request with a better and a worse answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionPair {
    /// The request.
    pub request: Request,
    /// The answer whose clip matches the request better.
    pub chosen: MotionSide,
    /// The answer whose clip matches it worse.
    pub rejected: MotionSide,
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionProblem {
    seed: u64,
}

impl MotionProblem {
    /// Probability that a plan is wrong about shape, direction or speed.
    pub const WRONG_RATE: f64 = 0.4;
    /// Error rate of a clip without codes near the rim.
    pub const INNER_ERROR_RATE: f64 = 0.05;
    /// Error rate of a clip with all codes near the rim; no motion has more than six of eight there.
    pub const RIM_ERROR_RATE: f64 = 0.5;
    /// Share of decoder demonstrations with independent random codes per frame, so that a decoder learns to draw single
    /// frames instead of memorising clips.
    pub const SCRAMBLED_SHARE: f64 = 0.15;

    /// Creates the problem of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The error rate of codes: interpolated between the two rates by their share near the rim.
    pub fn error_rate(codes: &[Code; FRAMES]) -> f64 {
        let share = codes.iter().filter(|code| code.is_at_rim()).count() as f64 / FRAMES as f64;
        Self::INNER_ERROR_RATE + share * (Self::RIM_ERROR_RATE - Self::INNER_ERROR_RATE)
    }

    /// Pair `index` of a split: two answers with different scores, with plans and clips distributed as in the
    /// demonstrations.
    pub fn pair(self, split: Split, index: u64) -> MotionPair {
        let mut draw = self.stream("pair", split, index);
        let request = Request::draw(split, &mut draw);
        loop {
            let [first, second] = [0, 1].map(|_| {
                let planned = plan(request, &mut draw);
                MotionSide { planned, shown: imagine(planned, &mut draw) }
            });
            let (worth, other) = (request.wanted.share(&first.shown), request.wanted.share(&second.shown));
            if worth != other {
                let (chosen, rejected) = if worth > other { (first, second) } else { (second, first) };
                return MotionPair { request, chosen, rejected };
            }
        }
    }

    /// Planner demonstration `index` of a split.
    pub fn plan(self, split: Split, index: u64) -> Plan {
        let mut draw = self.stream("plan", split, index);
        let request = Request::draw(split, &mut draw);
        Plan { request, planned: plan(request, &mut draw) }
    }

    /// Decoder demonstration `index` of a split.
    pub fn drawn(self, split: Split, index: u64) -> Drawn {
        let mut draw = self.stream("drawn", split, index);
        if draw.chance(Self::SCRAMBLED_SHARE) {
            let codes = scrambled(&mut draw);
            return Drawn { codes, shown: codes };
        }
        let planned = Motion::draw(Request::draw(split, &mut draw).wanted, &mut draw);
        Drawn { codes: planned.codes(), shown: imagine(planned, &mut draw).codes() }
    }

    fn stream(self, purpose: &str, split: Split, index: u64) -> RandomDraws {
        RandomDraws::new("hybrid-dpo motion", purpose, &[self.seed, split as u64, index])
    }
}

/// The planned motion of a demonstration.
fn plan(request: Request, draw: &mut RandomDraws) -> Motion {
    let is_wrong = draw.chance(MotionProblem::WRONG_RATE);
    Motion::draw(if is_wrong { request.wanted.altered(draw) } else { request.wanted }, draw)
}

/// The motion drawn for a plan: if wrong, another shape and the opposite direction are equally likely.
fn imagine(planned: Motion, draw: &mut RandomDraws) -> Motion {
    if !draw.chance(MotionProblem::error_rate(&planned.codes())) {
        return planned;
    }
    let wanted = if draw.chance(0.5) {
        planned.wanted.with_another_shape(draw)
    } else {
        Wanted { direction: planned.wanted.direction.turned(), ..planned.wanted }
    };
    Motion { wanted, ..planned }
}

/// Random codes for all frames.
fn scrambled(draw: &mut RandomDraws) -> [Code; FRAMES] {
    let mut code = || Code {
        shape: draw.choose(&Shape::ALL),
        axis: draw.choose(&Axis::ALL),
        position: draw.below(Code::POSITIONS),
    };
    std::array::from_fn(|_| code())
}
