use super::*;

fn svg(chart: &Chart) -> String {
    chart.to_svg().unwrap()
}

#[test]
fn equal_charts_are_equal_bytes_and_texts_are_no_markup() {
    let chart = Chart::new("a < \"b\"", "x & y", "<y>").with(Series::line("one", [(0.0, 1.0), (1.0, 2.0)]));
    let text = svg(&chart);
    assert_eq!(text, svg(&chart.clone()));
    assert!(text.contains("aria-label=\"a &lt; &quot;b&quot;\"") && text.contains("x &amp; y"), "{text}");
    assert!(text.contains("&lt;y&gt;") && !text.contains("<y>"), "{text}");
    assert!(
        text.contains("xmlns=\"http://www.w3.org/2000/svg\"") && text.contains("viewBox=\"0 0 600 350\""),
        "{text}"
    );
}

#[test]
fn a_line_has_a_gap_where_a_number_is_missing() {
    let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 2.0)];
    let lines = |text: &str| text.matches("stroke=\"#0072B2\"").count();
    assert_eq!(lines(&svg(&Chart::new("t", "x", "y").with(Series::line("one", points)))), 2);
}

#[test]
fn a_key_names_several_series_and_levels() {
    let one = Chart::new("t", "x", "y").with(Series::line("only", [(0.0, 1.0)]));
    assert!(!svg(&one).contains("only"));
    let two = one.with(Series::bars("other", [(0.0, 1.0)])).level("claimed", 0.5);
    let text = svg(&two);
    for name in ["only", "other", "claimed"] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn intervals_are_bands_of_lines_and_whiskers_of_marks() {
    let points = [Point::within(0.0, 1.0, 0.5, 1.5), Point::within(1.0, 2.0, 1.5, 2.5)];
    let chart = |series: Series| svg(&Chart::new("t", "x", "y").with(series));
    assert_eq!(chart(Series::line("one", points)).matches("<polygon").count(), 1);
    let marks = chart(Series::points("one", points));
    assert_eq!((marks.matches("<polygon").count(), marks.matches("<circle").count()), (0, 2));
    assert_eq!(chart(Series::points("one", points).with_intervals(Intervals::Band)).matches("<polygon").count(), 1);
}

#[test]
fn bars_of_several_series_stand_side_by_side_over_their_names() {
    let bars = |name: &str, y: f64| Series::bars(name, [(0.0, y), (1.0, 2.0 * y)]);
    let chart = Chart::new("t", "x", "y").x_names(["first", "second"]).with(bars("one", 1.0)).with(bars("two", 2.0));
    let text = svg(&chart);
    assert!(text.contains("first") && text.contains("second"));
    let left = |colour: &str| -> Vec<i32> {
        let bars = text.split("<rect ").filter(|rect| rect.contains(colour) && rect.contains("opacity=\"0.85\""));
        bars.map(|rect| rect.split("x=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()).collect()
    };
    let (one, two) = (left("#0072B2"), left("#D55E00"));
    assert_eq!((one.len(), two.len()), (2, 2));
    assert!(one[0] < two[0] && two[0] < one[1] && one[1] < two[1], "{one:?} {two:?}");
}

#[test]
fn what_can_not_be_drawn_is_refused() {
    let empty = Chart::new("Win rate", "x", "y").with(Series::line("one", [(0.0, f64::NAN)]));
    assert!(!empty.has_points());
    assert_eq!(empty.to_svg().unwrap_err().to_string(), "the chart `Win rate` has no finite number to draw");
    let zero = Chart::new("Length", "beams", "y").log_x().with(Series::line("one", [(0.0, 1.0)]));
    let said = zero.to_svg().unwrap_err().to_string();
    assert!(said.contains("`Length`") && said.contains("`beams`") && said.contains("number 0"), "{said}");
}

#[test]
fn numbers_without_an_extent_are_drawn() {
    for y in [0.0, 1e-12, 5.0, -1e9, 1e300] {
        assert!(svg(&Chart::new("t", "x", "y").with(Series::points("one", [(3.0, y)]))).contains("<circle"), "{y}");
    }
    assert!(svg(&Chart::new("t", "x", "y").log_y().with(Series::bars("one", [(3.0, 1e-9)]))).contains("<rect"));
}
