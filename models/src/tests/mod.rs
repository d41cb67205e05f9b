//! Checks that every family of networks passes, on the tiny models of `tests/golden`.

mod composed;
mod external;
mod files;
mod laws;
mod policy;
mod precision;
mod refused;
mod saved;

pub(crate) use composed::{check_composed, in_both_forms};
pub(crate) use files::{Golden, assert_close, batch, flat, numbers, rows};
pub(crate) use laws::{
    check_adapters, check_alone, check_finite_differences, check_fresh, check_golden, check_tape, fresh,
};
pub(crate) use policy::{Acting, check_policy};
pub(crate) use precision::{Trial, adam};
pub(crate) use refused::{check_refused, check_setting, resize};
pub(crate) use saved::{check_adapter_file, check_saved, check_saved_adapters};

/// Makes tests of what holds in all cases of a family.
macro_rules! every_case {
    ($golden:expr) => {
        #[test]
        fn outputs_and_gradients_are_those_of_diffusers() {
            $crate::tests::in_both_forms(|| $crate::tests::check_golden(&$golden));
        }

        #[test]
        fn kernels_and_composed_forms_agree() {
            $crate::tests::check_composed(&$golden);
        }

        #[test]
        fn a_tape_is_the_graph_in_pieces() {
            $crate::tests::check_tape(&$golden);
        }

        #[test]
        fn images_do_not_see_each_other() {
            $crate::tests::check_alone(&$golden);
        }
    };
}
pub(crate) use every_case;
