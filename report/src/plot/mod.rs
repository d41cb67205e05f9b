//! Plots of numbers as SVG.
//!
//! Colours are plain attributes, so a plot is complete as a file on its own (dark ink on white). A page gives each of them
//! its counterpart for dark backgrounds by [`STYLE`], which selects these attributes.
mod axis;
mod colours;
mod draw;
mod key;
#[cfg(test)]
mod tests;

use crate::Error;

pub use self::colours::STYLE;

/// A number to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where it is on the horizontal axis.
    pub x: f64,
    /// The number. A line has a gap where it is not finite.
    pub y: f64,
    /// The interval around it, lowest first.
    pub interval: Option<(f64, f64)>,
}

impl Point {
    /// A number without an interval.
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y, interval: None }
    }

    /// A number with an interval.
    pub const fn within(x: f64, y: f64, low: f64, high: f64) -> Self {
        Self { x, y, interval: Some((low, high)) }
    }

    fn is_finite(&self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self::new(x, y)
    }
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// A line from point to point.
    Line,
    /// A line with a mark on each point.
    LineAndPoints,
    /// A mark on each point.
    Points,
    /// A bar from 0 to each point; bars of several series stand side by side.
    Bars,
}

/// How the intervals of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intervals {
    /// A band along the line.
    Band,
    /// A whisker at each point.
    Whiskers,
}

/// Numbers that belong together, with a name in the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    name: String,
    points: Vec<Point>,
    marks: Marks,
    intervals: Intervals,
    colour: Option<usize>,
    is_backdrop: bool,
}

impl Series {
    fn new(name: impl Into<String>, points: impl IntoIterator<Item = impl Into<Point>>, marks: Marks) -> Self {
        let points = points.into_iter().map(Into::into).collect();
        let intervals = if marks == Marks::Line { Intervals::Band } else { Intervals::Whiskers };
        Self { name: name.into(), points, marks, intervals, colour: None, is_backdrop: false }
    }

    /// A line; intervals are a band.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = impl Into<Point>>) -> Self {
        Self::new(name, points, Marks::Line)
    }

    /// A line with a mark on each point; intervals are whiskers.
    pub fn line_and_points(name: impl Into<String>, points: impl IntoIterator<Item = impl Into<Point>>) -> Self {
        Self::new(name, points, Marks::LineAndPoints)
    }

    /// Marks alone; intervals are whiskers.
    pub fn points(name: impl Into<String>, points: impl IntoIterator<Item = impl Into<Point>>) -> Self {
        Self::new(name, points, Marks::Points)
    }

    /// Bars from 0; intervals are whiskers.
    pub fn bars(name: impl Into<String>, points: impl IntoIterator<Item = impl Into<Point>>) -> Self {
        Self::new(name, points, Marks::Bars)
    }

    /// Draws the intervals in another way.
    #[must_use]
    pub fn with_intervals(mut self, intervals: Intervals) -> Self {
        self.intervals = intervals;
        self
    }

    /// Draws the series in colour `index`, from 0, instead of that of its place in the chart. Colours repeat after eight.
    #[must_use]
    pub fn with_colour(mut self, index: usize) -> Self {
        self.colour = Some(index);
        self
    }

    /// Draws the series wide and pale: something to compare the others with.
    #[must_use]
    pub fn as_backdrop(mut self) -> Self {
        self.is_backdrop = true;
        self
    }
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios; all numbers must be positive.
    Log,
}

/// A plot: a title, two axes, and series.
///
/// # Examples
/// ```
/// use report::plot::{Chart, Point, Series};
///
/// let rates = [(1.0, 0.5), (2.0, 0.6), (5.0, 0.7)];
/// let measured = rates.map(|(width, rate)| Point::within(width, rate, rate - 0.05, rate + 0.05));
/// let chart = Chart::new("Win rate", "beams", "win rate").with(Series::line_and_points("beta 0.1", measured)).log_x();
/// assert!(chart.to_svg()?.starts_with("<svg"));
/// # Ok::<(), report::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    title: String,
    labels: [String; 2],
    scales: [Scale; 2],
    ranges: [Option<(f64, f64)>; 2],
    names: Vec<String>,
    levels: Vec<(String, f64)>,
    series: Vec<Series>,
    size: (u32, u32),
}

impl Chart {
    /// A chart without a series, 600 by 350 pixels.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            labels: [x_label.into(), y_label.into()],
            scales: [Scale::Linear; 2],
            ranges: [None; 2],
            names: Vec::new(),
            levels: Vec::new(),
            series: Vec::new(),
            size: (600, 350),
        }
    }

    /// Adds a series.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Makes the horizontal axis logarithmic.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.scales[0] = Scale::Log;
        self
    }

    /// Makes the vertical axis logarithmic. Bars begin at the lower end of the axis.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.scales[1] = Scale::Log;
        self
    }

    /// Sets the least range of the vertical axis; numbers beyond it widen it.
    #[must_use]
    pub fn y_range(mut self, low: f64, high: f64) -> Self {
        self.ranges[1] = Some((low, high));
        self
    }

    /// Names the places 0, 1, 2.. of the horizontal axis, instead of numbers.
    #[must_use]
    pub fn x_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a horizontal line at `y` with a name in the key: a claimed or an expected value.
    #[must_use]
    pub fn level(mut self, name: impl Into<String>, y: f64) -> Self {
        self.levels.push((name.into(), y));
        self
    }

    /// Sets the size in pixels; a page scales it to the width it has.
    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = (width.max(200), height.max(150));
        self
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether there is a finite point to draw.
    pub fn has_points(&self) -> bool {
        self.series.iter().flat_map(|series| &series.points).any(Point::is_finite)
    }

    /// Draws the chart.
    ///
    /// # Errors
    /// No point is finite, or a number on a logarithmic axis is not positive.
    pub fn to_svg(&self) -> Result<String, Error> {
        draw::svg(self)
    }
}
