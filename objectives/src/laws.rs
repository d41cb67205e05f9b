//! The laws of [`Objective`](crate::Objective), to check a loss of one's own with.
