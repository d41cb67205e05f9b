//! Shapes, the axes that they move along, and the size of clips.

/// Number of frames of a clip.
pub const FRAMES: usize = 8;
/// Height and width of a frame.
pub const EDGE: usize = 16;

/// A moving shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A filled circle.
    Circle,
    /// A cross.
    Cross,
    /// A triangle that points up.
    Triangle,
}

/// The axis of motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Left and right.
    Horizontal,
    /// Up and down.
    Vertical,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Circle, Self::Cross, Self::Triangle];

    /// The word in requests.
    pub fn word(self) -> &'static str {
        ["circle", "cross", "triangle"][self as usize]
    }
}

impl Axis {
    /// Both axes.
    pub const ALL: [Self; 2] = [Self::Horizontal, Self::Vertical];
}
