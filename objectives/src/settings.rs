//! Validation of an objective's settings.
use crate::ObjectiveError;

/// The name of the objective under validation.
#[derive(Clone, Copy)]
pub(crate) struct Check(pub(crate) &'static str);

impl Check {
    pub(crate) fn positive(self, field: &'static str, value: f64) -> Result<f64, ObjectiveError> {
        self.that(field, value, value > 0.0 && value.is_finite(), "a number above 0")
    }

    pub(crate) fn not_negative(self, field: &'static str, value: f64) -> Result<f64, ObjectiveError> {
        self.that(field, value, value >= 0.0 && value.is_finite(), "a number from 0 up")
    }

    pub(crate) fn finite(self, field: &'static str, value: f64) -> Result<f64, ObjectiveError> {
        self.that(field, value, value.is_finite(), "a finite number")
    }

    /// A share of flipped labels, below one half: at one half labels carry no information.
    pub(crate) fn smoothing(self, value: f64) -> Result<f64, ObjectiveError> {
        self.that("label_smoothing", value, (0.0..0.5).contains(&value), "at least 0 and below 0.5")
    }

    pub(crate) fn that(
        self,
        field: &'static str,
        value: f64,
        holds: bool,
        allowed: &'static str,
    ) -> Result<f64, ObjectiveError> {
        if holds { Ok(value) } else { Err(ObjectiveError::Setting { objective: self.0, field, value, allowed }) }
    }
}
