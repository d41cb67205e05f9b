//! The device of a call, and the precision that it computes in.

use candle_core::Device;
use engine::Precision;

use crate::Failure;
use crate::settings::{ComputePrecision, Values};

/// Opens the device of `run.device`, and makes `run.precision` that of the process, before anything is computed.
pub(crate) fn open(values: &Values) -> Result<Device, Failure> {
    let device = engine::device::parse(values.run.device()).map_err(|e| Failure::usage(e.to_string()))?;
    let precision = of_cpu(values.run.precision());
    if precision == Precision::Bf16 && !device.is_cpu() {
        return Err(Failure::usage("`run.precision` bf16 is for the CPU, and `run.device` is another"));
    }
    precision.set();
    Ok(device)
}

/// Decides `auto`, so that a run's settings say what it computes in wherever it is taken up.
pub(crate) fn decide(values: &mut Values) {
    if values.run.precision() == ComputePrecision::Auto {
        let found = if of_cpu(ComputePrecision::Auto) == Precision::Bf16 && values.run.device() == "cpu" {
            ComputePrecision::Bf16
        } else {
            ComputePrecision::F32
        };
        values.set(|settings| settings.run.precision = found);
    }
}

/// The name of a model's numbers in this precision, such as those that are kept.
pub(crate) fn named(model: &str, values: &Values) -> String {
    match of_cpu(values.run.precision()) {
        Precision::F32 => model.to_owned(),
        Precision::Bf16 => format!("bf16 {model}"),
    }
}

fn of_cpu(precision: ComputePrecision) -> Precision {
    match precision {
        ComputePrecision::F32 => Precision::F32,
        ComputePrecision::Bf16 => Precision::Bf16,
        ComputePrecision::Auto => Precision::fastest(),
    }
}
