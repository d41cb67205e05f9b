//! The oracle: recognises and scores clips.

use super::ComparisonOutcome;
use super::clip::{Clip, GROUND, PAINT};
use super::code::Code;
use super::scene::{Direction, Speed, Wanted};
use super::shape::{Axis, EDGE, FRAMES, Shape};

/// Recognises the motion in clips, and scores them against the request.
///
/// A frame is compared with every shape at every position on the plain background; the nearest in squared error is
/// detected, unless the empty background is nearer. A least-squares line through the positions gives the motion.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// The shape detected in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The shape.
    pub shape: Shape,
    /// Row of its top left pixel.
    pub row: usize,
    /// Column of its top left pixel.
    pub column: usize,
}

/// The motion detected in a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The detection of each frame; `None` for an empty frame.
    pub frames: [Option<Seen>; FRAMES],
    /// The direction; `None` without a steady motion.
    pub direction: Option<Direction>,
    /// The speed; `None` without a steady motion.
    pub speed: Option<Speed>,
    /// The root mean square residual over all values, which range from -1 to 1.
    pub residual: f64,
}

impl Detection {
    /// The share of the frames with a given shape.
    pub fn shows(&self, shape: Shape) -> f64 {
        let showing = self.frames.iter().filter(|seen| seen.is_some_and(|seen| seen.shape == shape));
        showing.count() as f64 / FRAMES as f64
    }

    /// The score of the detection: see [`Oracle::score`].
    pub fn score(&self, wanted: &Wanted) -> f64 {
        let is_right = [self.direction == Some(wanted.direction), self.speed == Some(wanted.speed)];
        let n_right = is_right.into_iter().filter(|is_right| *is_right).count();
        (self.shows(wanted.shape) + n_right as f64) / 3.0
    }
}

impl Oracle {
    /// Minimum number of non-empty frames for a motion.
    pub const LEAST_SEEN: usize = 6;
    /// Maximum root mean square distance of positions from the line, in pixels.
    pub const UNSTEADY: f64 = 1.0;
    /// Minimum speed of a motion, in pixels per frame.
    pub const STILL: f64 = 0.2;
    /// Minimum speed of a fast motion, in pixels per frame.
    pub const FAST: f64 = 1.0;
    /// Speed from which a motion is neither slow nor fast, in pixels per frame.
    pub const TOO_FAST: f64 = 2.2;
    /// Scores within this difference are a tie: the shape of one frame does not decide.
    pub const TIE: f64 = 0.05;

    /// Recognises a clip as stored in a file: values outside -1 to 1 are clipped, NaN is read as 0.
    pub fn read(clip: &Clip) -> Detection {
        let (mut frames, mut unexplained) = ([None; FRAMES], 0.0);
        for (frame, seen) in frames.iter_mut().enumerate() {
            let (what, error) = read_frame(&differences(clip, frame));
            *seen = what;
            unexplained += error;
        }
        let (direction, speed) = motion(&frames).unzip();
        Detection { frames, direction, speed, residual: (unexplained / Clip::SIZE as f64).sqrt() }
    }

    /// Scores a clip against the request, from 0 to 1: a third each for the share of frames with the right shape, for
    /// the direction and for the speed.
    pub fn score(wanted: &Wanted, clip: &Clip) -> f64 {
        Self::read(clip).score(wanted)
    }

    /// Compares two clips of the same request by score; within [`Oracle::TIE`] they are tied.
    pub fn compare(wanted: &Wanted, first: &Clip, second: &Clip) -> ComparisonOutcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { ComparisonOutcome::Tie } else { first.total_cmp(&second).into() }
    }
}

/// Per pixel, the squared error to the background minus that to the foreground, and the frame's total error to the
/// background.
struct Differences {
    nearer: [f64; EDGE * EDGE],
    from_ground: f64,
}

fn differences(clip: &Clip, frame: usize) -> Differences {
    let mut differences = Differences { nearer: [0.0; EDGE * EDGE], from_ground: 0.0 };
    for (pixel, nearer) in differences.nearer.iter_mut().enumerate() {
        let value = clip.brightness(frame, pixel / EDGE, pixel % EDGE);
        let value = if value.is_nan() { 0.0 } else { value.clamp(-1.0, 1.0) };
        let from = |other: f32| f64::from(value - other).powi(2);
        differences.from_ground += from(GROUND);
        *nearer = from(GROUND) - from(PAINT);
    }
    differences
}

/// The detection of a frame, and its squared error.
fn read_frame(differences: &Differences) -> (Option<Seen>, f64) {
    let places = (0..Code::POSITIONS).flat_map(|row| (0..Code::POSITIONS).map(move |column| (row, column)));
    let all = places.flat_map(|(row, column)| Shape::ALL.map(|shape| Seen { shape, row, column }));
    let gain = |seen: &Seen| -> f64 {
        let pixels = seen.shape.pixels();
        pixels.map(|(row, column)| differences.nearer[(seen.row + row) * EDGE + seen.column + column]).sum()
    };
    let best = all.map(|seen| (gain(&seen), seen)).max_by(|(first, _), (second, _)| first.total_cmp(second));
    match best.filter(|(gain, _)| *gain > 0.0) {
        Some((gain, seen)) => (Some(seen), (differences.from_ground - gain).max(0.0)),
        None => (None, differences.from_ground),
    }
}

/// The direction and speed of detections.
fn motion(frames: &[Option<Seen>; FRAMES]) -> Option<(Direction, Speed)> {
    let seen: Vec<(f64, Seen)> =
        frames.iter().enumerate().filter_map(|(frame, seen)| Some((frame as f64, (*seen)?))).collect();
    if seen.len() < Oracle::LEAST_SEEN {
        return None;
    }
    let line = |place: &dyn Fn(&Seen) -> usize| {
        Line::through(&seen.iter().map(|(frame, seen)| (*frame, place(seen) as f64)).collect::<Vec<_>>())
    };
    let (across, down) = (line(&|seen| seen.column), line(&|seen| seen.row));
    if across.unsteady.hypot(down.unsteady) > Oracle::UNSTEADY {
        return None;
    }
    let (axis, slope) = if across.slope.abs() >= down.slope.abs() {
        (Axis::Horizontal, across.slope)
    } else {
        (Axis::Vertical, down.slope)
    };
    let way = |direction: &Direction| direction.axis() == axis && direction.is_forward() == (slope > 0.0);
    let direction = Direction::ALL.into_iter().find(way)?;
    let speed = match slope.abs() {
        slow if (Oracle::STILL..Oracle::FAST).contains(&slow) => Speed::Slow,
        fast if (Oracle::FAST..Oracle::TOO_FAST).contains(&fast) => Speed::Fast,
        _ => return None,
    };
    Some((direction, speed))
}

/// A least-squares line.
struct Line {
    slope: f64,
    /// Root mean square distance of the points from the line.
    unsteady: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        let n = points.len() as f64;
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| of(x, y)).sum::<f64>() / n;
        let (x_mean, y_mean) = (sum(&|x, _| x), sum(&|_, y| y));
        let slope = sum(&|x, y| (x - x_mean) * (y - y_mean)) / sum(&|x, _| (x - x_mean).powi(2));
        let square = sum(&|x, y| (y - y_mean - slope * (x - x_mean)).powi(2));
        Self { slope, unsteady: square.sqrt() }
    }
}
