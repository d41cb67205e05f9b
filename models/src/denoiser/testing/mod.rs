//! Checks that every family of networks passes, on the tiny models of `tests/golden`.

mod files;
mod laws;

pub(crate) use files::{Golden, assert_close, batch, flat, rows};
pub(crate) use laws::{
    check_adapters, check_alone, check_finite_differences, check_fresh, check_golden, check_tape, moved,
};
