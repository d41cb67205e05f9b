//! Errors of devices, named tensors and optimisers.

use candle_core::DType;

/// The error of this crate's stateful half; the differentiable ops return candle's own error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),

    /// A tensor operation failed on a known tensor.
    #[error("cannot {action} `{name}`")]
    Named {
        /// The failed action, as in "update".
        action: &'static str,
        /// The tensor's name.
        name: String,
        /// Candle's reason.
        source: candle_core::Error,
    },

    /// No tensor has this name.
    #[error("there is no tensor named `{name}`")]
    MissingTensor {
        /// The requested name.
        name: String,
    },

    /// A name was given twice.
    #[error("there is already a tensor named `{name}`")]
    DuplicateTensor {
        /// The name in question.
        name: String,
    },

    /// A tensor has the wrong shape.
    #[error("`{name}` has shape {got:?}, expected {expected:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The required shape.
        expected: Vec<usize>,
        /// The actual shape.
        got: Vec<usize>,
    },

    /// A tensor has the wrong dtype.
    #[error("`{name}` is {got:?}, expected {expected:?}")]
    DType {
        /// The tensor's name.
        name: String,
        /// The required dtype.
        expected: DType,
        /// The actual dtype.
        got: DType,
    },

    /// A gradient holds a NaN or an infinity.
    #[error("the gradient of `{name}` is not finite")]
    NonFiniteGradient {
        /// The parameter's name.
        name: String,
    },

    /// A tape carries another number of tensors between segments than required.
    #[error("{got} tensors where a tape should carry {expected}")]
    Carried {
        /// The required number.
        expected: usize,
        /// The actual number.
        got: usize,
    },

    /// The text does not name a device.
    #[error("unknown device `{text}`: use `cpu`, `cuda` or `cuda:N`")]
    UnknownDevice {
        /// The text given.
        text: String,
    },

    /// A CUDA device was requested, but this build does not support CUDA.
    #[error("device `{text}` needs CUDA, which this build does not have: build with `--features cuda`, or use `cpu`")]
    NoCuda {
        /// The text given.
        text: String,
    },

    /// The driver has no device.
    #[error(
        "device `{text}`: no CUDA device can be used on this machine ({reason}); is NVIDIA's driver installed, and does \
         `nvidia-smi` list a GPU? `cpu` computes everywhere"
    )]
    NoDevice {
        /// The text given.
        text: String,
        /// The driver's reason.
        reason: String,
    },

    /// A CUDA device beyond those that there are.
    #[error("device `{text}`: {count} CUDA devices can be used on this machine, the last is `cuda:{}`", count - 1)]
    FewerDevices {
        /// The text given.
        text: String,
        /// How many there are.
        count: usize,
    },

    /// The CUDA device could not be opened.
    #[error("cannot open device `{text}`: {source}")]
    Device {
        /// The text given.
        text: String,
        /// The driver's reason.
        source: candle_core::Error,
    },

    /// A device does not multiply bf16.
    #[error("the device does not compute in bf16, which GPUs do from compute capability 8.0 on: use f32")]
    NoBf16 {
        /// The device's reason.
        source: candle_core::Error,
    },

    /// Two processes that sum on their devices have one together.
    #[error(
        "ranks {} and {} compute on the same GPU, and NCCL sums over one of each process: `run.device` `cuda`, without a number, \
         gives each process of a host one of its own; start no more than there are, or build without `--features nccl`",
        ranks[0],
        ranks[1]
    )]
    SharedDevice {
        /// The numbers of the processes.
        ranks: [usize; 2],
    },

    /// The devices of several processes can't sum.
    #[error("cannot {action} over several processes: {reason}")]
    DeviceSums {
        /// The failed action, as in "join GPUs".
        action: &'static str,
        /// The library's reason.
        reason: String,
    },

    /// A setting is out of its range.
    #[error("{owner}: {setting} must be {expected}, got {got}")]
    Setting {
        /// The owner of the setting, as in "AdamW".
        owner: &'static str,
        /// Its name.
        setting: &'static str,
        /// The valid values.
        expected: &'static str,
        /// The given value.
        got: f64,
    },

    /// A saved optimiser state holds a tensor that the optimiser does not know.
    #[error("{optimizer}: unknown state `{name}`; was it saved by another optimiser?")]
    UnknownState {
        /// The optimiser reading the state.
        optimizer: &'static str,
        /// The tensor's name in the saved state.
        name: String,
    },

    /// A saved optimiser state lacks a tensor.
    #[error("{optimizer}: the saved state has no `{name}`")]
    MissingState {
        /// The optimiser reading the state.
        optimizer: &'static str,
        /// The tensor's name in the saved state.
        name: String,
    },

    /// A LoRA target matches no layer.
    #[error("LoRA target `{target}` matches no layer; there are {}", .known.join(", "))]
    NoSuchTarget {
        /// The target that matched nothing.
        target: String,
        /// The existing names, without layer numbers.
        known: Vec<String>,
    },

    /// A LoRA rank above the width of every layer that is adapted.
    #[error("LoRA rank {rank} is more than the width of every adapted layer, {widest} at most: it would not be low")]
    LoraRank {
        /// The rank.
        rank: usize,
        /// The larger of inputs and outputs of the widest layer.
        widest: usize,
    },
}

impl EngineError {
    /// Adds the name of the tensor to an error; for `map_err`.
    pub(crate) fn named(action: &'static str, name: &str) -> impl FnOnce(candle_core::Error) -> Self {
        move |source| Self::Named { action, name: name.to_owned(), source }
    }
}

/// Refuses a setting that fails its check; NaN fails every comparison, so it is refused too.
pub(crate) fn check_setting(
    is_good: bool,
    owner: &'static str,
    setting: &'static str,
    expected: &'static str,
    got: f64,
) -> Result<(), EngineError> {
    if is_good { Ok(()) } else { Err(EngineError::Setting { owner, setting, expected, got }) }
}
