//! Curves of many steps with a band around them.
use crate::plot::Point;

/// The most points of a curve; longer ones are means over equal stretches.
const MOST: usize = 60;

/// The points of a curve, and how many numbers each is the mean of. The band of a mean is from the lowest to the highest
/// tenth of its numbers.
pub(super) fn smooth(points: &[(f64, f64)]) -> (Vec<Point>, usize) {
    let each = points.len().div_ceil(MOST);
    if each <= 1 {
        return (points.iter().copied().map(Point::from).collect(), 1);
    }
    (points.chunks(each).map(mean).collect(), each)
}

fn mean(points: &[(f64, f64)]) -> Point {
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let x = points.iter().map(|(x, _)| x).sum::<f64>() / points.len() as f64;
    let (Some(last), y) = (values.len().checked_sub(1), values.iter().sum::<f64>() / values.len() as f64) else {
        return Point::new(x, f64::NAN);
    };
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Point::within(x, y, at(0.1), at(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_curves_are_left_as_they_are_and_long_ones_are_means() {
        let curve = |n: usize| (1..=n).map(|i| (i as f64, i as f64)).collect::<Vec<_>>();
        let (points, each) = smooth(&curve(60));
        assert_eq!((points.len(), each, points[0]), (60, 1, Point::new(1.0, 1.0)));
        let (points, each) = smooth(&curve(600));
        // 1 to 10: the tenths are the second and the ninth of ten.
        assert_eq!((points.len(), each, points[0]), (60, 10, Point::within(5.5, 5.5, 2.0, 9.0)));
        let (points, _) = smooth(&[(0.0, f64::NAN); 61]);
        assert!(points.iter().all(|point| point.y.is_nan()) && smooth(&[]).0.is_empty());
    }
}
