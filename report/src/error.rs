use std::path::{Path, PathBuf};

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
    /// A file of a run can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A folder is not that of a run, or a file of a run is damaged.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The folder or file.
        path: PathBuf,
        /// The fault, and what to do.
        what: String,
    },
    /// A line of a file of a run is damaged.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), what: what.into() }
    }
}
