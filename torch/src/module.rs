//! Modules of LibTorch: of a TorchScript file, or of variables and a function.
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use models::ModelError;
use tch::nn::{self, VarStore};
use tch::{CModule, Device, IValue, TchError, Tensor, jit};

use crate::settings::{POLICY, Settings};

/// A module with parameters.
pub(crate) trait Module: fmt::Debug + Send {
    /// Its parameters by name; those that share memory are listed one by one.
    fn parameters(&self) -> Result<Vec<(String, Tensor)>, TchError>;

    /// Its output.
    fn forward(&self, inputs: Vec<Tensor>) -> Result<Tensor, TchError>;

    /// Writes it into a folder.
    fn write(&self, folder: &Path) -> Result<(), TchError>;
}

/// The origin of modules that are alike but for their weights.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Its name in messages.
    fn name(&self) -> &Path;

    /// All that its modules' outputs depend on besides their weights and settings.
    fn identity(&self) -> &str;

    /// Makes a module.
    fn module(&self) -> Result<Box<dyn Module>, ModelError>;
}

/// A TorchScript file.
pub(crate) struct Script {
    path: PathBuf,
    bytes: Arc<[u8]>,
    identity: String,
}

impl Script {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|error| ModelError::io(path, error))?;
        let identity = format!("torchscript {}", blake3::hash(&bytes));
        Ok(Self { path: path.to_owned(), bytes: bytes.into(), identity })
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source for Script {
    fn name(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn module(&self) -> Result<Box<dyn Module>, ModelError> {
        prepare();
        let loaded = CModule::load_data_on_device(&mut &self.bytes[..], Device::Cpu);
        let mut module = loaded.map_err(|error| {
            let reason = format!("no TorchScript that LibTorch reads ({}); write it by torch.jit.save", told(&error));
            ModelError::format(&self.path, reason)
        })?;
        // Nothing is dropped out, and no running mean moves.
        module.f_set_eval().map_err(|error| failed(&self.path, &error))?;
        Ok(Box::new(module))
    }
}

impl Module for CModule {
    fn parameters(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        self.named_parameters()
    }

    fn forward(&self, inputs: Vec<Tensor>) -> Result<Tensor, TchError> {
        let inputs: Vec<IValue> = inputs.into_iter().map(IValue::Tensor).collect();
        match self.forward_is(&inputs)? {
            IValue::Tensor(output) => Ok(output),
            IValue::Tuple(_) => Err(no_tensor("a tuple")),
            IValue::GenericDict(_) => Err(no_tensor("a dict")),
            _ => Err(no_tensor("another type")),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), TchError> {
        self.save(folder.join(POLICY))
    }
}

fn no_tensor(found: &str) -> TchError {
    TchError::Kind(format!("forward returns {found}, expected one tensor"))
}

/// The function of a module by its inputs.
pub(crate) type Forward = Box<dyn Fn(&[Tensor]) -> Tensor + Send>;

/// A function of variables, as a way to make it.
pub(crate) struct Built<B> {
    name: PathBuf,
    build: B,
}

impl<B: Fn(&nn::Path<'_>) -> Forward + Send + Sync> Built<B> {
    pub(crate) fn new(name: &str, build: B) -> Self {
        Self { name: PathBuf::from(name), build }
    }
}

impl<B> fmt::Debug for Built<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Built").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<B: Fn(&nn::Path<'_>) -> Forward + Send + Sync> Source for Built<B> {
    fn name(&self) -> &Path {
        &self.name
    }

    fn identity(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    fn module(&self) -> Result<Box<dyn Module>, ModelError> {
        prepare();
        let variables = VarStore::new(Device::Cpu);
        let forward = (self.build)(&variables.root());
        Ok(Box::new(Function { variables, forward }))
    }
}

/// A function of variables.
struct Function {
    variables: VarStore,
    forward: Forward,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("variables", &self.variables.len()).finish_non_exhaustive()
    }
}

impl Module for Function {
    fn parameters(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut variables: Vec<(String, Tensor)> = self.variables.variables().into_iter().collect();
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(variables)
    }

    fn forward(&self, inputs: Vec<Tensor>) -> Result<Tensor, TchError> {
        Ok((self.forward)(&inputs))
    }

    fn write(&self, folder: &Path) -> Result<(), TchError> {
        self.variables.save(folder.join("weights.safetensors"))
    }
}

/// Sets LibTorch up once: the threads of the program, and an interpreter that computes a pass as it computed the one before.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tch::set_num_threads(rayon::current_num_threads() as i32));
    // Its optimiser rewrites a module after some passes, which changes the last bits; a resumed run would count passes anew.
    jit::set_profiling_mode(false);
    jit::set_tensor_expr_fuser_enabled(false);
    jit::set_graph_executor_optimize(false);
}

/// Writes a module's settings beside it.
pub(crate) fn write_settings(folder: &Path, settings: &Settings) -> Result<(), ModelError> {
    let path = folder.join(POLICY).with_extension("json");
    std::fs::write(&path, format!("{:#}\n", settings.to_json())).map_err(|error| ModelError::io(&path, error))
}

/// An error of LibTorch, of a file or a module.
pub(crate) fn failed(name: &Path, error: &TchError) -> ModelError {
    ModelError::format(name, told(error))
}

/// What LibTorch says, without the frames of its own code.
fn told(error: &TchError) -> String {
    let text = match error {
        TchError::Kind(reason) => return reason.clone(),
        other => other.to_string(),
    };
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines().find(|line| line.starts_with("RuntimeError") || line.starts_with("torch.jit.Error"));
    said.or_else(|| lines().next()).unwrap_or("LibTorch failed").to_owned()
}
