//! Confidence intervals of proportions.

/// The 95% Wilson interval of a proportion: `successes` of `n`, where ties may count as halves.
///
/// Returns (0, 1) for `n` = 0. Source: E. B. Wilson, 1927.
pub fn wilson(successes: f64, n: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let z = 1.959_963_984_540_054;
    let share = successes / n;
    let denominator = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / denominator;
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt() / denominator;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn agrees_with_the_textbook() {
        // 8 of 10: (0.4902, 0.9433), R's prop.test(8, 10, correct = FALSE).
        let (low, high) = wilson(8.0, 10.0);
        assert!((low - 0.490_16).abs() < 1e-5 && (high - 0.943_32).abs() < 1e-5, "{low} {high}");
        assert_eq!(wilson(0.0, 0.0), (0.0, 1.0));
        assert_eq!(wilson(0.0, 5.0).0, 0.0);
    }
}
