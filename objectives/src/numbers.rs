//! Numerically stable scalar functions.

/// log(1 + exp z) = -log sigma(-z).
pub(crate) fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// 1 / (1 + exp(-z)).
pub(crate) fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

/// sigma'(z) = sigma(z) sigma(-z).
pub(crate) fn sigmoid_slope(z: f64) -> f64 {
    sigmoid(z) * sigmoid(-z)
}

/// log(1 - exp x) for x < 0, computed by `expm1` or `ln_1p` on either side of -log 2 to keep precision.
pub(crate) fn log_one_minus_exp(x: f64) -> f64 {
    if x < -std::f64::consts::LN_2 { (-x.exp()).ln_1p() } else { (-x.exp_m1()).ln() }
}

/// Log-sum-exp of z.
pub(crate) fn log_sum_exp(z: &[f64]) -> f64 {
    let greatest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    greatest + z.iter().map(|z| (z - greatest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-15 * (1.0 + expected.abs()), "{got} is not {expected}");
    }

    #[test]
    fn extremes_are_exact() {
        check(softplus(1000.0), 1000.0);
        check(softplus(-1000.0), 0.0);
        check(softplus(0.0), std::f64::consts::LN_2);
        check(sigmoid(1000.0), 1.0);
        check(sigmoid(-1000.0), 0.0);
        check(sigmoid_slope(0.0), 0.25);
        check(log_one_minus_exp(-1000.0), 0.0);
        // 1 - exp(-1e-12) is 1e-12 to twelve digits.
        assert!((log_one_minus_exp(-1e-12) - 1e-12_f64.ln()).abs() < 1e-11);
        check(log_sum_exp(&[1000.0, 1000.0]), 1000.0 + std::f64::consts::LN_2);
        check(log_sum_exp(&[-1000.0, 0.0]), 0.0);
    }
}
