//! The data of the problem, by seed, split and index.

use super::Split;
use super::clip::FRAMES;
use super::code::Code;
use super::request::Request;
use super::scene::{Axis, Motion, Shape, Wanted};
use crate::synthetic::draw::Draw;

/// A request with one plan, right or wrong: what the planner is taught by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// What was planned.
    pub planned: Motion,
}

/// Codes with one clip, right or wrong: what the decoder is taught by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// What was to be drawn.
    pub codes: [Code; FRAMES],
    /// What the clip shows.
    pub shown: [Code; FRAMES],
}

/// One of two answers to a request: a plan, and what was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// What was planned.
    pub planned: Motion,
    /// What the clip shows.
    pub shown: Motion,
}

/// A request with a better and a worse answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionPair {
    /// What was asked for.
    pub request: Request,
    /// The answer whose clip has more of what was wanted.
    pub chosen: Side,
    /// The answer whose clip has less.
    pub rejected: Side,
}

/// The problem of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    seed: u64,
}

impl Problem {
    /// How often a plan is wrong about one of shape, direction and speed.
    pub const WRONG_RATE: f64 = 0.4;
    /// How often a clip is drawn wrong none of whose codes is near the rim.
    pub const INNER_ERROR_RATE: f64 = 0.05;
    /// How often a clip would be drawn wrong all of whose codes are near the rim; no motion has more than six of eight there.
    pub const RIM_ERROR_RATE: f64 = 0.5;
    /// The share of the decoder's demonstrations whose codes are no motion: each frame is anything, so that a decoder
    /// learns to draw frame by frame what it is told, and not a few clips by heart.
    pub const SCRAMBLED_SHARE: f64 = 0.15;

    /// The problem of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// How often codes are drawn wrong: between the two rates, by the share of them that is near the rim.
    pub fn error_rate(codes: &[Code; FRAMES]) -> f64 {
        let share = codes.iter().filter(|code| code.is_at_rim()).count() as f64 / FRAMES as f64;
        Self::INNER_ERROR_RATE + share * (Self::RIM_ERROR_RATE - Self::INNER_ERROR_RATE)
    }

    /// The pair number `index` of a split: two answers of different worth, made of plans and clips as the two halves are
    /// taught by.
    pub fn pair(self, split: Split, index: u64) -> MotionPair {
        let mut draw = self.stream("pair", split, index);
        let request = Request::draw(split, &mut draw);
        loop {
            let [first, second] = [0, 1].map(|_| {
                let planned = plan(request, &mut draw);
                Side { planned, shown: imagine(planned, &mut draw) }
            });
            let (worth, other) = (request.wanted.share(&first.shown), request.wanted.share(&second.shown));
            if worth != other {
                let (chosen, rejected) = if worth > other { (first, second) } else { (second, first) };
                return MotionPair { request, chosen, rejected };
            }
        }
    }

    /// The planner's demonstration number `index` of a split.
    pub fn plan(self, split: Split, index: u64) -> Plan {
        let mut draw = self.stream("plan", split, index);
        let request = Request::draw(split, &mut draw);
        Plan { request, planned: plan(request, &mut draw) }
    }

    /// The decoder's demonstration number `index` of a split.
    pub fn drawn(self, split: Split, index: u64) -> Drawn {
        let mut draw = self.stream("drawn", split, index);
        if draw.chance(Self::SCRAMBLED_SHARE) {
            let codes = scrambled(&mut draw);
            return Drawn { codes, shown: codes };
        }
        let planned = Motion::draw(Request::draw(split, &mut draw).wanted, &mut draw);
        Drawn { codes: planned.codes(), shown: imagine(planned, &mut draw).codes() }
    }

    fn stream(self, purpose: &str, split: Split, index: u64) -> Draw {
        Draw::new("hybrid-dpo motion", purpose, &[self.seed, split as u64, index])
    }
}

/// What the planner is taught to make of a request.
fn plan(request: Request, draw: &mut Draw) -> Motion {
    let is_wrong = draw.chance(Problem::WRONG_RATE);
    Motion::draw(if is_wrong { request.wanted.altered(draw) } else { request.wanted }, draw)
}

/// What the decoder is taught to make of a plan: where it is wrong, another shape and the other way are as likely.
fn imagine(planned: Motion, draw: &mut Draw) -> Motion {
    if !draw.chance(Problem::error_rate(&planned.codes())) {
        return planned;
    }
    let wanted = if draw.chance(0.5) {
        planned.wanted.with_another_shape(draw)
    } else {
        Wanted { direction: planned.wanted.direction.turned(), ..planned.wanted }
    };
    Motion { wanted, ..planned }
}

/// A code of its own for every frame.
fn scrambled(draw: &mut Draw) -> [Code; FRAMES] {
    let mut code = || Code {
        shape: draw.choose(&Shape::ALL),
        axis: draw.choose(&Axis::ALL),
        position: draw.below(Code::POSITIONS),
    };
    std::array::from_fn(|_| code())
}
