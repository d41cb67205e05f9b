//! From a chart to SVG, by plotters.
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, Drawable, EmptyElement, PathElement, PointCollection, Polygon, Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::axis::{Axis, bar_room};
use super::{Chart, Intervals, Marks, Point, Series, colours, key};
use crate::Error;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
/// What drawing may fail with; a backend that writes into a string has no errors of its own.
type Drawn = Result<(), String>;

pub(super) fn svg(chart: &Chart) -> Result<String, Error> {
    let axes = (Axis::horizontal(chart)?, Axis::vertical(chart)?);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, chart.size).into_drawing_area();
        let failed = |reason| Error::Drawing { chart: chart.title.clone(), reason };
        draw(chart, &root, axes).map_err(failed)?;
    }
    Ok(named(&text, &chart.title))
}

/// The picture with its class, and its title for those who do not see it.
fn named(text: &str, title: &str) -> String {
    let title = crate::html::Html::text(title);
    let head = format!("<svg class=\"chart\" role=\"img\" aria-label=\"{title}\" ");
    let body = text.split_once("<svg ").map_or(text, |(_, body)| body);
    format!("{head}{body}")
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn draw(chart: &Chart, root: &Area<'_>, (x, y): (Axis, Axis)) -> Drawn {
    root.fill(&colours::PAPER).map_err(say)?;
    let entries = key::entries(chart, chart.size.0 as i32 - 24);
    let rows = entries.iter().map(|entry| entry.at.1 + 1).max().unwrap_or(0);
    let (head, body) = root.split_vertically(32 + rows * key::ROW);
    let title = text_style(19, colours::INK);
    head.draw(&Text::new(chart.title.clone(), (12, 6), title)).map_err(say)?;
    for entry in &entries {
        draw_entry(entry, &head)?;
    }
    let mut context = ChartBuilder::on(&body)
        .margin(8)
        .margin_right(18)
        .x_label_area_size(46)
        .y_label_area_size(68)
        .build_cartesian_2d(x, y)
        .map_err(say)?;
    draw_axes(chart, &mut context)?;
    for (_, level) in &chart.levels {
        draw_level(&mut context, *level)?;
    }
    // Backdrops lie behind the others.
    for is_backdrop in [true, false] {
        for (at, series) in chart.series.iter().enumerate().filter(|(_, series)| series.is_backdrop == is_backdrop) {
            draw_series(chart, at, series, &mut context)?;
        }
    }
    drop(context);
    root.present().map_err(say)
}

fn text_style(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

fn draw_entry(entry: &key::Entry<'_>, head: &Area<'_>) -> Drawn {
    let (x, y) = (12 + entry.at.0, 42 + entry.at.1 * key::ROW);
    let line = PathElement::new(vec![(x, y), (x + 20, y)], entry.colour.stroke_width(2));
    let mark = Circle::new((x + 10, y), 3, entry.colour.filled());
    let square = Rectangle::new([(x + 4, y - 6), (x + 16, y + 6)], entry.colour.filled());
    match entry.marks {
        None | Some(Marks::Line) => head.draw(&line),
        Some(Marks::LineAndPoints) => head.draw(&line).and_then(|()| head.draw(&mark)),
        Some(Marks::Points) => head.draw(&mark),
        Some(Marks::Bars) => head.draw(&square),
    }
    .map_err(say)?;
    let style = text_style(16, colours::INK).pos(Pos::new(HPos::Left, VPos::Center));
    head.draw(&Text::new(entry.name.to_owned(), (x + key::MARK, y), style)).map_err(say)
}

fn draw_axes(chart: &Chart, context: &mut Context<'_, '_>) -> Drawn {
    let mut mesh = context.configure_mesh();
    mesh.light_line_style(colours::GRID.mix(0.0))
        .bold_line_style(colours::GRID)
        .axis_style(colours::INK)
        .label_style(text_style(15, colours::INK))
        .axis_desc_style(text_style(16, colours::INK))
        .x_desc(chart.labels[0].clone())
        .y_desc(chart.labels[1].clone());
    if !chart.names.is_empty() {
        mesh.disable_x_mesh();
    }
    mesh.draw().map_err(say)
}

fn draw_level(context: &mut Context<'_, '_>, level: f64) -> Drawn {
    let range = context.x_range();
    let line = PathElement::new(vec![(range.start, level), (range.end, level)], colours::PALE.stroke_width(2));
    add(context, line)
}

/// Draws one element.
fn add<'b, E>(context: &mut Context<'_, 'b>, element: E) -> Drawn
where
    E: Drawable<SVGBackend<'b>>,
    for<'e> &'e E: PointCollection<'e, (f64, f64)>,
{
    context.draw_series(std::iter::once(element)).map(drop).map_err(say)
}

fn draw_series(chart: &Chart, at: usize, series: &Series, context: &mut Context<'_, '_>) -> Drawn {
    let colour = key::colour(chart, at);
    let points: Vec<Point> = series.points.clone();
    let shift = if series.marks == Marks::Bars { bars(chart, at, colour, context)? } else { 0.0 };
    match series.intervals {
        Intervals::Band => band(&points, colour, context)?,
        Intervals::Whiskers => whiskers(&points, shift, colour, context)?,
    }
    let style = if series.is_backdrop { colour.mix(0.55).stroke_width(4) } else { colour.stroke_width(2) };
    match series.marks {
        Marks::Line => lines(&points, style, context),
        Marks::LineAndPoints => lines(&points, style, context).and_then(|()| marks(&points, colour, context)),
        Marks::Points => marks(&points, colour, context),
        Marks::Bars => Ok(()),
    }
}

/// Runs of finite points: a line has gaps between them.
fn runs(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|point| !point.is_finite()).filter(|run| !run.is_empty())
}

fn lines(points: &[Point], style: ShapeStyle, context: &mut Context<'_, '_>) -> Drawn {
    for run in runs(points) {
        add(context, PathElement::new(run.iter().map(|point| (point.x, point.y)).collect::<Vec<_>>(), style))?;
    }
    Ok(())
}

fn marks(points: &[Point], colour: RGBColor, context: &mut Context<'_, '_>) -> Drawn {
    for point in points.iter().filter(|point| point.is_finite()) {
        add(context, Circle::new((point.x, point.y), 3, colour.filled()))?;
    }
    Ok(())
}

/// The finite intervals of a run of points, each with its place.
fn intervals(points: &[Point]) -> impl Iterator<Item = (f64, f64, f64)> {
    let finite = points.iter().filter(|point| point.is_finite());
    let ends = finite.filter_map(|point| point.interval.map(|(low, high)| (point.x, low, high)));
    ends.filter(|(_, low, high)| low.is_finite() && high.is_finite())
}

fn band(points: &[Point], colour: RGBColor, context: &mut Context<'_, '_>) -> Drawn {
    for run in runs(points) {
        let around: Vec<(f64, f64, f64)> = intervals(run).collect();
        if around.len() < 2 {
            continue;
        }
        let above = around.iter().map(|(x, _, high)| (*x, *high));
        let below = around.iter().rev().map(|(x, low, _)| (*x, *low));
        add(context, Polygon::new(above.chain(below).collect::<Vec<_>>(), colour.mix(0.18)))?;
    }
    Ok(())
}

fn whiskers(points: &[Point], shift: f64, colour: RGBColor, context: &mut Context<'_, '_>) -> Drawn {
    // A whisker of a bar lies on the bar, so it has the ink's colour.
    let style = if shift == 0.0 { colour } else { colours::INK }.stroke_width(1);
    for (x, low, high) in intervals(points) {
        let x = x + shift;
        add(context, PathElement::new(vec![(x, low), (x, high)], style))?;
        for end in [low, high] {
            let cap = EmptyElement::at((x, end)) + PathElement::new(vec![(-4, 0), (4, 0)], style);
            add(context, cap)?;
        }
    }
    Ok(())
}

/// Draws the bars of a series, and returns how far their middles are from their points.
fn bars(chart: &Chart, at: usize, colour: RGBColor, context: &mut Context<'_, '_>) -> Result<f64, String> {
    let is_bars = |series: &&Series| series.marks == Marks::Bars;
    let n = chart.series.iter().filter(is_bars).count() as f64;
    let before = chart.series[..at].iter().filter(is_bars).count() as f64;
    let room = 0.84 * bar_room(chart) / n;
    let shift = (before - (n - 1.0) / 2.0) * room;
    let foot = context.y_range().start.max(0.0);
    for point in chart.series[at].points.iter().filter(|point| point.is_finite()) {
        let (left, right) = (point.x + shift - 0.47 * room, point.x + shift + 0.47 * room);
        add(context, Rectangle::new([(left, foot), (right, point.y)], colour.mix(0.85).filled()))?;
    }
    Ok(shift)
}
