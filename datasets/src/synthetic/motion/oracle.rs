//! The judge that knows the answers.

use super::Outcome;
use super::clip::{Clip, EDGE, FRAMES, GROUND, PAINT};
use super::code::Code;
use super::scene::{Axis, Direction, Shape, Speed, Wanted};

/// Reads clips, and scores them by what was wanted.
///
/// A frame is compared with every shape at every place on the plain ground; the nearest in squared error is what is to be
/// seen, unless the empty ground is nearer. A line through the places, by least squares, is the motion.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// What is to be seen in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which shape.
    pub shape: Shape,
    /// Row of its top left pixel.
    pub row: usize,
    /// Column of its top left pixel.
    pub column: usize,
}

/// What the oracle sees in a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Frame by frame; `None` where there is nothing to be seen.
    pub frames: [Option<Seen>; FRAMES],
    /// Where it goes; `None` if it does not go steadily anywhere.
    pub direction: Option<Direction>,
    /// How fast; `None` if it does not go steadily anywhere.
    pub speed: Option<Speed>,
    /// What the reading does not explain: root mean square over all values, which go from -1 to 1.
    pub residual: f64,
}

impl Reading {
    /// The share of the frames in which a shape is seen.
    pub fn shows(&self, shape: Shape) -> f64 {
        let showing = self.frames.iter().filter(|seen| seen.is_some_and(|seen| seen.shape == shape));
        showing.count() as f64 / FRAMES as f64
    }

    /// The reading as one number: see [`Oracle::score`].
    pub fn score(&self, wanted: &Wanted) -> f64 {
        let is_right = [self.direction == Some(wanted.direction), self.speed == Some(wanted.speed)];
        let n_right = is_right.into_iter().filter(|is_right| *is_right).count();
        (self.shows(wanted.shape) + n_right as f64) / 3.0
    }
}

impl Oracle {
    /// The fewest frames with something in them that make a motion.
    pub const LEAST_SEEN: usize = 6;
    /// How far places may be from their line, root mean square, in pixels.
    pub const UNSTEADY: f64 = 1.0;
    /// Slower than this is no motion: pixels a frame.
    pub const STILL: f64 = 0.2;
    /// From here on a motion is fast: pixels a frame.
    pub const FAST: f64 = 1.0;
    /// From here on it is neither slow nor fast: pixels a frame.
    pub const TOO_FAST: f64 = 2.2;
    /// Scores that differ by no more than this are a tie: the shape of one frame decides nothing.
    pub const TIE: f64 = 0.05;

    /// Reads a clip, as a file would hold it: values outside -1 to 1 are clipped, one that is no number is taken for 0.
    pub fn read(clip: &Clip) -> Reading {
        let (mut frames, mut unexplained) = ([None; FRAMES], 0.0);
        for (frame, seen) in frames.iter_mut().enumerate() {
            let (what, error) = read_frame(&differences(clip, frame));
            *seen = what;
            unexplained += error;
        }
        let (direction, speed) = motion(&frames).unzip();
        Reading { frames, direction, speed, residual: (unexplained / Clip::SIZE as f64).sqrt() }
    }

    /// How well a clip shows what was wanted, 0 to 1: a third each for the share of frames with the right shape, for the
    /// direction and for the speed.
    pub fn score(wanted: &Wanted, clip: &Clip) -> f64 {
        Self::read(clip).score(wanted)
    }

    /// Judges two clips of the same wish against each other: by their scores, within [`Oracle::TIE`] a tie.
    pub fn compare(wanted: &Wanted, first: &Clip, second: &Clip) -> Outcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { Outcome::Tie } else { first.total_cmp(&second).into() }
    }
}

/// How much nearer each pixel of a frame is to the paint than to the ground, in squared error, and how far the frame is
/// from the ground.
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

/// What is to be seen, and the squared error that it leaves.
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

/// Where what is seen goes, and how fast.
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

/// A line of least squares.
struct Line {
    slope: f64,
    /// How far the points are from it, root mean square.
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
