//! A CPU without instructions for bf16.

use super::super::blocks::{Form, Left, Line, Operand, Right, Strip};
use super::{Follow, Levels, Running, Sums};
use std::mem::MaybeUninit;

/// There is none.
#[derive(Debug, Clone, Copy)]
pub(in super::super::super) enum Unit {}

impl Unit {
    pub(in super::super::super) fn of_this_cpu() -> Option<Self> {
        None
    }

    pub(in super::super::super) fn run(self, _work: impl FnOnce()) {
        match self {}
    }

    pub(in super::super::super) fn line(self, _: &[f32]) -> Line {
        match self {}
    }

    pub(in super::super::super) fn pack(self, _: &Operand<'_>, _: [usize; 2], _: Form, _: &mut [MaybeUninit<Line>]) {
        match self {}
    }

    pub(in super::super::super) fn block(self, _: Left<'_>, _: Right<'_>, _: &mut Sums) {
        match self {}
    }

    pub(in super::super::super) fn strip(self, _: &Strip<'_>, _: &mut [f32], _: bool) {
        match self {}
    }

    pub(in super::super::super) fn follow(self, _: &mut Follow<'_>, _: &mut Running, _: &mut [Line]) {
        match self {}
    }

    pub(in super::super::super) fn slopes(self, _: [&[f32]; 2], _: &Levels, _: [&mut [Line]; 2], _: &mut [Line]) {
        match self {}
    }

    #[expect(unsafe_code, reason = "as the units that there are")]
    pub(in super::super::super) unsafe fn store(self, _: *mut f32, _: &[f32], _: bool, _: f32) {
        match self {}
    }
}
