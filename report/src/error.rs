/// Why a plot or a page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A chart has no finite point.
    #[error("the chart `{chart}` has no finite number to draw")]
    NoPoints {
        /// Title of the chart.
        chart: String,
    },
    /// A number that is not positive lies on a logarithmic axis.
    #[error("the chart `{chart}` has the number {value} on its logarithmic axis `{axis}`; only positive ones fit")]
    NotPositive {
        /// Title of the chart.
        chart: String,
        /// Label of the axis.
        axis: String,
        /// The number.
        value: f64,
    },
    /// The drawing library failed.
    #[error("the chart `{chart}` can't be drawn: {reason}")]
    Drawing {
        /// Title of the chart.
        chart: String,
        /// What the library says.
        reason: String,
    },
}
