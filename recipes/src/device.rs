//! The device of a call, and the precision that it computes in.

use candle_core::Device;
use engine::Precision;

use crate::Failure;
use crate::settings::{ComputePrecision, Values};

/// Opens the device of `run.device`, and makes `run.precision` that of the process, before anything is computed.
pub(crate) fn open(values: &Values) -> Result<Device, Failure> {
    let device = engine::device::parse(values.run.device()).map_err(|e| Failure::usage(e.to_string()))?;
    let precision = of(values, device.is_cpu());
    precision.check(&device).map_err(|error| {
        let reason = Failure::of(&error);
        Failure::usage(format!("`run.precision` {precision}, `run.device` {}: {reason}", values.run.device()))
    })?;
    precision.set();
    Ok(device)
}

/// Decides `auto`, so that a run's settings say what it computes in wherever it is taken up.
pub(crate) fn decide(values: &mut Values) {
    if values.run.precision() == ComputePrecision::Auto {
        let found = match of(values, values.run.device() == "cpu") {
            Precision::F32 => ComputePrecision::F32,
            Precision::Bf16 => ComputePrecision::Bf16,
        };
        values.set(|settings| settings.run.precision = found);
    }
}

/// The name of numbers that are kept, in this precision.
pub(crate) fn named(numbers: &str, values: &Values) -> String {
    match of(values, values.run.device() == "cpu") {
        Precision::F32 => numbers.to_owned(),
        Precision::Bf16 => format!("bf16 {numbers}"),
    }
}

/// `bf16`, or nothing: what the settings of kept results say.
pub(crate) fn kept(values: &Values) -> Option<&'static str> {
    (of(values, values.run.device() == "cpu") == Precision::Bf16).then_some("bf16")
}

/// The precision of a call; `auto` is bf16 on a CPU that is fast in it, and where no other library computes.
fn of(values: &Values, is_cpu: bool) -> Precision {
    match values.run.precision() {
        ComputePrecision::Bf16 => Precision::Bf16,
        ComputePrecision::Auto if is_cpu && !is_by_another_library(values) => Precision::fastest(),
        ComputePrecision::F32 | ComputePrecision::Auto => Precision::F32,
    }
}

/// Whether one of the models that compute is TorchScript.
fn is_by_another_library(values: &Values) -> bool {
    let (model, hybrid) = (&values.model, &values.hybrid);
    let names = [model.model(), model.reference(), hybrid.refiner(), hybrid.generator()];
    names.into_iter().flatten().any(|name| torch::find(name).is_some())
}
