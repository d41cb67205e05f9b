//! Checks that every family of networks passes, on the tiny models of `tests/golden`.

mod files;
mod laws;
mod policy;
mod saved;

pub(crate) use files::{Golden, assert_close, batch, flat, numbers, rows};
pub(crate) use laws::{
    check_adapters, check_alone, check_finite_differences, check_fresh, check_golden, check_tape, fresh,
};
pub(crate) use policy::{Acting, check_policy};
pub(crate) use saved::{check_adapter_file, check_saved, check_saved_adapters};
